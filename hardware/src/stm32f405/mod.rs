//! The reference board with an STM32F405RG (Cortex-M4F, 1 MiB flash, 192 KiB RAM). Pins, memory layout and how to flash it:
//! `hardware/stm32f405.md`. **It was never built**: what is known to work is what an emulator and the drivers' mocks show.
//!
//! Sources: ST RM0090 rev. 19 (reference manual), STM32F405 data sheet rev. 9.

mod boot;
mod clocks;
mod delay;
mod flash;
mod inputs;
mod pins;
mod reset;
mod sector;
mod supply;
mod uart;

use crate::board::{Board, Clock};
pub use crate::cortex_m4::stack_used_bytes;
use crate::cortex_m4::tick;
use crate::drivers::ade7953::{Ade7953, Scale};
use crate::drivers::ht1621::Ht1621;
use crate::drivers::kept_clock::KeptClock;
use crate::drivers::keypad::Keypad;
use crate::drivers::mb85rs::{Addressing, Mb85rs};
use crate::drivers::pcf8563::Pcf8563;
use crate::drivers::pulse::PulseOutput;
use crate::drivers::relay::BistableRelay;
use crate::drivers::rs485::Rs485;
use crate::drivers::sector_banks::{STM32F405, SectorBanks};
use crate::drivers::soft_i2c::SoftI2c;
pub use boot::Boot;
pub use clocks::ClockSource;
pub use delay::Delay;
use embedded_hal::delay::DelayNs;
use embedded_hal_bus::spi::ExclusiveDevice;
pub use flash::Flash;
pub use inputs::{Button, Inputs};
use pins::{In, Out, Pins, Wire};
pub use sector::{NotStored, PROVISIONING_BYTES};
use stm32f4xx_hal::pac::{self, SPI1, SPI2, USART1, USART2, USART3, USART6};
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::rcc::Enable;
use stm32f4xx_hal::spi::{self, Spi};
use stm32f4xx_hal::watchdog::IndependentWatchdog;
use supply::Supply;
pub use uart::{Port, Uart};

/// MB85RS2MTA: 256 KiB.
const MEMORY_BYTES: u32 = 256 * 1024;
/// The front end takes 2 MHz at most.
const FRONT_END_HZ: u32 = 1_000_000;
/// The memory takes 40 MHz; the bus gives 5.
const MEMORY_HZ: u32 = 5_000_000;
/// From the front end's reset to its first answer (ADE7953 data sheet, "Power-up procedure").
const FRONT_END_START_MS: u32 = 40;
/// Longer than anything the meter does in one go: erasing a sector of 128 KiB takes up to 4 s (data sheet, 5.3.12).
const WATCHDOG_MS: u32 = 8_000;

/// What the nominal parts make of 2^20 counts: voltage divider 4 x 249 kOhm over 1 kOhm, shunt 200 uOhm in the phase with a
/// gain of 22, current transformer 2500:1 into 2 x 4.99 Ohm in the neutral. How derived:
/// `hardware/design/front-end.md`.
pub const NOMINAL_SCALE: Scale = Scale {
    voltage_mv: 40_923,
    current_ma: 9_329,
    neutral_ma: 10_282,
    power_mw: 6_108_037,
    energy_mws: 143_546_272,
};

/// Which rates the UARTs start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Optical head.
    pub optical: u32,
    /// RS-485 line.
    pub line: u32,
    /// Bench link.
    pub bench: u32,
    /// Modem.
    pub network: u32,
}

/// Keys of the keypad.
pub const LEGEND: [[char; 3]; 4] = [['1', '2', '3'], ['4', '5', '6'], ['7', '8', '9'], ['*', '0', '#']];

/// The display's driver on its pins.
pub type Display = Ht1621<Out, Out, Out, Delay>;
/// The keypad on its pins.
pub type Keys = Keypad<Out, In, 4, 3>;
/// The RS-485 line: its UART and the transceiver's driver enable.
pub type LinePort = Rs485<Uart, Out>;
type FrontEnd = Ade7953<ExclusiveDevice<Spi<SPI1>, Out, Delay>>;
/// The memory on its bus.
pub type Memory = Mb85rs<ExclusiveDevice<Spi<SPI2>, Out, Delay>>;
type Contactor = BistableRelay<Out, Out, In, Delay>;

