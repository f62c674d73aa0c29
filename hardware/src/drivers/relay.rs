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
    /// Both coils are known to be off.
    idle: bool,
}

impl<C: OutputPin, O: OutputPin, S: InputPin, D: DelayNs> BistableRelay<C, O, S, D> {
    /// A relay that stays where it is. Both coils are switched off first.
    pub fn new(close: C, open: O, sense: S, delay: D) -> Self {
        let mut relay = Self { close, open, sense, delay, idle: false };
        relay.rest();
        relay
    }

    /// Switches both coils off, each whatever becomes of the other.
    fn rest(&mut self) {
        let (close, open) = (self.close.set_low(), self.open.set_low());
        self.idle = close.is_ok() && open.is_ok();
    }
}

impl<C: OutputPin, O: OutputPin, S: InputPin, D: DelayNs> Relay for BistableRelay<C, O, S, D> {
    /// One pulse; never current in both coils at once: none is given while a coil can't be switched off. A pin that can't be
    /// driven shows as a contact that does not move.
    fn drive(&mut self, close: bool) {
        self.rest();
        if !self.idle {
            return;
        }
        let driven = if close { self.close.set_high().is_ok() } else { self.open.set_high().is_ok() };
        if driven {
            self.delay.delay_ms(PULSE_MS);
        }
        self.rest();
    }

    /// Also tries again to switch off a coil that could not be: it is made for a pulse.
    fn sense_closed(&mut self) -> Option<bool> {
        if !self.idle {
            self.rest();
        }
        self.sense.is_high().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::delay::CheckedDelay;
    use embedded_hal_mock::eh1::delay::Transaction as Wait;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::vec;

    const LOW: State = State::Low;
    const HIGH: State = State::High;

    type Bench = BistableRelay<Mock, Mock, Mock, CheckedDelay>;

    /// Plays a story on a relay whose pins see exactly these transactions, and which waits for so many pulses.
    fn story(pins: [&[Transaction]; 3], pulses: usize, story: impl FnOnce(&mut Bench)) {
        let [mut close, mut open, mut sense] = pins.map(Mock::new);
        let mut delay = CheckedDelay::new(&vec![Wait::delay_ms(PULSE_MS); pulses]);
        let mut relay = BistableRelay::new(close.clone(), open.clone(), sense.clone(), delay.clone());
        story(&mut relay);
        for pin in [&mut close, &mut open, &mut sense] {
            pin.done();
        }
        delay.done();
    }

    fn set(level: State) -> Transaction {
        Transaction::set(level)
    }

    /// A level that can't be set, or an input that can't be read.
    fn broken(transaction: Transaction) -> Transaction {
        transaction.with_error(MockError::Io(std::io::ErrorKind::NotConnected))
    }

    #[test]
    fn each_command_is_one_pulse_on_one_coil_while_the_other_is_off() {
        let close = [LOW, LOW, LOW, LOW, HIGH, LOW].map(set);
        let open = [LOW, LOW, HIGH, LOW, LOW, LOW].map(set);
        let sense = [Transaction::get(LOW), Transaction::get(HIGH)];
        story([&close, &open, &sense], 2, |relay| {
            relay.drive(false);
            assert_eq!(relay.sense_closed(), Some(false));
            relay.drive(true);
            assert_eq!(relay.sense_closed(), Some(true));
        });
    }

    #[test]
    fn a_contact_that_cannot_be_asked_is_unknown_and_not_assumed() {
        let coil = [set(LOW)];
        let sense = [broken(Transaction::get(HIGH)), Transaction::get(HIGH)];
        story([&coil, &coil, &sense], 0, |relay| {
            assert_eq!(relay.sense_closed(), None);
            assert_eq!(relay.sense_closed(), Some(true));
        });
    }

    #[test]
    fn no_coil_gets_current_while_the_other_one_cannot_be_switched_off() {
        // The opening coil is stuck on when the command to close comes.
        let close = [set(LOW), set(LOW), set(LOW)];
        let open = [set(LOW), broken(set(LOW)), set(LOW)];
        story([&close, &open, &[Transaction::get(LOW)]], 0, |relay| {
            relay.drive(true);
            assert_eq!(relay.sense_closed(), Some(false), "and it was tried again to switch it off");
        });
    }

    #[test]
    fn a_coil_that_stays_on_after_its_pulse_is_switched_off_when_the_contact_is_asked() {
        let close = [set(LOW), set(LOW), set(HIGH), broken(set(LOW)), set(LOW)];
        let open = [LOW, LOW, LOW, LOW].map(set);
        let sense = [Transaction::get(HIGH), Transaction::get(HIGH)];
        story([&close, &open, &sense], 1, |relay| {
            relay.drive(true);
            assert_eq!(relay.sense_closed(), Some(true));
            assert_eq!(relay.sense_closed(), Some(true), "off for good, nothing more to try");
        });
    }

    #[test]
    fn a_coil_that_cannot_be_driven_gives_no_pulse_and_the_contact_tells() {
        let close = [LOW, LOW, LOW].map(set);
        let open = [set(LOW), set(LOW), broken(set(HIGH)), set(LOW)];
        story([&close, &open, &[Transaction::get(HIGH)]], 0, |relay| {
            relay.drive(false);
            assert_eq!(relay.sense_closed(), Some(true));
        });
    }
}
