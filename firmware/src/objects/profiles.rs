//! Load profiles, billing profiles and event log (class 7): rows go from storage to the wire one piece at a time.

use core::ops::Range;

use hardware::board::{Board, Clock};
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::{Encode, Result as Encoded, Writer};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult, SelectiveAccess};
use protocol::cosem::class::{Access, Enumeration, Invoked, Items, Nothing};
use protocol::cosem::events::EVENT_CAPTURE_OBJECTS;
use protocol::cosem::profile::{CaptureObject, LOAD_CAPTURE_OBJECTS, LoadRow, ProfileGeneric};
use protocol::cosem::values::{fields, put_array, put_structure};
use protocol::cosem::{FromData, obis};
use protocol::dlms::model::{Caller, Piece};

use super::full;
use crate::meter::Meter;
use crate::profile::LoadProfile;
use crate::ring::{Ring, Span};
use crate::settings::Capture;
use crate::terms::DAY_S;

/// What a read that is under way shows: fixed with piece 0, so that rows captured meanwhile do not move it.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    client_sap: u8,
    /// Which profile, and a fingerprint of the selection.
    of: Option<(Obis, u32)>,
    first: u32,
    end: u32,
    columns: u32,
}

impl View {
    /// Reads under way at once: one for each kind of client.
    pub const SLOTS: usize = 4;
}

/// The meter as the profile of that name, for one request.
pub(super) struct ProfileObject<'m, 's, B: Board> {
    pub meter: &'m mut Meter<B>,
    pub name: Obis,
    pub caller: Caller,
    /// Which rows and columns of the buffer.
    pub selection: Option<SelectiveAccess<'s>>,
}

impl<B: Board> ProfileObject<'_, '_, B> {
    fn load_profile(&self) -> Access<LoadProfile> {
        load_profile(self.name).ok_or(DataAccessResult::ReadWriteDenied)
    }
}

impl<B: Board> ProfileGeneric for ProfileObject<'_, '_, B> {
    /// Piece 0 is the number of rows, piece n is row n.
    fn buffer(&mut self, piece: u32, out: &mut dyn Writer) -> Access<Piece> {
        self.meter.get_buffer(self.caller, self.name, self.selection, piece, out)
    }

    fn capture_objects(&mut self) -> Access<impl ExactSizeIterator<Item = CaptureObject>> {
        let shown = self.meter.shown(self.name);
        let mut objects = LOAD_CAPTURE_OBJECTS;
        let mut count = 0;
        let all = capture_objects(self.name).iter().enumerate();
        for (slot, (_, object)) in objects.iter_mut().zip(all.filter(|(at, _)| shown >> at & 1 != 0)) {
            *slot = *object;
            count += 1;
        }
        Ok(objects.into_iter().take(count))
    }

    /// Some of the six, in their order, the time among them.
    fn set_capture_objects(&mut self, objects: Items<'_, CaptureObject>) -> Access<()> {
        let mut columns = 0_u8;
        for object in objects.iter() {
            let object = object.map_err(wrong)?;
            let at = LOAD_CAPTURE_OBJECTS.iter().position(|known| *known == object);
            let at = at.filter(|at| columns >> at == 0).ok_or(DataAccessResult::OtherReason)?;
            columns |= 1 << at;
        }
        let which = self.load_profile()?;
        let capture = Capture { columns, ..self.meter.capture_of(which) };
        self.meter.change_capture(which, capture)
    }

    fn set_capture_period(&mut self, period_s: u32) -> Access<()> {
        let which = self.load_profile()?;
        let capture = Capture { period_s, ..self.meter.capture_of(which) };
        self.meter.change_capture(which, capture)
    }

    fn capture_period(&mut self) -> Access<u32> {
        Ok(match (load_profile(self.name), self.name) {
            (Some(which), _) => self.meter.capture_of(which).period_s,
            (None, obis::DAILY_PROFILE) => DAY_S,
            // By the calendar, and by events.
            _ => 0,
        })
    }

    /// First in, first out.
    fn sort_method(&mut self) -> Access<Enumeration> {
        Ok(Enumeration(1))
    }

    fn sort_object(&mut self) -> Access<CaptureObject> {
        Ok(CaptureObject::new(0, Obis([0; 6]), 0, 0))
    }

    fn entries_in_use(&mut self) -> Access<u32> {
        let rows = self.meter.rows_in_use(self.name);
        Ok(rows.end - rows.start)
    }

    fn profile_entries(&mut self) -> Access<u32> {
        Ok(match self.meter.ring(self.name) {
            Some((ring, _)) => ring.capacity(),
            None => self.meter.events.capacity(),
        })
    }

    fn reset(&mut self, _: Nothing) -> Invoked {
        let which = load_profile(self.name).ok_or(ActionResult::ReadWriteDenied)?;
        self.meter.reset_profile(which).map_err(|_| ActionResult::HardwareFault)
    }

