//! Selective access to a profile's buffer (Blue Book 4.3.6): by range of the clock, and by entry.

use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Decode, Encode, Error, ErrorKind, Result, SliceWriter, Writer};
use crate::codec::obis::Obis;
use crate::codec::xdlms::SelectiveAccess;

/// Selector 1: rows whose clock value lies in `from ..= to`. `columns` are the capture objects wanted, as (class, logical
/// name, attribute, data index); none means all. `buffer` holds the encoded parameters: 66 bytes and 18 per column do.
///
/// # Errors
/// When `buffer` is too small.
pub fn by_clock<'b>(
    buffer: &'b mut [u8],
    from: DateTime,
    to: DateTime,
    columns: &[(u16, Obis, i8, u16)],
) -> Result<SelectiveAccess<'b>> {
    let mut w = SliceWriter::new(buffer);
    w.write_bytes(&[2, 4])?;
    column(&mut w, (8, Obis::new(0, 0, 1, 0, 0, 255), 2, 0))?;
    for edge in [from, to] {
        Data::OctetString(&edge.to_bytes()).encode(&mut w)?;
    }
    w.write_u8(1)?;
    w.write_length(columns.len())?;
    for c in columns {
        column(&mut w, *c)?;
    }
    let len = w.written();
    selection(1, buffer, len)
}

/// Selector 2: rows `from_entry ..= to_entry`, counted from 1 (zero as the last means to the end), columns `from_column
/// ..= to_column` likewise. `buffer` holds the encoded parameters: 18 bytes.
///
/// # Errors
/// When `buffer` is too small.
pub fn by_entry(
    buffer: &mut [u8],
    from_entry: u32,
    to_entry: u32,
    from_column: u16,
    to_column: u16,
) -> Result<SelectiveAccess<'_>> {
    let mut w = SliceWriter::new(buffer);
    w.write_bytes(&[2, 4])?;
    Data::DoubleLongUnsigned(from_entry).encode(&mut w)?;
    Data::DoubleLongUnsigned(to_entry).encode(&mut w)?;
    Data::LongUnsigned(from_column).encode(&mut w)?;
    Data::LongUnsigned(to_column).encode(&mut w)?;
    let len = w.written();
    selection(2, buffer, len)
}

/// `capture_object_definition ::= structure { class_id, logical_name, attribute_index, data_index }`
fn column(w: &mut SliceWriter<'_>, c: (u16, Obis, i8, u16)) -> Result<()> {
    let (class_id, name, attribute, index) = c;
    w.write_bytes(&[2, 4])?;
    Data::LongUnsigned(class_id).encode(w)?;
    Data::OctetString(name.as_bytes()).encode(w)?;
    Data::Integer(attribute).encode(w)?;
    Data::LongUnsigned(index).encode(w)
}

fn selection(selector: u8, buffer: &mut [u8], len: usize) -> Result<SelectiveAccess<'_>> {
    let bytes = buffer.get(..len).ok_or(Error::new(ErrorKind::InvalidLength, len))?;
    Ok(SelectiveAccess { selector, parameters: Data::from_bytes(bytes)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_1_to_10_of_all_columns() {
        let mut buffer = [0xA5; 32];
        let access = by_entry(&mut buffer, 1, 10, 1, 0).unwrap();
        let mut out = [0u8; 64];
        let mut w = SliceWriter::new(&mut out);
        access.encode(&mut w).unwrap();
        assert_eq!(w.as_slice(), [2, 2, 4, 6, 0, 0, 0, 1, 6, 0, 0, 0, 10, 18, 0, 1, 18, 0, 0]);
    }
}
