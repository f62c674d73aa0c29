//! The board `mps2-an386`: ARM's MPS2 with the Cortex-M4F image of application note AN386, as QEMU emulates it.
//!
//! | block | address | interrupt | used for |
//! |---|---|---|---|
//! | code RAM (4 MiB) | 0x0000_0000 | | program ("flash") |
//! | data RAM (4 MiB) | 0x2000_0000 | | data and stack |
//! | PSRAM (16 MiB) | 0x2100_0000 | | emulated non-volatile memory when there is no file for it |
//! | CMSDK UART 0 | 0x4000_4000 | 0 receive | RS-485: DLMS over HDLC |
//! | CMSDK UART 1 | 0x4000_5000 | 2 receive | optical port: mode E, then HDLC |
//! | CMSDK UART 2 | 0x4000_6000 | 4 receive | RS-485: Modbus RTU |
//! | CMSDK watchdog | 0x4000_8000 | | resets after eight seconds without a sample |
//! | SysTick | | exception 15 | milliseconds |
//!
//! Source of the map: ARM DAI 0386 tables 3-2 and 3-4; QEMU 7.2 `hw/arm/mps2.c`.
//!
//! The board has no metering front end, relay or calendar clock. The first two are played by [`Mps2`] itself (a constant
//! load behind a relay whose contact always follows), the clock starts from the host's time.

mod banks;
mod host;
mod interrupts;
mod nvm;
mod start;
mod uart;

use crate::board::{Bank, Board, Clock, Health, Metering, Relay, ResetCause, Sample};
pub use crate::cortex_m4::stack_used_bytes;
use crate::cortex_m4::tick;
pub use banks::Banks;
pub use nvm::{NVM_BYTES, Nvm, NvmError};
pub use uart::Uart;

/// The core runs from the 25 MHz oscillator (ARM DAI 0386, 3.3).
pub const CORE_HZ: u32 = 25_000_000;

/// What flows while the relay is closed: 230 V and 5 A, resistive.
const LOAD_VOLTAGE_MV: u32 = 230_000;
const LOAD_CURRENT_MA: u32 = 5_000;
const LOAD_POWER_MW: u32 = 1_150_000;

/// The board's UARTs.
#[derive(Debug)]
pub struct Lines {
    /// UART 0: DLMS over HDLC.
    pub rs485: Uart,
    /// UART 1: the optical port.
    pub optical: Uart,
    /// UART 2: Modbus RTU.
    pub modbus: Uart,
}

/// The whole board except its UARTs, which [`Mps2::take`] hands out on their own.
#[derive(Debug)]
pub struct Mps2 {
    nvm: Nvm,
    contact_closed: bool,
    sampled_ms: u64,
    utc_at_start_s: Option<u32>,
    random_state: u64,
    reports_stack: bool,
    hangs: bool,
    banks: Banks,
    start: start::Start,
}

impl Mps2 {
    /// Starts the clock tick, the watchdog and the UARTs. Gives the board once; `None` on every later call.
    ///
    /// Non-volatile memory is a file of the host: the one named by the second word of the semihosting command line
    /// (`-semihosting-config enable=on,target=native,arg=image,arg=FILE`), else `meter.nvm` where the emulator was started;
    /// RAM when it can't be opened. A further word `stack` asks for reports of the stack's depth, `hang` for one hang
    /// that the watchdog has to end.
    #[must_use]
    pub fn take() -> Option<(Self, Lines)> {
        let core = cortex_m::Peripherals::take()?;
        tick::start(core.SYST, CORE_HZ);
        let start = start::Start::look();
        let vectors = interrupts::Permission::new();
        let rs485 = uart::Uart::start(&uart::RS485, &vectors);
        let optical = uart::Uart::start(&uart::OPTICAL, &vectors);
        let modbus = uart::Uart::start(&uart::MODBUS, &vectors);
        let host_s = host::utc_s();
        let line = host::CommandLine::read();
        let board = Self {
            nvm: Nvm::open(&line),
            reports_stack: line.wants(b"stack"),
            hangs: line.wants(b"hang"),
            banks: Banks::open(start.running),
            start,
            contact_closed: true,
            sampled_ms: 0,
            utc_at_start_s: host_s,
            random_state: seed(host_s),
        };
        Some((board, Lines { rs485, optical, modbus }))
    }

    /// The contact of a bistable relay stays where it was when power goes. The emulated one can't remember; whoever knows
    /// the last state (the firmware's journal) puts it there.
    pub fn place_contact(&mut self, closed: bool) {
        self.contact_closed = closed;
    }

    /// Whether non-volatile memory is a file that outlives the emulator.
    #[must_use]
    pub fn nvm_is_file(&self) -> bool {
        self.nvm.is_file()
    }

