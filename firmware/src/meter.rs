//! The meter: what happens each tick, what a person and the network may ask of it, and how its state stays whole.

use hardware::board::{Board, Calibration, Clock, Health, Metering, ResetCause, Sample};
use heapless::Deque;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::disconnect::{ControlState, RelayReason, Trigger};
use protocol::cosem::events::{Event, EventRow};
use protocol::cosem::profile::LoadRow;
use protocol::cosem::tariff::Tariff;
use protocol::dlms::security::CounterBlock;
use protocol::sts::meter::KeypadLockout;
use protocol::time::{Duration, Instant};

use crate::alarm::{ALARMS_MAX, Alarm, is_alarm};
use crate::counters::{COUNTER_PLACE_BYTES, Counters};
use crate::image::Update;
use crate::journal::{Journal, JournalError, PLACE_BYTES};
use crate::keys::{KEY_PLACE_BYTES, KeyStore};
#[cfg(feature = "ecdsa")]
use crate::layout::SUITE_1_PLACE_BYTES;
use crate::layout::{Layout, TooSmall};
use crate::ledger::Ledger;
use crate::metrology::Rests;
use crate::objects::View;
use crate::personalisation::Personalisation;
use crate::protection::{Finding, Tripped, Watch};
use crate::record::Record;
use crate::relay::{Contact, Refused, RelayEvents};
use crate::ring::Ring;
use crate::settings::{Capture, SETTINGS_PLACE_BYTES, Settings};
#[cfg(feature = "ecdsa")]
use crate::suite1::Suite1Store;
use crate::tamper::Tamper;
use crate::tariff::{TARIFF_PLACE_BYTES, Tariffs};
use crate::terms::DAY_S;

/// Account units per kilowatt-hour in an energy account.
const ONE_FOR_ONE: u32 = 1_000;

/// A meter could not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// The storage is too small.
    TooSmall(TooSmall),
    /// The storage cannot be read or written.
    Journal(JournalError),
}

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooSmall(TooSmall { needed }) => {
                write!(f, "storage too small: a meter needs {needed} bytes")
            }
            Self::Journal(JournalError::Storage) => f.write_str("storage cannot be read or written"),
            Self::Journal(JournalError::Unreadable) => {
                f.write_str("the stored records are damaged or of another firmware's format")
            }
            Self::Journal(JournalError::TooLong) => f.write_str("the meter's record does not fit its place"),
        }
    }
}

impl core::error::Error for StartError {}

/// What a meter shows of itself, for displays and simulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Energy import register, watt-hours.
    pub import_wh: u64,
    /// Energy export register, watt-hours.
    pub export_wh: u64,
    /// Credit left, watt-hours.
    pub credit_wh: i64,
    /// What the relay's logic wants.
    pub control_state: ControlState,
    /// Why it is open.
    pub reason: RelayReason,
    /// What the contact said when it was last asked; `None` when it could not be.
    pub output_closed: Option<bool>,
    /// The contact does not follow or can't be asked, or current flows through an open one.
    pub relay_faulty: bool,
    /// The last measurement.
    pub sample: Sample,
    /// Records written in the meter's life.
    pub journal_sequence: u32,
}

/// No emergency credit is on offer, or it could not be stored that it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOffered;

/// What is wrong at the moment, found out anew after each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Conditions {
    pub measurement_failed: bool,
    /// The front end's last answer is what the meter measures now: false before the first and after a failure.
    pub measured: bool,
    pub storage_failed: bool,
    /// The capacitors feed the meter.
    pub supply_failing: bool,
    /// Status bits for the next profile row.
    pub row_status: u8,
    /// Daylight saving, when it was last looked at.
    pub daylight: Option<bool>,
    /// Method 5 of the clock: a time to take over at a word, and when the word counts (UTC).
    pub preset: Option<Preset>,
}

/// See [`Conditions::preset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preset {
    pub to_utc_s: u32,
    pub from_utc_s: u32,
    pub until_utc_s: u32,
}

