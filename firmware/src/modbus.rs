//! The Modbus side of the meter: the published register map, and an RTU server on a serial line.

use embedded_io::{Read, ReadReady, Write};
use hardware::board::Board;
use protocol::cosem::disconnect::Trigger;
use protocol::modbus::{Entry, Exception, PREPAID_METER, Quantity, Table, Type};
use protocol::time::{Duration, Instant};
use protocol::wire::crc16;

use crate::meter::Meter;

/// Registers or bits of one read: what the application protocol allows for registers (6.4).
const READ_MAX: u16 = 125;
/// Longest RTU frame (Modbus over serial line 1.02, 2.5.1).
pub const FRAME_MAX: usize = 256;

/// Whether a quantity is the front end's word of this moment: without one there is no reading, which is not a reading of zero.
fn is_measured(quantity: Quantity) -> bool {
    matches!(
        quantity,
        Quantity::Power
            | Quantity::ReactivePower
            | Quantity::Voltage
            | Quantity::Current
            | Quantity::Frequency
            | Quantity::PowerFactor
    )
}

impl<B: Board> Meter<B> {
    /// Reads `out.len()` registers or bits (one a word) from `address` on. Addresses of an entry may be read in part; those
    /// that no entry has are refused.
    ///
    /// # Errors
    /// The exception that goes to the master.
    pub fn modbus_read(&mut self, table: Table, address: u16, out: &mut [u16]) -> Result<(), Exception> {
        for (offset, word) in (0..).zip(out.iter_mut()) {
            let at = address.checked_add(offset).ok_or(Exception::IllegalDataAddress)?;
            let entry = PREPAID_METER
                .iter()
                .find(|e| e.table == table && at >= e.address && at - e.address < e.kind.registers())
                .ok_or(Exception::IllegalDataAddress)?;
            if !self.conditions.measured && is_measured(entry.quantity) {
                return Err(Exception::ServerDeviceFailure);
            }
            *word = self.register(entry, at - entry.address)?;
        }
        Ok(())
    }

    /// Commands the relay: coil 0. Refused unless the meter was personalised to obey Modbus, which knows no keys.
    ///
    /// # Errors
    /// The exception that goes to the master.
    pub fn modbus_write_coil(&mut self, address: u16, closed: bool) -> Result<(), Exception> {
        let coil = PREPAID_METER.iter().find(|e| e.table == Table::Coil && e.address == address);
        coil.ok_or(Exception::IllegalDataAddress)?;
        if !self.who.options.modbus_switches {
            return Err(Exception::IllegalFunction);
        }
        if closed == self.record.relay.wants_closed() {
            return Ok(());
        }
        let trigger = if closed { Trigger::RemoteReconnect } else { Trigger::RemoteDisconnect };
        self.command_relay(trigger).map_err(|_| Exception::ServerDeviceFailure)
    }

    fn register(&mut self, entry: &Entry, index: u16) -> Result<u16, Exception> {
        if let Type::Text { .. } = entry.kind {
            let serial = self.serial();
            let at = usize::from(index) * 2;
            let byte = |i: usize| serial.as_str().as_bytes().get(i).copied().unwrap_or(0);
            return Ok(u16::from_be_bytes([byte(at), byte(at + 1)]));
        }
        let sample = self.sample;
        let raw = match entry.quantity {
            // Two's complement carries an unsigned counter through the same bits.
            Quantity::ImportEnergy => self.record.import.wh as i64,
            Quantity::ExportEnergy => self.record.export.wh as i64,
            Quantity::Power => i64::from(sample.active_power_mw / 1000),
            Quantity::ReactivePower => i64::from(sample.reactive_power_mvar / 1000),
            Quantity::Voltage => i64::from(sample.voltage_mv),
            Quantity::Current => i64::from(sample.current_ma),
            Quantity::Frequency => i64::from(sample.frequency_mhz),
            Quantity::PowerFactor => i64::from(crate::objects::power_factor(&sample)),
            Quantity::Credit => i64::from(self.available_credit()),
            Quantity::RelayCommand => i64::from(self.record.relay.wants_closed()),
            Quantity::RelaySensed => i64::from(self.sense_closed().ok_or(Exception::ServerDeviceFailure)?),
            Quantity::RelayReason => self.record.relay.reason as i64,
            Quantity::ClockUtc => i64::from(self.utc_s()),
            Quantity::Serial => 0,
        };
        Ok(entry.register(raw, index))
    }

    /// Answers one request PDU (function code and data, without address and check) into `out`; returns the answer's length.
    /// Functions 1, 2, 4, 5 and 15 are there, as far as the map has something for them.
    #[must_use]
    pub fn modbus_pdu(&mut self, request: &[u8], out: &mut [u8; FRAME_MAX]) -> usize {
        let function = request.first().copied().unwrap_or(0);
        match self.answer(function, request.get(1..).unwrap_or(&[]), out) {
            Ok(len) => len,
            Err(exception) => {
                out[0] = function | 0x80;
                out[1] = exception as u8;
                2
            }
        }
    }

