//! What tests with a simulated street need of a gateway besides its lines.

use gateway::session::directory::{Endpoint, Framing};
use gateway::session::meter_keys::MeterKeys;
use gateway::session::work::Serial;
use gateway::vault::{DlmsKeys, VaultError};
use simulator::roll::{Entry, Place};
use simulator::session::Framing as SimFraming;

/// The published test keys of the simulated meters.
#[derive(Debug)]
pub struct TestKeys;

impl MeterKeys for TestKeys {
    fn dlms_keys(&self, _: &Serial) -> Result<DlmsKeys, VaultError> {
        Ok(DlmsKeys::new(std::array::from_fn(|i| i as u8), std::array::from_fn(|i| 0xD0 + i as u8)))
    }
}

/// Where a gateway finds a simulated meter.
pub fn endpoint(entry: &Entry) -> Endpoint {
    let (line, address, framing, model) = match entry.place() {
        Place::Tcp(framing, port) => {
            let framing = if framing == SimFraming::Hdlc { Framing::Hdlc } else { Framing::Wrapper };
            ("street", format!("{}:{port}", entry.address), framing, "reference-dlms")
        }
        Place::Line(physical) => ("bus", physical.to_string(), Framing::Hdlc, "reference-dlms"),
        Place::ModbusLine(unit) => ("modbus", unit.to_string(), Framing::Wrapper, "reference-modbus"),
        Place::ModbusTcp(_, unit) => ("feeder", unit.to_string(), Framing::Wrapper, "reference-modbus"),
    };
    let (serial, line, model) = (Serial(entry.serial.clone()), line.into(), model.into());
    Endpoint { serial, line, address, framing, model }
}
