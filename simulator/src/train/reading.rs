//! One reading of a meter over its own protocol: what a head-end would know.

use crate::client::{As, End, MeterClient};
use crate::identity::StreetKeys;
use crate::meter::SimMeter;
use crate::session::Framing;
use protocol::codec::axdr::Data;
use protocol::codec::obis::Obis;
use protocol::cosem::account::{self, ModeAndStatus, PaymentMode};
use protocol::cosem::disconnect::{self, ControlState, RelayReason};
use protocol::cosem::events::EventRow;
use protocol::cosem::{credit, obis, register};
use protocol::dlms::model::Attribute;
use std::sync::Arc;

/// What was read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The contact as sensed.
    pub closed: bool,
    /// What the logic wants.
    pub wants: ControlState,
    /// Why the relay is open.
    pub reason: RelayReason,
    /// Token credit, watt-hours.
    pub credit_wh: i64,
    /// Payment mode.
    pub mode: PaymentMode,
    /// Import register, watt-hours.
    pub import_wh: i64,
    /// Export register, watt-hours.
    pub export_wh: i64,
    /// Current through the phase element, in the register's unit.
    pub phase: i64,
    /// Current through the neutral, in the same unit.
    pub neutral: i64,
    /// Configuration changes so far.
    pub changes: u32,
    /// Configuration digest.
    pub digest: Vec<u8>,
    /// Serial number.
    pub serial: Vec<u8>,
    /// The event log.
    pub events: Vec<EventRow>,
}

/// A head-end: it remembers the invocation counters it used at each meter.
#[derive(Debug, Default)]
pub struct HeadEnd {
    keys: StreetKeys,
    counters: std::collections::BTreeMap<u32, u32>,
}

impl HeadEnd {
    /// One with these keys.
    #[must_use]
    pub fn new(keys: StreetKeys) -> Self {
        Self { keys, counters: std::collections::BTreeMap::new() }
    }

    /// A client with an open management association; `None` when the meter does not answer.
    pub fn visit(&mut self, meter: &Arc<SimMeter>) -> Option<MeterClient> {
        let counters = self.counters.entry(meter.index()).or_insert(1);
        let mut client = MeterClient::connect(meter, Framing::Wrapper, As::Management, &self.keys, *counters);
        *counters = client.next_counters();
        (client.associate() == End::Open).then_some(client)
    }

    /// Reads a meter; `None` when it does not answer, or answers something else than it should.
    pub fn read(&mut self, meter: &Arc<SimMeter>) -> Option<Reading> {
        let mut client = self.visit(meter)?;
        let mode: ModeAndStatus = client.read(account::MODE_AND_STATUS.of(obis::ACCOUNT))?;
        Some(Reading {
            closed: client.read(disconnect::OUTPUT_STATE.of(obis::DISCONNECT))?,
            wants: client.read(disconnect::CONTROL_STATE.of(obis::DISCONNECT))?,
            reason: client.read(data(obis::RELAY_REASON))?,
            credit_wh: client.read::<i32>(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT))?.into(),
            mode: mode.payment_mode,
            import_wh: number(&mut client, obis::IMPORT_ENERGY)?,
            export_wh: number(&mut client, obis::EXPORT_ENERGY)?,
            phase: number(&mut client, obis::CURRENT)?,
            neutral: number(&mut client, obis::NEUTRAL_CURRENT)?,
            changes: client.read(data(obis::CONFIGURATION_CHANGES))?,
            digest: bytes(&mut client, obis::CONFIGURATION_DIGEST)?,
            serial: bytes(&mut client, obis::SERIAL)?,
            events: client.event_log()?,
        })
    }
}

fn data(name: Obis) -> Attribute {
    Attribute { class_id: 1, logical_name: name, index: 2 }
}

/// A register's value.
fn number(client: &mut MeterClient, name: Obis) -> Option<i64> {
    let End::Value(bytes) = client.get(register::VALUE.of(name)) else { return None };
    Data::from_bytes_in(&bytes).ok()?.as_i64()
}

/// A value of class 1 as it is encoded.
fn bytes(client: &mut MeterClient, name: Obis) -> Option<Vec<u8>> {
    match client.get(data(name)) {
        End::Value(bytes) => Some(bytes),
        _ => None,
    }
}
