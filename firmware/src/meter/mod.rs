//! The meter: what happens each tick, what a person and the network may ask of it, and how its state stays whole.

mod alarms;
mod start;
mod state;
mod supply;
mod tick;

use hardware::board::{Board, Clock, Sample};
use heapless::Deque;
use protocol::cosem::disconnect::{ControlState, RelayReason};
use protocol::cosem::events::EventRow;
use protocol::cosem::profile::LoadRow;
use protocol::dlms::security::CounterBlock;
use protocol::sts::meter::KeypadLockout;
use protocol::time::Instant;

use crate::alarm::{ALARMS_MAX, Alarm};
use crate::counters::{COUNTER_PLACE_BYTES, Counters};
use crate::image::Update;
use crate::journal::{Journal, PLACE_BYTES};
use crate::keys::{KEY_PLACE_BYTES, KeyStore};
#[cfg(feature = "ecdsa")]
use crate::layout::SUITE_1_PLACE_BYTES;
use crate::ledger::Ledger;
use crate::metrology::Rests;
use crate::objects::View;
use crate::personalisation::Personalisation;
use crate::profile::{SecondJournal, SecondProfile};
use crate::protection::Watch;
use crate::record::Record;
use crate::relay::Contact;
use crate::ring::Ring;
use crate::settings::{SETTINGS_PLACE_BYTES, Settings};
#[cfg(feature = "ecdsa")]
use crate::suite1::Suite1Store;
use crate::tamper::Tamper;
use crate::tariff::{TARIFF_PLACE_BYTES, Tariffs};
pub use start::StartError;

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
    /// Status bits for the next row of each load profile.
    pub row_status: [u8; 2],
    /// Daylight saving, when it was last looked at.
    pub daylight: Option<bool>,
    /// Method 5 of the clock: a time to take over at a word, and when the word counts (UTC).
    pub preset: Option<Preset>,
}

impl Conditions {
    /// The next row of either load profile says so.
    pub(crate) const fn mark_rows(&mut self, bits: u8) {
        let [first, second] = &mut self.row_status;
        (*first, *second) = (*first | bits, *second | bits);
    }
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
    /// Rows of the load profiles.
    pub(crate) loads: [Ring<LoadRow>; 2],
    pub(crate) second: SecondProfile,
    pub(crate) second_journal: SecondJournal,
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

    /// When [`Meter::tick`] wants to be called.
    #[must_use]
    pub const fn next_tick(&self) -> Instant {
        self.next_sample
    }

    /// Local time in seconds since 1970, while the clock is set.
    pub(crate) fn local_s(&mut self) -> Option<u32> {
        let utc_s = self.board.clock().utc_s()?;
        self.settings.zone.local_s(utc_s)
    }

    /// The time of the last tick.
    pub(crate) const fn now(&self) -> Instant {
        self.now
    }
}
