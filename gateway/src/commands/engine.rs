//! The command engine: a task that carries recorded commands to their lines and stores every step.
//!
//! Rule: intent before the first byte, result after it. A command is marked as handed over, durably, before its job is; so a
//! crash at any instant leaves it either surely not sent or to be asked about.

mod people;

use super::desk::Said;
use super::life::{self, Attempt, Step, Then};
use super::measures::{CommandSteps, StateLabel};
use super::order;
use super::outcome::{self, Outcome};
use super::router::{NoPlace, Place, Router};
use super::used::{self, Shown};
use crate::clock::Clock;
use crate::config::{Config, Live};
use crate::guards::{self, Asked, Rules, Unmet};
use crate::reading::plan::Window;
use crate::reading::plausibility::Thresholds;
use crate::session::clock_check::ClockTerms;
use crate::session::order::Order;
use crate::session::work::{Ending, Facts, ImageProgress, Job, Priority, Report, Serial, Work};
use crate::session::{self, Arrival};
use crate::store::command::{Command, CommandEvent, CommandKind, CommandState, DisconnectReason};
use crate::store::meter::{BalanceHolder, Meter};
use crate::store::{Store, StoreError, command};
use crate::vending::Vending;
use jiff::SignedDuration;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Reports handled in one write.
const BATCH_MAX: usize = 64;
/// A line whose queue is full is tried again after this.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(100);
/// How long a stop waits for what is on the wire. What is not finished by then is asked about after the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// After a store failure: the disk may be full, and hammering it helps nobody.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How often a command that waits for a second person is looked at: only its expiry is of interest.
const WAITING_LOOK: Duration = Duration::from_mins(1);

const CANCELLED_BY: &str = "nothing of it was done: taken back by";

/// What the operator decides about commands.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The guards of a disconnection.
    pub rules: Arc<Rules>,
    /// What a reading has to look like to be believed.
    pub thresholds: Thresholds,
    /// How far off a meter's clock may be.
    pub clock_check: ClockTerms,
    /// When load profiles may be read.
    pub window: Window,
    /// How long an approved command may wait for its meter.
    pub command_expiry: SignedDuration,
}

impl Policy {
    /// What the configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let command_expiry =
            SignedDuration::try_from(config.schedule.command_expiry).unwrap_or(SignedDuration::MAX);
        let rules = Arc::new(config.disconnection.rules.clone());
        let window = Window { hours: config.schedule.profile_hours, zone: rules.zone.clone() };
        let (thresholds, clock_check) = (config.plausibility, config.clock_check);
        Self { rules, thresholds, clock_check, window, command_expiry }
    }
}

/// A command that is not finished.
#[derive(Debug, Clone)]
struct Open {
    command: Command,
    meter: Meter,
    step: Step,
    tries: u32,
    due: Instant,
    in_flight: bool,
    /// Who took it back while it was in its line's queue: it is not tried again.
    cancelled_by: Option<String>,
}

/// Commands of one lane and meter go one after the other, in the order they were recorded.
fn lane(kind: CommandKind) -> u8 {
    match kind {
        CommandKind::DeliverToken | CommandKind::ClearTamper => 0,
        CommandKind::Disconnect | CommandKind::Reconnect | CommandKind::Arm | CommandKind::TestRelay => 1,
        CommandKind::Read | CommandKind::Get => 2,
        CommandKind::UpdateImage => 4,
        CommandKind::SetCalendar => 5,
        _ => 3,
    }
}

impl Open {
    /// Whether it waits for a person, or for the time of a calendar that the meter has: it holds nobody up.
    fn rests(&self) -> bool {
        match self.command.state {
            CommandState::Waiting => true,
            CommandState::Accepted => self.command.request.kind == CommandKind::SetCalendar,
            _ => false,
        }
    }
}

/// Commands whose turn it is once they are due: of each lane the oldest, where nothing is under way at the meter; and those that
/// rest.
fn in_turn(open: &BTreeMap<i64, Open>) -> impl Iterator<Item = (i64, &Open)> {
    let busy: HashSet<&Serial> =
        open.values().filter(|open| open.in_flight).map(|open| &open.command.request.serial).collect();
    let mut seen = HashSet::new();
    open.iter().map(|(id, open)| (*id, open)).filter(move |(_, candidate)| {
        let serial = &candidate.command.request.serial;
        let head = candidate.rests() || seen.insert((serial, lane(candidate.command.request.kind)));
        head && (candidate.command.state == CommandState::Waiting || !busy.contains(serial))
    })
}

