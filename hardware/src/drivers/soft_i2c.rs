//! I2C master on two open-drain pins. Every wait has an end, so that a part that holds the bus cannot stop the meter.
//!
//! Source: NXP, UM10204 "I2C-bus specification", 3.1 (start, stop, acknowledge, clock stretching) and 3.1.16 (bus clear).

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

/// Half a clock: 100 kHz and slower (standard mode).
const HALF_CLOCK_US: u32 = 5;
/// How often a stretched clock is looked at before the bus counts as stuck: 2 ms.
const STRETCH_POLLS: u32 = 400;
/// Clocks after which every part has let go of the data line (UM10204, 3.1.16).
const CLEAR_CLOCKS: u32 = 9;

/// Why a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftI2cError {
    /// Nobody answers at the address.
    NoAddress,
    /// The part does not take the byte.
    NoData,
    /// A line stays low: a short circuit, or a part that holds it.
    Stuck,
    /// A pin can't be driven or read.
    Pin,
}

impl embedded_hal::i2c::Error for SoftI2cError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoAddress => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Self::NoData => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data),
            Self::Stuck => ErrorKind::Bus,
            Self::Pin => ErrorKind::Other,
        }
    }
}

/// The bus. High means released: the pull-ups make the level.
#[derive(Debug)]
pub struct SoftI2c<C, A, D> {
    clock: C,
    data: A,
    delay: D,
}

