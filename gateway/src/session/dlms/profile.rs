//! Reading rows of a profile (class 7).

use super::meter::Meter;
use crate::session::model::{Cadence, ClockManner, ProfileModel, Purpose, RowAccess};
use crate::session::trouble::Trouble;
use crate::session::work::{Ending, ProfileRow, ProfileRows, RowsWanted};
use jiff::{SignedDuration, Timestamp};
use protocol::codec::axdr::{Data, DateTime, Seq};
use protocol::codec::codec::{Decode, Reader};
use protocol::codec::xdlms::GetDataResult;
use protocol::cosem::profile::{BUFFER, CAPTURE_OBJECTS, CAPTURE_PERIOD, CaptureObject, ENTRIES_IN_USE};
use protocol::cosem::{FromData, clock, data};
use protocol::dlms::client::selection;

/// What a row of a profile looks like at this meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    columns: Vec<Column>,
    period_s: u32,
}

/// What a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Time,
    Status,
    Channel(usize),
    Other,
}

/// Bytes of a selection by range or entry that names no columns.
const SELECTION: usize = 96;
/// A clock without deviation says one hour of the year twice. What is asked for begins this much earlier and ends this much
/// later, so that the first row's hour is certain and each row follows the one before it.
const DOUBTFUL_HOURS: SignedDuration = SignedDuration::from_hours(2);
/// Rows asked for by entry besides those that are due: the buffer may grow between two requests, and clocks differ.
const ENTRIES_MORE: u32 = 2;