/// A prepaid meter on a board.
///
/// Call [`Meter::tick`] when [`Meter::next_tick`] is due (later is allowed: energy waits in the front end), drain
/// [`Meter::next_alarm`], and let ports ask it through its object model whenever bytes arrive.
#[derive(Debug)]
pub struct Meter<B: Board> {
    pub(crate) board: B,
    pub(crate) who: Personalisation,
    pub(crate) record: Record,
    pub(crate) journal: Journal<Record, PLACE_BYTES>,
    pub(crate) counters: Counters,
    pub(crate) counter_journal: Journal<Counters, COUNTER_PLACE_BYTES>,
    pub(crate) block: CounterBlock,
    pub(crate) keys: KeyStore,
    pub(crate) key_journal: Journal<KeyStore, KEY_PLACE_BYTES>,
    /// Key set 1; `None` in a meter without suite 1.
    #[cfg(feature = "ecdsa")]
    pub(crate) suite1: Option<Suite1Store>,
    #[cfg(feature = "ecdsa")]
    pub(crate) suite1_journal: Journal<Suite1Store, SUITE_1_PLACE_BYTES>,
    pub(crate) tariffs: Tariffs,
    tariff_journal: Journal<Tariffs, TARIFF_PLACE_BYTES>,
    pub(crate) settings: Settings,
    settings_journal: Journal<Settings, SETTINGS_PLACE_BYTES>,
    pub(crate) update: Update,
    pub(crate) events: Ring<EventRow>,
    pub(crate) profile: Ring<LoadRow>,
    pub(crate) daily: Ring<LoadRow>,
    pub(crate) monthly: Ring<LoadRow>,
    pub(crate) contact: Contact,
    pub(crate) sample: Sample,
    rests: Rests,
    /// Pulses of the import register given so far.
    pulsed: u64,
    pub(crate) keypad: KeypadLockout,
    pub(crate) conditions: Conditions,
    pub(crate) views: [View; View::SLOTS],
    watch: Watch,
    tamper: Tamper,
    ledger_copy: Ledger,
    alarms: Deque<Alarm, ALARMS_MAX>,
    /// How often the oldest alarm could not be sent, and when it is tried again.
    push_failures: u8,
    push_from: Instant,
    next_sample: Instant,
    now: Instant,
}

impl<B: Board> Meter<B> {
    /// Starts a meter: takes the state from the journal, or begins a new life with `who` when there is none.
    ///
    /// # Errors
    /// [`StartError`]. A meter whose storage fails does not start from nothing: it would forget money.
    pub fn new(mut board: B, who: Personalisation, now: Instant) -> Result<Self, StartError> {
        let capacity = hardware::board::Storage::capacity(board.storage());
        let layout = Layout::for_capacity(capacity).map_err(StartError::TooSmall)?;
        let (journal, stored) =
            Journal::recover(board.storage(), 0, Layout::STATE_PLACES).map_err(StartError::Journal)?;
        let (counter_journal, counters) =
            Journal::recover(board.storage(), layout.counters_base, Layout::COUNTER_PLACES)
                .map_err(StartError::Journal)?;
        let (tariff_journal, tariffs) =
            Journal::recover(board.storage(), layout.tariff_base, Layout::TARIFF_PLACES)
                .map_err(StartError::Journal)?;
        let (settings_journal, settings) =
            Journal::recover(board.storage(), layout.settings_base, Layout::SETTINGS_PLACES)
                .map_err(StartError::Journal)?;
        let settings = settings.unwrap_or_else(|| Settings::new(&who));
        let update = Update::recover(&mut board, &layout).map_err(StartError::Journal)?;
        let (key_journal, keys) = Journal::recover(board.storage(), layout.keys_base, Layout::KEY_PLACES)
            .map_err(StartError::Journal)?;
        let keys = keys.unwrap_or_else(|| KeyStore::new(&who));
        #[cfg(feature = "ecdsa")]
        let (suite1_journal, suite1) =
            Journal::recover(board.storage(), Layout::SUITE_1_BASE, Layout::SUITE_1_PLACES)
                .map_err(StartError::Journal)?;
        #[cfg(feature = "ecdsa")]
        let suite1 = suite1.or_else(|| Suite1Store::new(&who));
        let price = who.options.price_per_kwh.unwrap_or(ONE_FOR_ONE);
        let tariffs = tariffs.unwrap_or_else(|| Tariffs::new(Tariff::flat(price)));
        let fresh = stored.is_none();
        let record = stored.unwrap_or_else(|| Record::new(&who));
        let ledger = record.ledger;
        let mut meter = Self {
            board,
            who,
            record,
            journal,
            counters: counters.unwrap_or_default(),
            counter_journal,
            block: CounterBlock::default(),
            keys,
            key_journal,
            #[cfg(feature = "ecdsa")]
            suite1,
            #[cfg(feature = "ecdsa")]
            suite1_journal,
            tariffs,
            tariff_journal,
            settings,
            settings_journal,
            update,
            events: Ring::new(layout.events_base, Layout::EVENT_ROWS),
            profile: Ring::new(layout.profile_base, layout.profile_rows),
            daily: Ring::new(layout.daily_base, Layout::DAILY_ROWS),
            monthly: Ring::new(layout.monthly_base, Layout::MONTHLY_ROWS),
            contact: Contact::default(),
            sample: Sample::default(),
            rests: Rests::default(),
            pulsed: 0,
            keypad: KeypadLockout::default(),
            conditions: Conditions::default(),
            views: [View::default(); View::SLOTS],
            watch: Watch::default(),
            tamper: Tamper::default(),
            ledger_copy: ledger,
            alarms: Deque::new(),
            push_failures: 0,
            push_from: now,
            next_sample: now,
            now,
        };
        meter.recover_rings();
        meter.recount_pulses();
        if fresh {
            let record = meter.record.clone();
            meter.commit(record).map_err(StartError::Journal)?;
        } else {
            meter.note_power_gap();
        }
        if meter.board.clock().utc_s().is_none() {
            meter.note(Event::ClockInvalid, 0);
        }
        let calibration = meter.settings.metrology.calibration;
        if calibration != Calibration::default() && meter.board.metering().calibrate(&calibration).is_err() {
            // Another board's front end: it measures, but not as the bench left it.
            meter.note(Event::MeasurementError, 1);
        }
        meter.settle_update();
        // Whatever was cut off, the contact is where the record says before anything else happens.
        meter.drive();
        Ok(meter)
    }

