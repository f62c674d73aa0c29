//! CMSDK APB UART (ARM DDI 0479D, 4.3): one byte of receive buffer in hardware, a ring filled by interrupt behind it.

use super::interrupts::{Line, Permission, UART0_RX};
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use cortex_m::peripheral::NVIC;

const UART0: usize = 0x4000_4000;
const DATA: usize = 0x00;
const STATE: usize = 0x04;
const CTRL: usize = 0x08;
const INTCLEAR: usize = 0x0C;
const BAUDDIV: usize = 0x10;

const STATE_TX_FULL: u32 = 1 << 0;
const STATE_RX_FULL: u32 = 1 << 1;
const STATE_RX_OVERRUN: u32 = 1 << 3;
const CTRL_TX_ENABLE: u32 = 1 << 0;
const CTRL_RX_ENABLE: u32 = 1 << 1;
const CTRL_RX_INTERRUPT: u32 = 1 << 3;
const INT_RX: u32 = 1 << 1;

/// 9600 baud at 25 MHz; QEMU does not pace bytes, so it only has to be at least 16.
const BAUD_DIVISOR: u32 = super::CORE_HZ / 9600;

/// A frame of 512 bytes and some: at 9600 baud over half a second of not being looked after.
const RING: usize = 1024;

static BYTES: [AtomicU8; RING] = [const { AtomicU8::new(0) }; RING];
/// Written by the interrupt only.
static HEAD: AtomicUsize = AtomicUsize::new(0);
/// Written by the reader only.
static TAIL: AtomicUsize = AtomicUsize::new(0);
static OVERRUN: AtomicBool = AtomicBool::new(false);

fn register(offset: usize) -> *mut u32 {
    core::ptr::without_provenance_mut(UART0 + offset)
}

fn read_register(offset: usize) -> u32 {
    // SAFETY: a device register of the board, word-aligned, readable at any time.
    unsafe { read_volatile(register(offset)) }
}

fn write_register(offset: usize, value: u32) {
    // SAFETY: a device register of the board, word-aligned, writable at any time.
    unsafe { write_volatile(register(offset), value) }
}

/// Moves the received byte into the ring; called in interrupt context only.
pub(super) fn on_receive_interrupt() {
    write_register(INTCLEAR, INT_RX);
    while read_register(STATE) & STATE_RX_FULL != 0 {
        let byte = read_register(DATA).to_le_bytes()[0];
        let head = HEAD.load(Ordering::Relaxed);
        let next = (head + 1) % RING;
        if next == TAIL.load(Ordering::Acquire) {
            OVERRUN.store(true, Ordering::Relaxed);
        } else {
            BYTES[head].store(byte, Ordering::Relaxed);
            HEAD.store(next, Ordering::Release);
        }
    }
    if read_register(STATE) & STATE_RX_OVERRUN != 0 {
        write_register(STATE, STATE_RX_OVERRUN);
        OVERRUN.store(true, Ordering::Relaxed);
    }
}

/// UART 0. Reading never waits when [`embedded_io::ReadReady`] says that there is something.
#[derive(Debug)]
pub struct Uart(());

/// Bytes were lost: nobody read them for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UartError;

impl core::fmt::Display for UartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("uart: receive overrun")
    }
}

impl core::error::Error for UartError {}

impl embedded_io::Error for UartError {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::Other
    }
}

impl Uart {
    pub(super) fn start(_vectors: Permission) -> Self {
        write_register(BAUDDIV, BAUD_DIVISOR);
        write_register(CTRL, CTRL_TX_ENABLE | CTRL_RX_ENABLE | CTRL_RX_INTERRUPT);
        // SAFETY: the handler is in the vector table (`Permission`) and shares only atomics with this code.
        unsafe { NVIC::unmask(Line(UART0_RX)) };
        Self(())
    }
}

impl embedded_io::ErrorType for Uart {
    type Error = UartError;
}

impl embedded_io::ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, UartError> {
        Ok(HEAD.load(Ordering::Acquire) != TAIL.load(Ordering::Relaxed))
    }
}

impl embedded_io::Read for Uart {
    /// Waits for at least one byte, then takes what is there.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, UartError> {
        if OVERRUN.swap(false, Ordering::Relaxed) {
            return Err(UartError);
        }
        let mut tail = TAIL.load(Ordering::Relaxed);
        while tail == HEAD.load(Ordering::Acquire) && !buf.is_empty() {
            cortex_m::asm::wfi();
        }
        let mut taken = 0;
        for slot in buf {
            if tail == HEAD.load(Ordering::Acquire) {
                break;
            }
            *slot = BYTES[tail].load(Ordering::Relaxed);
            tail = (tail + 1) % RING;
            taken += 1;
        }
        TAIL.store(tail, Ordering::Release);
        Ok(taken)
    }
}

impl embedded_io::Write for Uart {
    fn write(&mut self, buf: &[u8]) -> Result<usize, UartError> {
        for byte in buf {
            while read_register(STATE) & STATE_TX_FULL != 0 {}
            write_register(DATA, u32::from(*byte));
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), UartError> {
        while read_register(STATE) & STATE_TX_FULL != 0 {}
        Ok(())
    }
}
