//! CMSDK APB UARTs (ARM DDI 0479D, 4.3): one byte of receive buffer in hardware, a ring filled by interrupt behind it.

use super::interrupts::{Line, Permission, UART0_RX, UART1_RX, UART2_RX};
use crate::ring::{ByteRing, BytesLost};
use core::ptr::{read_volatile, write_volatile};
use cortex_m::peripheral::NVIC;

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

/// A frame of 512 bytes and some: at 9600 baud over half a second of not being looked after.
const RING: usize = 1024;

/// One of the board's UARTs.
#[derive(Debug)]
pub(super) struct Device {
    base: usize,
    interrupt: u16,
    /// On its own, so that it lies in zeroed memory and takes no flash.
    received: &'static ByteRing<RING>,
}

static RS485_BYTES: ByteRing<RING> = ByteRing::new();
static OPTICAL_BYTES: ByteRing<RING> = ByteRing::new();
static MODBUS_BYTES: ByteRing<RING> = ByteRing::new();

/// UART 0.
pub(super) static RS485: Device = Device { base: 0x4000_4000, interrupt: UART0_RX, received: &RS485_BYTES };
/// UART 1.
pub(super) static OPTICAL: Device =
    Device { base: 0x4000_5000, interrupt: UART1_RX, received: &OPTICAL_BYTES };
/// UART 2.
pub(super) static MODBUS: Device = Device { base: 0x4000_6000, interrupt: UART2_RX, received: &MODBUS_BYTES };

impl Device {
    fn read(&self, offset: usize) -> u32 {
        let register: *const u32 = core::ptr::without_provenance(self.base + offset);
        // SAFETY: a device register of the board, word-aligned, readable at any time.
        unsafe { read_volatile(register) }
    }

    fn write(&self, offset: usize, value: u32) {
        let register: *mut u32 = core::ptr::without_provenance_mut(self.base + offset);
        // SAFETY: a device register of the board, word-aligned, writable at any time.
        unsafe { write_volatile(register, value) }
    }

    /// Moves the received byte into the ring; called in interrupt context only.
    pub(super) fn on_receive_interrupt(&self) {
        self.write(INTCLEAR, INT_RX);
        while self.read(STATE) & STATE_RX_FULL != 0 {
            let byte = self.read(DATA).to_le_bytes()[0];
            self.received.push(byte);
        }
        if self.read(STATE) & STATE_RX_OVERRUN != 0 {
            self.write(STATE, STATE_RX_OVERRUN);
            self.received.note_lost();
        }
    }
}

/// A UART. Reading never waits when [`embedded_io::ReadReady`] says that there is something.
#[derive(Debug)]
pub struct Uart(&'static Device);

impl Uart {
    pub(super) fn start(device: &'static Device, _vectors: &Permission) -> Self {
        let mut uart = Self(device);
        uart.set_baud(9_600);
        device.write(CTRL, CTRL_TX_ENABLE | CTRL_RX_ENABLE | CTRL_RX_INTERRUPT);
        // SAFETY: the handler is in the vector table (`Permission`) and shares only atomics with this code.
        unsafe { NVIC::unmask(Line(device.interrupt)) };
        uart
    }

    /// Sets the baud rate; always 8N1. QEMU does not pace bytes.
    pub fn set_baud(&mut self, baud: u32) {
        // The divisor has to be at least 16.
        self.0.write(BAUDDIV, (super::CORE_HZ / baud.max(1)).max(16));
    }
}

impl embedded_io::ErrorType for Uart {
    type Error = BytesLost;
}

impl embedded_io::ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, BytesLost> {
        Ok(!self.0.received.is_empty())
    }
}

impl embedded_io::Read for Uart {
    /// Waits for at least one byte, then takes what is there.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, BytesLost> {
        if self.0.received.take_lost() {
            return Err(BytesLost);
        }
        while self.0.received.is_empty() && !buf.is_empty() {
            cortex_m::asm::wfi();
        }
        Ok(self.0.received.take(buf))
    }
}

impl embedded_io::Write for Uart {
    fn write(&mut self, buf: &[u8]) -> Result<usize, BytesLost> {
        for byte in buf {
            while self.0.read(STATE) & STATE_TX_FULL != 0 {}
            self.0.write(DATA, u32::from(*byte));
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), BytesLost> {
        while self.0.read(STATE) & STATE_TX_FULL != 0 {}
        Ok(())
    }
}
