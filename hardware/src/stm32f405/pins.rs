//! Every pin of the board, once: what is connected where. `hardware/design/pinout.csv` says the same for people; a test
//! compares the two, by the names of the variables below.

use stm32f4xx_hal::gpio::alt::SpiCommon;
use stm32f4xx_hal::gpio::{AnyPin, Input, OpenDrain, Output, PinState, Pull, gpioa, gpiob, gpioc};
use stm32f4xx_hal::pac::{SPI1, SPI2};

pub(super) type Out = AnyPin<Output>;
pub(super) type Wire = AnyPin<Output<OpenDrain>>;
pub(super) type In = AnyPin<Input>;

/// Pins of an SPI bus: clock, data in, data out.
pub(super) type SpiPins<SPI> = (<SPI as SpiCommon>::Sck, <SPI as SpiCommon>::Miso, <SPI as SpiCommon>::Mosi);

/// The pins, each in its mode. Those of the UARTs are connected and need nothing more.
pub(super) struct Pins {
    pub front_end_spi: SpiPins<SPI1>,
    pub front_end_select: Out,
    pub front_end_reset: Out,
    pub memory_spi: SpiPins<SPI2>,
    pub memory_select: Out,
    pub clock_scl: Wire,
    pub clock_sda: Wire,
    pub relay_close: Out,
    pub relay_open: Out,
    pub relay_sense: In,
    pub line_driver_enable: Out,
    pub display_select: Out,
    pub display_write: Out,
    pub display_data: Out,
    pub keypad_rows: [Out; 4],
    pub keypad_columns: [In; 3],
    pub button: In,
    pub cover: In,
    pub magnet: In,
    pub calibration_jumper: In,
    pub pulse_led: Out,
}

impl Pins {
    pub(super) fn connect(gpioa: gpioa::Parts, gpiob: gpiob::Parts, gpioc: gpioc::Parts) -> Self {
        let front_end_select = gpioa.pa4.into_push_pull_output_in_state(PinState::High);
        let front_end_sck = gpioa.pa5;
        let front_end_miso = gpioa.pa6;
        let front_end_mosi = gpioa.pa7;
        let front_end_reset = gpioa.pa8.into_push_pull_output_in_state(PinState::Low);
        let memory_select = gpiob.pb12.into_push_pull_output_in_state(PinState::High);
        let memory_sck = gpiob.pb13;
        let memory_miso = gpiob.pb14;
        let memory_mosi = gpiob.pb15;
        let clock_scl = gpiob.pb8.into_open_drain_output_in_state(PinState::High);
        let clock_sda = gpiob.pb9.into_open_drain_output_in_state(PinState::High);
        let relay_close = gpiob.pb0.into_push_pull_output_in_state(PinState::Low);
        let relay_open = gpiob.pb1.into_push_pull_output_in_state(PinState::Low);
        let relay_sense = gpiob.pb5.into_floating_input();
        let _optical_tx = gpioa.pa9.into_alternate::<7>();
        let _optical_rx = gpioa.pa10.into_alternate::<7>();
        let line_driver_enable = gpioa.pa1.into_push_pull_output_in_state(PinState::Low);
        let _line_tx = gpioa.pa2.into_alternate::<7>();
        let _line_rx = gpioa.pa3.into_alternate::<7>();
        let _bench_tx = gpiob.pb10.into_alternate::<7>();
        let _bench_rx = gpiob.pb11.into_alternate::<7>().internal_resistor(Pull::Up);
        let _network_tx = gpioc.pc6.into_alternate::<8>();
        let _network_rx = gpioc.pc7.into_alternate::<8>().internal_resistor(Pull::Up);
        let display_select = gpiob.pb6.into_push_pull_output_in_state(PinState::High);
        let display_write = gpiob.pb7.into_push_pull_output_in_state(PinState::High);
        let display_data = gpioc.pc9.into_push_pull_output();
        let keypad_row_1 = gpioc.pc0.into_push_pull_output_in_state(PinState::High);
        let keypad_row_2 = gpioc.pc1.into_push_pull_output_in_state(PinState::High);
        let keypad_row_3 = gpioc.pc2.into_push_pull_output_in_state(PinState::High);
        let keypad_row_4 = gpioc.pc3.into_push_pull_output_in_state(PinState::High);
        let keypad_column_1 = gpioc.pc4.into_pull_up_input();
        let keypad_column_2 = gpioc.pc5.into_pull_up_input();
        let keypad_column_3 = gpioc.pc8.into_pull_up_input();
        let button = gpioa.pa0.into_pull_up_input();
        let cover = gpioa.pa11.into_pull_up_input();
        let magnet = gpioa.pa12.into_pull_up_input();
        let calibration_jumper = gpioc.pc13.into_pull_up_input();
        let pulse_led = gpioc.pc10.into_push_pull_output();
        Self {
            front_end_spi: (front_end_sck.into(), front_end_miso.into(), front_end_mosi.into()),
            front_end_select: front_end_select.erase(),
            front_end_reset: front_end_reset.erase(),
            memory_spi: (memory_sck.into(), memory_miso.into(), memory_mosi.into()),
            memory_select: memory_select.erase(),
            clock_scl: clock_scl.erase(),
            clock_sda: clock_sda.erase(),
            relay_close: relay_close.erase(),
            relay_open: relay_open.erase(),
            relay_sense: relay_sense.erase(),
            line_driver_enable: line_driver_enable.erase(),
            display_select: display_select.erase(),
            display_write: display_write.erase(),
            display_data: display_data.erase(),
            keypad_rows: [
                keypad_row_1.erase(),
                keypad_row_2.erase(),
                keypad_row_3.erase(),
                keypad_row_4.erase(),
            ],
            keypad_columns: [keypad_column_1.erase(), keypad_column_2.erase(), keypad_column_3.erase()],
            button: button.erase(),
            cover: cover.erase(),
            magnet: magnet.erase(),
            calibration_jumper: calibration_jumper.erase(),
            pulse_led: pulse_led.erase(),
        }
    }
}
