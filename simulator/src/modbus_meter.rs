//! A Modbus meter with a relay and no account: registers, a coil and a sensed contact, after
//! [`protocol::modbus::reference`]. The gateway holds the balance of such a meter.

use crate::board::VirtualBoard;
use hardware::board::{Metering, Relay, Sample};
use protocol::modbus::reference::{
    CONTACT_INPUT, CURRENT_MA, EXPORT_WH, FREQUENCY_MHZ, IMPORT_WH, INPUT_REGISTERS, InputValue, POWER_W,
    REACTIVE_POWER_VAR, RELAY_COIL, SERIAL, VOLTAGE_MV,
};

// Function codes (MODBUS Application Protocol V1.1b3, 6).
const READ_COILS: u8 = 1;
const READ_DISCRETE_INPUTS: u8 = 2;
const READ_INPUT_REGISTERS: u8 = 4;
const WRITE_SINGLE_COIL: u8 = 5;
const WRITE_MULTIPLE_COILS: u8 = 15;

/// What is illegal in a request, by the codes of MODBUS Application Protocol V1.1b3, 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exception {
    Function = 1,
    DataAddress = 2,
    DataValue = 3,
}

const fn word(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

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

    /// Power that flows now, in watts.
    #[must_use]
    pub fn power_w(&self) -> i64 {
        i64::from(self.sample.active_power_mw / 1000)
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

    /// Answers one request: protocol data units, function code first, without address and checksum. Whatever comes in, an
    /// answer comes out, an exception if need be.
    #[must_use]
    pub fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let function = request.first().copied().unwrap_or(0);
        match self.carry_out(request) {
            Ok(answer) => answer,
            Err(exception) => vec![function | 0x80, exception as u8],
        }
    }

    fn carry_out(&mut self, request: &[u8]) -> Result<Vec<u8>, Exception> {
        match *request {
            [READ_INPUT_REGISTERS, a, b, c, d] => {
                let registers = self.registers();
                let wanted = window(&registers, word(a, b), word(c, d))?;
                let mut answer = vec![READ_INPUT_REGISTERS, (wanted.len() * 2) as u8]; // 26 registers at most
                answer.extend(wanted.iter().flat_map(|register| register.to_be_bytes()));
                Ok(answer)
            }
            [READ_COILS, a, b, c, d] => {
                self.only_relay(word(a, b), word(c, d), RELAY_COIL)?;
                Ok(vec![READ_COILS, 1, u8::from(self.asked_closed)])
            }
            [READ_DISCRETE_INPUTS, a, b, c, d] => {
                self.only_relay(word(a, b), word(c, d), CONTACT_INPUT)?;
                Ok(vec![READ_DISCRETE_INPUTS, 1, u8::from(self.contact_closed())])
            }
            [WRITE_SINGLE_COIL, a, b, value, 0] => {
                let close = match value {
                    0xFF => true,
                    0 => false,
                    _ => return Err(Exception::DataValue),
                };
                self.only_relay(word(a, b), 1, RELAY_COIL)?;
                self.drive(close);
                Ok(request.to_vec())
            }
            [WRITE_MULTIPLE_COILS, a, b, c, d, 1, values] => {
                self.only_relay(word(a, b), word(c, d), RELAY_COIL)?;
                self.drive(values & 1 == 1);
                Ok(vec![WRITE_MULTIPLE_COILS, a, b, c, d])
            }
            [
                READ_INPUT_REGISTERS | READ_COILS | READ_DISCRETE_INPUTS | WRITE_SINGLE_COIL
                | WRITE_MULTIPLE_COILS,
                ..,
            ] => Err(Exception::DataValue),
            _ => Err(Exception::Function),
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

    fn only_relay(&self, at: u16, count: u16, only: u16) -> Result<(), Exception> {
        match (&self.source, at, count) {
            (Source::Household(_), at, 1) if at == only => Ok(()),
            _ => Err(Exception::DataAddress),
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

fn window(registers: &[u16], at: u16, count: u16) -> Result<&[u16], Exception> {
    if count == 0 {
        return Err(Exception::DataValue);
    }
    let (at, count) = (usize::from(at), usize::from(count));
    registers.get(at..at + count).ok_or(Exception::DataAddress)
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
        let mut board = VirtualBoard::new(clock, Household::of(1, 1), Nvm::blank(0), 1, Arc::default());
        board.live_to(None);
        ModbusMeter::of_household("01000000012".into(), board)
    }

    #[test]
    fn the_feeder_is_read_by_its_map() {
        let mut feeder = ModbusMeter::of_feeder("FEEDER-1".into());
        feeder.set_feeder(0x1_0000_0001 * MWS_PER_WH, -2);
        let all = feeder.answer(&[4, 0, 0, 0, 26]);
        assert_eq!(all.len(), 2 + 52);
        assert_eq!(all[2..10], *b"FEEDER-1");
        assert_eq!(all[2 + 32..][..8], [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(all[2 + 48..], [0xFF, 0xFF, 0xFF, 0xFE]);
    }

    /// The bytes of MODBUS Application Protocol V1.1b3, 6.5: output 173 on.
    #[test]
    fn the_published_write_of_an_output_is_echoed() {
        assert_eq!(meter().answer(&[5, 0, 0xAC, 0xFF, 0]), [0x85, 2], "it has no output 173");
        assert_eq!(meter().answer(&[5, 0, 0, 0xFF, 0]), [5, 0, 0, 0xFF, 0]);
    }

    #[test]
    fn the_coil_opens_the_relay_and_the_input_senses_it() {
        let mut meter = meter();
        meter.tick();
        assert_eq!(meter.answer(&[2, 0, 0, 0, 1]), [2, 1, 1]);
        assert_eq!(meter.answer(&[5, 0, 0, 0, 0]), [5, 0, 0, 0, 0]);
        assert_eq!(meter.answer(&[2, 0, 0, 0, 1]), [2, 1, 0]);
        assert_eq!(meter.answer(&[1, 0, 0, 0, 1]), [1, 1, 0]);
        assert_eq!(meter.answer(&[4, 0, 24, 0, 2]), [4, 4, 0, 0, 0, 0]);
        assert_eq!(meter.answer(&[15, 0, 0, 0, 1, 1, 1]), [15, 0, 0, 0, 1]);
        assert_eq!(meter.answer(&[2, 0, 0, 0, 1]), [2, 1, 1]);
    }

    #[test]
    fn what_is_not_on_the_map_is_refused() {
        let mut meter = meter();
        assert_eq!(meter.answer(&[4, 0, 25, 0, 2]), [0x84, 2]);
        assert_eq!(meter.answer(&[4, 0xFF, 0xFF, 0xFF, 0xFF]), [0x84, 2]);
        assert_eq!(meter.answer(&[4, 0, 0, 0, 0]), [0x84, 3]);
        assert_eq!(meter.answer(&[4, 0]), [0x84, 3]);
        assert_eq!(meter.answer(&[1, 0, 1, 0, 1]), [0x81, 2]);
        assert_eq!(meter.answer(&[5, 0, 0, 0x12, 0]), [0x85, 3]);
        assert_eq!(meter.answer(&[3, 0, 0, 0, 1]), [0x83, 1]);
        assert_eq!(meter.answer(&[]), [0x80, 1]);
        let mut feeder = ModbusMeter::of_feeder("F".into());
        assert_eq!(feeder.answer(&[5, 0, 0, 0, 0]), [0x85, 2], "a feeder has no relay");
    }
}
