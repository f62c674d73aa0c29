//! Everything of a street that time passes for: its meters, the feeder, what is planned, and where it is saved.

use crate::board::StreetLoad;
use crate::clock::SimClock;
use crate::fault_entry::{FaultEntry, Meant};
use crate::faults::Fault;
use crate::identity::{self, StreetKeys};
use crate::meter::SimMeter;
use crate::plan::{Plan, Step, meters_of};
use crate::state::{Lasting, Mark, StateFile};
use anyhow::Context;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

mod start;

pub(crate) use start::start;

/// What lasts is saved with every so many ticks.
const SAVE_EVERY: u32 = 50;

/// A street's meters and their time.
#[derive(Debug)]
pub struct Scene {
    pub(crate) clock: SimClock,
    pub(crate) meters: Arc<[Arc<SimMeter>]>,
    pub(crate) feeder: Arc<SimMeter>,
    pub(crate) load: Arc<StreetLoad>,
    pub(crate) keys: StreetKeys,
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    /// Faults asked for so far: each draws its share anew.
    pub(crate) asked: AtomicU64,
    pub(crate) state: Option<(StateFile, Mark)>,
    pub(crate) ticks: AtomicU32,
}

impl Scene {
    /// Meter `index`, from 1.
    #[must_use]
    pub fn meter(&self, index: u32) -> Option<&Arc<SimMeter>> {
        self.meters.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.meters.len()).unwrap_or(u32::MAX)
    }

    /// Carries every meter's time forward to now, the feeder's last: it measures what the others took. What is planned until
    /// now happens first.
    pub fn tick(&self) {
        let elapsed_ms = self.clock.elapsed_ms();
        for (index, step) in self.plan.take_due(elapsed_ms) {
            let Some(meter) = self.meter(index) else { continue };
            match step {
                Step::Begin(meant) => self.begin(index, meant),
                Step::End(name) => {
                    meter.end(name);
                }
            }
        }
        let power_w = self.meters.iter().map(|meter| meter.tick()).sum();
        self.load.power_w.store(power_w, Ordering::Relaxed);
        self.feeder.tick();
        let Some((file, mark)) = &self.state else { return };
        file.save_mark(Mark { elapsed_ms, ..mark.clone() });
        if self.ticks.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAVE_EVERY) {
            self.save();
        }
    }

    /// Saves what lasts of every meter, where the street is saved at all.
    pub fn save(&self) {
        let Some((file, _)) = &self.state else { return };
        for (slot, meter) in (0..).zip(self.meters.iter().chain([&self.feeder])) {
            let (body, condition) = meter.lasting();
            file.save_meter(slot, Lasting { body, condition });
        }
    }

    /// Begins a fault at a meter; nothing happens where there is none.
    pub fn begin(&self, index: u32, meant: Meant) {
        let Some(meter) = self.meter(index) else { return };
        let fault = match meant {
            Meant::Fault(fault) => fault,
            Meant::Exchange => match meter
                .personalisation()
                .context("the meter does not start any more")
                .and_then(|old| identity::exchanged(index, &old, &self.keys))
            {
                Ok(other) => Fault::Exchanged(Box::new(other)),
                Err(error) => {
                    tracing::error!(index, error = format!("{error:#}"), "a meter was not exchanged");
                    return;
                }
            },
        };
        meter.inject(fault);
        if let Some((file, _)) = &self.state {
            let (body, condition) = meter.lasting();
            file.save_meter(index - 1, Lasting { body, condition });
        }
    }

    /// Plans what an entry asks for, counted from `from_ms` after the origin, and begins at once what is due. Gives how many
    /// meters it is about.
    ///
    /// # Errors
    /// What is wrong with the entry, and what is allowed.
    pub fn ask(&self, entry: &FaultEntry, from_ms: u64) -> Result<usize, String> {
        let meant = entry.meaning()?;
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let meters = meters_of(entry, self.count(), self.seed, number)?;
        self.plan.add(from_ms, &meters, entry, &meant);
        Ok(meters.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_entry::FaultName;
    use crate::street::{Street, StreetConfig};
    use crate::units::Span;

    #[tokio::test]
    async fn a_share_of_the_meters_falls_silent_for_five_minutes() {
        let clock = SimClock::held_at(1_767_636_000);
        let config = StreetConfig { modbus_meters: 20, clock, past_rows: 0, ..StreetConfig::default() };
        let street = Street::start(config).await.unwrap();
        let silent = || (1..=20).filter(|index| !street.meter(*index).unwrap().hears()).count();
        let ms = |minutes: u64| Some(Span { ms: minutes * 60_000 });
        let share = crate::units::Share::parse("10%");
        let entry = FaultEntry { at: ms(10), lasts_for: ms(5), share, ..FaultEntry::new(FaultName::Silence) };
        assert_eq!(street.ask(&entry), Ok(2));
        let after = [9, 2, 3, 2].map(|minutes| {
            street.advance(minutes * 60_000, 30_000);
            silent()
        });
        assert_eq!(after, [0, 2, 2, 0]);
        let wrong = FaultEntry { meters: Some(vec![21]), share: None, ..entry };
        assert_eq!(street.ask(&wrong), Err("there is no meter 21: the street has meters 1 to 20".into()));
    }
}
