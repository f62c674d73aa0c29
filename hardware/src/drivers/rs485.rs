//! RS-485 direction: the driver is enabled for exactly as long as bytes leave.

use core::fmt;
use embedded_hal::digital::OutputPin;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};

/// Why the line can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rs485Error<E> {
    /// The UART failed.
    Uart(E),
    /// The driver can't be switched on: nothing was sent.
    Direction,
}

impl<E: fmt::Display> fmt::Display for Rs485Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uart(error) => write!(f, "RS-485 line: {error}"),
            Self::Direction => f.write_str("RS-485 line: the driver can't be switched on"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Rs485Error<E> {}

impl<E: embedded_io::Error> embedded_io::Error for Rs485Error<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Uart(error) => error.kind(),
            Self::Direction => ErrorKind::Other,
        }
    }
}

/// A UART behind a half-duplex transceiver whose driver enable is high while it sends. Receiver enable is tied low, or to
/// the same pin where the own echo is not wanted.
#[derive(Debug)]
pub struct Rs485<U, P> {
    uart: U,
    driver_enable: P,
    /// The driver is known to be off.
    listening: bool,
}

impl<U, P: OutputPin> Rs485<U, P> {
    /// A station that listens.
    pub fn new(uart: U, driver_enable: P) -> Self {
        let mut line = Self { uart, driver_enable, listening: false };
        line.let_go();
        line
    }

    /// Switches the driver off. One that stays on jams every other station's line: it is tried again whenever the line is
    /// looked at.
    fn let_go(&mut self) {
        if !self.listening {
            self.listening = self.driver_enable.set_low().is_ok();
        }
    }
}

impl<U: ErrorType, P> ErrorType for Rs485<U, P> {
    type Error = Rs485Error<U::Error>;
}

impl<U: Read, P: OutputPin> Read for Rs485<U, P> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.let_go();
        self.uart.read(buf).map_err(Rs485Error::Uart)
    }
}

impl<U: ReadReady, P: OutputPin> ReadReady for Rs485<U, P> {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        self.let_go();
        self.uart.read_ready().map_err(Rs485Error::Uart)
    }
}

impl<U: Write, P: OutputPin> Write for Rs485<U, P> {
    /// Sends everything and gives the line back after the last stop bit, also when the UART fails in the middle. Sends
    /// nothing through a driver that can't be switched on.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.listening = false;
        let sent = match self.driver_enable.set_high() {
            Ok(()) => {
                let sent = self.uart.write_all(bytes).and_then(|()| self.uart.flush());
                sent.map_err(Rs485Error::Uart)
            }
            Err(_) => Err(Rs485Error::Direction),
        };
        self.let_go();
        sent.map(|()| bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.uart.flush().map_err(Rs485Error::Uart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use embedded_hal::digital::{ErrorKind as PinErrorKind, ErrorType as PinErrorType};
    use std::rc::Rc;
    use std::vec;
    use std::vec::Vec;

    /// What happened on the board, in order.
    #[derive(Debug, Clone, PartialEq)]
    enum Did {
        Enable(bool),
        Sent(Vec<u8>),
        Flushed,
    }

    #[derive(Clone, Default)]
    struct Log(Rc<RefCell<Vec<Did>>>);

    /// The level that this pin can't be given so many more times.
    type Broken = Rc<RefCell<Option<(bool, u32)>>>;

    #[derive(Clone)]
    struct Pin(Log, Broken);

    impl Pin {
        fn to(&mut self, level: bool) -> Result<(), PinErrorKind> {
            if let Some((broken, times)) = &mut *self.1.borrow_mut()
                && *broken == level
                && *times > 0
            {
                *times -= 1;
                return Err(PinErrorKind::Other);
            }
            self.0.0.borrow_mut().push(Did::Enable(level));
            Ok(())
        }
    }

    impl PinErrorType for Pin {
        type Error = PinErrorKind;
    }
    impl OutputPin for Pin {
        fn set_low(&mut self) -> Result<(), Self::Error> {
            self.to(false)
        }
        fn set_high(&mut self) -> Result<(), Self::Error> {
            self.to(true)
        }
    }

    struct Port(Log, Result<(), ErrorKind>);
    impl ErrorType for Port {
        type Error = ErrorKind;
    }
    impl ReadReady for Port {
        fn read_ready(&mut self) -> Result<bool, Self::Error> {
            Ok(false)
        }
    }
    impl Write for Port {
        /// Two bytes at a time, as a small FIFO takes them.
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
            self.1?;
            let taken = bytes.len().min(2);
            self.0.0.borrow_mut().push(Did::Sent(bytes[..taken].to_vec()));
            Ok(taken)
        }
        fn flush(&mut self) -> Result<(), Self::Error> {
            self.0.0.borrow_mut().push(Did::Flushed);
            Ok(())
        }
    }

    #[test]
    fn the_driver_is_on_from_the_first_byte_until_the_last_has_left() {
        let log = Log::default();
        let mut line = Rs485::new(Port(log.clone(), Ok(())), Pin(log.clone(), Broken::default()));
        assert_eq!(line.write(&[1, 2, 3]), Ok(3));
        let expected = vec![
            Did::Enable(false),
            Did::Enable(true),
            Did::Sent(vec![1, 2]),
            Did::Sent(vec![3]),
            Did::Flushed,
            Did::Enable(false),
        ];
        assert_eq!(*log.0.borrow(), expected);
    }

    #[test]
    fn a_uart_that_fails_does_not_keep_the_line() {
        let log = Log::default();
        let port = Port(log.clone(), Err(ErrorKind::Other));
        let mut line = Rs485::new(port, Pin(log.clone(), Broken::default()));
        assert_eq!(line.write(&[1]), Err(Rs485Error::Uart(ErrorKind::Other)));
        assert_eq!(log.0.borrow().last(), Some(&Did::Enable(false)));
    }

    #[test]
    fn nothing_is_sent_through_a_driver_that_cannot_be_switched_on() {
        let log = Log::default();
        let broken = Rc::new(RefCell::new(Some((true, 1))));
        let mut line = Rs485::new(Port(log.clone(), Ok(())), Pin(log.clone(), broken));
        assert_eq!(line.write(&[1]), Err(Rs485Error::Direction));
        assert_eq!(*log.0.borrow(), [Did::Enable(false), Did::Enable(false)]);
        assert_eq!(line.write(&[1]), Ok(1));
    }

    #[test]
    fn a_driver_that_stays_on_is_switched_off_as_soon_as_it_can_be() {
        let log = Log::default();
        let broken = Rc::new(RefCell::new(None));
        let mut line = Rs485::new(Port(log.clone(), Ok(())), Pin(log.clone(), broken.clone()));
        *broken.borrow_mut() = Some((false, 2));
        assert_eq!(line.write(&[1]), Ok(1));
        assert_eq!(line.read_ready(), Ok(false));
        assert_eq!(log.0.borrow().last(), Some(&Did::Flushed), "still on");
        assert_eq!(line.read_ready(), Ok(false));
        assert_eq!(log.0.borrow().last(), Some(&Did::Enable(false)));
        let length = log.0.borrow().len();
        assert_eq!(line.read_ready(), Ok(false));
        assert_eq!(log.0.borrow().len(), length, "once");
    }
}