/// The calendar clock with the processor's milliseconds.
#[derive(Debug)]
pub struct Calendar(KeptClock<SoftI2c<Wire, Wire, Delay>>);

/// The meter's own parts.
pub struct Stm32f405 {
    front_end: FrontEnd,
    relay: Contactor,
    memory: Memory,
    calendar: Calendar,
    inputs: Inputs,
    pulses: PulseOutput<Out>,
    banks: SectorBanks<Flash>,
}

impl core::fmt::Debug for Stm32f405 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stm32f405").finish_non_exhaustive()
    }
}

/// Everything of the board that is not the meter itself.
#[derive(Debug)]
pub struct Around {
    /// Optical head.
    pub optical: Uart,
    /// RS-485 line.
    pub line: LinePort,
    /// Bench link: messages, provisioning.
    pub bench: Uart,
    /// Modem.
    pub network: Uart,
    /// Display; `None` when its pins can't be driven.
    pub display: Option<Display>,
    /// Keypad; `None` as above.
    pub keypad: Option<Keys>,
    /// The customer's button.
    pub button: Button,
    /// What it runs on.
    pub clock_source: ClockSource,
}

/// Sleeps until the next interrupt: a byte, or the tick after at most a millisecond.
pub fn wait() {
    cortex_m::asm::wfi();
}

/// Starts the processor anew.
pub fn restart() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

/// What answers on the board, found out at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The metering front end.
    pub front_end: bool,
    /// The memory.
    pub memory: bool,
    /// The calendar clock, running and set.
    pub calendar: bool,
    /// The random generator.
    pub random: bool,
}

impl Stm32f405 {
    /// Starts clocks, watchdog, UARTs and drivers. Gives the board once; `None` on every later call.
    #[must_use]
    pub fn take(rates: Rates) -> Option<(Self, Around)> {
        let core = cortex_m::Peripherals::take()?;
        let chip = pac::Peripherals::take()?;
        // First of all: whatever hangs from here on ends in a reset.
        let mut watchdog = IndependentWatchdog::new(chip.IWDG);
        watchdog.start(WATCHDOG_MS.millis());
        let reset_cause = reset::cause(&chip.RCC);
        let (mut rcc, clock_source) = clocks::start(chip.RCC);
        let (core_hz, bus_1_hz, bus_2_hz) =
            (rcc.clocks.hclk().raw(), rcc.clocks.pclk1().raw(), rcc.clocks.pclk2().raw());
        tick::start(core.SYST, core_hz);
        let mut delay = Delay::new(core_hz);

        let mut pins =
            Pins::connect(chip.GPIOA.split(&mut rcc), chip.GPIOB.split(&mut rcc), chip.GPIOC.split(&mut rcc));
        USART1::enable(&mut rcc);
        USART2::enable(&mut rcc);
        USART3::enable(&mut rcc);
        USART6::enable(&mut rcc);
        let (sck, miso, mosi) = pins.front_end_spi;
        let front_end_bus =
            Spi::new(chip.SPI1, (Some(sck), Some(miso), Some(mosi)), mode_3(), FRONT_END_HZ.Hz(), &mut rcc);
        let (sck, miso, mosi) = pins.memory_spi;
        let memory_bus =
            Spi::new(chip.SPI2, (Some(sck), Some(miso), Some(mosi)), mode_0(), MEMORY_HZ.Hz(), &mut rcc);
        let front_end = exclusive(front_end_bus, pins.front_end_select, delay);
        let memory = exclusive(memory_bus, pins.memory_select, delay);
        let supply = Supply::start(chip.PWR, chip.EXTI, &mut rcc);
        let random = rcc.clocks.is_pll48clk_valid().then(|| chip.RNG.constrain(&mut rcc));

        pins.front_end_reset.set_high();
        delay.delay_ms(FRONT_END_START_MS);
        let board = Self {
            front_end: Ade7953::new(front_end, NOMINAL_SCALE),
            relay: BistableRelay::new(pins.relay_close, pins.relay_open, pins.relay_sense, delay),
            memory: Mb85rs::new(memory, MEMORY_BYTES, Addressing::Three),
            calendar: Calendar(KeptClock::new(Pcf8563::new(SoftI2c::new(
                pins.clock_scl,
                pins.clock_sda,
                delay,
            )))),
            inputs: Inputs {
                cover: pins.cover,
                magnet: pins.magnet,
                jumper: pins.calibration_jumper,
                random,
                supply,
                reset_cause,
                watchdog,
            },
            pulses: PulseOutput::new(pins.pulse_led),
            banks: SectorBanks::new(Flash::new(chip.FLASH), &STM32F405, boot::handed_over()),
        };
        let line = Uart::start(Port::Line, bus_1_hz, rates.line);
        let around = Around {
            optical: Uart::start(Port::Optical, bus_2_hz, rates.optical),
            line: Rs485::new(line, pins.line_driver_enable),
            bench: Uart::start(Port::Bench, bus_1_hz, rates.bench),
            network: Uart::start(Port::Network, bus_2_hz, rates.network),
            display: Ht1621::start(pins.display_select, pins.display_write, pins.display_data, delay).ok(),
            keypad: Keypad::new(pins.keypad_rows, pins.keypad_columns, LEGEND).ok(),
            button: Button::new(pins.button),
            clock_source,
        };
        Some((board, around))
    }