impl Meter<'_> {
    /// Reads the rows wanted into the facts. A row that the meter has lost is not there; nothing is put in its place.
    pub(super) async fn read_profile(&mut self, wanted: &RowsWanted) -> Result<Ending, Trouble> {
        let model = self.model;
        let Some(profile) = model.profile(&wanted.profile) else {
            let reason = format!("a {} has no profile {:?}", model.description, wanted.profile);
            return Ok(Ending::Rejected { reason, code: None });
        };
        let layout = self.layout(profile).await?;
        if let Some(reason) = layout.misfit(profile) {
            return Ok(Ending::Rejected { reason, code: None });
        }
        let mut space = [0; SELECTION];
        let selection = match profile.access {
            RowAccess::Range => Some(by_range(&model.clock, wanted, &mut space)?),
            RowAccess::Entry => {
                let (first, last) = self.entries(profile, wanted).await?;
                Some(selection::by_entry(&mut space, first, last, 1, 0).map_err(too_long)?)
            }
            RowAccess::Whole => None,
        };
        let what = format!("rows of profile {}", profile.name);
        let value =
            self.association.get_selected(self.pipe, BUFFER.of(profile.object), selection, &what).await?;
        let (rows, without_time) = rows(value, profile, &layout, &model.clock, wanted)
            .map_err(|error| Trouble::Protocol(format!("{what} are not what their columns say: {error}")))?;
        self.attempt.note(format!(
            "GET {} profile {} from {} to {}: {} rows{}",
            profile.object,
            profile.name,
            wanted.from,
            wanted.to,
            rows.len(),
            if without_time > 0 {
                format!(", {without_time} without a time left out")
            } else {
                String::new()
            }
        ));
        if profile.purpose == Purpose::Billing {
            self.ratios().await?;
        }
        let channels =
            profile.channels.iter().map(|channel| (channel.name.clone(), channel.unit.clone())).collect();
        self.attempt.facts.profile = Some(Box::new(ProfileRows { channels, rows }));
        Ok(Ending::Done)
    }

    /// Transformer ratios into the facts, where all of them can be read.
    async fn ratios(&mut self) -> Result<(), Trouble> {
        let attributes: Vec<_> = self.model.ratios.iter().map(|ratio| data::VALUE.of(*ratio)).collect();
        if attributes.is_empty() {
            return Ok(());
        }
        let answers = self.association.get_all(self.pipe, &attributes, "the transformer ratios").await?;
        let mut reader = Reader::new(&answers);
        let mut ratio = || match GetDataResult::decode(&mut reader) {
            Ok(GetDataResult::Data(data)) => Ok(data.as_i64()),
            Ok(GetDataResult::Error(_)) => Ok(None),
            Err(error) => Err(Trouble::Protocol(format!("the transformer ratios: {error}"))),
        };
        let read: Vec<Option<i64>> = attributes.iter().map(|_| ratio()).collect::<Result<_, _>>()?;
        let ratios: Option<Vec<i64>> = read.into_iter().collect();
        self.attempt.note(match &ratios {
            Some(ratios) => format!("GET transformer ratios: {ratios:?}"),
            None => "the transformer ratios cannot all be read".to_owned(),
        });
        self.attempt.facts.ratios = ratios;
        Ok(())
    }

    /// What the meter captures, asked once in an association.
    async fn layout(&mut self, profile: &ProfileModel) -> Result<Layout, Trouble> {
        if let Some((_, layout)) = self.memory.layouts.iter().find(|(object, _)| *object == profile.object) {
            return Ok(layout.clone());
        }
        let attributes = [CAPTURE_OBJECTS.of(profile.object), CAPTURE_PERIOD.of(profile.object)];
        let what = format!("what profile {} captures", profile.name);
        let answers = self.association.get_all(self.pipe, &attributes, &what).await?;
        let mut reader = Reader::new(&answers);
        let mut next = || match GetDataResult::decode(&mut reader) {
            Ok(GetDataResult::Data(data)) => Ok(data),
            Ok(GetDataResult::Error(result)) => Err(Trouble::Refused {
                reason: format!("{what}: data access result {} ({result:?})", result.as_u8()),
                code: Some(result.as_u8()),
            }),
            Err(error) => Err(Trouble::Protocol(format!("{what}: {error}"))),
        };
        let (objects, period) = (next()?, next()?);
        let layout = Layout::of(objects, period, profile)
            .map_err(|error| Trouble::Protocol(format!("{what} is not what its class says: {error}")))?;
        self.memory.layouts.push((profile.object, layout.clone()));
        Ok(layout)
    }

    /// The entries that hold the rows wanted, counted from the oldest: first and last.
    async fn entries(&mut self, profile: &ProfileModel, wanted: &RowsWanted) -> Result<(u32, u32), Trouble> {
        let at = ENTRIES_IN_USE.of(profile.object);
        let bytes = self.association.get(self.pipe, at, "the number of rows").await?;
        let in_use = ENTRIES_IN_USE
            .decode_bytes(bytes)
            .map_err(|error| Trouble::Protocol(format!("the number of rows: {error}")))?;
        let period = match profile.cadence {
            Cadence::Every(seconds) => seconds,
            Cadence::Daily => 86_400,
            Cadence::Monthly => 28 * 86_400,
        };
        let now = self.attempt.now();
        let back = |to: Timestamp| {
            let periods = now.duration_since(to).as_secs().max(0) / i64::from(period.max(1));
            u32::try_from(periods).unwrap_or(u32::MAX)
        };
        let oldest = back(wanted.from).saturating_add(1 + ENTRIES_MORE);
        let newest = back(wanted.to).saturating_sub(ENTRIES_MORE);
        let first = in_use.saturating_sub(oldest).saturating_add(1).max(1);
        Ok((first, in_use.saturating_sub(newest).max(first)))
    }
}

fn too_long(error: impl std::fmt::Display) -> Trouble {
    Trouble::NotReady(format!("the selection could not be written: {error}"))
}

fn by_range<'b>(
    manner: &ClockManner,
    wanted: &RowsWanted,
    space: &'b mut [u8],
) -> Result<protocol::codec::xdlms::SelectiveAccess<'b>, Trouble> {
    let more = if manner.deviation { SignedDuration::ZERO } else { DOUBTFUL_HOURS };
    let edge = |at: Result<Timestamp, jiff::Error>| {
        at.ok()
            .and_then(|at| manner.to_meter(at))
            .ok_or_else(|| Trouble::NotReady("no meter can hold the times asked for".into()))
    };
    let from = edge(wanted.from.checked_sub(more))?;
    let to = edge(wanted.to.checked_add(more))?;
    selection::by_clock(space, from, to, &[]).map_err(too_long)
}

impl Layout {
    fn of(
        objects: Data<'_>,
        period: Data<'_>,
        profile: &ProfileModel,
    ) -> protocol::codec::codec::Result<Self> {
        let objects = objects.as_array().ok_or_else(protocol::cosem::bad_value)?;
        let mut columns = Vec::with_capacity(objects.len().min(64));
        for object in objects.iter() {
            let object = <CaptureObject as FromData>::from_data(object?)?;
            let channel = profile.channels.iter().position(|channel| channel.object == object);
            columns.push(match channel {
                Some(channel) => Column::Channel(channel),
                None if object.class_id == clock::CLASS && object.attribute_index == clock::TIME.index => {
                    Column::Time
                }
                None if profile.status == Some(object.logical_name) => Column::Status,
                None => Column::Other,
            });
        }
        Ok(Self { columns, period_s: u32::from_data(period)? })
    }

