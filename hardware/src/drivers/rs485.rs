//! RS-485 direction: the driver is enabled for exactly as long as bytes leave.

use embedded_hal::digital::OutputPin;
use embedded_io::{ErrorType, Read, ReadReady, Write};

/// A UART behind a half-duplex transceiver whose driver enable is high while it sends. Receiver enable is tied low, or to
/// the same pin where the own echo is not wanted.
#[derive(Debug)]
pub struct Rs485<U, P> {
    uart: U,
    driver_enable: P,
}

impl<U, P: OutputPin> Rs485<U, P> {
    /// A station that listens.
    pub fn new(uart: U, mut driver_enable: P) -> Self {
        // A pin that can't be driven leaves the station listening: pulled down on the board.
        let _ = driver_enable.set_low();
        Self { uart, driver_enable }
    }
}

impl<U: ErrorType, P> ErrorType for Rs485<U, P> {
    type Error = U::Error;
}

impl<U: Read, P: OutputPin> Read for Rs485<U, P> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, U::Error> {
        self.uart.read(buf)
    }
}

impl<U: ReadReady, P: OutputPin> ReadReady for Rs485<U, P> {
    fn read_ready(&mut self) -> Result<bool, U::Error> {
        self.uart.read_ready()
    }
}

impl<U: Write, P: OutputPin> Write for Rs485<U, P> {
    /// Sends everything and gives the line back after the last stop bit, also when the UART fails in the middle.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, U::Error> {
        let _ = self.driver_enable.set_high();
        let sent = self.uart.write_all(bytes).and_then(|()| self.uart.flush());
        let _ = self.driver_enable.set_low();
        sent.map(|()| bytes.len())
    }

    fn flush(&mut self) -> Result<(), U::Error> {
        self.uart.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use embedded_hal::digital::ErrorType as PinErrorType;
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

    struct Pin(Log);
    impl PinErrorType for Pin {
        type Error = core::convert::Infallible;
    }
    impl OutputPin for Pin {
        fn set_low(&mut self) -> Result<(), Self::Error> {
            self.0.0.borrow_mut().push(Did::Enable(false));
            Ok(())
        }
        fn set_high(&mut self) -> Result<(), Self::Error> {
            self.0.0.borrow_mut().push(Did::Enable(true));
            Ok(())
        }
    }

    struct Port(Log, Result<(), embedded_io::ErrorKind>);
    impl ErrorType for Port {
        type Error = embedded_io::ErrorKind;
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
        let mut line = Rs485::new(Port(log.clone(), Ok(())), Pin(log.clone()));
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
        let mut line = Rs485::new(Port(log.clone(), Err(embedded_io::ErrorKind::Other)), Pin(log.clone()));
        assert_eq!(line.write(&[1]), Err(embedded_io::ErrorKind::Other));
        assert_eq!(log.0.borrow().last(), Some(&Did::Enable(false)));
    }
}
