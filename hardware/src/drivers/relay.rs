//! A bistable (latching) relay with two coils and a sensed contact.

use crate::board::Relay;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin};

/// A pulse of this length moves the contact of the usual 80 A and 100 A metering relays, which ask for 50 ms at least.
pub const PULSE_MS: u32 = 100;

/// Two coil drivers (high: current flows) and a sense input (high: the contact is closed).
#[derive(Debug)]
pub struct BistableRelay<C, O, S, D> {
    close: C,
    open: O,
    sense: S,
    delay: D,
}

impl<C: OutputPin, O: OutputPin, S: InputPin, D: DelayNs> BistableRelay<C, O, S, D> {
    /// A relay that stays where it is. Both coils are switched off first.
    pub fn new(mut close: C, mut open: O, sense: S, delay: D) -> Self {
        // A pin that can't be driven shows as a contact that does not move.
        let _ = close.set_low();
        let _ = open.set_low();
        Self { close, open, sense, delay }
    }
}

impl<C: OutputPin, O: OutputPin, S: InputPin, D: DelayNs> Relay for BistableRelay<C, O, S, D> {
    /// One pulse; never current in both coils at once.
    fn drive(&mut self, close: bool) {
        if close {
            let _ = self.open.set_low();
            let _ = self.close.set_high();
            self.delay.delay_ms(PULSE_MS);
            let _ = self.close.set_low();
        } else {
            let _ = self.close.set_low();
            let _ = self.open.set_high();
            self.delay.delay_ms(PULSE_MS);
            let _ = self.open.set_low();
        }
    }

    /// A sense input that can't be read counts as closed: what may be live is treated as live.
    fn sense_closed(&mut self) -> bool {
        self.sense.is_high().unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::delay::CheckedDelay;
    use embedded_hal_mock::eh1::delay::Transaction as Wait;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    const LOW: State = State::Low;
    const HIGH: State = State::High;

    #[test]
    fn each_command_is_one_pulse_on_one_coil_while_the_other_is_off() {
        let mut close = Mock::new(&[LOW, LOW, HIGH, LOW].map(Transaction::set));
        let mut open = Mock::new(&[LOW, HIGH, LOW, LOW].map(Transaction::set));
        let mut sense = Mock::new(&[Transaction::get(LOW), Transaction::get(HIGH)]);
        let mut delay = CheckedDelay::new(&[Wait::delay_ms(PULSE_MS), Wait::delay_ms(PULSE_MS)]);
        let mut relay = BistableRelay::new(close.clone(), open.clone(), sense.clone(), delay.clone());
        relay.drive(false);
        assert!(!relay.sense_closed());
        relay.drive(true);
        assert!(relay.sense_closed());
        for pin in [&mut close, &mut open, &mut sense] {
            pin.done();
        }
        delay.done();
    }
}