    fn capture(&mut self, _: Nothing) -> Invoked {
        let which = load_profile(self.name).ok_or(ActionResult::ReadWriteDenied)?;
        let meter = &mut *self.meter;
        let utc_s = meter.board.clock().utc_s().ok_or(ActionResult::TemporaryFailure)?;
        let mut progress = meter.progress(which);
        meter.push_row(which, &mut progress, utc_s).map_err(|_| ActionResult::HardwareFault)?;
        meter.store_progress(which, progress).map_err(|_| ActionResult::HardwareFault)
    }
}

impl<B: Board> Meter<B> {
    fn get_buffer(
        &mut self,
        caller: Caller,
        name: Obis,
        selection: Option<SelectiveAccess<'_>>,
        piece: u32,
        out: &mut dyn Writer,
    ) -> Access<Piece> {
        let fingerprint = fingerprint(selection);
        let slot = self.view_slot(caller.client_sap);
        let known = self.views[slot];
        let same = known.client_sap == caller.client_sap && known.of == Some((name, fingerprint));
        let view = if piece > 0 && same {
            known
        } else {
            let (rows, columns) = self.select(name, selection)?;
            let of = Some((name, fingerprint));
            View { client_sap: caller.client_sap, of, first: rows.start, end: rows.end, columns }
        };
        self.views[slot] = view;
        let count = view.end - view.first;
        let Some(offset) = piece.checked_sub(1) else {
            put_array(out, count as usize).map_err(full)?;
            return Ok(if count == 0 { Piece::Last } else { Piece::More });
        };
        if offset >= count {
            return Err(DataAccessResult::DataBlockUnavailable);
        }
        self.put_row(name, view.first + offset, view.columns, out).map_err(full)?;
        Ok(if offset + 1 == count { Piece::Last } else { Piece::More })
    }

    /// The columns of a profile: a bit for each of its capture objects.
    fn shown(&self, name: Obis) -> u32 {
        load_profile(name).map_or(u32::MAX, |which| u32::from(self.capture_of(which).columns))
    }

    /// The view of this client, or a free one, or the first.
    fn view_slot(&self, client_sap: u8) -> usize {
        let mine = self.views.iter().position(|v| v.of.is_some() && v.client_sap == client_sap);
        mine.or_else(|| self.views.iter().position(|v| v.of.is_none())).unwrap_or(0)
    }

    /// The ring behind a profile of load rows; `None` for the event log.
    fn ring(&self, name: Obis) -> Option<(Ring<LoadRow>, Span)> {
        match (load_profile(name), name) {
            (Some(which), _) => Some((self.loads[which as usize], self.progress(which).rows)),
            (None, obis::DAILY_PROFILE) => Some((self.daily, self.record.daily)),
            (None, obis::MONTHLY_PROFILE) => Some((self.monthly, self.record.monthly)),
            _ => None,
        }
    }

    fn rows_in_use(&self, name: Obis) -> Range<u32> {
        match self.ring(name) {
            Some((ring, span)) => ring.rows(span),
            None => self.events.rows(self.record.events),
        }
    }

    fn put_row(&mut self, name: Obis, number: u32, columns: u32, out: &mut dyn Writer) -> Encoded<()> {
        let zone = self.settings.zone;
        let ring = self.ring(name);
        let storage = self.board.storage();
        let written = match ring {
            Some((ring, _)) => {
                ring.get(storage, number).map(|row| row.encode(out, columns, zone.offset_at(row.utc_s)))
            }
            None => {
                let row = self.events.get(storage, number);
                row.map(|row| row.encode(out, columns, zone.offset_at(row.utc_s)))
            }
        };
        // A row that the ring overwrote while it was read, or that storage lost: no values, in the place it had.
        written.unwrap_or_else(|| {
            let all = (1_u32 << capture_objects(name).len()) - 1;
            let count = (columns & all).count_ones();
            put_structure(out, count as usize)?;
            (0..count).try_for_each(|_| Data::Null.encode(out))
        })
    }

