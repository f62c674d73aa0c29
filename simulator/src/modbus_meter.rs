//! A Modbus meter with a relay and no account: registers, a coil and a sensed contact, after
//! [`protocol::modbus::reference`]. The gateway holds the balance of such a meter.

use crate::board::VirtualBoard;
use hardware::board::{Metering, Relay, Sample};
use protocol::modbus::reference::{
    CONTACT_INPUT, CURRENT_MA, EXPORT_WH, FREQUENCY_MHZ, IMPORT_WH, INPUT_REGISTERS, InputValue, POWER_W,
    REACTIVE_POWER_VAR, RELAY_COIL, SERIAL, VOLTAGE_MV,
};
use tokio_modbus::{ExceptionCode, Request, Response};

/// Milliwatt-seconds in a watt-hour.
const MWS_PER_WH: u64 = 3_600_000;

/// What a meter on Modbus measures: its own board, or a whole feeder.
#[derive(Debug)]
pub enum Source {
    /// A household behind a relay.
    Household(Box<VirtualBoard>),
    /// The transformer's check meter, which has no relay and is told its total.
    Feeder,
}

/// One Modbus meter.
#[derive(Debug)]
pub struct ModbusMeter {
    serial: String,
    source: Source,
    sample: Sample,
    import_mws: u64,
    asked_closed: bool,
}

impl ModbusMeter {
    /// A meter of a household, relay closed.
    #[must_use]
    pub fn of_household(serial: String, board: VirtualBoard) -> Self {
        let source = Source::Household(Box::new(board));
        Self { serial, source, sample: Sample::default(), import_mws: 0, asked_closed: true }
    }

    /// A feeder's check meter.
    #[must_use]
    pub fn of_feeder(serial: String) -> Self {
        Self { serial, source: Source::Feeder, sample: Sample::default(), import_mws: 0, asked_closed: true }
    }

    /// Measures up to now.
    pub fn tick(&mut self) {
        if let Source::Household(board) = &mut self.source {
            let Ok(sample) = board.sample();
            self.import_mws = self.import_mws.saturating_add(sample.import_mws);
            self.sample = sample;
        }
    }

    /// Tells a feeder's meter what flows through it: total energy (milliwatt-seconds) and power (watts).
    pub fn set_feeder(&mut self, import_mws: u64, power_w: i32) {
        self.import_mws = import_mws;
        self.sample = Sample {
            voltage_mv: 230_000,
            frequency_mhz: 50_000,
            current_ma: u32::try_from(i64::from(power_w) * 1_000_000 / 230_000).unwrap_or(0),
            active_power_mw: power_w.saturating_mul(1000),
            ..Sample::default()
        };
    }

    /// Serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Energy imported, in watt-hours.
    #[must_use]
    pub fn import_wh(&self) -> u64 {
        self.import_mws / MWS_PER_WH
    }

    /// Where the contact is. A feeder has none and is always closed.
    #[must_use]
    pub fn contact_closed(&self) -> bool {
        match &self.source {
            Source::Household(board) => board.contact_closed(),
            Source::Feeder => true,
        }
    }