/// Which commands to look at now: per meter one at a time.
fn plan(now: Instant, open: &BTreeMap<i64, Open>) -> Vec<i64> {
    let mut taken = HashSet::new();
    in_turn(open)
        .filter(|(_, candidate)| candidate.due <= now)
        .filter(|(_, candidate)| {
            let waits = candidate.command.state == CommandState::Waiting;
            waits || taken.insert(&candidate.command.request.serial)
        })
        .map(|(id, _)| id)
        .collect()
}

/// When the next command falls due. One behind another is not due before that one has ended.
fn next_due(open: &BTreeMap<i64, Open>) -> Option<Instant> {
    in_turn(open).map(|(_, open)| open.due).min()
}

enum Message {
    Sending(i64),
    Report(i64, Box<Report>),
}

/// The engine; [`Engine::run`] is its task.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    vending: Vending,
    clock: Clock,
    router: Router,
    policy: Live<Policy>,
    /// Told each meter whose commissioning was verified.
    commissioned: mpsc::UnboundedSender<Serial>,
    open: BTreeMap<i64, Open>,
    last_id: i64,
    steps: CommandSteps,
    arrivals: Option<broadcast::Receiver<Arrival>>,
}

impl Engine {
    /// Over these; `commissioned` is told each meter that is ready to be read.
    #[must_use]
    pub fn new(
        store: Store,
        vending: Vending,
        clock: Clock,
        router: Router,
        policy: impl Into<Live<Policy>>,
        commissioned: mpsc::UnboundedSender<Serial>,
    ) -> Self {
        let policy = policy.into();
        let (open, last_id, steps) = (BTreeMap::new(), 0, CommandSteps::default());
        Self { store, vending, clock, router, policy, commissioned, open, last_id, steps, arrivals: None }
    }

    /// What waits for a meter that dials in is tried when it does.
    #[must_use]
    pub fn hearing(self, arrivals: broadcast::Receiver<Arrival>) -> Self {
        Self { arrivals: Some(arrivals), ..self }
    }

    /// The meter is there now.
    fn came(&mut self, serial: &Serial) {
        let now = Instant::now();
        let its = |open: &&mut Open| !open.in_flight && open.command.request.serial == *serial;
        for open in self.open.values_mut().filter(its) {
            open.due = open.due.min(now);
        }
    }

    /// The steps it stores are counted here.
    #[must_use]
    pub fn steps(&self) -> CommandSteps {
        self.steps.clone()
    }

    fn count(&self, state: CommandState) {
        self.steps.get_or_create(&StateLabel { state: state.as_str() }).inc();
    }

    /// Runs until `stop` becomes true, then finishes or parks what is on the wire. `said` is what comes over the desk.
    ///
    /// # Errors
    /// Store failures at start; later ones are logged and tried again.
    pub async fn run(
        mut self,
        mut said: mpsc::Receiver<Said>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        let mut commits = self.store.commits();
        let (tell, mut messages) = mpsc::channel(1024);
        self.load(true).await?;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while !*stop.borrow() {
            if let Err(error) = self.hand_over(&tell).await {
                tracing::error!(%error, "commands could not be handed over");
                tokio::time::sleep(STORE_PAUSE).await;
            }
            let due = next_due(&self.open);
            tokio::select! {
                changed = commits.changed() => {
                    if changed.is_err() { break }
                    if let Err(error) = self.load(false).await {
                        tracing::error!(%error, "new commands could not be loaded");
                    }
                }
                _ = messages.recv_many(&mut batch, BATCH_MAX) => self.take(&mut batch).await,
                Some(said) = said.recv() => self.hear(said).await,
                arrival = arrival(self.arrivals.as_mut()) => self.came(&arrival.serial),
                () = sleep_until(due) => {}
                _ = stop.changed() => {}
            }
        }
        self.drain(tell, messages).await;
        Ok(())
    }

