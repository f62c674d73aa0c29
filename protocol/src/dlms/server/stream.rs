//! Values on their way out: pieces from the model cut into whatever the peer can take, without ever being whole here.

use super::association_object;
use super::custody::Custody;
use super::session::Session;
use super::window::Window;
use crate::codec::codec::{Decode, Reader, Writer};
use crate::codec::xdlms::{AttributeDescriptorWithSelection, DataAccessResult, List, SelectiveAccess};
use crate::dlms::model::{Attribute, ObjectModel, Piece};

/// What is being read. Selections and lists stay encoded in the server's long buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// One attribute; the selection, if any, is the stored request.
    One { at: Attribute, selected: bool },
    /// `count` attributes whose descriptors are the stored request; the value is the encoded result list.
    List { count: u16 },
}

impl Source {
    /// The place after a piece that ended so.
    fn after(self, end: Piece, cursor: Cursor) -> Option<Cursor> {
        match (end, self) {
            (Piece::More, _) => Some(Cursor { piece: cursor.piece.wrapping_add(1), offset: 0, ..cursor }),
            (Piece::Last, Self::List { count }) if cursor.item + 1 < count => {
                Some(Cursor { item: cursor.item + 1, piece: 0, offset: 0 })
            }
            (Piece::Last, _) => None,
        }
    }
}

/// A place in a value: item of the list, piece of the item, byte of the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    pub item: u16,
    pub piece: u32,
    pub offset: u32,
}

/// What [`fill`] put out.
pub(super) struct Filled {
    /// Bytes written.
    pub len: usize,
    /// Where the value continues; `None` when it is complete.
    pub rest: Option<Cursor>,
    /// Where the value continues after `mark` bytes, when there were that many.
    pub at_mark: Option<Cursor>,
}

/// Writes the value from `from` on into `out`.
///
/// # Errors
/// When a single attribute cannot be read. In a list errors are part of the value.
pub(super) fn fill<M: ObjectModel + Custody>(
    session: &Session,
    meter: &mut M,
    source: Source,
    request: &[u8],
    from: Cursor,
    out: &mut [u8],
    mark: usize,
) -> Result<Filled, DataAccessResult> {
    let mut filled = Filled { len: 0, rest: Some(from), at_mark: None };
    while let Some(cursor) = filled.rest {
        let room = out.get_mut(filled.len..).unwrap_or(&mut []);
        let mut window = Window::new(cursor.offset as usize, room);
        let end = emit(session, meter, source, request, cursor, &mut window)?;
        let kept = window.kept();
        if filled.at_mark.is_none() && filled.len + kept >= mark {
            let into = (mark - filled.len) as u32;
            filled.at_mark = Some(Cursor { offset: cursor.offset.saturating_add(into), ..cursor });
        }
        filled.len += kept;
        if window.overflowed() {
            filled.rest = Some(Cursor { offset: cursor.offset.saturating_add(kept as u32), ..cursor });
            return Ok(filled);
        }
        filled.rest = source.after(end, cursor);
    }
    Ok(filled)
}

/// How many bytes the whole value has, which is walked for it; never more than `most` and one piece.
///
/// # Errors
/// When a single attribute cannot be read.
pub(super) fn measure<M: ObjectModel + Custody>(
    session: &Session,
    meter: &mut M,
    source: Source,
    request: &[u8],
    most: usize,
) -> Result<usize, DataAccessResult> {
    let mut len = 0usize;
    let mut next = Some(Cursor::default());
    while let Some(cursor) = next.filter(|_| len <= most) {
        // Everything is skipped, and counted.
        let mut window = Window::new(usize::MAX, &mut []);
        let end = emit(session, meter, source, request, cursor, &mut window)?;
        len = len.saturating_add(window.total());
        next = source.after(end, cursor);
    }
    Ok(len)
}

/// Writes one piece of one item, with what the list encoding puts in front.
fn emit<M: ObjectModel + Custody>(
    session: &Session,
    meter: &mut M,
    source: Source,
    request: &[u8],
    cursor: Cursor,
    out: &mut Window<'_>,
) -> Result<Piece, DataAccessResult> {
    match source {
        Source::One { at, selected } => {
            let mut r = Reader::new(request);
            let selection = if selected {
                Some(SelectiveAccess::decode(&mut r).map_err(|_| DataAccessResult::OtherReason)?)
            } else {
                None
            };
            read_piece(session, meter, at, selection, cursor.piece, out)
        }
        Source::List { count } => {
            if cursor.item == 0 && cursor.piece == 0 {
                write(out, |w| w.write_length(usize::from(count)))?;
            }
            let before = out.total();
            if cursor.piece == 0 {
                write(out, |w| w.write_u8(0))?;
            }
            let result = list_item(request, cursor.item).and_then(|item| {
                let at = attribute(&item);
                read_piece(session, meter, at, item.access, cursor.piece, out)
            });
            match result {
                Ok(end) => Ok(end),
                Err(error) if cursor.piece == 0 => {
                    out.rewind(before);
                    write(out, |w| w.write_bytes(&[1, error.as_u8()]))?;
                    Ok(Piece::Last)
                }
                // Only piece 0 may fail; a model that fails later has ended the value.
                Err(_) => Ok(Piece::Last),
            }
        }
    }
}

fn write(
    out: &mut Window<'_>,
    f: impl FnOnce(&mut Window<'_>) -> crate::codec::Result<()>,
) -> Result<(), DataAccessResult> {
    f(out).map_err(|_| DataAccessResult::OtherReason)
}

fn list_item(request: &[u8], item: u16) -> Result<AttributeDescriptorWithSelection<'_>, DataAccessResult> {
    let list: List<'_, AttributeDescriptorWithSelection<'_>> =
        List::decode(&mut Reader::new(request)).map_err(|_| DataAccessResult::OtherReason)?;
    list.iter().nth(usize::from(item)).and_then(Result::ok).ok_or(DataAccessResult::OtherReason)
}

/// The model's name for a requested attribute.
pub(super) fn attribute(item: &AttributeDescriptorWithSelection<'_>) -> Attribute {
    Attribute {
        class_id: item.descriptor.class_id,
        logical_name: item.descriptor.instance_id,
        index: item.descriptor.attribute_id,
    }
}

/// Reads one piece of one attribute, with access rights checked. What the engine itself knows of the association
/// objects it answers itself.
pub(super) fn read_piece<M: ObjectModel + Custody>(
    session: &Session,
    meter: &mut M,
    at: Attribute,
    selection: Option<SelectiveAccess<'_>>,
    piece: u32,
    out: &mut dyn Writer,
) -> Result<Piece, DataAccessResult> {
    if let Some(done) = association_object::get(session, at, out) {
        return done;
    }
    let caller = session.caller();
    let access = meter.attribute_access(caller, at);
    if access.is_empty() {
        // The model knows no such attribute for this caller, or grants nothing: its own answer tells which.
        return Err(match meter.get(caller, at, selection, piece, out) {
            Err(error) => error,
            Ok(_) => DataAccessResult::ReadWriteDenied,
        });
    }
    if !access.can_read() || !session.satisfies(access.bits()) {
        return Err(DataAccessResult::ReadWriteDenied);
    }
    meter.get(caller, at, selection, piece, out)
}
