//! HT1621: driver of a 32 x 4 segment LCD over three wires.
//!
//! Source: Holtek, HT1621 data sheet, "Command format" and "Timing diagrams": a frame begins when CS falls; bits are taken at
//! the rising edge of WR; mode 100 is a command (8 bits, then one that does not matter), mode 101 a write: six bits of
//! address, most significant first, then nibbles, least significant bit first.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;

const MODE_COMMAND: u8 = 0b100;
const MODE_WRITE: u8 = 0b101;

const SYS_EN: u8 = 0x01;
const LCD_ON: u8 = 0x03;
/// Internal RC oscillator.
const RC_256K: u8 = 0x18;
/// 1/3 bias, four commons.
const BIAS_THIRD_FOUR: u8 = 0x29;

/// Half a bit: the data sheet asks for 3.34 us at 3 V.
const HALF_BIT_US: u32 = 4;

/// Addresses of the chip, one nibble each.
pub const ADDRESSES: usize = 32;
/// Digits of the reference meter's glass: two addresses for each.
pub const DIGITS: usize = 12;

/// Segments of a digit on the reference glass: bits 0 to 6 are a to g, bit 7 the point behind it.
#[must_use]
pub const fn segments(character: char) -> Option<u8> {
    Some(match character {
        '0' => 0x3F,
        '1' => 0x06,
        '2' => 0x5B,
        '3' => 0x4F,
        '4' => 0x66,
        '5' => 0x6D,
        '6' => 0x7D,
        '7' => 0x07,
        '8' => 0x7F,
        '9' => 0x6F,
        '-' => 0x40,
        ' ' => 0x00,
        'E' => 0x79,
        'r' => 0x50,
        'o' => 0x5C,
        'P' => 0x73,
        _ => return None,
    })
}

/// The driver on its three wires.
#[derive(Debug)]
pub struct Ht1621<C, W, B, D> {
    select: C,
    write: W,
    data: B,
    delay: D,
}