    /// The board behind the meter, if it has one.
    pub fn board_mut(&mut self) -> Option<&mut VirtualBoard> {
        match &mut self.source {
            Source::Household(board) => Some(board),
            Source::Feeder => None,
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// The exception a Modbus server answers with (MODBUS Application Protocol V1.1b3, 7).
    pub fn answer(&mut self, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        match request {
            Request::ReadInputRegisters(at, count) => {
                let registers = self.registers();
                let wanted = window(&registers, *at, *count)?;
                Ok(Response::ReadInputRegisters(wanted.to_vec()))
            }
            Request::ReadCoils(at, count) => {
                self.with_relay(*at, *count, RELAY_COIL)?;
                Ok(Response::ReadCoils(vec![self.asked_closed]))
            }
            Request::ReadDiscreteInputs(at, count) => {
                self.with_relay(*at, *count, CONTACT_INPUT)?;
                Ok(Response::ReadDiscreteInputs(vec![self.contact_closed()]))
            }
            Request::WriteSingleCoil(at, close) => {
                self.with_relay(*at, 1, RELAY_COIL)?;
                self.drive(*close);
                Ok(Response::WriteSingleCoil(*at, *close))
            }
            Request::WriteMultipleCoils(at, values) => {
                let count = u16::try_from(values.len()).map_err(|_| ExceptionCode::IllegalDataValue)?;
                self.with_relay(*at, count, RELAY_COIL)?;
                self.drive(values.first().copied().ok_or(ExceptionCode::IllegalDataValue)?);
                Ok(Response::WriteMultipleCoils(*at, count))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }

    fn drive(&mut self, close: bool) {
        self.asked_closed = close;
        if let Source::Household(board) = &mut self.source {
            // What flowed until now was measured with the contact where it was.
            let Ok(sample) = board.sample();
            self.import_mws = self.import_mws.saturating_add(sample.import_mws);
            board.drive(close);
            let Ok(sample) = board.sample();
            self.sample = sample;
        }
    }

    fn with_relay(&self, at: u16, count: u16, only: u16) -> Result<(), ExceptionCode> {
        match (&self.source, at, count) {
            (Source::Household(_), at, 1) if at == only => Ok(()),
            _ => Err(ExceptionCode::IllegalDataAddress),
        }
    }

    /// The whole map, as it stands now.
    fn registers(&self) -> [u16; INPUT_REGISTERS as usize] {
        let mut map = [0; INPUT_REGISTERS as usize];
        let sample = &self.sample;
        put(&mut map, VOLTAGE_MV, u64::from(sample.voltage_mv));
        put(&mut map, CURRENT_MA, u64::from(sample.current_ma));
        put(&mut map, POWER_W, i64::from(sample.active_power_mw / 1000).cast_unsigned());
        put(&mut map, REACTIVE_POWER_VAR, i64::from(sample.reactive_power_mvar / 1000).cast_unsigned());
        put(&mut map, FREQUENCY_MHZ, u64::from(sample.frequency_mhz));
        put(&mut map, IMPORT_WH, self.import_wh());
        put(&mut map, EXPORT_WH, 0);
        let text = &mut map[usize::from(SERIAL.address)..][..usize::from(SERIAL.layout.registers())];
        for (register, pair) in text.iter_mut().zip(self.serial.as_bytes().chunks(2)) {
            *register = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        }
        map
    }
}

/// The low registers of `value`, most significant first.
fn put(map: &mut [u16], value: InputValue, bits: u64) {
    let count = usize::from(value.layout.registers());
    let slots = &mut map[usize::from(value.address)..][..count];
    for (place, slot) in slots.iter_mut().rev().enumerate() {
        *slot = ((bits >> (16 * place)) & 0xFFFF) as u16; // masked
    }
}

fn window(registers: &[u16], at: u16, count: u16) -> Result<&[u16], ExceptionCode> {
    if count == 0 {
        return Err(ExceptionCode::IllegalDataValue);
    }
    let (at, count) = (usize::from(at), usize::from(count));
    registers.get(at..at + count).ok_or(ExceptionCode::IllegalDataAddress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Nvm;
    use crate::clock::SimClock;
    use crate::load::Household;
    use std::sync::Arc;

    fn meter() -> ModbusMeter {
        let clock = SimClock::starting_at(1_767_636_000, 1);
        let board = VirtualBoard::new(clock, Household::of(1, 1), Nvm::blank(0), 1, Arc::default());
        ModbusMeter::of_household("01000000012".into(), board)
    }

    #[test]
    fn the_feeder_is_read_by_its_map() {
        let mut feeder = ModbusMeter::of_feeder("FEEDER-1".into());
        feeder.set_feeder(0x1_0000_0001 * MWS_PER_WH, -2);
        let Ok(Response::ReadInputRegisters(all)) = feeder.answer(&Request::ReadInputRegisters(0, 26)) else {
            panic!("no registers");
        };
        assert_eq!(all[..4], [0x4645, 0x4544, 0x4552, 0x2D31], "FEEDER-1");
        assert_eq!(all[16..20], [0, 1, 0, 1]);
        assert_eq!(all[24..26], [0xFFFF, 0xFFFE]);
    }

    #[test]
    fn the_coil_opens_the_relay_and_the_input_senses_it() {
        let mut meter = meter();
        meter.tick();
        assert_eq!(
            meter.answer(&Request::ReadDiscreteInputs(0, 1)),
            Ok(Response::ReadDiscreteInputs(vec![true]))
        );
        assert_eq!(
            meter.answer(&Request::WriteSingleCoil(0, false)),
            Ok(Response::WriteSingleCoil(0, false))
        );
        assert_eq!(
            meter.answer(&Request::ReadDiscreteInputs(0, 1)),
            Ok(Response::ReadDiscreteInputs(vec![false]))
        );
        assert_eq!(
            meter.answer(&Request::ReadInputRegisters(24, 2)),
            Ok(Response::ReadInputRegisters(vec![0, 0]))
        );
    }

    #[test]
    fn what_is_not_on_the_map_is_refused() {
        let mut meter = meter();
        let address = Err(ExceptionCode::IllegalDataAddress);
        assert_eq!(meter.answer(&Request::ReadInputRegisters(25, 2)), address);
        assert_eq!(meter.answer(&Request::ReadInputRegisters(u16::MAX, u16::MAX)), address);
        assert_eq!(meter.answer(&Request::ReadCoils(1, 1)), address);
        assert_eq!(meter.answer(&Request::WriteSingleCoil(7, true)), address);
        let mut feeder = ModbusMeter::of_feeder("F".into());
        assert_eq!(feeder.answer(&Request::WriteSingleCoil(0, false)), address);
        let function = Err(ExceptionCode::IllegalFunction);
        assert_eq!(meter.answer(&Request::ReadHoldingRegisters(0, 1)), function);
    }
}
