//! What happens at each tick.

use hardware::board::{Board, Clock, Health, Metering};
use protocol::cosem::disconnect::RelayReason;
use protocol::cosem::events::Event;
use protocol::time::{Duration, Instant};

use super::Meter;
use crate::journal::{Journal, PLACE_BYTES};
use crate::layout::Layout;
use crate::profile::LoadProfile;
use crate::protection::Finding;
use crate::record::Record;
use crate::relay::RelayEvents;
use crate::terms::DAY_S;

impl<B: Board> Meter<B> {
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
        LoadProfile::BOTH.into_iter().for_each(|which| self.capture_if_due(which));
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

    pub(crate) fn measure(&mut self) {
        let sample = match self.board.metering().sample() {
            Ok(sample) => sample,
            Err(_) => {
                if !self.conditions.measurement_failed {
                    self.conditions.measurement_failed = true;
                    self.note(Event::MeasurementError, 0);
                }
                self.conditions.measured = false;
                self.conditions.mark_rows(protocol::cosem::profile::row_status::MEASUREMENT_FAILED);
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
            self.conditions.mark_rows(protocol::cosem::profile::row_status::TAMPER);
        }
    }
}
