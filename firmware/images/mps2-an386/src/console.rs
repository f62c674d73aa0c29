//! What the emulator's console is told: how the meter starts, its events, and how it stands with the relay and the account,
//! whenever that changes.

use core::panic::PanicInfo;
use cortex_m_semihosting::{debug, hprintln};
use firmware::{Meter, Status};
use hardware::board::{Board, Health, ImageBanks};
use hardware::mps2_an386::{Mps2, stack_used_bytes};
use protocol::cosem::events::Event;

/// The stack is reported when it has grown by so much.
const STACK_STEP: usize = 64;

/// Says what starts, and what a look at itself gave.
pub fn greet(meter: &mut Meter<Mps2>) {
    let bank = meter.board().images().map(|banks| banks.running());
    let cause = meter.board().health().reset_cause();
    hprintln!(
        "firmware {}, bank {:?}, reset by {:?}",
        meter.firmware_version(),
        bank.unwrap_or_default(),
        cause
    );
    let check = meter.self_test();
    hprintln!(
        "self-test: storage {}, metering {}, clock {}, relay {}, credit {}",
        fit(check.storage),
        fit(check.metering),
        fit(check.clock),
        fit(check.relay),
        fit(check.credit)
    );
}

const fn fit(good: bool) -> &'static str {
    if good { "ok" } else { "FAILED" }
}

/// What the console knows.
#[derive(Debug, Default)]
pub struct Console {
    relay: Option<(Option<bool>, u8)>,
    credited_wh: i64,
    next_event: u32,
    stack: usize,
}

impl Console {
    /// A console that tells of what comes.
    pub fn new(meter: &Meter<Mps2>) -> Self {
        Self { next_event: meter.events_logged(), ..Self::default() }
    }

    /// Prints what changed since the last call.
    pub fn report(&mut self, meter: &mut Meter<Mps2>) {
        while let Some((number, row)) = meter.event_from(self.next_event) {
            self.next_event = number + 1;
            match Event::from_u8(row.code) {
                Some(Event::TokenAccepted) => hprintln!("token accepted, {} units", row.detail),
                Some(Event::TokenRefused) => hprintln!("token refused, result {}", row.detail),
                // By its number, as the event log has it: names take flash.
                _ => hprintln!("event {}, {}", row.code, row.detail),
            }
        }
        let Status { output_closed, control_state, reason, credit_wh, .. } = meter.status();
        let relay = Some((output_closed, control_state as u8));
        if relay != self.relay {
            self.relay = relay;
            let contact = output_closed.map_or("unknown", |closed| if closed { "closed" } else { "open" });
            hprintln!("relay {}, {:?}, held open by {:?}", contact, control_state, reason);
        }
        let credited_wh = meter.ledger().credited();
        if credited_wh != self.credited_wh {
            hprintln!("credit {:+} Wh, now {} Wh", credited_wh - self.credited_wh, credit_wh);
            self.credited_wh = credited_wh;
        }
        if meter.board().reports_stack() {
            self.report_stack();
        }
    }

    fn report_stack(&mut self) {
        let used = stack_used_bytes();
        if used >= self.stack + STACK_STEP {
            self.stack = used;
            hprintln!("stack {} bytes", used);
        }
    }
}

/// Says why there is no going on, and ends the emulator with a failure.
pub fn stop(why: &str) -> ! {
    hprintln!("stopped: {}", why);
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    // Not where and why: the words and places of everything that could come here take several kilobytes of flash.
    hprintln!("panic");
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
