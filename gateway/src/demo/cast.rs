//! Who plays what in the story.

use super::gateway::AREA;
use simulator::identity::FEEDER;
use simulator::roll::{Entry, Model, Place};
use simulator::session::Framing;
use simulator::street::Street;
use std::collections::BTreeMap;

/// The fewest meters on TCP that the story can do with: three with the wrapper, three with HDLC.
pub const METERS_MIN: u32 = 6;

/// One meter of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Number in the street, from 1.
    pub index: u32,
    /// Serial number.
    pub serial: String,
}

/// The meters with a part in the story.
#[derive(Debug, Clone)]
pub struct Cast {
    /// Runs out of credit, is topped up, refuses tokens at its keypad. TCP, wrapper.
    pub spender: Actor,
    /// Another customer, whose token is typed at the wrong meter. On the RS-485 line.
    pub neighbour: Actor,
    /// Disconnected and reconnected by an operator. HDLC over TCP.
    pub works_site: Actor,
    /// Takes a token whose answer is lost. TCP, wrapper.
    pub lost_answer: Actor,
    /// Takes a token while the gateway is killed. TCP, wrapper.
    pub killed: Actor,
    /// Its balance is held by the gateway. Modbus RTU.
    pub held: Actor,
    /// The feeder's check meter. Modbus TCP.
    pub feeder: Actor,
}

/// Credit at the start, in watt-hours, of the meters that the story needs to be well off or nearly broke; the others have
/// what the seed gives them.
#[must_use]
pub fn credits(meters: u32) -> BTreeMap<u32, i64> {
    BTreeMap::from([(1, 300), (2, 40_000), (3, 40_000), (meters, 60_000), (meters + 1, 40_000)])
}

impl Cast {
    /// The cast of this street.
    ///
    /// # Errors
    /// The street lacks a meter that the story needs.
    pub fn of(street: &Street) -> anyhow::Result<Self> {
        let config = street.config();
        let actor = |index: u32| {
            let entry = street.roll().iter().find(|entry| entry.index == index);
            let serial = entry.map(|entry| entry.serial.clone());
            serial
                .map(|serial| Actor { index, serial })
                .ok_or_else(|| anyhow::anyhow!("there is no meter {index}"))
        };
        Ok(Self {
            spender: actor(1)?,
            lost_answer: actor(2)?,
            killed: actor(3)?,
            works_site: actor(config.meters)?,
            neighbour: actor(config.meters + 1)?,
            held: actor(config.meters + config.line_meters + 1)?,
            feeder: Actor { index: FEEDER, serial: street.feeder_serial() },
        })
    }
}

/// The CSV that the gateway imports: every meter of the street and the feeder's.
#[must_use]
pub fn csv(street: &Street) -> String {
    let mut text = "serial,line,address,framing,model,balance,role,area,sgc,ek,ak\n".to_owned();
    for entry in street.roll() {
        text += &row(entry);
    }
    let feeder = street.feeder_serial();
    text +=
        &format!("{feeder},feeder,{},,feeder-modbus,none,feeder,{AREA},,,\n", simulator::street::FEEDER_UNIT);
    text
}

fn row(entry: &Entry) -> String {
    let (line, address, framing) = match entry.place() {
        Place::Tcp(Framing::Wrapper, port) => ("street", format!("{}:{port}", entry.address), "wrapper"),
        Place::Tcp(Framing::Hdlc, port) => ("street", format!("{}:{port}", entry.address), "hdlc"),
        Place::Line(physical) => ("bus", physical.to_string(), ""),
        Place::ModbusLine(unit) => ("modbus", unit.to_string(), ""),
        Place::ModbusTcp(_, unit) => ("feeder", unit.to_string(), ""),
    };
    let (model, balance) = match entry.model {
        Model::Dlms => ("reference-dlms", "meter"),
        Model::Modbus => ("reference-modbus", "gateway"),
    };
    let group = entry.supply_group.map(|group| group.to_string()).unwrap_or_default();
    let (ek, ak) = entry.exposed_keys_hex();
    format!(
        "{},{line},{address},{framing},{model},{balance},customer,{AREA},{group},{ek},{ak}\n",
        entry.serial
    )
}
