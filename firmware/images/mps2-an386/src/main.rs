//! Echoes what it receives.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use embedded_io::{Read, Write};
use hardware::mps2_an386::Mps2;

#[entry]
fn main() -> ! {
    let Some((_board, mut uart)) = Mps2::take() else { stop("board taken twice") };
    hprintln!("echo: ready");
    let mut buffer = [0_u8; 64];
    loop {
        let taken = uart.read(&mut buffer).unwrap_or(0);
        let Ok(()) = uart.write_all(&buffer[..taken]) else { stop("uart") };
    }
}

fn stop(why: &str) -> ! {
    hprintln!("stopped: {}", why);
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    hprintln!("panic: {}", info);
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