impl<E, C, W, B, D> Ht1621<C, W, B, D>
where
    C: OutputPin<Error = E>,
    W: OutputPin<Error = E>,
    B: OutputPin<Error = E>,
    D: DelayNs,
{
    /// Switches the display on, all segments dark.
    ///
    /// # Errors
    /// A pin can't be driven.
    pub fn start(select: C, write: W, data: B, delay: D) -> Result<Self, E> {
        let mut display = Self { select, write, data, delay };
        display.select.set_high()?;
        display.write.set_high()?;
        for command in [BIAS_THIRD_FOUR, RC_256K, SYS_EN, LCD_ON] {
            display.command(command)?;
        }
        display.nibbles(&[0; ADDRESSES])?;
        Ok(display)
    }

    /// Shows text from the left; a point belongs to the character before it. What the glass can't show is dark, what is too
    /// long is cut.
    ///
    /// # Errors
    /// A pin can't be driven.
    pub fn show(&mut self, text: &str) -> Result<(), E> {
        let mut digits = [0_u8; DIGITS];
        let mut next = 0;
        for character in text.chars() {
            if character == '.' && next > 0 {
                digits[next - 1] |= 0x80;
                continue;
            }
            let Some(digit) = digits.get_mut(next) else { break };
            *digit = segments(character).unwrap_or(0);
            next += 1;
        }
        let mut nibbles = [0; DIGITS * 2];
        for (pair, digit) in nibbles.chunks_exact_mut(2).zip(digits) {
            pair.copy_from_slice(&[digit & 0x0F, digit >> 4]);
        }
        self.nibbles(&nibbles)
    }

    fn command(&mut self, command: u8) -> Result<(), E> {
        self.frame(|wire| {
            wire.bits_high_first(MODE_COMMAND, 3)?;
            wire.bits_high_first(command, 8)?;
            wire.bit(false)
        })
    }

    /// Writes nibbles from address 0 on.
    fn nibbles(&mut self, nibbles: &[u8]) -> Result<(), E> {
        self.frame(|wire| {
            wire.bits_high_first(MODE_WRITE, 3)?;
            wire.bits_high_first(0, 6)?;
            for nibble in nibbles {
                for bit in 0..4 {
                    wire.bit(nibble >> bit & 1 == 1)?;
                }
            }
            Ok(())
        })
    }

    /// A frame begins with a falling edge, also after one that a failure left unfinished.
    fn frame(&mut self, content: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        self.select.set_high()?;
        self.select.set_low()?;
        content(self)?;
        self.select.set_high()
    }

    fn bits_high_first(&mut self, bits: u8, count: u8) -> Result<(), E> {
        (0..count).rev().try_for_each(|place| self.bit(bits >> place & 1 == 1))
    }

    fn bit(&mut self, bit: bool) -> Result<(), E> {
        self.write.set_low()?;
        self.data.set_state(bit.into())?;
        self.delay.delay_us(HALF_BIT_US);
        self.write.set_high()?;
        self.delay.delay_us(HALF_BIT_US);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use embedded_hal::digital::{ErrorKind, ErrorType};
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use std::rc::Rc;
    use std::string::String;
    use std::vec::Vec;

    /// The chip's end of the wires: takes a bit at each rising edge of WR, ends a frame when CS rises.
    #[derive(Debug, Default)]
    struct Chip {
        select: bool,
        write: bool,
        data: bool,
        bits: String,
        frames: Vec<String>,
        /// Levels that can still be set before one can't.
        whole: Option<usize>,
    }

    enum Wire {
        Select,
        Write,
        Data,
    }

    struct Pin(Wire, Rc<RefCell<Chip>>);

    impl ErrorType for Pin {
        type Error = ErrorKind;
    }

    impl OutputPin for Pin {
        fn set_low(&mut self) -> Result<(), ErrorKind> {
            self.set_state(embedded_hal::digital::PinState::Low)
        }
        fn set_high(&mut self) -> Result<(), ErrorKind> {
            self.set_state(embedded_hal::digital::PinState::High)
        }
        fn set_state(&mut self, state: embedded_hal::digital::PinState) -> Result<(), ErrorKind> {
            let level = state == embedded_hal::digital::PinState::High;
            let mut chip = self.1.borrow_mut();
            match &mut chip.whole {
                Some(0) => {
                    chip.whole = None;
                    return Err(ErrorKind::Other);
                }
                Some(left) => *left -= 1,
                None => {}
            }
            match self.0 {
                Wire::Data => chip.data = level,
                Wire::Select => {
                    if level && !chip.select && !chip.bits.is_empty() {
                        let frame = core::mem::take(&mut chip.bits);
                        chip.frames.push(frame);
                    }
                    chip.select = level;
                }
                Wire::Write => {
                    if level && !chip.write && !chip.select {
                        let bit = if chip.data { '1' } else { '0' };
                        chip.bits.push(bit);
                    }
                    chip.write = level;
                }
            }
            Ok(())
        }
    }

    fn display() -> (Rc<RefCell<Chip>>, Ht1621<Pin, Pin, Pin, NoopDelay>) {
        let chip = Rc::new(RefCell::new(Chip::default()));
        let pin = |wire| Pin(wire, chip.clone());
        let display =
            Ht1621::start(pin(Wire::Select), pin(Wire::Write), pin(Wire::Data), NoopDelay::new()).unwrap();
        (chip, display)
    }

    #[test]
    fn it_starts_with_bias_clock_system_and_display_and_a_dark_glass() {
        let (chip, _) = display();
        let frames = &chip.borrow().frames;
        assert_eq!(frames[..4], ["100001010010", "100000110000", "100000000010", "100000000110"]);
        assert_eq!(frames[4], String::from("101000000") + &"0".repeat(128));
    }

    #[test]
    fn a_digit_is_two_nibbles_lowest_bit_first_and_a_point_lights_its_neighbour() {
        let (chip, mut display) = display();
        display.show("1.5").unwrap();
        let frames = &chip.borrow().frames;
        // 1 and its point: 0x86, nibbles 6 and 8; 5: 0x6D, nibbles D and 6.
        assert!(frames[5].starts_with("101000000"), "{}", frames[5]);
        assert_eq!(frames[5][9..25], *"0110000110110110");
        assert_eq!(frames[5].len(), 9 + 4 * 24);
    }

    #[test]
    fn wherever_a_pin_fails_the_next_text_is_shown_whole() {
        let (chip, mut display) = display();
        display.show("8").unwrap();
        let whole = chip.borrow().frames[5].clone();
        let mut failed = 0;
        for levels in 0.. {
            chip.borrow_mut().whole = Some(levels);
            let Err(error) = display.show("1.5") else { break };
            assert_eq!(error, ErrorKind::Other);
            display.show("8").unwrap();
            assert_eq!(chip.borrow().frames.last(), Some(&whole), "level {levels}");
            failed += 1;
        }
        assert!(failed > 300, "{failed} levels");
    }

    #[test]
    fn text_that_is_too_long_is_cut() {
        let (chip, mut display) = display();
        display.show("12345678901234567890").unwrap();
        assert_eq!(chip.borrow().frames[5].len(), 9 + 4 * 24);
    }
}
