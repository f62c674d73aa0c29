//! MB85RS-type FRAM over SPI: writes take effect at once, byte by byte, so a power cut leaves a prefix of the write.
//!
//! Source: Fujitsu, MB85RS2MTA data sheet (24-bit addresses; 32 Kbyte parts of the family take 16-bit addresses),
//! "Op-code", "Command" and "Device ID".

use crate::board::Storage;
use embedded_hal::spi::{Operation, SpiDevice};

const WREN: u8 = 0x06;
const READ: u8 = 0x03;
const WRITE: u8 = 0x02;
const RDID: u8 = 0x9F;
/// Manufacturer code that the family answers with.
const FUJITSU: u8 = 0x04;

/// How many address bytes a part takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// Parts up to 64 Kbyte.
    Two,
    /// Larger parts.
    Three,
}

/// Why an access failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramError<E> {
    /// The bus failed: any prefix may have been written.
    Bus(E),
    /// Beyond the memory; nothing was done.
    OutOfRange,
}

/// The memory on its SPI bus (mode 0 or 3).
#[derive(Debug)]
pub struct Mb85rs<S> {
    spi: S,
    capacity: u32,
    addressing: Addressing,
}

impl<S> Mb85rs<S> {
    /// A part of `capacity` bytes.
    pub fn new(spi: S, capacity: u32, addressing: Addressing) -> Self {
        Self { spi, capacity, addressing }
    }

    /// Whether a part of the family answers: a bus with nobody on it reads as all ones or all zeros.
    ///
    /// # Errors
    /// The bus failed.
    pub fn answers(&mut self) -> Result<bool, FramError<S::Error>>
    where
        S: SpiDevice,
    {
        let mut id = [0; 4];
        let mut operations = [Operation::Write(&[RDID]), Operation::Read(&mut id)];
        self.spi.transaction(&mut operations).map_err(FramError::Bus)?;
        Ok(id[0] == FUJITSU)
    }

    /// Op-code and address, and how many of the bytes count.
    fn command(&self, code: u8, at: u32, length: usize) -> Option<([u8; 4], usize)> {
        let end = at.checked_add(u32::try_from(length).ok()?)?;
        if end > self.capacity {
            return None;
        }
        let [_, a, b, c] = at.to_be_bytes();
        Some(match self.addressing {
            Addressing::Two => ([code, b, c, 0], 3),
            Addressing::Three => ([code, a, b, c], 4),
        })
    }
}

impl<S: SpiDevice> Storage for Mb85rs<S> {
    type Error = FramError<S::Error>;

    fn capacity(&self) -> u32 {
        self.capacity
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), Self::Error> {
        let (command, length) = self.command(READ, at, out.len()).ok_or(FramError::OutOfRange)?;
        let mut operations = [Operation::Write(&command[..length]), Operation::Read(out)];
        self.spi.transaction(&mut operations).map_err(FramError::Bus)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let (command, length) = self.command(WRITE, at, bytes.len()).ok_or(FramError::OutOfRange)?;
        // The write enable latch falls after every write.
        self.spi.write(&[WREN]).map_err(FramError::Bus)?;
        let mut operations = [Operation::Write(&command[..length]), Operation::Write(bytes)];
        self.spi.transaction(&mut operations).map_err(FramError::Bus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::failing::FailingSpi;
    use embedded_hal::spi::ErrorKind;
    use embedded_hal_mock::eh1::spi::{Mock, Transaction};
    use std::vec;

    #[test]
    fn every_write_is_enabled_first_and_ends_with_its_transaction() {
        let expected = [
            Transaction::transaction_start(),
            Transaction::write_vec(vec![0x06]),
            Transaction::transaction_end(),
            Transaction::transaction_start(),
            Transaction::write_vec(vec![0x02, 0x03, 0xFF, 0xFE]),
            Transaction::write_vec(vec![0xA5, 0x5A]),
            Transaction::transaction_end(),
        ];
        let mut bus = Mock::new(&expected);
        let mut fram = Mb85rs::new(bus.clone(), 0x4_0000, Addressing::Three);
        fram.write(0x3_FFFE, &[0xA5, 0x5A]).unwrap();
        bus.done();
    }

    #[test]
    fn a_small_part_is_addressed_with_two_bytes() {
        let expected = [
            Transaction::transaction_start(),
            Transaction::write_vec(vec![0x03, 0x12, 0x34]),
            Transaction::read_vec(vec![1, 2, 3]),
            Transaction::transaction_end(),
        ];
        let mut bus = Mock::new(&expected);
        let mut fram = Mb85rs::new(bus.clone(), 0x8000, Addressing::Two);
        let mut out = [0; 3];
        fram.read(0x1234, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3]);
        bus.done();
    }

    #[test]
    fn beyond_the_end_nothing_reaches_the_bus() {
        let mut bus = Mock::new(&[]);
        let mut fram = Mb85rs::new(bus.clone(), 0x8000, Addressing::Two);
        assert_eq!(fram.write(0x7FFF, &[0, 0]), Err(FramError::OutOfRange));
        assert_eq!(fram.read(u32::MAX, &mut [0; 2]), Err(FramError::OutOfRange));
        bus.done();
    }

    #[test]
    fn a_bus_that_fails_is_told_and_nothing_is_written_without_the_enable() {
        let enable = [
            Transaction::transaction_start(),
            Transaction::write_vec(vec![0x06]),
            Transaction::transaction_end(),
        ];
        for failing in 0..2 {
            let mut bus = Mock::new(&enable[..3 * failing]);
            let mut failing_bus = FailingSpi::new(bus.clone());
            failing_bus.whole = Some(failing);
            let mut fram = Mb85rs::new(failing_bus, 0x8000, Addressing::Two);
            assert_eq!(fram.write(0, &[1]), Err(FramError::Bus(ErrorKind::Other)), "transfer {failing}");
            bus.done();
        }
        let mut bus = Mock::new(&[]);
        let mut failing_bus = FailingSpi::new(bus.clone());
        failing_bus.whole = Some(0);
        let mut fram = Mb85rs::new(failing_bus, 0x8000, Addressing::Two);
        assert_eq!(fram.read(0, &mut [0; 4]), Err(FramError::Bus(ErrorKind::Other)));
        bus.done();
    }

    #[test]
    fn a_part_tells_who_made_it_and_an_empty_socket_does_not() {
        for (id, answers) in [([0x04, 0x7F, 0x48, 0x03], true), ([0xFF; 4], false), ([0; 4], false)] {
            let mut bus = Mock::new(&[
                Transaction::transaction_start(),
                Transaction::write_vec(vec![0x9F]),
                Transaction::read_vec(id.to_vec()),
                Transaction::transaction_end(),
            ]);
            let mut fram = Mb85rs::new(bus.clone(), 0x4_0000, Addressing::Three);
            assert_eq!(fram.answers(), Ok(answers));
            bus.done();
        }
    }
}