    /// When the row after one of this time was captured; nothing where rows come by the calendar.
    fn period_after(&self, at: Timestamp) -> Option<Timestamp> {
        let period = SignedDuration::from_secs(i64::from(self.period_s));
        at.checked_add(period).ok().filter(|_| self.period_s > 0)
    }

    /// Why nothing can be made of its rows.
    fn misfit(&self, profile: &ProfileModel) -> Option<String> {
        let name = &profile.name;
        if !self.columns.contains(&Column::Time) {
            return Some(format!("the rows of profile {name} have no time"));
        }
        match profile.cadence {
            Cadence::Every(seconds) if seconds != self.period_s => {
                Some(format!("profile {name} captures every {} s, its model says {seconds} s", self.period_s))
            }
            _ => None,
        }
    }
}

/// The rows of a buffer that lie within what was wanted, and how many had no time.
fn rows(
    value: &[u8],
    profile: &ProfileModel,
    layout: &Layout,
    manner: &ClockManner,
    wanted: &RowsWanted,
) -> protocol::codec::codec::Result<(Vec<ProfileRow>, usize)> {
    let buffer = Data::from_bytes_in(value)?.as_array().ok_or_else(protocol::cosem::bad_value)?;
    let (mut rows, mut without_time) = (Vec::new(), 0);
    let mut near = wanted.from.checked_sub(DOUBTFUL_HOURS).unwrap_or(wanted.from);
    let mut before: Option<ProfileRow> = None;
    for row in buffer.iter() {
        let cells = row?.as_structure().ok_or_else(protocol::cosem::bad_value)?;
        if cells.len() != layout.columns.len() {
            return Err(protocol::cosem::bad_value());
        }
        let before_it = before.take().filter(|_| profile.compressed);
        let Some(row) = row_of(cells, profile, layout, manner, (near, before_it.as_ref()))? else {
            without_time += 1;
            continue;
        };
        near = row.at;
        before = profile.compressed.then(|| row.clone());
        if (wanted.from..=wanted.to).contains(&row.at) {
            rows.push(row);
        }
    }
    Ok((rows, without_time))
}

/// One row; `None` when it has no time. What is no integer has no value. `before` is the row that null-data stands for, where
/// the meter compresses.
fn row_of(
    cells: Seq<'_>,
    profile: &ProfileModel,
    layout: &Layout,
    manner: &ClockManner,
    (near, before): (Timestamp, Option<&ProfileRow>),
) -> protocol::codec::codec::Result<Option<ProfileRow>> {
    let (mut at, mut status) = (None, None);
    let mut values = vec![None; profile.channels.len()];
    for (cell, column) in cells.iter().zip(&layout.columns) {
        let cell = cell?;
        let like_before = before.filter(|_| cell == Data::Null);
        match column {
            Column::Time if cell == Data::Null => {
                at = like_before.and_then(|row| layout.period_after(row.at))
            }
            Column::Time => {
                let time = DateTime::from_data(cell)?;
                at = manner.row_time(time, near).and_then(|second| Timestamp::from_second(second).ok());
            }
            Column::Status => status = like_before.map_or_else(|| status_bits(cell), |row| row.status),
            Column::Channel(channel) => {
                let factor =
                    profile.channels.get(*channel).map_or(1, |model| 10_i64.pow(u32::from(model.scale10)));
                if let Some(value) = values.get_mut(*channel) {
                    *value = match like_before {
                        Some(row) => row.cells.get(*channel).copied().flatten(),
                        None => cell.as_i64().and_then(|cell| cell.checked_mul(factor)),
                    };
                }
            }
            Column::Other => {}
        }
    }
    let estimated = status.is_some_and(|status| status & profile.estimated_bits != 0);
    Ok(at.map(|at| ProfileRow { at, status, estimated, cells: values }))
}

/// A status is an unsigned number or a bit string.
fn status_bits(cell: Data<'_>) -> Option<u32> {
    match cell {
        Data::BitString(bits) => Some(bits.to_u32()),
        other => other.as_u64().and_then(|status| u32::try_from(status).ok()),
    }
}

#[cfg(test)]
mod tests;
