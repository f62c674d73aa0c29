//! Counts what one STS token costs a Cortex-M4: from 20 digits to the judgement, and its parts.
//!
//! QEMU with `-icount shift=0` lets one nanosecond pass for each instruction, and the board's system timer counts the 25 MHz
//! clock: 40 instructions a tick. Each figure is the mean of many runs, so it is exact to a fraction of an instruction. They are
//! instructions, not cycles: a Cortex-M4 takes one to three cycles for most, more for loads from slow flash.
#![no_std]
#![no_main]

mod memory;

use core::hint::black_box;
use core::panic::PanicInfo;
use cortex_m::peripheral::{Peripherals, SYST, syst::SystClkSource};
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
// For its copying and filling of memory, which the meter's image has too.
use hardware as _;
use protocol::sts::meter::{Abilities, MeterTokenState, TokenResult, evaluate};
use protocol::sts::{
    AmountCode, BaseDate, DecoderKey, Drn, KeyAttributes, KeyRevision, KeyType, MeterPan, Rnd, SAMPLE, Service,
    SupplyGroup, TariffIndex, Tid, Token, TokenCipher, TokenNumber,
};

/// Instructions in a tick of the timer: a nanosecond each, and 25 MHz.
const PER_TICK: u32 = 40;
/// The timer counts 24 bits down.
const TIMER: u32 = 0x00FF_FFFF;
/// Runs of what is measured. The longest takes a twentieth of the timer's range.
const RUNS: u32 = 256;
/// Passes of `delay`'s loop, with which the timer is checked: `subs` and `bne` each.
const CHECK_PASSES: u32 = 1_000_000;

/// Instructions of one run.
fn count(timer: &mut SYST, mut run: impl FnMut()) -> u32 {
    let mut all = |runs: u32| {
        timer.clear_current();
        let start = SYST::get_current();
        for _ in 0..runs {
            run();
        }
        start.wrapping_sub(SYST::get_current()) & TIMER
    };
    // What begins and ends a measurement is in both, and so are caches of ours, had we any.
    let (many, none) = (all(RUNS), all(0));
    (many - none) * PER_TICK / RUNS
}

fn meter(key: &[u8]) -> Option<MeterTokenState> {
    let attributes = KeyAttributes {
        supply_group: SupplyGroup::try_from(123_457).ok()?,
        tariff_index: TariffIndex::try_from(1).ok()?,
        key_revision: KeyRevision::try_from(1).ok()?,
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
    };
    let pan = MeterPan::from_drn(&Drn::from_parts(1, 42).ok()?);
    Some(MeterTokenState::new(pan, DecoderKey::from_bytes(key).ok()?, attributes.into(), Tid::from_minutes(1)))
}

fn measure(timer: &mut SYST, name: &str, key: &[u8]) -> Option<()> {
    let state = meter(key)?;
    let abilities = Abilities::electricity(1, 10_000, Some(20_000));
    let cipher = TokenCipher::new(&state.key, &SAMPLE);
    let token = Token::Credit {
        service: Service::Electricity,
        amount: AmountCode::round_up(256)?,
        rnd: Rnd::new(5),
        tid: Tid::from_minutes(6_000_000)?,
    };
    let digits = token.encode(&cipher).digits();
    let number = TokenNumber::parse(digits.as_bytes()).ok()?;
    // What is counted has to be the case that takes everything: an accepted token.
    let verdict = evaluate(&state, &abilities, digits.as_bytes(), 0);
    if verdict.result != TokenResult::Accept || Token::decode(number, &cipher).as_ref() != Ok(&token) {
        return None;
    }
    let parse = count(timer, || {
        let _ = black_box(TokenNumber::parse(black_box(digits.as_bytes())));
    });
    let schedule = count(timer, || {
        black_box(TokenCipher::new(black_box(&state.key), &SAMPLE));
    });
    let decode = count(timer, || {
        let _ = black_box(Token::decode(black_box(number), black_box(&cipher)));
    });
    let whole = count(timer, || {
        black_box(evaluate(black_box(&state), black_box(&abilities), black_box(digits.as_bytes()), 0));
    });
    hprintln!("{}: {} instructions from 20 digits to the judgement", name, whole);
    hprintln!("    digits to 66 bits {}, key schedule {}, decode with a schedule made {}", parse, schedule, decode);
    Some(())
}

#[entry]
fn main() -> ! {
    if !memory::is_sound() {
        hprintln!("memory is not copied or filled as it should be");
        debug::exit(debug::EXIT_FAILURE);
    }
    if run().is_none() {
        hprintln!("a token was not accepted: nothing is counted");
        debug::exit(debug::EXIT_FAILURE);
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {
        cortex_m::asm::nop();
    }
}

fn run() -> Option<()> {
    let mut timer = Peripherals::take()?.SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(TIMER);
    timer.clear_current();
    timer.enable_counter();
    let start = SYST::get_current();
    cortex_m::asm::delay(CHECK_PASSES);
    let counted = (start.wrapping_sub(SYST::get_current()) & TIMER) * PER_TICK;
    hprintln!("a loop of {} instructions was counted as {}", CHECK_PASSES * 2, counted);
    measure(&mut timer, "EA11", &[0x5E; 16])?;
    measure(&mut timer, "EA07", &[0x5E; 8])
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::nop();
    }
}