    fn answer(&mut self, function: u8, data: &[u8], out: &mut [u8; FRAME_MAX]) -> Result<usize, Exception> {
        let word = |at: usize| {
            let bytes = data.get(at..at + 2).and_then(|b| b.try_into().ok());
            bytes.map(u16::from_be_bytes).ok_or(Exception::IllegalDataValue)
        };
        out[0] = function;
        match function {
            1 | 2 => {
                let table = if function == 1 { Table::Coil } else { Table::DiscreteInput };
                let count = word(2)?;
                // The map has one coil and one input.
                if count == 0 || count > 8 {
                    return Err(Exception::IllegalDataValue);
                }
                let mut bits = [0; 8];
                let bits = &mut bits[..usize::from(count)];
                self.modbus_read(table, word(0)?, bits)?;
                out[1] = 1;
                out[2] = (0..).zip(bits).fold(0, |byte, (i, bit)| byte | u8::from(*bit != 0) << i);
                Ok(3)
            }
            4 => {
                let count = word(2)?;
                if count == 0 || count > READ_MAX {
                    return Err(Exception::IllegalDataValue);
                }
                let mut words = [0; READ_MAX as usize];
                let words = &mut words[..usize::from(count)];
                self.modbus_read(Table::Input, word(0)?, words)?;
                // At most 250.
                out[1] = (count * 2) as u8;
                for (slot, word) in out[2..].chunks_exact_mut(2).zip(words.iter()) {
                    slot.copy_from_slice(&word.to_be_bytes());
                }
                Ok(2 + usize::from(count) * 2)
            }
            5 => {
                let closed = match word(2)? {
                    0xFF00 => true,
                    0 => false,
                    _ => return Err(Exception::IllegalDataValue),
                };
                self.modbus_write_coil(word(0)?, closed)?;
                out[1..5].copy_from_slice(&data[..4]);
                Ok(5)
            }
            15 => {
                if word(2)? != 1 || data.get(4) != Some(&1) {
                    return Err(Exception::IllegalDataValue);
                }
                let bits = data.get(5).ok_or(Exception::IllegalDataValue)?;
                self.modbus_write_coil(word(0)?, bits & 1 != 0)?;
                out[1..5].copy_from_slice(&data[..4]);
                Ok(5)
            }
            _ => Err(Exception::IllegalFunction),
        }
    }
}

/// A pause of this length ends a frame whatever its bytes said (3.5 characters; 1.75 ms from 19,200 baud up, longer below:
/// the longest at 1,200 baud is 32 ms, and operating systems add to it).
const SILENCE: Duration = Duration::from_millis(50);

/// An RTU station on a line. Feed it bytes and time; after each call drain [`RtuServer::poll_transmit`].
#[derive(Debug)]
pub struct RtuServer {
    station: u8,
    received: [u8; FRAME_MAX],
    len: usize,
    last_byte: Instant,
    answer: [u8; FRAME_MAX],
    answer_len: usize,
}

impl RtuServer {
    /// Station `station`, 1 to 247.
    #[must_use]
    pub const fn new(station: u8) -> Self {
        let (received, answer) = ([0; FRAME_MAX], [0; FRAME_MAX]);
        Self { station, received, len: 0, last_byte: Instant::ZERO, answer, answer_len: 0 }
    }

    /// Bytes from the line. A whole request for this station is carried out at once; a broadcast is carried out and not
    /// answered; frames for others are passed over.
    pub fn handle_bytes<B: Board>(&mut self, now: Instant, bytes: &[u8], meter: &mut Meter<B>) {
        if now.since(self.last_byte) > SILENCE {
            self.len = 0;
        }
        self.last_byte = now;
        for byte in bytes {
            if self.len == FRAME_MAX {
                self.len = 0;
            }
            self.received[self.len] = *byte;
            self.len += 1;
            match self.whole() {
                Some(true) => {
                    self.carry_out(meter);
                    self.len = 0;
                }
                Some(false) => self.len = 0,
                None => {}
            }
        }
    }

    /// Takes what has arrived on a line and sends the answer. Whether there was anything.
    pub fn serve<B: Board, U: Read + ReadReady + Write>(
        &mut self,
        now: Instant,
        uart: &mut U,
        meter: &mut Meter<B>,
    ) -> bool {
        if !uart.read_ready().unwrap_or(false) {
            return false;
        }
        let mut buffer = [0; 64];
        // Lost bytes spoil a frame; the master asks again.
        let taken = uart.read(&mut buffer).unwrap_or(0);
        self.handle_bytes(now, buffer.get(..taken).unwrap_or(&[]), meter);
        if let Some(answer) = self.poll_transmit() {
            let _ = uart.write_all(answer);
        }
        true
    }

    /// The answer to send, if there is one.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        let len = core::mem::take(&mut self.answer_len);
        if len == 0 { None } else { self.answer.get(..len) }
    }

    /// Whether the bytes so far are a frame: with a right check, with a wrong one, or not yet. A request has the length that
    /// its beginning tells; what other stations answer ends where the check fits, or with a silence.
    fn whole(&self) -> Option<bool> {
        let frame = &self.received[..self.len];
        let (body, check) = frame.split_last_chunk::<2>()?;
        let right = body.len() >= 2 && crc16(body).to_le_bytes() == *check;
        let ours = body.first().is_some_and(|address| *address == self.station || *address == 0);
        let expected = match frame {
            [_, 1..=6, ..] if ours => Some(8),
            [_, 15 | 16, _, _, _, _, bytes, ..] if ours => Some(9 + usize::from(*bytes)),
            [_, 15 | 16, ..] if ours => return None,
            _ => None,
        };
        match expected {
            Some(len) => (self.len >= len).then_some(right),
            None => right.then_some(true),
        }
    }

    fn carry_out<B: Board>(&mut self, meter: &mut Meter<B>) {
        let address = self.received[0];
        if address != self.station && address != 0 {
            return;
        }
        let mut pdu = [0; FRAME_MAX];
        let len = meter.modbus_pdu(&self.received[1..self.len - 2], &mut pdu);
        // A PDU has at most 253 bytes: address and check fit.
        if address == 0 || len + 3 > FRAME_MAX {
            return;
        }
        self.answer[0] = address;
        self.answer[1..=len].copy_from_slice(&pdu[..len]);
        let check = crc16(&self.answer[..=len]).to_le_bytes();
        self.answer[len + 1..len + 3].copy_from_slice(&check);
        self.answer_len = len + 3;
    }
}
