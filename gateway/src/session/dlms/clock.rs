//! Correcting a meter's clock.

use super::items::Item;
use super::meter::Meter;
use crate::session::clock_check::{ClockTerms, Correction, decide};
use crate::session::trouble::Trouble;
use crate::session::work::{ClockStep, Ending};
use protocol::cosem::clock;

impl Meter<'_> {
    /// Looks how far the clock is off now, corrects it on these terms, and reads it back.
    pub(super) async fn correct_clock(&mut self, terms: &ClockTerms) -> Result<Ending, Trouble> {
        self.ask(&[Item::Clock]).await?;
        let Some(offset_s) = self.attempt.facts.clock_offset_s else {
            self.set_clock().await?;
            self.attempt.facts.clock = Some(ClockStep { before_s: None, shifted: false, crosses: true });
            return Ok(Ending::Done);
        };
        let (now, zone) = (self.attempt.now(), &self.model.clock.zone);
        match decide(offset_s, now, self.model.shortest_period_s(), zone, terms) {
            Correction::Keep => {}
            Correction::Wait(until) => self.attempt.note(format!("the clock is corrected after {until}")),
            Correction::Leave => self.attempt.note("the clock is too far off to be corrected"),
            Correction::Shift { seconds, crosses } => {
                let shifted = self.shift_clock(seconds).await?;
                self.step_taken(offset_s, shifted, crosses);
            }
            Correction::Set { crosses } => {
                self.set_clock().await?;
                self.step_taken(offset_s, false, crosses);
            }
        }
        Ok(Ending::Done)
    }

    /// Shifts the clock, or sets it where the meter refuses to shift; whether it was shifted.
    async fn shift_clock(&mut self, seconds: i16) -> Result<bool, Trouble> {
        let name = self.model.objects.clock;
        let [high, low] = seconds.to_be_bytes();
        // A long, in A-XDR.
        match self.act(clock::SHIFT_TIME.of(name), &[0x10, high, low], "shifting the clock").await {
            Ok(()) => {
                self.attempt.note(format!("ACTION {name} clock shifted by {seconds:+} s"));
                self.ask(&[Item::Clock]).await?;
                Ok(true)
            }
            Err(Trouble::Refused { reason, .. }) => {
                self.attempt.note(reason);
                self.set_clock().await?;
                Ok(false)
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn step_taken(&mut self, before_s: i64, shifted: bool, crosses: bool) {
        self.attempt.facts.clock = Some(ClockStep { before_s: Some(before_s), shifted, crosses });
    }
}
