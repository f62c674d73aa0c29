//! The boot loader of the reference board: puts the image that the boot record chooses where programs run, and starts it. What it
//! decides is `firmware::image::boot`, as on every board; what it does to the flash `hardware::drivers::sector_banks`.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use cortex_m_rt::entry;
use firmware::image::boot::{InPlace, bring_up};
use hardware::board::Bank;
use hardware::stm32f405::{Boot, restart};

#[entry]
fn main() -> ! {
    let Some(mut board) = Boot::take() else { restart() };
    match bring_up(&mut board.memory, &mut board.banks) {
        InPlace::Of(bank) => start(board, bank, ["boot: bank A", "boot: bank B"]),
        InPlace::AsBefore(bank) if board.has_program() => {
            start(board, bank, ["boot: no whole image in a bank, goes on as A", "boot: no whole image in a bank, goes on as B"])
        }
        InPlace::AsBefore(_) => board.say("boot: no program"),
        InPlace::Nothing => board.say("boot: the flash takes no program"),
    }
    // The watchdog ends this, and it is tried again.
    loop {
        core::hint::spin_loop();
    }
}

fn start(mut board: Boot, bank: Bank, says: [&str; 2]) -> ! {
    board.say(says[bank as usize]);
    board.start(bank)
}

#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    restart()
}
