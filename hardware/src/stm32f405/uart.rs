//! The four UARTs, each with a ring for either direction that its interrupt fills and empties (RM0090, 30.3).

use crate::ring::{ByteRing, BytesLost};
use cortex_m::peripheral::NVIC;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use stm32f4xx_hal::pac::{Interrupt, USART1, USART2, USART3, USART6, interrupt, usart1::RegisterBlock};

/// A frame and some: at 9,600 baud over half a second of not being looked after.
const RECEIVED: usize = 640;
/// An HDLC frame. What is longer, a wrapper's APDU, waits for room while its beginning leaves: 20 ms at 115,200 baud.
const WAITING: usize = 288;

struct Rings {
    received: ByteRing<RECEIVED>,
    waiting: ByteRing<WAITING>,
}

impl Rings {
    const fn new() -> Self {
        Self { received: ByteRing::new(), waiting: ByteRing::new() }
    }
}

static OPTICAL: Rings = Rings::new();
static LINE: Rings = Rings::new();
static BENCH: Rings = Rings::new();
static NETWORK: Rings = Rings::new();

#[interrupt]
fn USART1() {
    // SAFETY: the registers are shared with `Uart`, which changes CR1 only while interrupts are masked.
    serve(unsafe { &*USART1::ptr() }, &OPTICAL);
}

#[interrupt]
fn USART2() {
    // SAFETY: as above.
    serve(unsafe { &*USART2::ptr() }, &LINE);
}

#[interrupt]
fn USART3() {
    // SAFETY: as above.
    serve(unsafe { &*USART3::ptr() }, &BENCH);
}

#[interrupt]
fn USART6() {
    // SAFETY: as above.
    serve(unsafe { &*USART6::ptr() }, &NETWORK);
}

/// In interrupt context only.
fn serve(registers: &RegisterBlock, rings: &Rings) {
    let status = registers.sr().read();
    if status.ore().bit_is_set() {
        rings.received.note_lost();
    }
    // Reading the data after the status clears the error flags too. A byte with a wrong stop bit goes on: the frame's check
    // code judges it.
    if status.rxne().bit_is_set() || status.ore().bit_is_set() {
        rings.received.push(registers.dr().read().dr().bits().to_le_bytes()[0]);
    }
    if status.txe().bit_is_set() && registers.cr1().read().txeie().bit_is_set() {
        match rings.waiting.pop() {
            Some(byte) => registers.dr().write(|w| w.dr().set(u16::from(byte))),
            None => registers.cr1().modify(|_, w| w.txeie().clear_bit()),
        };
    }
}

/// Which UART, by what is connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// USART1: the optical head.
    Optical,
    /// USART2: the RS-485 line.
    Line,
    /// USART3: the bench link.
    Bench,
    /// USART6: a modem.
    Network,
}

impl Port {
    fn parts(self) -> (*const RegisterBlock, &'static Rings, Interrupt) {
        match self {
            Self::Optical => (USART1::ptr(), &OPTICAL, Interrupt::USART1),
            Self::Line => (USART2::ptr(), &LINE, Interrupt::USART2),
            Self::Bench => (USART3::ptr(), &BENCH, Interrupt::USART3),
            Self::Network => (USART6::ptr(), &NETWORK, Interrupt::USART6),
        }
    }
}

/// One UART, 8 data bits, no parity, one stop bit. Reading and writing wait only where there is nothing to read or no room.
pub struct Uart {
    registers: &'static RegisterBlock,
    rings: &'static Rings,
    bus_hz: u32,
}

impl core::fmt::Debug for Uart {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Uart").finish_non_exhaustive()
    }
}

impl Uart {
    /// Starts the UART, whose clock is on and whose pins are connected. `bus_hz` is the clock of its bus.
    pub(super) fn start(port: Port, bus_hz: u32, baud: u32) -> Self {
        let (registers, rings, line) = port.parts();
        // SAFETY: a device's registers, valid for ever; each port is started once, by `Stm32f405::take`.
        let registers = unsafe { &*registers };
        let mut uart = Self { registers, rings, bus_hz };
        uart.set_baud(baud);
        registers.cr1().write(|w| w.ue().set_bit().te().set_bit().re().set_bit().rxneie().set_bit());
        // SAFETY: the handler shares atomics and, while interrupts are masked, CR1 with this code.
        unsafe { NVIC::unmask(line) };
        uart
    }

    /// Changes the baud rate at once: what has not left by then is spoilt.
    pub fn set_baud(&mut self, baud: u32) {
        let baud = baud.max(1);
        let divisor = u16::try_from((self.bus_hz + baud / 2) / baud).unwrap_or(u16::MAX);
        // SAFETY: mantissa and fraction of the divisor, all values of which are defined.
        self.registers.brr().write(|w| unsafe { w.bits(divisor) });
    }

    /// Lets the interrupt send what waits.
    fn send_waiting(&mut self) {
        cortex_m::interrupt::free(|_| self.registers.cr1().modify(|_, w| w.txeie().set_bit()));
    }

    /// Moves waiting bytes without the interrupt until there is room in the ring, or with `all`, until it is empty.
    fn drain(&mut self, all: bool) {
        while !self.rings.waiting.is_empty() && (all || self.rings.waiting.is_full()) {
            cortex_m::interrupt::free(|_| {
                if self.registers.sr().read().txe().bit_is_set()
                    && let Some(byte) = self.rings.waiting.pop()
                {
                    self.registers.dr().write(|w| w.dr().set(u16::from(byte)));
                }
            });
        }
    }
}

impl ErrorType for Uart {
    type Error = BytesLost;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, BytesLost> {
        Ok(!self.rings.received.is_empty())
    }
}

impl Read for Uart {
    /// Waits for at least one byte, then takes what is there.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, BytesLost> {
        if self.rings.received.take_lost() {
            return Err(BytesLost);
        }
        while self.rings.received.is_empty() && !buf.is_empty() {
            cortex_m::asm::wfi();
        }
        Ok(self.rings.received.take(buf))
    }
}

impl Write for Uart {
    /// Puts everything into the ring; waits while it is full.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, BytesLost> {
        for byte in bytes {
            self.drain(false);
            self.rings.waiting.push(*byte);
        }
        self.send_waiting();
        Ok(bytes.len())
    }

    /// Waits until the last stop bit has left.
    fn flush(&mut self) -> Result<(), BytesLost> {
        self.drain(true);
        while self.registers.sr().read().tc().bit_is_clear() {}
        Ok(())
    }
}
