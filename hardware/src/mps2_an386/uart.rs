//! CMSDK APB UART (ARM DDI 0479D, 4.3): one byte of receive buffer in hardware, a ring filled by interrupt behind it.

use super::interrupts::{Line, Permission, UART0_RX};
use crate::ring::{ByteRing, BytesLost};
use core::ptr::{read_volatile, write_volatile};
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

static RECEIVED: ByteRing<RING> = ByteRing::new();

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
        RECEIVED.push(byte);
    }
    if read_register(STATE) & STATE_RX_OVERRUN != 0 {
        write_register(STATE, STATE_RX_OVERRUN);
        RECEIVED.note_lost();
    }
}

/// UART 0. Reading never waits when [`embedded_io::ReadReady`] says that there is something.
#[derive(Debug)]
pub struct Uart(());

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
    type Error = BytesLost;
}

impl embedded_io::ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, BytesLost> {
        Ok(!RECEIVED.is_empty())
    }
}

impl embedded_io::Read for Uart {
    /// Waits for at least one byte, then takes what is there.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, BytesLost> {
        if RECEIVED.take_lost() {
            return Err(BytesLost);
        }
        while RECEIVED.is_empty() && !buf.is_empty() {
            cortex_m::asm::wfi();
        }
        let taken = RECEIVED.take(buf);
        Ok(taken)
    }
}

impl embedded_io::Write for Uart {
    fn write(&mut self, buf: &[u8]) -> Result<usize, BytesLost> {
        for byte in buf {
            while read_register(STATE) & STATE_TX_FULL != 0 {}
            write_register(DATA, u32::from(*byte));
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), BytesLost> {
        while read_register(STATE) & STATE_TX_FULL != 0 {}
        Ok(())
    }
}
