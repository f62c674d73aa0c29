//! What the emulator's console is told: how it stands with the relay and the account, whenever that changes.

use core::panic::PanicInfo;
use cortex_m_semihosting::{debug, hprintln};
use firmware::{Meter, Status};
use hardware::mps2_an386::{Mps2, stack_used_bytes};

/// The stack is reported when it has grown by so much.
const STACK_STEP: usize = 64;

/// What the console knows.
#[derive(Debug, Default)]
pub struct Console {
    relay: Option<(bool, u8)>,
    credited_wh: i64,
    stack: usize,
}

impl Console {
    /// Prints what changed since the last call.
    pub fn report(&mut self, meter: &mut Meter<Mps2>) {
        let Status { output_closed, control_state, reason, credit_wh, .. } = meter.status();
        let relay = Some((output_closed, control_state as u8));
        if relay != self.relay {
            self.relay = relay;
            let contact = if output_closed { "closed" } else { "open" };
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
    // Not where and why: the words and places of everything that could come here take six kilobytes of flash.
    hprintln!("panic");
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
