//! How a street's meters come to life: fresh from the factory with a past, or from the state that was saved.

use super::Scene;
use crate::banks::Banks;
use crate::board::{Flow, StreetLoad, VirtualBoard};
use crate::identity::{self, FEEDER, PROFILE_PERIOD_S, modbus_personalisation, personalisation};
use crate::load::Household;
use crate::meter::SimMeter;
use crate::nvm::Nvm;
use crate::plan::Plan;
use crate::random::hash;
use crate::roll::{Entry, Model};
use crate::state::{Mark, StateFile};
use crate::street::{StreetConfig, TICK};
use anyhow::Context;
use firmware::Personalisation;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Starts every meter of the roll. A street that is resumed goes on with the time it had reached, or with the present of the
/// configuration's clock where that is later.
///
/// # Errors
/// A state of another street, or a meter that does not start.
pub(crate) fn start(config: &mut StreetConfig, roll: &[Entry]) -> anyhow::Result<Scene> {
    let capacity = firmware::Layout::bytes_for(config.profile_rows);
    let meters = config.all_meters();
    let file = config.state.as_deref().map(|path| StateFile::open(path, meters + 1, capacity)).transpose()?;
    let resumed = match &file {
        Some(file) => file.mark_for(meters, config.seed, config.profile_rows)?,
        None => None,
    };
    config.clock = match &resumed {
        None => {
            let past_ms = u64::from(config.past_rows) * u64::from(PROFILE_PERIOD_S) * 1000;
            config.clock.clone().with_past(past_ms)
        }
        Some(mark) => {
            // What was written after the last mark is not of the future.
            let margin_ms = if config.clock.is_held() {
                0
            } else {
                2 * u64::try_from(TICK.as_millis()).unwrap_or(0) * u64::from(config.clock.speed())
            };
            let present_ms = config.clock.utc_ms().saturating_sub(mark.origin_utc_ms);
            let elapsed_ms = present_ms.max(mark.elapsed_ms + margin_ms);
            config.clock.clone().resuming(mark.origin_utc_ms, elapsed_ms)
        }
    };
    let factory = Factory { config, load: Arc::default(), file: file.as_ref() };
    let household_meters = factory.start_all(roll)?;
    let feeder = Arc::new(factory.feeder(meters)?);
    let load = factory.load;
    let fresh = Mark {
        origin_utc_ms: config.clock.origin_utc_ms(),
        elapsed_ms: config.clock.elapsed_ms(),
        started_ms: config.clock.past_ms(),
        meters,
        seed: config.seed,
        profile_rows: config.profile_rows,
        capacity,
    };
    let scene = Scene {
        clock: config.clock.clone(),
        meters: household_meters,
        feeder,
        load,
        keys: config.keys.clone(),
        seed: config.seed,
        plan: Plan::default(),
        asked: AtomicU64::new(0),
        state: file.map(|file| (file, resumed.clone().unwrap_or_else(|| fresh.clone()))),
        ticks: AtomicU32::new(0),
    };
    let started_ms = resumed.as_ref().map_or(fresh.started_ms, |mark| mark.started_ms);
    for entry in &config.faults {
        scene.ask(entry, started_ms).map_err(anyhow::Error::msg)?;
    }
    if let Some(mark) = resumed {
        // What was due by then has happened, and what lasts of it was saved.
        scene.plan.take_due(mark.elapsed_ms);
    }
    Ok(scene)
}

struct Factory<'a> {
    config: &'a StreetConfig,
    load: Arc<StreetLoad>,
    file: Option<&'a StateFile>,
}

impl Factory<'_> {
    /// Starts the meters of the roll, on all processors: each lives through its past on its own.
    fn start_all(&self, roll: &[Entry]) -> anyhow::Result<Arc<[Arc<SimMeter>]>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = roll.len().div_ceil(threads).max(1);
        let start_share = |entries: &[Entry]| -> anyhow::Result<Vec<Arc<SimMeter>>> {
            entries.iter().map(|entry| self.household(entry).map(Arc::new)).collect()
        };
        let shares: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> =
                roll.chunks(share).map(|entries| scope.spawn(|| start_share(entries))).collect();
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let mut meters = Vec::with_capacity(roll.len());
        for share in shares {
            meters.extend(share.map_err(|_| anyhow::anyhow!("a thread that started meters panicked"))??);
        }
        Ok(meters.into())
    }

    /// A household's meter as the roll has it.
    fn household(&self, entry: &Entry) -> anyhow::Result<SimMeter> {
        let config = self.config;
        let who = match entry.model {
            Model::Dlms => {
                let mut who = personalisation(entry.index, &config.keys)?;
                config.setup.apply(&mut who);
                who
            }
            Model::Modbus => modbus_personalisation(entry.index, &config.keys, true)?,
        };
        let flow = Flow::Household(Household::in_street(config.seed, entry.index, &config.mix));
        self.meter(entry.index, entry.index - 1, who, flow, entry.balance_wh.unwrap_or(0))
    }

    /// The feeder's check meter: it measures what the others do, and what is lost on the way.
    fn feeder(&self, slot: u32) -> anyhow::Result<SimMeter> {
        let who = modbus_personalisation(FEEDER, &self.config.keys, false)?;
        let flow = Flow::Feeder { loss_permille: self.config.loss_permille, measured_mws: 0 };
        self.meter(FEEDER, slot, who, flow, 0)
    }

    fn meter(
        &self,
        index: u32,
        slot: u32,
        who: Personalisation,
        flow: Flow,
        credit_wh: i64,
    ) -> anyhow::Result<SimMeter> {
        let config = self.config;
        let named = || format!("meter {index}");
        let (nvm, lasting) = match self.file {
            Some(file) => file.meter(slot).map_err(|error| anyhow::anyhow!("{}: {error:?}", named()))?,
            None => (Nvm::blank(firmware::Layout::bytes_for(config.profile_rows)), None),
        };
        let seed = hash(config.seed, 0x5245_4144 ^ u64::from(index) << 32);
        let clock = config.clock.clone();
        let mut board = VirtualBoard::new(clock.clone(), flow, nvm, seed, Arc::clone(&self.load));
        if let Some(directory) = &self.config.state {
            let banks = Banks::kept_as(directory.join(format!("meter-{index}-bank-")));
            board =
                board.with_banks(banks.map_err(|error| anyhow::anyhow!("{}: images: {error:?}", named()))?);
        }
        let Some(lasting) = lasting else {
            return SimMeter::start(index, clock, board, who, credit_wh).with_context(named);
        };
        let who =
            if lasting.condition.exchanged { identity::exchanged(index, &who, &config.keys)? } else { who };
        SimMeter::resume(index, clock, board, who, lasting.body, lasting.condition).with_context(named)
    }
}
