//! The roll of a street: what a gateway has to know about each meter, as text, JSON, or CSV to import.

use crate::identity::{
    KEY_REVISION, SUPPLY_GROUP, StreetKeys, TARIFF_INDEX, address, drn, system_title, to_hex,
};
use crate::session::Framing;
use serde::Serialize;

/// What kind of meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// The firmware of this project.
    Dlms,
    /// Registers and a relay coil.
    Modbus,
}

/// Where a meter is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On TCP with this framing, at an address of its own and this port.
    Tcp(Framing, u16),
    /// On the RS-485 line, at this lower HDLC address.
    Line(u16),
    /// On the Modbus line, at this unit address.
    ModbusLine(u8),
    /// At a Modbus TCP server, counted from the feeder's on, at this unit address.
    ModbusTcp(u8, u8),
}

/// One meter.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Number in the street, from 1.
    pub index: u32,
    /// What kind.
    pub model: Model,
    /// `wrapper` or `hdlc` over TCP, `line` or `modbus_line` on a serial line, `modbus_tcp`.
    pub transport: &'static str,
    /// IP address, or the station's address on its line or at its Modbus TCP server.
    pub address: String,
    /// TCP port, where there is one.
    pub port: Option<u16>,
    /// Which Modbus TCP server it is behind: 0 is the feeder's address, 1 the IP address after it, and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<u8>,
    /// Serial number (DRN).
    pub serial: String,
    /// System title in hexadecimal; empty for Modbus meters, as everything below but the balance.
    pub system_title: String,
    /// Supply group code.
    pub supply_group: Option<u32>,
    /// Tariff index.
    pub tariff_index: Option<u8>,
    /// Key revision number.
    pub key_revision: Option<u8>,
    /// Credit at the start, in watt-hours.
    pub balance_wh: Option<i64>,
    #[serde(skip)]
    place: Place,
    #[serde(skip)]
    keys_hex: (String, String),
}

impl Entry {
    /// What is known about meter `index`.
    ///
    /// # Errors
    /// Not with a number below 100,000,000.
    pub fn new(
        index: u32,
        model: Model,
        place: Place,
        balance_wh: i64,
        keys: &StreetKeys,
    ) -> anyhow::Result<Self> {
        let dlms = model == Model::Dlms;
        let (transport, address, port) = match place {
            Place::Tcp(Framing::Wrapper, port) => ("wrapper", address(index).to_string(), Some(port)),
            Place::Tcp(Framing::Hdlc, port) => ("hdlc", address(index).to_string(), Some(port)),
            Place::Line(physical) => ("line", physical.to_string(), None),
            Place::ModbusLine(unit) => ("modbus_line", unit.to_string(), None),
            Place::ModbusTcp(_, unit) => ("modbus_tcp", unit.to_string(), None),
        };
        Ok(Self {
            index,
            model,
            transport,
            address,
            port,
            server: match place {
                Place::ModbusTcp(server, _) => Some(server),
                _ => None,
            },
            serial: drn(index)?.as_str().to_owned(),
            system_title: if dlms { to_hex(&system_title(index)) } else { String::new() },
            supply_group: dlms.then_some(SUPPLY_GROUP),
            tariff_index: dlms.then_some(TARIFF_INDEX),
            key_revision: dlms.then_some(KEY_REVISION),
            balance_wh: dlms.then_some(balance_wh),
            place,
            keys_hex: if dlms { keys.exposed_hex() } else { Default::default() },
        })
    }

    /// Where it is reached.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Encryption and authentication key in hexadecimal, to import the meter with; empty for Modbus meters.
    #[must_use]
    pub fn exposed_keys_hex(&self) -> (&str, &str) {
        (&self.keys_hex.0, &self.keys_hex.1)
    }

    /// The port that a meter on TCP really got.
    pub(crate) fn set_port(&mut self, port: u16) {
        if let Place::Tcp(_, at) = &mut self.place {
            *at = port;
            self.port = Some(port);
        }
    }
}

/// A table for people.
#[must_use]
pub fn as_text(entries: &[Entry]) -> String {
    let mut text = format!(
        "{:<6} {:<12} {:<14} {:<12} {:<17} {:>7} {:>3} {:>4} {:>11}\n",
        "meter", "transport", "address", "serial", "system title", "group", "ti", "krn", "balance Wh"
    );
    for e in entries {
        let at = e.port.map_or_else(|| e.address.clone(), |port| format!("{}:{port}", e.address));
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        text += &format!(
            "{:<6} {:<12} {:<14} {:<12} {:<17} {:>7} {:>3} {:>4} {:>11}\n",
            e.index,
            e.transport,
            at,
            e.serial,
            e.system_title,
            or_dash(e.supply_group.map(|v| v.to_string())),
            or_dash(e.tariff_index.map(|v| format!("{v:02}"))),
            or_dash(e.key_revision.map(|v| v.to_string())),
            or_dash(e.balance_wh.map(|v| v.to_string())),
        );
    }
    text
}

/// Columns of [`as_csv`].
pub const CSV_HEADER: &str =
    "serial,model,transport,address,port,system_title,supply_group,tariff_index,key_revision,balance_wh";

/// A table for machines, without keys.
#[must_use]
pub fn as_csv(entries: &[Entry]) -> String {
    let mut text = format!("{CSV_HEADER}\n");
    for e in entries {
        let model = match e.model {
            Model::Dlms => "dlms",
            Model::Modbus => "modbus",
        };
        let or_empty = |value: Option<i64>| value.map(|v| v.to_string()).unwrap_or_default();
        text += &format!(
            "{},{model},{},{},{},{},{},{},{},{}\n",
            e.serial,
            e.transport,
            e.address,
            or_empty(e.port.map(i64::from)),
            e.system_title,
            or_empty(e.supply_group.map(i64::from)),
            or_empty(e.tariff_index.map(i64::from)),
            or_empty(e.key_revision.map(i64::from)),
            or_empty(e.balance_wh),
        );
    }
    text
}