impl<C, A, D> SoftI2c<C, A, D>
where
    C: InputPin + OutputPin,
    A: InputPin + OutputPin,
    D: DelayNs,
{
    /// The bus on two open-drain pins with pull-ups.
    pub fn new(clock: C, data: A, delay: D) -> Self {
        Self { clock, data, delay }
    }

    fn pause(&mut self) {
        self.delay.delay_us(HALF_CLOCK_US);
    }

    fn data_to(&mut self, high: bool) -> Result<(), SoftI2cError> {
        self.data.set_state(high.into()).map_err(|_| SoftI2cError::Pin)
    }

    fn data_is_high(&mut self) -> Result<bool, SoftI2cError> {
        self.data.is_high().map_err(|_| SoftI2cError::Pin)
    }

    fn clock_low(&mut self) -> Result<(), SoftI2cError> {
        self.clock.set_low().map_err(|_| SoftI2cError::Pin)?;
        self.pause();
        Ok(())
    }

    /// Releases the clock and waits until nobody stretches it.
    fn clock_high(&mut self) -> Result<(), SoftI2cError> {
        self.clock.set_high().map_err(|_| SoftI2cError::Pin)?;
        for _ in 0..STRETCH_POLLS {
            self.pause();
            if self.clock.is_high().map_err(|_| SoftI2cError::Pin)? {
                return Ok(());
            }
        }
        Err(SoftI2cError::Stuck)
    }

    /// Start, or start again: data falls while the clock is high. A part that was interrupted in the middle of a byte is
    /// clocked until it lets go.
    fn start(&mut self) -> Result<(), SoftI2cError> {
        self.data_to(true)?;
        self.clock_high()?;
        for _ in 0..CLEAR_CLOCKS {
            if self.data_is_high()? {
                self.data_to(false)?;
                self.pause();
                return self.clock_low();
            }
            self.clock_low()?;
            self.clock_high()?;
        }
        Err(SoftI2cError::Stuck)
    }

    /// Stop: data rises while the clock is high.
    fn stop(&mut self) -> Result<(), SoftI2cError> {
        self.data_to(false)?;
        self.clock_high()?;
        self.data_to(true)?;
        self.pause();
        Ok(())
    }

    /// Sends a byte; whether it was acknowledged.
    fn send(&mut self, byte: u8) -> Result<bool, SoftI2cError> {
        for place in (0..8).rev() {
            self.data_to(byte >> place & 1 == 1)?;
            self.clock_high()?;
            self.clock_low()?;
        }
        self.data_to(true)?;
        self.clock_high()?;
        let refused = self.data_is_high()?;
        self.clock_low()?;
        Ok(!refused)
    }

    fn receive(&mut self, acknowledge: bool) -> Result<u8, SoftI2cError> {
        self.data_to(true)?;
        let mut byte = 0;
        for _ in 0..8 {
            self.clock_high()?;
            byte = byte << 1 | u8::from(self.data_is_high()?);
            self.clock_low()?;
        }
        self.data_to(!acknowledge)?;
        self.clock_high()?;
        self.clock_low()?;
        self.data_to(true)?;
        Ok(byte)
    }

    fn address(&mut self, address: u8, read: bool) -> Result<(), SoftI2cError> {
        self.start()?;
        if self.send(address << 1 | u8::from(read))? { Ok(()) } else { Err(SoftI2cError::NoAddress) }
    }

    fn run(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), SoftI2cError> {
        let mut direction = None;
        // Operations of the same direction follow each other without a new start; only the last byte that is read before a
        // start or a stop is not acknowledged.
        let mut rest = operations.iter_mut().peekable();
        while let Some(operation) = rest.next() {
            let read = matches!(operation, Operation::Read(_));
            if direction != Some(read) {
                self.address(address, read)?;
                direction = Some(read);
            }
            match operation {
                Operation::Write(bytes) => {
                    for byte in bytes.iter() {
                        if !self.send(*byte)? {
                            return Err(SoftI2cError::NoData);
                        }
                    }
                }
                Operation::Read(bytes) => {
                    let more = matches!(rest.peek(), Some(Operation::Read(_)));
                    let length = bytes.len();
                    for (n, byte) in bytes.iter_mut().enumerate() {
                        *byte = self.receive(more || n + 1 < length)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<C, A, D> ErrorType for SoftI2c<C, A, D> {
    type Error = SoftI2cError;
}

impl<C, A, D> I2c for SoftI2c<C, A, D>
where
    C: InputPin + OutputPin,
    A: InputPin + OutputPin,
    D: DelayNs,
{
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), SoftI2cError> {
        let done = self.run(address, operations);
        // Also after a failure: whoever still listens is released.
        let stopped = self.stop();
        done.and(stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use embedded_hal::digital::{ErrorKind as PinErrorKind, ErrorType as PinErrorType};
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use std::rc::Rc;
    use std::vec;
    use std::vec::Vec;

    /// A memory on the bus that follows the lines: takes what is written after a register number, gives what lies there.
    #[derive(Default)]
    struct Wires {
        address: u8,
        memory: Vec<u8>,
        master: [bool; 2],
        part_data: bool,
        hold_clock: bool,
        /// Clocks after which a part that hangs lets go of the data line.
        hanging: u32,
        bits: u32,
        byte: u8,
        phase: Phase,
        at: usize,
        named: bool,
        starts: u32,
        stops: u32,
        /// Accesses to the pins that still work before one fails.
        whole: Option<usize>,
    }

    #[derive(Default, Clone, Copy, PartialEq)]
    enum Phase {
        #[default]
        Idle,
        Address,
        Writing,
        Reading,
    }

    impl Wires {
        fn works(&mut self) -> Result<(), PinErrorKind> {
            match &mut self.whole {
                Some(0) => {
                    self.whole = None;
                    Err(PinErrorKind::Other)
                }
                Some(left) => {
                    *left -= 1;
                    Ok(())
                }
                None => Ok(()),
            }
        }

        fn clock(&self) -> bool {
            self.master[0] && !self.hold_clock
        }
        fn data(&self) -> bool {
            self.master[1] && self.part_data
        }

        fn drive(&mut self, line: usize, high: bool) {
            let (clock, data) = (self.clock(), self.data());
            self.master[line] = high;
            if line == 1 && clock && data != self.data() {
                if self.data() {
                    self.stops += 1;
                    self.phase = Phase::Idle;
                } else {
                    self.starts += 1;
                    self.phase = Phase::Address;
                    self.bits = 0;
                }
            } else if line == 0 && clock != self.clock() {
                if self.clock() { self.rising() } else { self.falling() }
            }
        }

        fn rising(&mut self) {
            if self.bits < 8 {
                self.byte = self.byte << 1 | u8::from(self.data());
            } else if self.phase == Phase::Reading && self.data() {
                self.phase = Phase::Idle;
            }
            self.bits += 1;
        }

        fn falling(&mut self) {
            if self.hanging > 0 {
                self.hanging -= 1;
                self.part_data = self.hanging == 0;
                return;
            }
            self.part_data = true;
            match self.phase {
                Phase::Idle => {}
                Phase::Reading if self.bits >= 9 => self.bits = 0,
                Phase::Reading => {}
                _ if self.bits == 8 => self.taken(),
                _ if self.bits >= 9 => self.bits = 0,
                _ => {}
            }
            if self.phase == Phase::Reading && self.bits < 8 {
                self.part_data = self.memory[self.at] >> (7 - self.bits) & 1 == 1;
                if self.bits == 7 {
                    self.at += 1;
                }
            }
        }

        /// A byte from the master is complete: acknowledge it by pulling the line.
        fn taken(&mut self) {
            match self.phase {
                Phase::Address if self.byte >> 1 == self.address => {
                    self.part_data = false;
                    let read = self.byte & 1 == 1;
                    self.phase = if read { Phase::Reading } else { Phase::Writing };
                    self.named = false;
                }
                Phase::Address => self.phase = Phase::Idle,
                Phase::Writing if !self.named => {
                    self.part_data = false;
                    self.named = true;
                    self.at = usize::from(self.byte);
                }
                Phase::Writing => {
                    if let Some(cell) = self.memory.get_mut(self.at) {
                        *cell = self.byte;
                        self.part_data = false;
                        self.at += 1;
                    }
                }
                _ => {}
            }
        }
    }

    #[derive(Clone)]
    struct Line(usize, Rc<RefCell<Wires>>);
    impl PinErrorType for Line {
        type Error = PinErrorKind;
    }
    impl OutputPin for Line {
        fn set_low(&mut self) -> Result<(), Self::Error> {
            self.1.borrow_mut().works()?;
            self.1.borrow_mut().drive(self.0, false);
            Ok(())
        }
        fn set_high(&mut self) -> Result<(), Self::Error> {
            self.1.borrow_mut().works()?;
            self.1.borrow_mut().drive(self.0, true);
            Ok(())
        }
    }
    impl InputPin for Line {
        fn is_high(&mut self) -> Result<bool, Self::Error> {
            self.1.borrow_mut().works()?;
            let wires = self.1.borrow();
            Ok(if self.0 == 0 { wires.clock() } else { wires.data() })
        }
        fn is_low(&mut self) -> Result<bool, Self::Error> {
            self.is_high().map(|high| !high)
        }
    }

    fn bus(hanging: u32) -> (Rc<RefCell<Wires>>, SoftI2c<Line, Line, NoopDelay>) {
        let wires = Wires {
            address: 0x51,
            memory: vec![0; 16],
            master: [true; 2],
            part_data: hanging == 0,
            hanging,
            ..Wires::default()
        };
        let wires = Rc::new(RefCell::new(wires));
        let bus = SoftI2c::new(Line(0, wires.clone()), Line(1, wires.clone()), NoopDelay::new());
        (wires, bus)
    }

    #[test]
    fn what_is_written_is_read_back_with_a_repeated_start() {
        let (wires, mut bus) = bus(0);
        bus.write(0x51, &[3, 0xA5, 0x00, 0xFF, 0x5A]).unwrap();
        let mut out = [0; 4];
        bus.write_read(0x51, &[3], &mut out).unwrap();
        assert_eq!(out, [0xA5, 0x00, 0xFF, 0x5A]);
        let wires = wires.borrow();
        assert_eq!((wires.starts, wires.stops), (3, 2));
    }

    #[test]
    fn nobody_at_the_address_is_an_error_and_the_bus_is_free_again() {
        let (wires, mut bus) = bus(0);
        assert_eq!(bus.write(0x52, &[0]), Err(SoftI2cError::NoAddress));
        assert_eq!(wires.borrow().stops, 1);
        assert_eq!(bus.write(0x51, &[0, 7]), Ok(()));
    }

    #[test]
    fn a_byte_that_is_not_taken_is_an_error() {
        let (_, mut bus) = bus(0);
        assert_eq!(bus.write(0x51, &[15, 1, 2]), Err(SoftI2cError::NoData));
    }

    #[test]
    fn a_part_that_was_cut_off_in_the_middle_of_a_byte_is_clocked_free() {
        let (_, mut bus) = bus(5);
        assert_eq!(bus.write(0x51, &[0, 7]), Ok(()));
        let mut out = [0];
        bus.write_read(0x51, &[0], &mut out).unwrap();
        assert_eq!(out, [7]);
    }

    #[test]
    fn wherever_a_pin_fails_that_is_told_and_the_next_transfer_is_whole() {
        let mut failed = 0;
        for whole in 0.. {
            let (wires, mut bus) = bus(0);
            wires.borrow_mut().whole = Some(whole);
            let mut out = [0];
            let done = bus.write(0x51, &[3, 0xA5]).and_then(|()| bus.write_read(0x51, &[3], &mut out));
            if wires.borrow_mut().whole.take().is_some() {
                assert_eq!((done, out), (Ok(()), [0xA5]));
                break;
            }
            assert_eq!(done, Err(SoftI2cError::Pin), "access {whole}");
            bus.write(0x51, &[4, 0x5A]).unwrap_or_else(|error| panic!("after access {whole}: {error:?}"));
            bus.write_read(0x51, &[4], &mut out).unwrap();
            assert_eq!(out, [0x5A], "after access {whole}");
            failed += 1;
        }
        assert!(failed > 200, "{failed} accesses");
    }

    #[test]
    fn a_line_that_stays_low_is_given_up() {
        let (wires, mut bus) = bus(0);
        wires.borrow_mut().hold_clock = true;
        assert_eq!(bus.write(0x51, &[0]), Err(SoftI2cError::Stuck));
        wires.borrow_mut().hold_clock = false;
        wires.borrow_mut().hanging = u32::MAX;
        wires.borrow_mut().part_data = false;
        assert_eq!(bus.write(0x51, &[0]), Err(SoftI2cError::Stuck));
    }
}
