//! Start: the state out of the journals, or a new life.

use hardware::board::{Board, Calibration, Clock, Health, Metering, ResetCause, Sample};
use heapless::Deque;
use protocol::cosem::events::Event;
use protocol::cosem::tariff::Tariff;
use protocol::dlms::security::CounterBlock;
use protocol::sts::meter::KeypadLockout;
use protocol::time::Instant;

use super::{Conditions, Meter};
use crate::image::Update;
use crate::journal::{Journal, JournalError};
use crate::keys::KeyStore;
use crate::layout::{Layout, TooSmall};
use crate::metrology::Rests;
use crate::objects::View;
use crate::personalisation::Personalisation;
use crate::profile::{LoadProfile, SecondProfile};
use crate::protection::Watch;
use crate::record::Record;
use crate::relay::Contact;
use crate::ring::Ring;
use crate::settings::Settings;
#[cfg(feature = "ecdsa")]
use crate::suite1::Suite1Store;
use crate::tamper::Tamper;
use crate::tariff::Tariffs;
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
        let (second_journal, second) =
            SecondProfile::recover(board.storage(), &layout, &who).map_err(StartError::Journal)?;
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
            loads: [
                Ring::new(layout.profile_base, layout.profile_rows),
                Ring::new(layout.second_base, layout.second_rows),
            ],
            second,
            second_journal,
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
    pub(super) fn recover_rings(&mut self) {
        self.events.recover(self.board.storage(), &mut self.record.events);
        self.daily.recover(self.board.storage(), &mut self.record.daily);
        self.monthly.recover(self.board.storage(), &mut self.record.monthly);
        // A snapshot whose record was cut is not taken again.
        let newest = self.daily.rows(self.record.daily).next_back();
        if let Some(row) = newest.and_then(|n| self.daily.get(self.board.storage(), n)) {
            let day = self.settings.zone.local_s(row.utc_s).unwrap_or(0) / DAY_S;
            self.record.snapshot_day = self.record.snapshot_day.max(day);
        }
        LoadProfile::BOTH.into_iter().for_each(|which| self.recover_profile(which));
    }

    pub(super) fn note_power_gap(&mut self) {
        self.conditions.mark_rows(protocol::cosem::profile::row_status::POWER_DOWN);
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
}