    fn select(
        &mut self,
        name: Obis,
        selection: Option<SelectiveAccess<'_>>,
    ) -> Result<(Range<u32>, u32), DataAccessResult> {
        let in_use = self.rows_in_use(name);
        let shown = self.shown(name);
        match selection {
            None => Ok((in_use, shown)),
            Some(SelectiveAccess { selector: 1, parameters }) => {
                let [restricting, from, to, columns] = fields(parameters).map_err(wrong)?;
                let restricting = CaptureObject::from_data(&restricting).map_err(wrong)?;
                if restricting.logical_name != obis::CLOCK || restricting.class_id != 8 {
                    return Err(DataAccessResult::ScopeOfAccessViolated);
                }
                let columns = columns_of(name, columns, shown)?;
                let from = self.bound(from)?.unwrap_or(0);
                let to = self.bound(to)?.unwrap_or(u32::MAX);
                let rows = match load_profile(name) {
                    Some(which) => self.rows_between(which, from, to),
                    None => self.scan_between(name, in_use, from, to),
                };
                Ok((rows, columns))
            }
            Some(SelectiveAccess { selector: 2, parameters }) => {
                let [from, to, first_column, last_column] = fields(parameters).map_err(wrong)?;
                let from = u32::from_data(from).map_err(wrong)?.max(1);
                let to = u32::from_data(to).map_err(wrong)?;
                let first_column = u16::from_data(first_column).map_err(wrong)?;
                let last_column = u16::from_data(last_column).map_err(wrong)?;
                let start = in_use.start.saturating_add(from - 1).min(in_use.end);
                let end = if to == 0 { in_use.end } else { in_use.start.saturating_add(to).min(in_use.end) };
                Ok((start..end.max(start), column_range(first_column, last_column, shown)))
            }
            Some(_) => Err(DataAccessResult::ScopeOfAccessViolated),
        }
    }

    /// A bound of a range: a date-time as octet string; null-data or all wildcards mean none.
    fn bound(&self, d: Data<'_>) -> Result<Option<u32>, DataAccessResult> {
        if d == Data::Null {
            return Ok(None);
        }
        let time = DateTime::from_data(d).map_err(wrong)?;
        if time.year == 0xFFFF {
            return Ok(None);
        }
        self.settings.zone.utc_s(time).map(Some).ok_or(DataAccessResult::OtherReason)
    }

    /// Rows from the first to the last one between two times, for rings that are short enough to look at every row. A clock
    /// that was set back in between does not take out rows.
    fn scan_between(&mut self, name: Obis, rows: Range<u32>, from: u32, to: u32) -> Range<u32> {
        let ring = self.ring(name);
        let mut found: Option<Range<u32>> = None;
        for number in rows.clone() {
            let storage = self.board.storage();
            let time = match ring {
                Some((ring, _)) => ring.get(storage, number).map(|row| row.utc_s),
                None => self.events.get(storage, number).map(|row| row.utc_s),
            };
            if time.is_some_and(|utc_s| utc_s >= from && utc_s <= to) {
                let start = found.map_or(number, |range| range.start);
                found = Some(start..number + 1);
            }
        }
        found.unwrap_or(rows.end..rows.end)
    }
}

fn wrong(_: protocol::codec::codec::Error) -> DataAccessResult {
    DataAccessResult::TypeUnmatched
}

const fn load_profile(name: Obis) -> Option<LoadProfile> {
    match name {
        obis::LOAD_PROFILE => Some(LoadProfile::First),
        obis::LOAD_PROFILE_2 => Some(LoadProfile::Second),
        _ => None,
    }
}

const fn capture_objects(name: Obis) -> &'static [CaptureObject] {
    match name {
        obis::EVENT_LOG => &EVENT_CAPTURE_OBJECTS,
        _ => &LOAD_CAPTURE_OBJECTS,
    }
}

/// Columns named by capture objects, as bits; none named means all that are shown.
fn columns_of(name: Obis, d: Data<'_>, shown: u32) -> Result<u32, DataAccessResult> {
    if d == Data::Null {
        return Ok(shown);
    }
    let named = d.as_array().ok_or(DataAccessResult::TypeUnmatched)?;
    if named.is_empty() {
        return Ok(shown);
    }
    let mut columns = 0;
    for item in named.iter() {
        let wanted = CaptureObject::from_data(&item.map_err(wrong)?).map_err(wrong)?;
        let at = capture_objects(name).iter().position(|object| *object == wanted);
        let at = at.filter(|at| shown >> at & 1 != 0);
        columns |= 1 << at.ok_or(DataAccessResult::ScopeOfAccessViolated)?;
    }
    Ok(columns)
}

/// Columns `first` to `last` of those that are shown, counted from 1; `last` 0 means to the end.
fn column_range(first: u16, last: u16, shown: u32) -> u32 {
    let last = if last == 0 { u16::MAX } else { last };
    let mut place = 0;
    (0..u32::BITS).filter(|bit| shown >> bit & 1 != 0).fold(0, |columns, bit| {
        place += 1;
        if (first..=last).contains(&place) { columns | 1 << bit } else { columns }
    })
}

/// Tells two selections apart within one client's reads.
fn fingerprint(selection: Option<SelectiveAccess<'_>>) -> u32 {
    let Some(selection) = selection else { return 0 };
    let bytes = selection.parameters.as_structure().map_or(&[][..], |s| s.as_bytes());
    protocol::wire::crc32(bytes) ^ u32::from(selection.selector)
}
