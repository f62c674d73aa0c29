//! The prepaid meter on the board `mps2-an386`: DLMS over HDLC on UART 0, everything else on the emulator's console.
#![no_std]
#![no_main]

mod console;
mod factory;
mod identity;

use crate::console::{Console, stop};
use cortex_m_rt::entry;
use cortex_m_semihosting::hprintln;
use embedded_io::{Read, ReadReady, Write};
use firmware::{Meter, Port};
use hardware::board::Clock;
use hardware::mps2_an386::{Mps2, Uart};
use protocol::link::hdlc::{Config, Hdlc};
use protocol::time::Instant;

/// HDLC frame buffer: information fields of 239 bytes.
const FRAME: usize = 256;
/// Longest APDU in either direction: as long as a port takes.
const APDU: usize = 512;

type UartPort = Port<Hdlc<[u8; FRAME], [u8; APDU]>>;

#[entry]
fn main() -> ! {
    let Some((mut board, uart)) = Mps2::take() else { stop("the board was taken twice") };
    let Some(who) = factory::personalisation() else { stop("the factory's data are out of range") };
    let storage = if board.nvm_is_file() { "a file" } else { "RAM, forgotten at the end" };
    let now = Instant::from_millis(board.monotonic_ms());
    let meter = match Meter::new(board, who, now) {
        Ok(meter) => meter,
        Err(error) => {
            hprintln!("the meter does not start: {}", error);
            stop("no meter")
        }
    };
    let link = Hdlc::new(Config::server(1, None), [0; FRAME], [0; APDU], [0; APDU]);
    hprintln!("meter {} ready, storage is {}", meter.serial().as_str(), storage);
    run(meter, Port::new(link, now), uart)
}

/// Sleeps, measures, answers.
fn run(mut meter: Meter<Mps2>, mut port: UartPort, mut uart: Uart) -> ! {
    let mut buffer = [0; 64];
    let mut console = Console::default();
    loop {
        let now = Instant::from_millis(meter.board().monotonic_ms());
        if now >= meter.next_tick() {
            meter.tick(now);
        }
        if uart.read_ready().unwrap_or(false) {
            // Lost bytes spoil a frame; the client repeats it.
            let taken = uart.read(&mut buffer).unwrap_or(0);
            port.handle_bytes(now, &buffer[..taken], &mut meter);
        } else if port.poll_timeout().is_some_and(|at| at <= now) {
            port.handle_timeout(now, &mut meter);
        } else {
            meter.board().wait();
        }
        send(now, &mut port, &mut uart);
        console.report(&mut meter);
    }
}

fn send(now: Instant, port: &mut UartPort, uart: &mut Uart) {
    let mut frame = [0; FRAME];
    while let Some(length) = port.poll_transmit(now, &mut frame) {
        let Ok(()) = uart.write_all(&frame[..length]) else { stop("uart") };
    }
}
