//! The metrology output: a LED or an optocoupler that gives one pulse for each due unit of energy.
//!
//! Source: IEC 62053-31 (pulse output devices): on and off for at least 30 ms each.

use embedded_hal::digital::OutputPin;

/// Length of a pulse, and of the pause after it at least.
pub const HALF_MS: u64 = 30;
/// Pulses that may wait; a burst beyond is cut, for it can only come from an error.
pub const WAITING_MAX: u32 = 10_000;

/// An output that is high for a pulse.
#[derive(Debug)]
pub struct PulseOutput<P> {
    pin: P,
    waiting: u32,
    on: bool,
    changed_ms: u64,
}

impl<P: OutputPin> PulseOutput<P> {
    /// A dark output.
    pub fn new(mut pin: P) -> Self {
        // An output that can't be driven gives no pulses; the register counts all the same.
        let _ = pin.set_low();
        Self { pin, waiting: 0, on: false, changed_ms: 0 }
    }

    /// So many pulses more are due.
    pub fn add(&mut self, count: u32) {
        self.waiting = self.waiting.saturating_add(count).min(WAITING_MAX);
    }

    /// Begins or ends a pulse when it is time; call it every few milliseconds with the processor's own time.
    pub fn serve(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.changed_ms) < HALF_MS {
            return;
        }
        let changed = match (self.on, self.waiting) {
            (true, _) => self.pin.set_low(),
            (false, 0) => return,
            (false, _) => self.pin.set_high(),
        };
        // What can't be driven now is tried again with the next call: a pulse that nobody saw is none.
        if changed.is_err() {
            return;
        }
        self.waiting -= u32::from(!self.on);
        self.on = !self.on;
        self.changed_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::vec::Vec;

    #[test]
    fn each_pulse_is_on_and_off_for_long_enough_and_none_is_lost() {
        let levels = [State::Low, State::High, State::Low, State::High, State::Low, State::High, State::Low];
        let mut pin = Mock::new(&levels.map(Transaction::set));
        let mut output = PulseOutput::new(pin.clone());
        output.serve(1_000);
        output.add(2);
        let mut changes = Vec::new();
        for ms in 1_000..1_300 {
            let was = output.on;
            output.serve(ms);
            if output.on != was {
                changes.push(ms);
            }
            if ms == 1_010 {
                output.add(1);
            }
        }
        assert_eq!(changes, [1_000, 1_030, 1_060, 1_090, 1_120, 1_150]);
        pin.done();
    }

    #[test]
    fn a_pulse_that_could_not_be_given_waits_and_one_that_could_not_be_ended_goes_on() {
        let broken =
            |level| Transaction::set(level).with_error(MockError::Io(std::io::ErrorKind::NotConnected));
        let (low, high) = (Transaction::set(State::Low), Transaction::set(State::High));
        let mut pin = Mock::new(&[low.clone(), broken(State::High), high, broken(State::Low), low]);
        let mut output = PulseOutput::new(pin.clone());
        output.add(1);
        output.serve(1_000);
        assert_eq!((output.on, output.waiting), (false, 1));
        output.serve(1_001);
        assert_eq!((output.on, output.waiting), (true, 0));
        output.serve(1_031);
        assert!(output.on);
        output.serve(1_032);
        assert!(!output.on);
        pin.done();
    }

    #[test]
    fn a_burst_without_end_is_cut() {
        let mut pin = Mock::new(&[Transaction::set(State::Low)]);
        let mut output = PulseOutput::new(pin.clone());
        output.add(u32::MAX);
        output.add(u32::MAX);
        assert_eq!(output.waiting, WAITING_MAX);
        pin.done();
    }
}