    /// Takes in the rows written after the last record.
    fn recover_rings(&mut self) {
        self.events.recover(self.board.storage(), &mut self.record.events);
        self.profile.recover(self.board.storage(), &mut self.record.profile);
        self.daily.recover(self.board.storage(), &mut self.record.daily);
        self.monthly.recover(self.board.storage(), &mut self.record.monthly);
        // A snapshot whose record was cut is not taken again.
        let newest = self.daily.rows(self.record.daily).next_back();
        if let Some(row) = newest.and_then(|n| self.daily.get(self.board.storage(), n)) {
            let day = self.settings.zone.local_s(row.utc_s).unwrap_or(0) / DAY_S;
            self.record.snapshot_day = self.record.snapshot_day.max(day);
        }
        let newest = self.profile.rows(self.record.profile).next_back();
        if let Some(row) = newest.and_then(|n| self.profile.get(self.board.storage(), n))
            && let Some(period) = row.utc_s.checked_div(self.settings.capture.period_s)
        {
            self.record.profile_period = self.record.profile_period.max(period);
        }
    }

    fn note_power_gap(&mut self) {
        self.conditions.row_status |= protocol::cosem::profile::row_status::POWER_DOWN;
        let gap = match self.board.clock().utc_s() {
            Some(utc_s) if self.record.utc_s != 0 => utc_s.saturating_sub(self.record.utc_s),
            _ => 0,
        };
        let why = match self.board.health().reset_cause() {
            ResetCause::Watchdog => Event::Watchdog,
            ResetCause::PowerOn | ResetCause::Requested => Event::PowerUp,
        };
        self.note(why, i32::try_from(gap).unwrap_or(i32::MAX));
        if !self.record.ledger.balances() {
            self.note(Event::LedgerMismatch, 0);
        }
    }

    /// The board, for the owner that made it.
    pub fn board(&mut self) -> &mut B {
        &mut self.board
    }

    /// Power goes: gives the board back. Nothing is stored here; what was promised is stored already.
    pub fn into_board(self) -> B {
        self.board
    }

    /// The meter's own serial number (DRN).
    #[must_use]
    pub fn serial(&self) -> protocol::sts::Drn {
        self.record.tokens.pan.drn()
    }

    /// What the factory gave it.
    #[must_use]
    pub const fn personalisation(&self) -> &Personalisation {
        &self.who
    }

