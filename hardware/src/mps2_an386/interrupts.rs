//! The interrupt vectors of the board, in the place where `cortex-m-rt` (feature `device`) expects them.

use super::uart;

/// Receive interrupt of UART 0 (ARM DAI 0386 table 3-5; QEMU `hw/arm/mps2.c`).
pub(super) const UART0_RX: u16 = 0;

/// Receive interrupt of UART 1.
pub(super) const UART1_RX: u16 = 2;

/// Receive interrupt of UART 2.
pub(super) const UART2_RX: u16 = 4;

/// External interrupts of the AN386 image.
const INTERRUPTS: usize = 32;

/// Says that the vector table below is linked in, so that interrupts may be unmasked.
#[derive(Debug)]
pub(super) struct Permission(());

impl Permission {
    pub(super) fn new() -> Self {
        Self(())
    }
}

/// A vector: a handler, or zero for an interrupt that is never enabled.
#[repr(C)]
union Vector {
    handler: unsafe extern "C" fn(),
    reserved: usize,
}

// SAFETY: `cortex-m-rt` places this section right after the exception vectors; 32 words match the AN386 interrupt count,
// and every entry is either a valid handler or zero for an interrupt that nobody enables.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [Vector; INTERRUPTS] = {
    let mut vectors = [const { Vector { reserved: 0 } }; INTERRUPTS];
    vectors[UART0_RX as usize] = Vector { handler: uart0_receive };
    vectors[UART1_RX as usize] = Vector { handler: uart1_receive };
    vectors[UART2_RX as usize] = Vector { handler: uart2_receive };
    vectors
};

unsafe extern "C" fn uart0_receive() {
    uart::RS485.on_receive_interrupt();
}

unsafe extern "C" fn uart1_receive() {
    uart::OPTICAL.on_receive_interrupt();
}

unsafe extern "C" fn uart2_receive() {
    uart::MODBUS.on_receive_interrupt();
}

/// For the NVIC: an interrupt by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line(pub(super) u16);

// SAFETY: the number is the one of the table above and never changes.
unsafe impl cortex_m::interrupt::InterruptNumber for Line {
    fn number(self) -> u16 {
        self.0
    }
}
