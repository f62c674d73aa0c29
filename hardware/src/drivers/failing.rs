//! For tests: a bus that fails once, before the transfer that it is told.

use embedded_hal::spi::{ErrorKind, ErrorType, Operation, SpiDevice};

/// An SPI device whose `whole` next transfers succeed and the one after them fails without reaching the bus.
#[derive(Clone)]
pub(crate) struct FailingSpi<S> {
    bus: S,
    pub(crate) whole: Option<usize>,
}

impl<S> FailingSpi<S> {
    pub(crate) fn new(bus: S) -> Self {
        Self { bus, whole: None }
    }
}

impl<S> ErrorType for FailingSpi<S> {
    type Error = ErrorKind;
}

impl<S: SpiDevice> SpiDevice for FailingSpi<S> {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), ErrorKind> {
        match &mut self.whole {
            Some(0) => {
                self.whole = None;
                return Err(ErrorKind::Other);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.bus.transaction(operations).map_err(|_| ErrorKind::Other)
    }
}
