//! Not a program to run: a place where everything of `protocol` that meets foreign bytes is linked with inputs the compiler
//! knows nothing about. `protocol/panic-check/run` looks at what is left.
#![no_std]
#![no_main]

mod device;
mod engines;
mod keys;
mod links;

use core::hint::black_box;
use cortex_m_rt::entry;
use protocol::time::Instant;

/// Every panic path ends here, and is found from here.
#[panic_handler]
#[inline(never)]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        black_box(());
    }
}

#[entry]
fn main() -> ! {
    loop {
        links::hdlc();
        links::wrapper();
        links::mode_e();
        engines::server();
        engines::client();
        keys::offered();
        keys::answered();
    }
}

/// Bytes from somewhere, of any length up to the buffer's.
fn bytes(buffer: &mut [u8; 600]) -> &[u8] {
    let buffer = black_box(buffer);
    let len = black_box(0_usize).min(buffer.len());
    buffer.get(..len).unwrap_or(&[])
}

/// Some time.
fn now() -> Instant {
    Instant::from_millis(black_box(0))
}