    /// Loads commands recorded since the last time; at start, all that are open.
    async fn load(&mut self, at_start: bool) -> Result<(), StoreError> {
        for command in self.store.open_commands_after(self.last_id).await? {
            self.last_id = self.last_id.max(command.id);
            if command.is_finished() {
                continue;
            }
            let Some((meter, _)) = self.store.meter(&command.request.serial.0).await? else { continue };
            let step = life::resume(command.request.kind, command.dispatched);
            let mut open = Open {
                command,
                meter,
                step,
                tries: 0,
                due: Instant::now(),
                in_flight: false,
                cancelled_by: None,
            };
            if at_start && step == Step::Ask && open.command.state != CommandState::Unknown && !open.rests() {
                let lost = open.command.request.kind == CommandKind::Invoke;
                let then = if lost { life::NEVER_AGAIN } else { "the meter will be asked" };
                let line = format!("the gateway stopped while this was under way; {then}");
                self.step_alone(&mut open, CommandState::Unknown, &line).await?;
                if lost {
                    continue;
                }
            }
            self.open.insert(open.command.id, open);
        }
        Ok(())
    }

    /// Writes one step of one command.
    async fn step_alone(&self, open: &mut Open, state: CommandState, line: &str) -> Result<(), StoreError> {
        let step = CommandEvent { state, at: self.clock.now(), evidence: vec![line.to_owned()] };
        let command = open.command.clone();
        let dispatched = command.dispatched;
        self.store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { command::advance(conn, &command, &step, dispatched).await })
            })
            .await?;
        self.count(state);
        open.command.state = state;
        Ok(())
    }

    /// Hands over whatever is due: first durably marked, then sent.
    async fn hand_over(&mut self, tell: &mpsc::Sender<Message>) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut places: Vec<(i64, Place, Work)> = Vec::new();
        for id in plan(now, &self.open) {
            if self.expire(id).await? || self.waits(id) || self.forbid(id).await? {
                continue;
            }
            let Some(open) = self.open.get(&id) else { continue };
            let work = match self.work(open).await {
                Ok(work) => work,
                Err(reason) => {
                    self.postpone(id, &reason).await?;
                    continue;
                }
            };
            match self.router.reserve(&open.command.request.serial) {
                Ok(place) => places.push((id, place, work)),
                Err(NoPlace::Full) => {
                    if let Some(open) = self.open.get_mut(&id) {
                        open.due = now + FULL_QUEUE_PAUSE;
                    }
                }
                Err(NoPlace::Nobody(reason)) => self.postpone(id, &reason).await?,
            }
        }
        self.mark(places.iter().map(|(id, ..)| *id).collect()).await?;
        for (id, place, work) in places {
            self.send(id, place, work, tell.clone());
        }
        Ok(())
    }

    /// Expires a command whose time is over, if nothing of it can have reached the meter.
    async fn expire(&mut self, id: i64) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(open) = self.open.get_mut(&id) else { return Ok(true) };
        let late = open.command.request.not_after.is_some_and(|not_after| now > not_after);
        if !late || open.step == Step::Ask {
            return Ok(false);
        }
        let mut open = open.clone();
        open.command.dispatched = false;
        let line = match open.command.state {
            CommandState::Waiting => "no second person agreed to it in time",
            _ if open.command.request.kind == CommandKind::UpdateImage => {
                "its time was over before it could be gone on with: what was transferred stays at the meter"
            }
            _ => "its time was over before anything could be sent",
        };
        self.step_alone(&mut open, CommandState::Expired, line).await?;
        self.open.remove(&id);
        Ok(true)
    }

    /// Whether it waits for a second person; then it is looked at later.
    fn waits(&mut self, id: i64) -> bool {
        let Some(open) = self.open.get_mut(&id) else { return true };
        let waits = open.command.state == CommandState::Waiting;
        if waits {
            open.due = Instant::now() + WAITING_LOOK;
        }
        waits
    }

    /// Rejects a disconnect that the guards do not allow now: what was allowed when it was recorded may no longer be.
    async fn forbid(&mut self, id: i64) -> Result<bool, StoreError> {
        let Some(mut open) = self.open.get(&id).cloned() else { return Ok(true) };
        if open.step == Step::Ask {
            return Ok(false);
        }
        let unmet = self.unmet(&open.command, open.command.approved_by.is_some()).await?;
        if unmet.is_empty() {
            return Ok(false);
        }
        open.command.dispatched = false;
        let line = format!("not allowed now: {}", guards::list(&unmet));
        self.step_alone(&mut open, CommandState::Rejected, &line).await?;
        self.open.remove(&id);
        Ok(true)
    }

    /// The guards that stand against a command now. Only a disconnect has any.
    async fn unmet(&self, command: &Command, approved: bool) -> Result<Vec<Unmet>, StoreError> {
        let request = &command.request;
        let Some(reason) = request.reason.filter(|_| request.kind == CommandKind::Disconnect) else {
            return Ok(Vec::new());
        };
        let standing = self.store.standing(&request.serial).await?;
        let asked = Asked { reason, breach: request.breach.as_ref(), approved };
        Ok(guards::unmet(&asked, &standing, &self.policy.now().rules, self.clock.now()))
    }

    /// Tries a command later, and says why if that is news.
    async fn postpone(&mut self, id: i64, reason: &str) -> Result<(), StoreError> {
        let Some(mut open) = self.open.get(&id).cloned() else { return Ok(()) };
        open.due = Instant::now() + life::pause(open.tries);
        open.tries += 1;
        if open.command.outcome.as_deref() != Some(reason) {
            open.command.outcome = Some(reason.to_owned());
            let state = open.command.state;
            self.step_alone(&mut open, state, reason).await?;
        }
        self.open.insert(id, open);
        Ok(())
    }

    /// What the line is to do.
    async fn work(&self, open: &Open) -> Result<Work, String> {
        Ok(match (open.command.request.kind, open.step) {
            (CommandKind::Commission, _) => Work::Commission,
            (CommandKind::Read, _) => Work::Read,
            (CommandKind::Disconnect | CommandKind::Reconnect, Step::Ask) => Work::Read,
            (CommandKind::Disconnect, Step::Act) => Work::Disconnect,
            (CommandKind::Reconnect, Step::Act) => Work::Reconnect,
            // A test that was cut is not repeated: supply is brought back.
            (CommandKind::TestRelay, Step::Ask) => Work::Reconnect,
            (CommandKind::TestRelay, Step::Act) => Work::Carry(self.relay_test(open).await?),
            (CommandKind::RotateKeys, Step::Act) => Work::RotateKeys,
            (CommandKind::RotateKeys, Step::Ask) => Work::AskKeys,
            (kind @ (CommandKind::DeliverToken | CommandKind::ClearTamper), step) => {
                let id = open.command.request.token_id.ok_or("a delivery without a token")?;
                let digits = self.vending.digits_of(id).await.map_err(|error| error.to_string())?;
                match (step, kind) {
                    (Step::Ask, _) => Work::AskToken(digits),
                    (Step::Act, CommandKind::ClearTamper) => Work::ClearTamper(digits),
                    (Step::Act, _) => Work::DeliverToken(digits),
                }
            }
            (kind, step) => {
                let order = order::stored(&self.store, kind, open.command.request.action.as_deref()).await?;
                if step == Step::Ask { Work::Check(order) } else { Work::Carry(order) }
            }
        })
    }

    /// The test of a relay: what keeps the gateway from cutting supply by itself keeps it from operating the relay too (N22).
    async fn relay_test(&self, open: &Open) -> Result<Order, String> {
        let request = &open.command.request;
        let mut order = order::stored(&self.store, request.kind, request.action.as_deref()).await?;
        if let Order::TestRelay(test) = &mut order {
            let standing = self.store.standing(&request.serial).await.map_err(|error| error.to_string())?;
            let asked = Asked { reason: DisconnectReason::NoCredit, breach: None, approved: false };
            let unmet = guards::unmet(&asked, &standing, &self.policy.now().rules, self.clock.now());
            test.withheld = (!unmet.is_empty()).then(|| guards::list(&unmet));
        }
        Ok(order)
    }

    /// Marks commands as handed over, durably, before they are. A question changes nothing at the meter and its command was
    /// marked before.
    async fn mark(&mut self, ids: Vec<i64>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let commands: Vec<Command> = ids
            .iter()
            .filter_map(|id| self.open.get(id))
            .filter(|open| open.step == Step::Act)
            .map(|open| open.command.clone())
            .collect();
        if commands.is_empty() {
            return Ok(());
        }
        let acting: Vec<i64> = commands.iter().map(|command| command.id).collect();
        self.store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    for command in &commands {
                        if command.state == CommandState::Queued {
                            command::set_dispatched(conn, command.id, true).await?;
                        } else {
                            let step =
                                CommandEvent { state: CommandState::Queued, at: now, evidence: Vec::new() };
                            command::advance(conn, command, &step, true).await?;
                        }
                    }
                    Ok(())
                })
            })
            .await?;
        for id in acting {
            if let Some(open) = self.open.get_mut(&id) {
                if open.command.state != CommandState::Queued {
                    self.steps.get_or_create(&StateLabel { state: CommandState::Queued.as_str() }).inc();
                }
                open.command.state = CommandState::Queued;
                open.command.dispatched = true;
            }
        }
        Ok(())
    }

    /// Hands a job over and has its answers told to the engine.
    fn send(&mut self, id: i64, place: Place, work: Work, tell: mpsc::Sender<Message>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.in_flight = true;
        let request = &open.command.request;
        let acts = open.step == Step::Act;
        let (report, answer) = oneshot::channel();
        let (sending, first_byte) = oneshot::channel();
        tracing::info!(
            command = id,
            meter = request.serial.0,
            correlation = request.correlation,
            kind = request.kind.as_str(),
            asks = !acts,
            "handed to its line"
        );
        let priority = match request.kind {
            // An image has time, and comes back for its next slice at once.
            CommandKind::UpdateImage => Priority::Scheduled,
            CommandKind::Read | CommandKind::Commission | CommandKind::Get => Priority::OnDemand,
            _ => Priority::Command,
        };
        place.send(Job {
            meter: request.serial.clone(),
            work,
            priority: priority.after_tries(open.tries),
            not_after: if acts { request.not_after } else { None },
            correlation: request.correlation.clone(),
            report,
            sending: acts.then_some(sending),
        });
        let clock = self.clock;
        tokio::spawn(async move {
            if first_byte.await.is_ok() {
                // The engine has gone only when the gateway stops; the store then says what is to be asked.
                let _ = tell.send(Message::Sending(id)).await;
            }
            let report = answer.await.unwrap_or_else(|_| lost(clock));
            let _ = tell.send(Message::Report(id, Box::new(report))).await;
        });
    }

    /// Stores what a batch of messages means, in one write, and decides what comes next.
    async fn take(&mut self, batch: &mut Vec<Message>) {
        let mut outcomes = Vec::with_capacity(batch.len());
        for message in batch.drain(..) {
            let outcome = match message {
                Message::Sending(id) => self.sending(id),
                Message::Report(id, report) => {
                    let credit = self.credit(id, &report).await;
                    self.settle(id, *report, credit)
                }
            };
            outcomes.extend(outcome);
        }
        // What was seen must not be forgotten: as long as the store refuses, nothing else is done.
        loop {
            let write = outcomes.clone();
            let stored = self
                .store
                .write::<_, StoreError, _>(move |conn| {
                    Box::pin(async move {
                        for outcome in &write {
                            outcome.store(conn).await?;
                        }
                        Ok(())
                    })
                })
                .await;
            match stored {
                Ok(()) => break,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "what meters answered could not be stored");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
        for outcome in outcomes {
            outcome.log();
            outcome.steps.iter().for_each(|step| self.count(step.state));
            if outcome.is_commissioned() {
                // Without a scheduler nobody needs to know.
                let _ = self.commissioned.send(outcome.command.request.serial.clone());
            }
        }
    }

    fn sending(&mut self, id: i64) -> Option<Outcome> {
        let open = self.open.get_mut(&id)?;
        let command = open.command.clone();
        open.command.state = CommandState::Sending;
        let step = CommandEvent { state: CommandState::Sending, at: self.clock.now(), evidence: Vec::new() };
        Some(Outcome {
            command,
            meter: open.meter.clone(),
            steps: vec![step],
            dispatched: true,
            not_after: None,
            report: None,
            rules: self.policy.now().rules.clone(),
            thresholds: self.policy.now().thresholds,
        })
    }

    /// What the registers say about a token that the meter calls used.
    async fn credit(&self, id: i64, report: &Report) -> Shown {
        let token = self.open.get(&id).and_then(|open| open.command.request.token_id);
        let Some(token) = token.filter(|_| life::says_used(report)) else { return Shown::Unclear };
        match self.store.credit_before(token).await {
            Ok(before) => used::shown(before.as_ref(), &report.facts),
            Err(error) => {
                tracing::error!(%error, token, "the credit before a token could not be looked up");
                Shown::Unclear
            }
        }
    }

    fn settle(&mut self, id: i64, report: Report, credit: Shown) -> Option<Outcome> {
        let open = self.open.get_mut(&id)?;
        let attempt = Attempt {
            kind: open.command.request.kind,
            state: open.command.state,
            step: open.step,
            tries: open.tries,
            serial: &open.meter.serial.0,
            expects_prepaid: open.meter.balance == BalanceHolder::Meter,
            credit,
        };
        let mut verdict = life::settle(&attempt, &report);
        if let (Then::Act(_), Some(by)) = (verdict.then, &open.cancelled_by) {
            verdict.states.push((CommandState::Cancelled, format!("{CANCELLED_BY} {by}")));
            verdict.then = Then::Finish;
        }
        let steps = outcome::steps(&verdict.states, &report, &open.command);
        // What gets on is no failed attempt.
        let gets_on = matches!(
            report.facts.image,
            Some(ImageProgress::Transferred { .. } | ImageProgress::Checking | ImageProgress::Activated)
        );
        let mut outcome = Outcome {
            command: open.command.clone(),
            meter: open.meter.clone(),
            steps,
            dispatched: true,
            not_after: None,
            report: Some(report),
            rules: self.policy.now().rules.clone(),
            thresholds: self.policy.now().thresholds,
        };
        let (step, wait) = match verdict.then {
            Then::Finish => {
                self.open.remove(&id);
                return Some(outcome);
            }
            Then::Act(wait) => (Step::Act, wait),
            Then::Ask(wait) => (Step::Ask, wait),
        };
        if let Some((state, line)) = verdict.states.last() {
            open.command.state = *state;
            open.command.outcome = Some(line.clone());
        }
        open.in_flight = false;
        open.tries = if gets_on { 0 } else { open.tries + 1 };
        if gets_on && open.command.request.not_after.is_some() {
            // It did not wait for its meter in vain: its time begins anew.
            open.command.request.not_after =
                self.clock.now().checked_add(self.policy.now().command_expiry).ok();
            outcome.not_after = open.command.request.not_after;
        }
        open.step = step;
        open.due = Instant::now() + wait;
        // To be done again means that it was not done: only what has to be asked about may have been.
        open.command.dispatched = step == Step::Ask;
        outcome.dispatched = open.command.dispatched;
        Some(outcome)
    }

    /// Waits a little for what is on the wire; what does not come back is asked about after the next start.
    async fn drain(&mut self, tell: mpsc::Sender<Message>, mut messages: mpsc::Receiver<Message>) {
        drop(tell);
        let deadline = Instant::now() + STOP_PATIENCE;
        let mut batch = Vec::new();
        while self.open.values().any(|open| open.in_flight) {
            match tokio::time::timeout_at(deadline, messages.recv_many(&mut batch, BATCH_MAX)).await {
                Ok(count) if count > 0 => self.take(&mut batch).await,
                _ => break,
            }
        }
        let parked = self.open.values().filter(|open| open.in_flight).count();
        tracing::info!(parked, open = self.open.len(), "the command engine has stopped");
    }
}

async fn arrival(arrivals: Option<&mut broadcast::Receiver<Arrival>>) -> Arrival {
    match arrivals {
        Some(arrivals) => session::arrival(arrivals).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The line's task dropped the job without an answer. The meter may have acted.
fn lost(clock: Clock) -> Report {
    let now = clock.now();
    Report {
        ending: Ending::Unknown { reason: "the line's task gave no answer".to_owned() },
        facts: Facts::default(),
        heard: None,
        started: now,
        ended: now,
        evidence: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
