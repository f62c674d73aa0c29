//! The prepaid meter on the reference board with an STM32F405RG. What is connected where: `hardware/stm32f405.md`.
//!
//! Without a provisioning record it meters nothing: it says so on the bench link and waits for one.
#![no_std]
#![no_main]

mod bench;
mod front;
mod ports;

use crate::bench::Bench;
use crate::front::Front;
use crate::ports::Ports;
use core::panic::PanicInfo;
use cortex_m_rt::entry;
use firmware::provisioning::RECORD_BYTES;
use firmware::{Meter, Personalisation};
use hardware::board::{Board, Clock, Health, ImageBanks};
use hardware::place::Place;
use hardware::stm32f405::{Around, Found, Rates, Stm32f405, restart, wait};
use protocol::time::{Duration, Instant};

/// The optical head and the line speak 9,600 baud, as every meter does; bench and modem are faster.
const RATES: Rates = Rates { optical: 9_600, line: 9_600, bench: 115_200, network: 115_200 };

// In static memory, for on the stack it would lie twice.
static METER: Place<Meter<Stm32f405>> = Place::new();

#[entry]
fn main() -> ! {
    let Some((mut board, around)) = Stm32f405::take(RATES) else { restart() };
    let Around { optical, line, bench, network, display, keypad, button, clock_source } = around;
    let mut bench = Bench::new(bench);
    let found = board.find();
    bench.say(format_args!("meter {} on stm32f405", env!("CARGO_PKG_VERSION")));
    bench.say(format_args!("started by {:?}, runs on {:?}", board.health().reset_cause(), clock_source));
    bench.say(format_args!("{found:?}"));
    let who = identity(&mut bench, &mut board);
    if !found.memory {
        stop(
            &mut bench,
            &mut board,
            format_args!("the memory does not answer: no meter without its journal"),
        );
    }
    let now = Instant::from_millis(board.clock().monotonic_ms());
    let meter = begin(board, who, now, &mut bench);
    let bank = meter.board().images().map(|banks| banks.running());
    bench.say(format_args!("meter {} ready, firmware {}, {bank:?}", meter.serial().as_str(), meter.firmware_version()));
    let ports = if opened(&found, &mut bench) {
        Ports::open(now, meter, optical, line, network)
    } else {
        None
    };
    run(meter, ports, Front::new(now, display, keypad, button), bench)
}

/// Not inlined, for what it takes of the stack is free again afterwards.
#[inline(never)]
fn begin(
    board: Stm32f405,
    who: Personalisation,
    now: Instant,
    bench: &mut Bench,
) -> &'static mut Meter<Stm32f405> {
    match Meter::new(board, who, now) {
        Ok(meter) => METER.put(meter).unwrap_or_else(|| restart()),
        Err(error) => {
            bench.say(format_args!("the meter does not start: {error}"));
            restart()
        }
    }
}

/// Who this meter is. Comes back only with a valid record.
fn identity(bench: &mut Bench, board: &mut Stm32f405) -> Personalisation {
    let mut record = [0; RECORD_BYTES];
    board.read_provisioning(&mut record);
    match bench::open(&record) {
        Ok(who) => who,
        Err(why) => {
            bench.say(format_args!(
                "{why}: meters nothing; send a provisioning record with the jumper fitted"
            ));
            bench.provision(board)
        }
    }
}

/// Challenges that could be guessed are worse than closed ports.
fn opened(found: &Found, bench: &mut Bench) -> bool {
    if !found.random {
        bench.say(format_args!("no random generator: meters, but its ports stay closed"));
    }
    found.random
}

/// How long the last answer may take to leave before a reset.
const LAST_ANSWER: Duration = Duration::from_millis(500);

/// Sleeps, measures, answers.
fn run(meter: &mut Meter<Stm32f405>, mut ports: Option<Ports>, mut front: Front, mut bench: Bench) -> ! {
    let mut reset_at = None;
    loop {
        let now = Instant::from_millis(meter.board().clock().monotonic_ms());
        // The meter feeds the watchdog itself, when it has done its work.
        if now >= meter.next_tick() {
            meter.tick(now);
        }
        meter.watch_supply();
        meter.board().serve_pulses();
        let busy = ports.as_mut().is_some_and(|ports| ports.serve(now, meter));
        front.serve(now, meter);
        bench.report(meter);
        if meter.restart_wanted() && now >= *reset_at.get_or_insert(now + LAST_ANSWER) {
            restart();
        }
        if !busy {
            wait();
        }
    }
}

/// Says why there is no going on, again and again, for whoever connects a bench later.
fn stop(bench: &mut Bench, board: &mut Stm32f405, why: core::fmt::Arguments<'_>) -> ! {
    loop {
        bench.say(why);
        let until = board.clock().monotonic_ms() + 5_000;
        while board.clock().monotonic_ms() < until {
            board.health().feed_watchdog();
            wait();
        }
    }
}

/// A panic is a hang that tells nobody: the start after it is logged by the meter.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    restart()
}
