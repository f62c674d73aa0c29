//! Events into the log, and those that somebody should hear of at once out of the queue.

use hardware::board::{Board, Clock};
use protocol::cosem::events::{Event, EventRow};
use protocol::time::{Duration, Instant};

use super::Meter;
use crate::alarm::{Alarm, is_alarm};

impl<B: Board> Meter<B> {
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

    pub(super) fn queue(&mut self, alarm: Alarm) {
        if self.alarms.is_full() {
            let _ = self.alarms.pop_front();
        }
        let _ = self.alarms.push_back(alarm);
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
}
