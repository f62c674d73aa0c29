//! From reset to the image that is to run: what a boot loader does on a board with flash. Every image carries it; at reset it is
//! the one that the emulator was given, which copies another image over itself and jumps there.

use crate::board::{Bank, ResetCause};
use core::ptr::{read_volatile, write_volatile};
use cortex_m::peripheral::SCB;

/// Words in PSRAM that survive a reset and are zero when the emulator starts: above everything that an image places there.
const HANDED_OVER: *mut u32 = core::ptr::without_provenance_mut(0x21FF_FFF0);
const LIFE: *mut u32 = core::ptr::without_provenance_mut(0x21FF_FFF4);
/// [`HANDED_OVER`]: the start code has jumped to this image.
const TO_A: u32 = 0x4741_0000;
const TO_B: u32 = 0x4742_0000;
/// [`LIFE`]: an image runs, or has asked for a reset.
const RUNS: u32 = 0x5255_4E53;
const ASKED: u32 = 0x4153_4B44;

/// SysTick control, NVIC enable-clear and pending-clear, interrupt control (ARMv7-M, B3.2).
const SYST_CSR: *mut u32 = core::ptr::without_provenance_mut(0xE000_E010);
const NVIC_ICER0: *mut u32 = core::ptr::without_provenance_mut(0xE000_E180);
const NVIC_ICPR0: *mut u32 = core::ptr::without_provenance_mut(0xE000_E280);
const ICSR: *mut u32 = core::ptr::without_provenance_mut(0xE000_ED04);
const PENDSTCLR: u32 = 1 << 25;

/// CMSDK watchdog (ARM DDI 0479D, 4.5), clocked like the core.
const WDOG_LOAD: *mut u32 = core::ptr::without_provenance_mut(0x4000_8000);
const WDOG_CONTROL: *mut u32 = core::ptr::without_provenance_mut(0x4000_8008);
const WDOG_INTCLR: *mut u32 = core::ptr::without_provenance_mut(0x4000_800C);
const WDOG_LOCK: *mut u32 = core::ptr::without_provenance_mut(0x4000_8C00);
const WDOG_UNLOCK: u32 = 0x1ACC_E551;
/// Interrupt enabled, reset enabled: the second time in a row that it comes to zero resets.
const WDOG_ON: u32 = 0b11;
/// Half of the time that a hang may last: four seconds, for the check of a new image takes its time.
const WDOG_TICKS: u32 = super::CORE_HZ * 4;

fn read(word: *mut u32) -> u32 {
    // SAFETY: one of the words above: PSRAM that nothing else uses, or a device register; all word-aligned.
    unsafe { read_volatile(word) }
}

fn write(word: *mut u32, value: u32) {
    // SAFETY: as in `read`; what the register does is what the caller wants.
    unsafe { write_volatile(word, value) }
}

/// What this image finds when it starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// Whether the start code has chosen already.
    pub chosen: bool,
    pub running: Bank,
    pub cause: ResetCause,
}

impl Start {
    /// Looks once, and starts the watchdog.
    pub(super) fn look() -> Self {
        let handed_over = read(HANDED_OVER);
        write(HANDED_OVER, 0);
        let cause = match read(LIFE) {
            ASKED => ResetCause::Requested,
            // A reset that nobody asked for, while the emulator ran on.
            RUNS => ResetCause::Watchdog,
            _ => ResetCause::PowerOn,
        };
        write(LIFE, RUNS);
        write(WDOG_LOCK, WDOG_UNLOCK);
        write(WDOG_LOAD, WDOG_TICKS);
        write(WDOG_CONTROL, WDOG_ON);
        let running = if handed_over == TO_B { Bank::B } else { Bank::A };
        Self { chosen: handed_over == TO_A || handed_over == TO_B, running, cause }
    }

    /// Jumps to the program of a bank that waits in the stage.
    pub(super) fn jump(&self, bank: Bank, program: &[u8]) -> ! {
        write(HANDED_OVER, if bank == Bank::B { TO_B } else { TO_A });
        write(
            LIFE,
            match self.cause {
                ResetCause::PowerOn => 0,
                ResetCause::Watchdog => RUNS,
                ResetCause::Requested => ASKED,
            },
        );
        cortex_m::interrupt::disable();
        write(SYST_CSR, 0);
        write(NVIC_ICER0, u32::MAX);
        write(NVIC_ICPR0, u32::MAX);
        write(ICSR, PENDSTCLR);
        let start: unsafe extern "C" fn(*const u8, usize) -> ! = start_image;
        // SAFETY: a whole program, checked before it was staged; the code of `start_image` lies in RAM, which it does not
        // overwrite, and no interrupt comes until the new image has its vectors.
        unsafe { start(program.as_ptr(), program.len().div_ceil(4)) }
    }
}

/// All is well.
pub(super) fn feed_watchdog() {
    write(WDOG_INTCLR, 1);
}

/// Resets the processor and says that it was asked for.
pub(super) fn reset() -> ! {
    write(LIFE, ASKED);
    SCB::sys_reset()
}

unsafe extern "C" {
    fn start_image(program: *const u8, words: usize) -> !;
}

// Copies the program to address 0, and starts it as a reset would. It lies in RAM (.data), for it overwrites the code.
core::arch::global_asm!(
    ".section .data.start_image,\"aw\",%progbits",
    ".balign 4",
    ".thumb_func",
    ".global start_image",
    ".type start_image,%function",
    "start_image:",
    "movs r2, #0",
    "1: ldr r3, [r0]",
    "adds r0, #4",
    "str r3, [r2]",
    "adds r2, #4",
    "subs r1, #1",
    "bne 1b",
    "movs r2, #0",
    "ldr r0, [r2]",
    "msr msp, r0",
    "ldr r0, [r2, #4]",
    "dsb",
    "isb",
    "cpsie i",
    "bx r0",
    ".text"
);
