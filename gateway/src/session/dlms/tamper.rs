//! Signs of tampering are read and kept before they are cleared; what lasts is not cleared.

use super::meter::Meter;
use crate::session::trouble::Trouble;
use crate::session::work::{Ending, TokenDigits};
use jiff::Timestamp;
use protocol::codec::axdr::{Data, DateTime};
use protocol::cosem::FromData;
use protocol::cosem::events::Event;
use protocol::cosem::profile::{BUFFER, ENTRIES_IN_USE};
use protocol::dlms::client::selection;

/// The newest rows of the event log that are looked at; our own choice.
const ROWS: u32 = 64;
/// The newest signs that become evidence.
const SIGNS_SHOWN: usize = 20;
/// Bytes of a selection by entry.
const SELECTION: usize = 32;

/// A sign of tampering in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sign {
    at: Option<Timestamp>,
    event: Event,
}

const fn is_sign(event: Event) -> bool {
    matches!(
        event,
        Event::CoverOpened
            | Event::CoverClosed
            | Event::MagnetOn
            | Event::MagnetOff
            | Event::ReverseEnergy
            | Event::NeutralMissing
            | Event::CurrentImbalance
    )
}

/// The sign that began and has not ended, of signs in the order of the log.
fn lasting(signs: &[Sign]) -> Option<Sign> {
    [(Event::CoverOpened, Event::CoverClosed), (Event::MagnetOn, Event::MagnetOff)].into_iter().find_map(
        |(begins, ends)| {
            let last = signs.iter().rev().find(|sign| sign.event == begins || sign.event == ends)?;
            (last.event == begins).then_some(*last)
        },
    )
}

fn when(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "at a time that it does not know".to_owned(), |at| at.to_string())
}

impl Meter<'_> {
    /// Reads the signs into the evidence, and enters the token where none of them lasts.
    pub(super) async fn clear_tamper(&mut self, token: &TokenDigits) -> Result<Ending, Trouble> {
        let signs = self.signs().await?;
        if let Some(sign) = lasting(&signs) {
            let reason = format!("it lasts: {}, {}; put that right first", sign.event.text(), when(sign.at));
            self.attempt.note(&reason);
            return Ok(Ending::Rejected { reason, code: None });
        }
        self.deliver(token).await
    }

    async fn signs(&mut self) -> Result<Vec<Sign>, Trouble> {
        let Some(log) = self.model.objects.event_log else {
            self.attempt.note("the meter's model names no event log: there is no evidence from the meter");
            return Ok(Vec::new());
        };
        let rows = self.typed::<u32>(ENTRIES_IN_USE.of(log), "the rows of the event log").await?;
        if rows == 0 {
            self.attempt.note(format!("GET {log} event log: empty"));
            return Ok(Vec::new());
        }
        let first = rows.saturating_sub(ROWS).saturating_add(1);
        let mut space = [0; SELECTION];
        let selection = selection::by_entry(&mut space, first, rows, 1, 0)
            .map_err(|error| Trouble::NotReady(format!("rows {first} to {rows} of the log: {error}")))?;
        let what = "the event log";
        let bytes =
            self.association.get_selected(self.pipe, BUFFER.of(log), Some(selection), what).await?.to_vec();
        let clock = &self.model.clock;
        let now = self.attempt.now();
        let read = Data::from_bytes_in(&bytes).map(|buffer| {
            let rows = buffer.as_array()?;
            let sign = |row: Data<'_>| {
                let mut cells = row.as_structure()?.iter();
                let time = cells.next()?.ok()?;
                let code = cells.next()?.ok()?.as_u64()?;
                let event =
                    u8::try_from(code).ok().and_then(Event::from_u8).filter(|event| is_sign(*event))?;
                let second = DateTime::from_data(time).ok().and_then(|time| clock.from_meter(time, now));
                Some(Sign { at: second.and_then(|second| Timestamp::from_second(second).ok()), event })
            };
            Some(rows.iter().filter_map(|row| sign(row.ok()?)).collect::<Vec<_>>())
        });
        let Ok(Some(signs)) = read else {
            return Err(Trouble::Protocol("the event log is not what its class says".into()));
        };
        self.attempt.note(format!("GET {log} event log, rows {first} to {rows}: {} signs", signs.len()));
        for sign in signs.iter().rev().take(SIGNS_SHOWN).rev() {
            self.attempt.note(format!("event log {}: {}", when(sign.at), sign.event.text()));
        }
        Ok(signs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_and_has_not_ended_lasts() {
        let signs = |events: &[Event]| -> Vec<Sign> {
            events.iter().map(|event| Sign { at: None, event: *event }).collect()
        };
        let last = |events: &[Event]| lasting(&signs(events)).map(|sign| sign.event);
        use Event::{CoverClosed, CoverOpened, CurrentImbalance, MagnetOff, MagnetOn};
        assert_eq!(last(&[]), None);
        assert_eq!(last(&[CoverOpened, MagnetOn, CoverClosed]), Some(MagnetOn));
        assert_eq!(last(&[CoverOpened, CoverClosed, CurrentImbalance]), None, "it has no end of its own");
        assert_eq!(last(&[CoverClosed, CoverOpened]), Some(CoverOpened));
        assert_eq!(last(&[MagnetOn, MagnetOff]), None);
    }
}