    /// What it shows.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            import_wh: self.record.import.wh,
            export_wh: self.record.export.wh,
            credit_wh: self.record.ledger.remaining(),
            control_state: self.record.relay.state,
            reason: self.record.relay.reason,
            output_closed: self.contact.closed(),
            relay_faulty: self.contact.faulty(),
            sample: self.sample,
            journal_sequence: self.journal.sequence(),
        }
    }

    /// Where the account's units came from and went to.
    #[must_use]
    pub const fn ledger(&self) -> &crate::ledger::Ledger {
        &self.record.ledger
    }

    /// The next alarm to push, oldest first.
    pub fn next_alarm(&mut self) -> Option<Alarm> {
        self.alarms.pop_front()
    }

    /// Host and port that alarms go to; empty when they go nowhere.
    #[must_use]
    pub fn push_destination(&self) -> &[u8] {
        &self.settings.push.destination
    }

    /// The alarm that should be sent to [`Meter::push_destination`] now: [`Port::push_due`](crate::Port::push_due) sends it.
    #[must_use]
    pub fn due_alarm(&self, now: Instant) -> Option<Alarm> {
        let due = !self.settings.push.destination.is_empty() && now >= self.push_from;
        self.alarms.front().filter(|_| due).copied()
    }

    /// What became of the alarm that was due: sent, or to be tried again as long as the setup says.
    pub fn alarm_told(&mut self, now: Instant, sent: bool) {
        let push = &self.settings.push;
        if !sent && self.push_failures < push.retries {
            self.push_failures += 1;
            self.push_from = now + Duration::from_secs(u64::from(push.repetition_delay_s));
            return;
        }
        self.push_failures = 0;
        let _ = self.alarms.pop_front();
    }

    /// Queues the newest event as an alarm, whatever it is.
    pub(crate) fn push_newest(&mut self) -> Option<()> {
        let newest = self.events.rows(self.record.events).next_back()?;
        let row = self.events.get(self.board.storage(), newest)?;
        let event = Event::from_u8(row.code)?;
        self.queue(Alarm { event, detail: row.detail, utc_s: row.utc_s });
        Some(())
    }

    fn queue(&mut self, alarm: Alarm) {
        if self.alarms.is_full() {
            let _ = self.alarms.pop_front();
        }
        let _ = self.alarms.push_back(alarm);
    }

    /// When [`Meter::tick`] wants to be called.
    #[must_use]
    pub const fn next_tick(&self) -> Instant {
        self.next_sample
    }

    /// Samples the front end, counts energy, takes charges, follows with the relay, captures profile rows, looks at tamper
    /// inputs. Does nothing before [`Meter::next_tick`].
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        if now < self.next_sample {
            return;
        }
        self.check_memory();
        self.watch_supply();
        self.next_sample = now + Duration::from_millis(u64::from(self.who.sample_period_ms.max(1)));
        self.measure();
        self.protect();
        self.follow_calendar();
        self.capture_if_due();
        self.follow_contact();
        self.look_for_tampering();
        self.confirm_when_sound();
        // Whoever came this far does not hang.
        self.board.health().feed_watchdog();
    }

    /// Looks at the supply, between ticks as well: when it goes, the time is stored and an alarm waits to be pushed before the
    /// capacitors are empty. When it comes back without a restart, the gap is logged.
    pub fn watch_supply(&mut self) {
        let failing = self.board.health().supply_failing();
        if failing == self.conditions.supply_failing {
            return;
        }
        self.conditions.supply_failing = failing;
        if failing {
            self.note(Event::PowerDown, 0);
            // The gap counts from here.
            let _ = self.commit(self.record.clone());
        } else {
            self.note_power_gap();
        }
    }

    /// A person presses the button that closes an armed relay.
    ///
    /// # Errors
    /// [`Refused`]: not armed, or what holds the supply back.
    pub fn press_button(&mut self) -> Result<(), Refused> {
        self.command_relay(Trigger::ManualReconnect)
    }

    /// A person opens the relay at the meter.
    ///
    /// # Errors
    /// [`Refused`]: the mode does not allow it.
    pub fn open_manually(&mut self) -> Result<(), Refused> {
        self.command_relay(Trigger::ManualDisconnect)
    }

    /// A command for the relay; class 70's methods and Modbus's coil end here.
    pub(crate) fn command_relay(&mut self, trigger: Trigger) -> Result<(), Refused> {
        let mut next = self.record.clone();
        let mut events = RelayEvents::new();
        if matches!(trigger, Trigger::RemoteDisconnect | Trigger::RemoteReconnect) {
            // Whoever commands from afar has looked at why it tripped.
            next.tripped = Tripped::default();
        }
        let hold = next.hold(self.local_s());
        next.relay.command(trigger, hold, &mut events)?;
        if self.commit(next).is_err() {
            return Err(Refused { state: self.record.relay.state, held_by: Some(RelayReason::Fault) });
        }
        self.relay_changed(&events);
        Ok(())
    }

    pub(crate) fn measure(&mut self) {
        let sample = match self.board.metering().sample() {
            Ok(sample) => sample,
            Err(_) => {
                if !self.conditions.measurement_failed {
                    self.conditions.measurement_failed = true;
                    self.note(Event::MeasurementError, 0);
                }
                self.conditions.measured = false;
                self.conditions.row_status |= protocol::cosem::profile::row_status::MEASUREMENT_FAILED;
                return;
            }
        };
        self.conditions.measurement_failed = false;
        self.conditions.measured = true;
        let sample = self.settings.metrology.primary(sample, &mut self.rests);
        self.sample = sample;
        let used = self.record.import.add(sample.import_mws);
        let exported = self.record.export.add(sample.export_mws);
        self.give_pulses();
        if used == 0 && exported == 0 {
            // Less than a watt-hour: counted in memory, stored with the whole one.
            return;
        }
        let mut next = self.record.clone();
        let local_s = self.local_s();
        let units = next.rating.charge(&self.tariffs.active, used, local_s);
        next.ledger.consume(units);
        let mut events = RelayEvents::new();
        let hold = next.hold(self.local_s());
        next.relay.settle(hold, &mut events);
        let warn = !next.low_credit_warned && next.ledger.remaining() <= next.low_credit;
        next.low_credit_warned |= warn;
        let exhausted = next.available() <= 0 && self.record.available() > 0;
        let left = i32::try_from(next.ledger.remaining()).unwrap_or(i32::MIN);
        // Energy that was used is charged even when the record cannot be stored now: the next one holds it.
        if self.commit(next.clone()).is_err() {
            next.events = self.record.events;
            self.enter_state(next);
        }
        if warn {
            self.note(Event::LowCredit, left);
        }
        if exhausted {
            self.note(Event::CreditExhausted, left);
        }
        self.relay_changed(&events);
    }

    /// Pulses for the energy imported since the last ones.
    fn give_pulses(&mut self) {
        let total = self.settings.metrology.pulses_of(&self.record.import);
        let due = total.saturating_sub(self.pulsed);
        self.pulsed = total;
        if due > 0 {
            self.board.pulse(u32::try_from(due).unwrap_or(u32::MAX));
        }
    }

    /// Counts pulses from here on: at start, and when the meter constant has changed.
    pub(crate) fn recount_pulses(&mut self) {
        self.pulsed = self.settings.metrology.pulses_of(&self.record.import);
    }

    /// Opens the relay on overload, over-current or bad voltage, and releases it when that has been gone for long enough.
    fn protect(&mut self) {
        if self.conditions.measurement_failed {
            return;
        }
        let utc_s = self.board.clock().utc_s();
        let (limits, tripped) = (&self.record.limits, &self.record.tripped);
        let Some(finding) = self.watch.look(self.now, utc_s, &self.sample, limits, tripped) else { return };
        let mut next = self.record.clone();
        let noted = match finding {
            Finding::Trip(reason, event, value) => {
                let at = utc_s.unwrap_or(next.utc_s);
                next.tripped.trip(reason, next.limits.trips_max, at);
                Some((event, value))
            }
            Finding::Release => {
                next.tripped.reason = None;
                None
            }
        };
        let locked = next.tripped.reason == Some(RelayReason::LockedOut);
        if let Some((event, value)) = noted {
            self.note(event, value);
        }
        // A relay that must open opens even when that cannot be stored.
        if self.settle_and_commit(next.clone()).is_err() {
            self.settle_unstored(next);
        }
        if locked {
            self.note(Event::LockedOut, 0);
        }
    }

    /// Compares the credit in memory with its second copy: strong fields make processors lose parts of their memory. What
    /// disagrees is thrown away for what the journal says.
    fn check_memory(&mut self) {
        if self.ledger_copy == self.record.ledger && self.record.ledger.balances() {
            return;
        }
        let recovered =
            Journal::<Record, PLACE_BYTES>::recover(self.board.storage(), 0, Layout::STATE_PLACES);
        if let Ok((_, Some(record))) = recovered {
            self.record = record;
            self.recover_rings();
        }
        self.ledger_copy = self.record.ledger;
        self.note(Event::LedgerMismatch, 0);
    }

    /// Follows a new state that storage would not take: it holds until the next start.
    fn settle_unstored(&mut self, mut next: Record) {
        let mut events = RelayEvents::new();
        let hold = next.hold(self.local_s());
        next.relay.settle(hold, &mut events);
        next.events = self.record.events;
        self.enter_state(next);
        self.relay_changed(&events);
    }

    /// The one place where the state changes.
    pub(crate) fn enter_state(&mut self, next: Record) {
        self.ledger_copy = next.ledger;
        self.record = next;
    }

    /// Local time in seconds since 1970, while the clock is set.
    pub(crate) fn local_s(&mut self) -> Option<u32> {
        let utc_s = self.board.clock().utc_s()?;
        self.settings.zone.local_s(utc_s)
    }

    /// Daily charges, and holds that come and go with the time of day.
    fn follow_calendar(&mut self) {
        let (Some(utc_s), Some(local_s)) = (self.board.clock().utc_s(), self.local_s()) else { return };
        self.follow_daylight(utc_s);
        if self.tariffs.is_due(utc_s) {
            let mut tariffs = self.tariffs.clone();
            tariffs.activate();
            let _ = self.change_tariffs(tariffs);
        }
        let mut relay = self.record.relay;
        relay.settle(self.record.hold(Some(local_s)), &mut RelayEvents::new());
        let (day, counted) = (local_s / DAY_S, self.record.snapshot_day);
        let same_day = day == counted || day + 1 == counted;
        if !self.record.terms.is_due(utc_s, local_s) && same_day && relay == self.record.relay {
            return;
        }
        let mut next = self.record.clone();
        self.take_snapshots(utc_s, local_s, &mut next);
        next.terms.follow_calendar(utc_s, local_s, &mut next.ledger);
        // A charge that cannot be stored now is collected at the next tick.
        let _ = self.settle_and_commit(next);
    }

    /// Stores new tariffs and counts the change.
    pub(crate) fn change_tariffs(&mut self, tariffs: Tariffs) -> Result<(), DataAccessResult> {
        let written = self.tariff_journal.write(self.board.storage(), &tariffs);
        written.map_err(|_| DataAccessResult::HardwareFault)?;
        self.tariffs = tariffs;
        self.configure(self.record.clone())
    }

    /// Stores new settings and counts the change.
    pub(crate) fn change_settings(&mut self, settings: Settings) -> Result<(), DataAccessResult> {
        let written = self.settings_journal.write(self.board.storage(), &settings);
        written.map_err(|_| DataAccessResult::HardwareFault)?;
        self.settings = settings;
        self.configure(self.record.clone())
    }

    /// Stores what the load profile captures. Its rows go first: a cut in between leaves it empty, as it was.
    pub(crate) fn change_capture(&mut self, capture: Capture) -> Result<(), DataAccessResult> {
        if !capture.is_sound() {
            return Err(DataAccessResult::OtherReason);
        }
        let mut next = self.record.clone();
        next.profile.first = next.profile.next;
        (next.profile_ordered_from, next.profile_period) = (next.profile.next, 0);
        self.commit(next).map_err(|_| DataAccessResult::HardwareFault)?;
        let mut settings = self.settings.clone();
        settings.capture = capture;
        self.change_settings(settings)
    }

    /// The customer takes the emergency credit that is offered.
    ///
    /// # Errors
    /// [`NotOffered`]: too much credit left, or taken already.
    pub fn take_emergency_credit(&mut self) -> Result<(), NotOffered> {
        if !self.record.terms.offers_emergency(self.record.ledger.remaining()) {
            return Err(NotOffered);
        }
        let mut next = self.record.clone();
        next.terms.emergency.taken = true;
        self.settle_and_commit(next).map_err(|_| NotOffered)?;
        let preset = self.record.terms.emergency.preset;
        self.note(Event::EmergencyCreditTaken, i32::try_from(preset).unwrap_or(i32::MAX));
        Ok(())
    }

    fn follow_contact(&mut self) {
        let want = self.record.relay.wants_closed();
        if let Some((event, detail)) = self.contact.follow(self.board.relay(), want) {
            self.note(event, detail);
        }
        if let Some((event, detail)) = self.contact.watch_current(want, self.sample.current_ma) {
            self.note(event, detail);
        }
    }

    fn look_for_tampering(&mut self) {
        let cover = self.board.health().cover_open();
        let magnet = self.board.health().magnet();
        let sample = (!self.conditions.measurement_failed).then_some(&self.sample);
        let signs = self.tamper.look(cover, magnet, sample, self.who.options.imports_only);
        for (event, detail) in signs {
            self.note(event, detail);
        }
        if self.tamper.active() {
            self.conditions.row_status |= protocol::cosem::profile::row_status::TAMPER;
        }
    }

    /// Stores `next` and makes it the state; on failure the old state stays.
    pub(crate) fn commit(&mut self, mut next: Record) -> Result<(), JournalError> {
        if let Some(utc_s) = self.board.clock().utc_s() {
            next.utc_s = utc_s;
        }
        // Event rows that were written since `next` was copied are not forgotten.
        next.events = self.record.events;
        let written = self.journal.write(self.board.storage(), &next);
        match written {
            Ok(()) => {
                self.conditions.storage_failed = false;
                self.enter_state(next);
            }
            Err(_) if !self.conditions.storage_failed => {
                self.conditions.storage_failed = true;
                self.note(Event::NvMemoryError, 0);
            }
            Err(_) => {}
        }
        written
    }

    /// As [`Meter::commit`], after the relay's logic has followed the new credit.
    pub(crate) fn settle_and_commit(&mut self, mut next: Record) -> Result<(), JournalError> {
        let mut events = RelayEvents::new();
        let hold = next.hold(self.local_s());
        next.relay.settle(hold, &mut events);
        if next.ledger.remaining() > next.low_credit {
            next.low_credit_warned = false;
        }
        self.commit(next)?;
        self.relay_changed(&events);
        Ok(())
    }

    /// Changes the configuration in the record.
    pub(crate) fn reconfigure(
        &mut self,
        change: &mut dyn FnMut(&mut Record),
    ) -> Result<(), DataAccessResult> {
        let mut next = self.record.clone();
        change(&mut next);
        self.configure(next)
    }

    /// Stores a change of the configuration: counted, logged, and followed by the relay.
    pub(crate) fn configure(&mut self, mut next: Record) -> Result<(), DataAccessResult> {
        next.configuration_changes = next.configuration_changes.wrapping_add(1);
        let changes = next.configuration_changes;
        self.settle_and_commit(next).map_err(|_| DataAccessResult::HardwareFault)?;
        self.note(Event::ParametersChanged, i32::try_from(changes).unwrap_or(i32::MAX));
        Ok(())
    }

    /// Asks the contact.
    pub(crate) fn sense_closed(&mut self) -> Option<bool> {
        self.contact.sense(self.board.relay())
    }

    /// Logs the events of a relay change and moves the contact.
    pub(crate) fn relay_changed(&mut self, events: &RelayEvents) {
        if events.is_empty() {
            return;
        }
        self.drive();
        for (event, detail) in events {
            self.note(*event, *detail);
        }
    }

    fn drive(&mut self) {
        self.contact.recommand();
        let want = self.record.relay.wants_closed();
        // The first pulse cannot be the one that is given up after.
        let _ = self.contact.follow(self.board.relay(), want);
    }

    /// Writes an event to the log, and queues it as an alarm where it is one. A log that cannot be written does not stop
    /// the meter.
    pub(crate) fn note(&mut self, event: Event, detail: i32) {
        let utc_s = self.board.clock().utc_s().unwrap_or(0);
        let row = EventRow { utc_s, code: event as u8, detail };
        let _ = self.events.push(self.board.storage(), &mut self.record.events, row);
        if is_alarm(event) {
            self.queue(Alarm { event, detail, utc_s });
        }
    }

    /// The time of the last tick.
    pub(crate) const fn now(&self) -> Instant {
        self.now
    }
}