    /// Whether whoever started the emulator wants to know how deep the stack goes.
    #[must_use]
    pub fn reports_stack(&self) -> bool {
        self.reports_stack
    }

    /// Whether this image is the start code, which has to choose the image that is to run.
    #[must_use]
    pub fn has_to_choose(&self) -> bool {
        !self.start.chosen
    }

    /// Starts the program of a bank that was loaded ([`RunArea::load`](crate::board::RunArea::load)).
    pub fn start_loaded(&mut self, bank: Bank) -> ! {
        self.start.jump(bank, self.banks.staged())
    }

    /// Memory and banks, for the start code.
    pub fn memory_and_banks(&mut self) -> (&mut Nvm, &mut Banks) {
        (&mut self.nvm, &mut self.banks)
    }

    /// Resets the processor.
    pub fn reset(&mut self) -> ! {
        start::reset()
    }

    /// Whether whoever started the emulator wants to see a hang, two seconds after power on.
    #[must_use]
    pub fn has_to_hang(&self, now_ms: u64) -> bool {
        self.hangs && self.start.cause == ResetCause::PowerOn && now_ms >= 2_000
    }

    /// Sleeps until the next interrupt: a byte on the UART, or the tick after at most a millisecond.
    pub fn wait(&self) {
        cortex_m::asm::wfi();
    }
}

/// Not a source of entropy that could protect anything: enough that two starts do not give the same challenge. A product
/// board has a hardware generator here.
fn seed(host_s: Option<u32>) -> u64 {
    let host = u64::from(host_s.unwrap_or(0));
    let cycles = u64::from(host::centiseconds());
    ((host << 32) ^ cycles) | 1
}

impl Metering for Mps2 {
    type Error = core::convert::Infallible;

    fn sample(&mut self) -> Result<Sample, Self::Error> {
        let now_ms = tick::now_ms();
        let passed_ms = now_ms - self.sampled_ms;
        self.sampled_ms = now_ms;
        let mut sample = Sample { voltage_mv: LOAD_VOLTAGE_MV, frequency_mhz: 50_000, ..Sample::default() };
        if self.contact_closed {
            sample.current_ma = LOAD_CURRENT_MA;
            sample.neutral_current_ma = LOAD_CURRENT_MA;
            sample.active_power_mw = LOAD_POWER_MW as i32; // 1_150_000 fits
            sample.import_mws = u64::from(LOAD_POWER_MW) * passed_ms / 1000;
        }
        Ok(sample)
    }
}

impl Relay for Mps2 {
    fn drive(&mut self, close: bool) {
        self.contact_closed = close;
    }

    fn sense_closed(&mut self) -> Option<bool> {
        Some(self.contact_closed)
    }
}

impl Clock for Mps2 {
    fn utc_s(&mut self) -> Option<u32> {
        let passed_s = u32::try_from(tick::now_ms() / 1000).ok()?;
        self.utc_at_start_s?.checked_add(passed_s)
    }

    fn set_utc_s(&mut self, utc_s: u32) {
        let passed_s = u32::try_from(tick::now_ms() / 1000).unwrap_or(u32::MAX);
        self.utc_at_start_s = Some(utc_s.saturating_sub(passed_s));
    }

    fn monotonic_ms(&mut self) -> u64 {
        tick::now_ms()
    }
}

impl Health for Mps2 {
    fn cover_open(&mut self) -> bool {
        false
    }

    fn magnet(&mut self) -> bool {
        false
    }

    fn reset_cause(&mut self) -> ResetCause {
        self.start.cause
    }

    fn feed_watchdog(&mut self) {
        start::feed_watchdog();
    }

    fn random(&mut self, out: &mut [u8]) {
        // Marsaglia, "Xorshift RNGs" (2003), triple 13/7/17, mixed with the tick at each call.
        self.random_state ^= tick::now_ms() << 20;
        self.random_state |= 1;
        for byte in out {
            let mut x = self.random_state;
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.random_state = x;
            *byte = x.to_le_bytes()[4];
        }
    }
}

impl Board for Mps2 {
    type Metering = Self;
    type Relay = Self;
    type Storage = Nvm;
    type Clock = Self;
    type Health = Self;
    type Images = Banks;

    fn metering(&mut self) -> &mut Self {
        self
    }

    fn relay(&mut self) -> &mut Self {
        self
    }

    fn storage(&mut self) -> &mut Nvm {
        &mut self.nvm
    }

    fn clock(&mut self) -> &mut Self {
        self
    }

    fn health(&mut self) -> &mut Self {
        self
    }

    fn images(&mut self) -> Option<&mut Banks> {
        Some(&mut self.banks)
    }
}
