//! The collector: a task that has the profiles of every commissioned meter read when their rows are due, keeps what came, and
//! asks again for what did not.

use super::gaps::{self, Asked, Gap, Ledger, Terms};
use super::plan::{self, Ask, Standing};
use super::slots::Slots;
use crate::clock::Clock;
use crate::commands::engine::Policy;
use crate::commands::observe;
use crate::commands::router::{NoPlace, Place, Router};
use crate::commands::schedule;
use crate::commands::visits::Visits;
use crate::config::{Live, ScheduleConfig};
use crate::session::model::{Cadence, Model, Models, ProfileModel, Purpose};
use crate::session::work::{Ending, Job, ProfileRows, Report, RowsWanted, Serial, Work};
use crate::session::{self, Arrival};
use crate::store::meter::{self, Meter, MeterState, Role};
use crate::store::profile::{self, Judging, Series};
use crate::store::{Connection, Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// How often the agenda is looked at, in real time. A demo's fast clock passes several seconds in one.
const TICK: Duration = Duration::from_millis(100);
/// A read whose line is full waits this long, in civil time.
const FULL_PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// The store refused; the rows are read again after this time.
const STORE_PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// The collector; [`Collector::run`] is its task.
#[derive(Debug)]
pub struct Collector {
    store: Store,
    clock: Clock,
    router: Router,
    models: Models,
    config: Live<ScheduleConfig>,
    policy: Live<Policy>,
    profiles: Vec<Profile>,
    /// Which of them are a meter's.
    known: HashMap<Serial, Range<usize>>,
    agenda: BTreeSet<(Timestamp, usize)>,
    /// How many reads are under way of each meter, by the place of its first profile.
    under_way: HashMap<usize, usize>,
}

/// One profile of one meter.
#[derive(Debug, Clone)]
struct Profile {
    series: Series,
    model: Arc<ProfileModel>,
    slots: Slots,
    offset: SignedDuration,
    gaps: Vec<Gap>,
    /// Its time in the agenda; none while it is read.
    due: Option<Timestamp>,
}

/// How an attempt ended.
struct Ended {
    meter: Serial,
    at: usize,
    /// Nothing when the store refused it.
    after: Option<(Series, Vec<Gap>)>,
}

impl Collector {
    /// Over these.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        router: Router,
        models: Models,
        config: Live<ScheduleConfig>,
        policy: Live<Policy>,
    ) -> Self {
        let (profiles, known, agenda, under_way) = Default::default();
        Self { store, clock, router, models, config, policy, profiles, known, agenda, under_way }
    }

    /// Runs until `stop` becomes true. Meters commissioned from now on come through `commissioned`, and those that dial in through
    /// `arrivals`: what is missing of one is asked for when it comes. `visits` is shared with the reader: what is due of a meter is
    /// asked for in one association, whoever is first.
    ///
    /// # Errors
    /// Store failures.
    pub async fn run(
        mut self,
        mut commissioned: mpsc::UnboundedReceiver<Serial>,
        mut visits: Visits,
        mut arrivals: broadcast::Receiver<Arrival>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        let (tell, mut ended) = mpsc::unbounded_channel();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !*stop.borrow() {
            self.start_what_is_due(&visits, &tell);
            tokio::select! {
                _ = tick.tick() => {}
                Some(serial) = commissioned.recv() => self.add(&serial).await?,
                serial = visits.heard() => self.start_all_of(self.of(&serial), self.clock.now(), &tell),
                Some(end) = ended.recv() => self.take(end),
                arrival = session::arrival(&mut arrivals) => self.came(&arrival.serial),
                _ = stop.changed() => {}
            }
        }
        Ok(())
    }

    /// Takes on what the store knows about the commissioned ones of these meters, which are all there are: before [`Collector::run`], and before anybody tells of visits.
    ///
    /// # Errors
    /// Store failures.
    pub async fn load(&mut self, meters: &[(Meter, MeterState)]) -> Result<(), StoreError> {
        let mut known: HashMap<(Serial, String), Series> = self
            .store
            .all_series()
            .await?
            .into_iter()
            .map(|series| ((series.serial.clone(), series.profile.clone()), series))
            .collect();
        let mut gaps: HashMap<i64, Vec<Gap>> = HashMap::new();
        for (series, gap) in self.store.open_gaps().await? {
            gaps.entry(series).or_default().push(gap);
        }
        for (meter, state) in meters {
            let Some(since) = state.commissioned_at else { continue };
            let first = self.profiles.len();
            for (model, slots) in self.profiles_of(&meter.model) {
                let key = (meter.serial.clone(), model.name.clone());
                let series = match known.remove(&key) {
                    Some(series) => series,
                    None => self.begin(&meter.serial, &model, &slots, since).await?,
                };
                let gaps = gaps.remove(&series.id).unwrap_or_default();
                self.put(series, model, slots, gaps);
            }
            self.known.insert(meter.serial.clone(), first..self.profiles.len());
        }
        Ok(())
    }

    /// A meter that was commissioned just now. One that is known already stays as it is.
    async fn add(&mut self, serial: &Serial) -> Result<(), StoreError> {
        if self.known.contains_key(serial) {
            return Ok(());
        }
        let Some((meter, _)) = self.store.meter(&serial.0).await? else { return Ok(()) };
        let (now, first) = (self.clock.now(), self.profiles.len());
        for (model, slots) in self.profiles_of(&meter.model) {
            let series = self.begin(serial, &model, &slots, now).await?;
            self.put(series, model, slots, Vec::new());
        }
        self.known.insert(serial.clone(), first..self.profiles.len());
        Ok(())
    }

    /// What a meter records is due from when it was commissioned.
    async fn begin(
        &self,
        serial: &Serial,
        model: &ProfileModel,
        slots: &Slots,
        since: Timestamp,
    ) -> Result<Series, StoreError> {
        let (serial, name, from) = (serial.clone(), model.name.clone(), slots.last(since));
        self.store
            .write(move |conn| Box::pin(async move { profile::series(conn, &serial, &name, from).await }))
            .await
    }

    fn profiles_of(&self, model: &str) -> Vec<(Arc<ProfileModel>, Slots)> {
        match self.models.find(model).as_deref() {
            Some(Model::Dlms(dlms)) => {
                let slots = |cadence| Slots { cadence, zone: dlms.clock.zone.clone() };
                dlms.profiles.iter().map(|profile| (profile.clone(), slots(profile.cadence))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes a profile on; those of a meter come one after the other.
    fn put(&mut self, series: Series, model: Arc<ProfileModel>, slots: Slots, gaps: Vec<Gap>) {
        let offset = schedule::offset(&series.serial, self.config.now().profile_spread);
        self.profiles.push(Profile { series, model, slots, offset, gaps, due: None });
        self.plan(self.profiles.len() - 1);
    }

    /// Puts a profile at its place in the agenda.
    fn plan(&mut self, at: usize) {
        let Some(profile) = self.profiles.get(at) else { return };
        let due = plan::due_at(
            &profile.standing(),
            &profile.slots,
            profile.model.purpose,
            &self.policy.now().window,
            profile.offset,
        );
        self.plan_at(at, due);
    }

    fn plan_at(&mut self, at: usize, due: Timestamp) {
        let Some(profile) = self.profiles.get_mut(at) else { return };
        profile.due = Some(due);
        self.agenda.insert((due, at));
    }

    /// The places of all profiles of a meter.
    fn of(&self, serial: &Serial) -> Range<usize> {
        self.known.get(serial).cloned().unwrap_or_default()
    }

    /// Starts the oldest that are due, meter by meter.
    fn start_what_is_due(&mut self, visits: &Visits, tell: &mpsc::UnboundedSender<Ended>) {
        let now = self.clock.now();
        while self.under_way.len() < self.config.now().reads_in_flight_max {
            let Some((_, first)) = self.agenda.first().copied().filter(|(due, _)| *due <= now) else {
                return;
            };
            let serial = &self.profiles[first].series.serial;
            visits.tell(serial);
            self.start_all_of(self.of(serial), now, tell);
        }
    }

    /// Starts what is due of a meter: all of it, so that one association does for it.
    fn start_all_of(&mut self, meter: Range<usize>, now: Timestamp, tell: &mpsc::UnboundedSender<Ended>) {
        for at in meter.clone() {
            if let Some(due) = self.profiles[at].due.filter(|due| *due <= now) {
                self.agenda.remove(&(due, at));
                self.profiles[at].due = None;
                self.start(at, meter.start, now, tell);
            }
        }
    }

    /// Starts one that is due, or puts it off.
    fn start(&mut self, at: usize, meter: usize, now: Timestamp, tell: &mpsc::UnboundedSender<Ended>) {
        let (profile, config) = (&self.profiles[at], *self.config.now());
        match self.router.reserve(&profile.series.serial) {
            Ok(place) => match profile.ask(&config, now) {
                Some(ask) => {
                    let (profile, policy) = (profile.clone(), self.policy.now());
                    start(&self.store, &config, policy, self.clock, at, profile, ask, place, tell.clone());
                    *self.under_way.entry(meter).or_default() += 1;
                }
                // Due, but nothing to ask for: not looked at again in the same moment.
                None => self.plan_later(at, now, FULL_PAUSE),
            },
            Err(NoPlace::Full) => self.plan_later(at, now, FULL_PAUSE),
            Err(NoPlace::Nobody(reason)) => {
                tracing::warn!(meter = profile.series.serial.0, reason, "its profiles cannot be read");
                self.plan_later(at, now, STORE_PAUSE);
            }
        }
    }

    /// A meter has come: what is missing of it is asked for now.
    fn came(&mut self, serial: &Serial) {
        let now = self.clock.now();
        for at in self.of(serial) {
            for gap in &mut self.profiles[at].gaps {
                gap.next_at = gap.next_at.min(now);
            }
            // One that is under way is not in the agenda; it is planned when it ends.
            if let Some(due) = self.profiles[at].due {
                self.agenda.remove(&(due, at));
                self.plan(at);
            }
        }
    }

    fn plan_later(&mut self, at: usize, now: Timestamp, pause: SignedDuration) {
        self.plan_at(at, now.saturating_add(pause).unwrap_or(Timestamp::MAX));
    }

    fn take(&mut self, end: Ended) {
        let meter = self.of(&end.meter).start;
        if let Entry::Occupied(mut reads) = self.under_way.entry(meter) {
            *reads.get_mut() -= 1;
            if *reads.get() == 0 {
                reads.remove();
            }
        }
        match (end.after, self.profiles.get_mut(end.at)) {
            (Some((series, gaps)), Some(profile)) => {
                (profile.series, profile.gaps) = (series, gaps);
                self.plan(end.at);
            }
            _ => self.plan_later(end.at, self.clock.now(), STORE_PAUSE),
        }
    }
}

impl Profile {
    fn standing(&self) -> Standing {
        Standing { asked_to: self.series.asked_to, gaps: self.gaps.clone() }
    }

    /// What to ask for now. How far it was asked is remembered with what comes of it, not before.
    fn ask(&self, config: &ScheduleConfig, now: Timestamp) -> Option<(Ask, Standing)> {
        let mut standing = self.standing();
        let deadline = signed(config.billing_deadline);
        let ask = plan::ask(&mut standing, &self.slots, self.model.purpose, deadline, self.offset, now)?;
        Some((ask, standing))
    }

    /// What is older has gone from the meter's buffer.
    fn held_from(&self, now: Timestamp) -> Timestamp {
        let rows = i64::from(self.model.rows);
        let seconds = match self.model.cadence {
            Cadence::Every(seconds) => rows * i64::from(seconds),
            Cadence::Daily => rows * 86_400,
            Cadence::Monthly => rows * 31 * 86_400,
        };
        now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
    }

    fn terms(&self, config: &ScheduleConfig, now: Timestamp) -> Terms {
        let deadline = (self.model.purpose == Purpose::Billing).then(|| signed(config.billing_deadline));
        Terms { held_from: self.held_from(now), deadline }
    }

    /// A row that came later than this after its time is late.
    fn late_after(&self, config: &ScheduleConfig) -> SignedDuration {
        match self.model.purpose {
            Purpose::Load => signed(config.profile_late),
            Purpose::Billing => signed(config.billing_deadline),
        }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Hands the job over, and has what comes of it kept and told.
#[expect(clippy::too_many_arguments, reason = "everything one attempt needs, handed to its own task")]
fn start(
    store: &Store,
    config: &ScheduleConfig,
    policy: Arc<Policy>,
    clock: Clock,
    at: usize,
    profile: Profile,
    (ask, standing): (Ask, Standing),
    place: Place,
    tell: mpsc::UnboundedSender<Ended>,
) {
    let (report, answer) = oneshot::channel();
    let serial = &profile.series.serial;
    place.send(Job {
        meter: serial.clone(),
        work: Work::ReadProfile(RowsWanted {
            profile: profile.model.name.clone(),
            from: ask.from,
            to: profile.slots.end(ask.to),
        }),
        priority: ask.priority,
        not_after: ask.not_after,
        correlation: format!("profile-{}-{}-{}", serial.0, profile.model.name, clock.now().as_second()),
        report,
        sending: None,
    });
    let (store, config, meter) = (store.clone(), *config, serial.clone());
    tokio::spawn(async move {
        let attempt = Attempt { profile, ask, standing, config, policy };
        let after = match answer.await {
            Ok(report) => attempt.keep(&store, report).await,
            // The line's task has gone: the gateway stops.
            Err(_) => None,
        };
        // The collector has gone only when the gateway stops.
        let _ = tell.send(Ended { meter, at, after });
    });
}

/// One attempt, with everything needed to keep what comes of it.
struct Attempt {
    profile: Profile,
    ask: Ask,
    standing: Standing,
    config: ScheduleConfig,
    policy: Arc<Policy>,
}

impl Attempt {
    async fn keep(self, store: &Store, report: Report) -> Option<(Series, Vec<Gap>)> {
        let serial = self.profile.series.serial.0.clone();
        let kept = store.write(move |conn| Box::pin(async move { self.store(conn, report).await })).await;
        kept.inspect_err(|error| tracing::error!(meter = serial, %error, "profile rows could not be stored"))
            .ok()
    }

    /// One write: the rows, what is missing now, and the events that tell of both.
    async fn store(self, conn: &mut Connection, report: Report) -> Result<(Series, Vec<Gap>), StoreError> {
        let (profile, ask, now) = (&self.profile, &self.ask, report.ended);
        let mut series = Series { asked_to: self.standing.asked_to, ..profile.series.clone() };
        // A refusal says nothing about rows: another meter may be there, or one that is set up otherwise. Rows that there is no
        // room for are asked for again.
        let answered = report.facts.profile.is_some() && conn.stores_history();
        let problem = match &report.ending {
            Ending::Done => None,
            Ending::Rejected { reason, .. } => Some(reason.clone()),
            Ending::NotSent { .. } | Ending::Unknown { .. } => series.problem.clone(),
        };
        let Policy { rules, thresholds, .. } = &*self.policy;
        let meter = meter::find(conn, &series.serial.0).await?;
        if let Some(meter) = &meter {
            let correlation = format!("profile-{}-{}", series.serial.0, now.as_second());
            observe::observe(conn, meter, &report, &correlation, rules, thresholds, None).await?;
        }
        if problem != series.problem {
            profile::tell_problem(conn, &series, problem.as_deref(), now).await?;
            series.problem = problem;
        }
        let none = ProfileRows { channels: Vec::new(), rows: Vec::new() };
        let read = report.facts.profile.as_deref().unwrap_or(&none);
        let judging = Judging {
            late_before: now.checked_sub(profile.late_after(&self.config)).unwrap_or(Timestamp::MIN),
            is_feeder: meter.is_some_and(|meter| meter.role == Role::Feeder),
            thresholds,
        };
        let kept = profile::keep(conn, &series, read, now, &judging).await?;
        let filled = |at: Timestamp| profile.slots.of(at);
        let mut there: BTreeSet<Timestamp> = read.rows.iter().filter_map(|row| filled(row.at)).collect();
        if profile.slots.between(ask.from, ask.to).any(|slot| !there.contains(&slot)) {
            // Some may have come before.
            let times = profile::times(conn, series.id, ask.from, profile.slots.end(ask.to)).await?;
            there.extend(times.into_iter().filter_map(filled));
        }
        let asked = Asked { from: ask.from, to: ask.to, answered };
        let terms = profile.terms(&self.config, now);
        let ledger: Ledger = gaps::settle(&profile.slots, &self.standing.gaps, &asked, &there, &terms, now);
        profile::keep_ledger(conn, &series, &profile.gaps, &ledger.open, &ledger.given_up).await?;
        profile::tell(conn, &series, read, &kept, &ledger, now).await?;
        Ok((series, ledger.open))
    }
}