    /// Keeps the metrology output going; call it every few milliseconds.
    pub fn serve_pulses(&mut self) {
        self.pulses.serve(tick::now_ms());
    }

    /// Asks every part whether it is there.
    pub fn find(&mut self) -> Found {
        Found {
            front_end: self.front_end.probe().is_ok(),
            memory: self.memory.answers().unwrap_or(false),
            calendar: self.calendar.utc_s().is_some(),
            random: self.inputs.has_random(),
        }
    }
}

/// Clock idles high, data are taken at the rising edge.
fn mode_3() -> spi::Mode {
    spi::Mode { polarity: spi::Polarity::IdleHigh, phase: spi::Phase::CaptureOnSecondTransition }
}

/// Clock idles low, data are taken at the rising edge.
fn mode_0() -> spi::Mode {
    spi::Mode { polarity: spi::Polarity::IdleLow, phase: spi::Phase::CaptureOnFirstTransition }
}

fn exclusive<SPI: spi::Instance>(
    bus: Spi<SPI>,
    select: Out,
    delay: Delay,
) -> ExclusiveDevice<Spi<SPI>, Out, Delay> {
    match ExclusiveDevice::new(bus, select, delay) {
        Ok(device) => device,
        Err(never) => match never {},
    }
}

impl Clock for Calendar {
    fn utc_s(&mut self) -> Option<u32> {
        self.0.utc_s(tick::now_ms())
    }

    fn set_utc_s(&mut self, utc_s: u32) {
        // A clock that can't be set goes on as it was; whoever set it reads it back.
        let _ = self.0.set_utc_s(tick::now_ms(), utc_s);
    }

    fn monotonic_ms(&mut self) -> u64 {
        tick::now_ms()
    }
}

impl Board for Stm32f405 {
    type Metering = FrontEnd;
    type Relay = Contactor;
    type Storage = Memory;
    type Clock = Calendar;
    type Health = Inputs;
    type Images = SectorBanks<Flash>;

    fn metering(&mut self) -> &mut FrontEnd {
        &mut self.front_end
    }

    fn relay(&mut self) -> &mut Contactor {
        &mut self.relay
    }

    fn storage(&mut self) -> &mut Memory {
        &mut self.memory
    }

    fn clock(&mut self) -> &mut Calendar {
        &mut self.calendar
    }

    fn health(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    fn pulse(&mut self, count: u32) {
        self.pulses.add(count);
    }

    fn images(&mut self) -> Option<&mut SectorBanks<Flash>> {
        Some(&mut self.banks)
    }
}
