//! The prepaid meter on the board `mps2-an386`: DLMS over HDLC on UART 0, the optical port on UART 1, Modbus RTU on UART 2,
//! everything else on the emulator's console.
#![no_std]
#![no_main]

mod console;
mod factory;
mod identity;

use crate::console::{Console, stop};
use cortex_m_rt::entry;
use cortex_m_semihosting::hprintln;
use embedded_io::{Read, ReadReady, Write};
use firmware::image::boot::{self, InPlace};
use firmware::{Meter, OpticalPort, Port, RtuServer};
use hardware::board::Clock;
use hardware::mps2_an386::{Lines, Mps2, Uart};
use hardware::place::Place;
use protocol::link::hdlc::{Config, Hdlc};
use protocol::link::mode_e;
use protocol::sts::Drn;
use protocol::time::{Duration, Instant};

/// HDLC frame buffer: information fields of 239 bytes.
const FRAME: usize = 256;
/// Longest APDU in either direction: as long as a port takes.
const APDU: usize = 512;
/// The fastest rate that the optical port offers.
const OPTICAL_BAUD: u32 = 9_600;
/// Its Modbus line's station.
const MODBUS_STATION: u8 = 1;
/// How long the last answer may take to leave before a reset.
const LAST_ANSWER: Duration = Duration::from_millis(100);

type Link = Hdlc<[u8; FRAME], [u8; APDU]>;

/// What talks to the world.
struct Ports {
    rs485: Port<Link>,
    rs485_uart: Uart,
    optical: OpticalPort<'static, Link>,
    optical_uart: Uart,
    modbus: RtuServer,
    modbus_uart: Uart,
}

fn link() -> Link {
    Hdlc::new(Config::server(1, None), [0; FRAME], [0; APDU], [0; APDU])
}

// In static memory, for on the stack they would lie twice.
static METER: Place<Meter<Mps2>> = Place::new();
static PORTS: Place<Ports> = Place::new();
static SERIAL: Place<Drn> = Place::new();

#[entry]
fn main() -> ! {
    let Some((mut board, lines)) = Mps2::take() else { stop("the board was taken twice") };
    if board.has_to_choose() {
        let (memory, banks) = board.memory_and_banks();
        match boot::bring_up(memory, banks) {
            InPlace::Of(bank) => board.start_loaded(bank),
            // This image is the factory's.
            InPlace::AsBefore(_) => {}
            InPlace::Nothing => stop("no program can be loaded"),
        }
    }
    let storage = if board.nvm_is_file() { "a file" } else { "RAM, forgotten at the end" };
    let now = Instant::from_millis(board.monotonic_ms());
    let meter = begin(board, now);
    console::greet(meter);
    hprintln!("meter {} ready, storage is {}", meter.serial().as_str(), storage);
    let ports = open(meter.serial(), lines, now);
    run(meter, ports)
}

/// Not inlined, for what it takes of the stack is free again afterwards.
#[inline(never)]
fn begin(board: Mps2, now: Instant) -> &'static mut Meter<Mps2> {
    let Some(who) = factory::personalisation() else { stop("the factory's data are out of range") };
    match Meter::new(board, who, now) {
        Ok(meter) => METER.put(meter).unwrap_or_else(|| stop("a second meter")),
        Err(error) => {
            hprintln!("the meter does not start: {}", error);
            stop("no meter")
        }
    }
}

/// As [`begin`].
#[inline(never)]
fn open(serial: Drn, lines: Lines, now: Instant) -> &'static mut Ports {
    let serial = SERIAL.put(serial).unwrap_or_else(|| stop("a second serial number"));
    let sign_on = mode_e::Server::new(*b"MGW", "AN386", serial.as_str(), OPTICAL_BAUD, true);
    let optical = OpticalPort::new(sign_on, link(), now);
    let ports = Ports {
        rs485: Port::new(link(), now),
        rs485_uart: lines.rs485,
        optical,
        optical_uart: lines.optical,
        modbus: RtuServer::new(MODBUS_STATION),
        modbus_uart: lines.modbus,
    };
    PORTS.put(ports).unwrap_or_else(|| stop("second ports"))
}

/// Sleeps, measures, answers.
fn run(meter: &mut Meter<Mps2>, ports: &mut Ports) -> ! {
    let mut console = Console::new(meter);
    let mut reset_at = None;
    loop {
        let now = Instant::from_millis(meter.board().monotonic_ms());
        if now >= meter.next_tick() {
            meter.tick(now);
        }
        if !serve(now, meter, ports) {
            meter.board().wait();
        }
        console.report(meter);
        if meter.restart_wanted() && now >= *reset_at.get_or_insert(now + LAST_ANSWER) {
            hprintln!("reset");
            meter.board().reset();
        }
        if meter.board().has_to_hang(now.as_millis()) {
            hprintln!("hangs");
            loop {}
        }
    }
}

/// Looks after all ports once; false when none had anything to do.
fn serve(now: Instant, meter: &mut Meter<Mps2>, ports: &mut Ports) -> bool {
    let mut buffer = [0; 64];
    let mut busy = false;
    // Lost bytes spoil a frame; the client repeats it.
    if ports.rs485_uart.read_ready().unwrap_or(false) {
        let taken = ports.rs485_uart.read(&mut buffer).unwrap_or(0);
        ports.rs485.handle_bytes(now, &buffer[..taken], meter);
        busy = true;
    } else if ports.rs485.poll_timeout().is_some_and(|at| at <= now) {
        ports.rs485.handle_timeout(now, meter);
        busy = true;
    }
    if ports.optical_uart.read_ready().unwrap_or(false) {
        let taken = ports.optical_uart.read(&mut buffer).unwrap_or(0);
        ports.optical.handle_bytes(now, &buffer[..taken], meter);
        busy = true;
    } else if ports.optical.poll_timeout().is_some_and(|at| at <= now) {
        ports.optical.handle_timeout(now, meter);
        busy = true;
    }
    // Alarms go to whoever is connected; nowhere before management has named a destination.
    ports.rs485.push_due(now, meter);
    let mut frame = [0; FRAME];
    while let Some(length) = ports.rs485.poll_transmit(now, &mut frame) {
        send(&mut ports.rs485_uart, &frame[..length]);
    }
    while let Some(length) = ports.optical.poll_transmit(now, &mut frame) {
        send(&mut ports.optical_uart, &frame[..length]);
    }
    if let Some(line) = ports.optical.poll_line() {
        ports.optical_uart.set_baud(line.baud);
    }
    busy | ports.modbus.serve(now, &mut ports.modbus_uart, meter)
}

fn send(uart: &mut Uart, bytes: &[u8]) {
    let Ok(()) = uart.write_all(bytes).and_then(|()| uart.flush()) else { stop("uart") };
}
