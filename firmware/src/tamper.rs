//! Signs of tampering: cover, magnet, energy that flows backwards, current that comes back through the neutral in part or not
//! at all.

use hardware::board::Sample;
use heapless::Vec;
use protocol::cosem::events::Event;

/// Samples in a row before a sign counts: loads that switch make single samples disagree.
const SAMPLES: u8 = 10;
/// Current below which phase and neutral are not compared, in milliamperes: the front end's offsets are smaller.
const NEUTRAL_FROM_MA: u32 = 500;
/// Phase and neutral differ by more than this share of the phase, in percent.
const NEUTRAL_PERCENT: u64 = 15;

/// A neutral current below this share of the phase's is none, in percent.
const NEUTRAL_GONE_PERCENT: u64 = 5;

/// What is under suspicion now. Not stored: the log has what began and ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tamper {
    cover_open: bool,
    magnet: bool,
    reverse: Lasting,
    neutral: Lasting,
    imbalance: Lasting,
}

/// A condition that has to last.
#[derive(Debug, Clone, Copy, Default)]
struct Lasting {
    samples: u8,
    on: bool,
}

impl Lasting {
    /// True once when the condition has lasted. It ends with the first sample without it.
    fn begins(&mut self, condition: bool) -> bool {
        if !condition {
            *self = Self::default();
            return false;
        }
        self.samples = self.samples.saturating_add(1);
        let begins = !self.on && self.samples >= SAMPLES;
        self.on |= begins;
        begins
    }
}

/// Events of one look: at most one for each sign.
pub type Signs = Vec<(Event, i32), 5>;

impl Tamper {
    /// Whether anything is under suspicion.
    #[must_use]
    pub const fn active(&self) -> bool {
        self.cover_open || self.magnet || self.reverse.on || self.neutral.on || self.imbalance.on
    }

    /// Looks at the inputs and, where there is one, at a sample. `imports_only`: energy that flows out is a sign.
    pub fn look(
        &mut self,
        cover_open: bool,
        magnet: bool,
        sample: Option<&Sample>,
        imports_only: bool,
    ) -> Signs {
        let mut signs = Signs::new();
        let mut sign = |event, detail| {
            // Five places for five signs.
            let _ = signs.push((event, detail));
        };
        if cover_open != self.cover_open {
            self.cover_open = cover_open;
            sign(if cover_open { Event::CoverOpened } else { Event::CoverClosed }, 0);
        }
        if magnet != self.magnet {
            self.magnet = magnet;
            sign(if magnet { Event::MagnetOn } else { Event::MagnetOff }, 0);
        }
        let Some(sample) = sample else { return signs };
        if self.reverse.begins(imports_only && sample.active_power_mw < 0) {
            sign(Event::ReverseEnergy, sample.active_power_mw / 1000);
        }
        let (phase, neutral) = (sample.current_ma, sample.neutral_current_ma);
        let difference = phase.abs_diff(neutral);
        let compared = phase.max(neutral) >= NEUTRAL_FROM_MA;
        let apart = u64::from(difference) * 100 > u64::from(phase.max(neutral)) * NEUTRAL_PERCENT;
        // Nothing comes back through the neutral: it is cut, and the load returns through the earth.
        let missing = compared && u64::from(neutral) * 100 < u64::from(phase) * NEUTRAL_GONE_PERCENT;
        let difference = i32::try_from(difference).unwrap_or(i32::MAX);
        if self.neutral.begins(missing) {
            sign(Event::NeutralMissing, difference);
        }
        if self.imbalance.begins(compared && apart && !missing) {
            sign(Event::CurrentImbalance, difference);
        }
        signs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(current_ma: u32, neutral_current_ma: u32, active_power_mw: i32) -> Sample {
        Sample { current_ma, neutral_current_ma, active_power_mw, ..Sample::default() }
    }

    #[test]
    fn a_bypassed_phase_is_suspected_once_and_a_flicker_is_not() {
        let mut tamper = Tamper::default();
        for _ in 0..9 {
            assert!(tamper.look(false, false, Some(&sample(2_000, 8_000, 0)), false).is_empty());
        }
        assert!(tamper.look(false, false, Some(&sample(8_000, 8_000, 0)), false).is_empty());
        let mut events = std::vec::Vec::new();
        for _ in 0..30 {
            events.extend(tamper.look(false, false, Some(&sample(2_000, 8_000, 0)), false));
        }
        assert_eq!(events, [(Event::CurrentImbalance, 6_000)]);
        assert!(tamper.active());
    }

    #[test]
    fn small_currents_are_not_compared_and_a_generator_is_no_thief() {
        let mut tamper = Tamper::default();
        for _ in 0..30 {
            assert!(tamper.look(false, false, Some(&sample(100, 300, 0)), false).is_empty());
            assert!(tamper.look(false, false, Some(&sample(900, 900, -200_000)), false).is_empty());
        }
        let mut signs = 0;
        for _ in 0..30 {
            signs += tamper.look(false, false, Some(&sample(900, 900, -200_000)), true).len();
        }
        assert_eq!(signs, 1, "but a household that should only consume is");
    }

    #[test]
    fn the_cover_is_told_when_it_opens_and_when_it_closes() {
        let mut tamper = Tamper::default();
        assert_eq!(tamper.look(true, false, None, false).as_slice(), [(Event::CoverOpened, 0)]);
        assert!(tamper.look(true, false, None, false).is_empty());
        assert_eq!(
            tamper.look(false, true, None, false).as_slice(),
            [(Event::CoverClosed, 0), (Event::MagnetOn, 0)]
        );
    }
}
