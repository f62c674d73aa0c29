//! Simple values to and from A-XDR, and the small helpers the classes share.

use super::{FromData, bad_value};
use crate::codec::axdr::{BitStr, Data, Date, DateTime, Time};
use crate::codec::codec::{Encode, Result, Writer};
use crate::codec::obis::Obis;

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl FromData<'_> for $type {
            /// Any integer tag whose value fits: meters differ in the width they choose.
            fn from_data(d: Data<'_>) -> Result<Self> {
                d.as_i64().and_then(|v| v.try_into().ok()).ok_or_else(bad_value)
            }
        }
    )*};
}
integer! { u8, u16, u32, i8, i16, i32, i64 }

impl FromData<'_> for u64 {
    /// Any integer tag whose value fits.
    fn from_data(d: Data<'_>) -> Result<Self> {
        d.as_u64().ok_or_else(bad_value)
    }
}

impl FromData<'_> for bool {
    fn from_data(d: Data<'_>) -> Result<Self> {
        d.as_bool().ok_or_else(bad_value)
    }
}

impl<'a> FromData<'a> for &'a [u8] {
    fn from_data(d: Data<'a>) -> Result<Self> {
        d.as_bytes().ok_or_else(bad_value)
    }
}

impl FromData<'_> for Obis {
    fn from_data(d: Data<'_>) -> Result<Self> {
        d.as_obis().ok_or_else(bad_value)
    }
}

impl FromData<'_> for DateTime {
    /// A 12-byte octet string, or the date-time tag.
    fn from_data(d: Data<'_>) -> Result<Self> {
        match d {
            Data::DateTime(t) => Ok(t),
            _ => {
                let bytes: [u8; 12] = d.as_bytes().and_then(|b| b.try_into().ok()).ok_or_else(bad_value)?;
                Ok(Self::from_bytes(bytes))
            }
        }
    }
}

macro_rules! part_of_time {
    ($($type:ident: $len:literal),*) => {$(
        super::class::owned!($type);
        impl FromData<'_> for $type {
            /// An octet string, or the data type of its own.
            fn from_data(d: Data<'_>) -> Result<Self> {
                match d {
                    Data::$type(t) => Ok(t),
                    _ => {
                        let bytes: [u8; $len] = d.as_bytes().and_then(|b| b.try_into().ok()).ok_or_else(bad_value)?;
                        Ok(Self::from_bytes(bytes))
                    }
                }
            }
        }
        impl super::class::ToData for $type {
            /// The octet string that attributes use.
            fn put(&self, w: &mut dyn Writer) -> Result<()> {
                Data::OctetString(&self.to_bytes()).encode(w)
            }
        }
    )*};
}
part_of_time! { Date: 5, Time: 4 }

/// Writes a date-time as the octet string of 12 bytes that attributes use.
///
/// # Errors
/// The buffer is full.
pub fn put_date_time(w: &mut dyn Writer, t: DateTime) -> Result<()> {
    w.write_bytes(&[9, 12])?;
    w.write_bytes(&t.to_bytes())
}

/// Writes a logical name as an octet string.
///
/// # Errors
/// The buffer is full.
pub fn put_obis(w: &mut dyn Writer, obis: Obis) -> Result<()> {
    w.write_bytes(&[9, 6])?;
    w.write_bytes(obis.as_bytes())
}

/// Writes any simple value.
///
/// # Errors
/// The buffer is full.
pub fn put(w: &mut dyn Writer, d: Data<'_>) -> Result<()> {
    d.encode(w)
}

/// Writes the head of a structure of `fields` fields.
///
/// # Errors
/// The buffer is full.
pub fn put_structure(w: &mut dyn Writer, fields: usize) -> Result<()> {
    w.write_u8(2)?;
    w.write_length(fields)
}

/// Writes the head of an array of `items` items.
///
/// # Errors
/// The buffer is full.
pub fn put_array(w: &mut dyn Writer, items: usize) -> Result<()> {
    w.write_u8(1)?;
    w.write_length(items)
}

/// Writes a bit string of up to eight bits. Bit 0 of the class's description stands first on the wire, so it is the top bit
/// of the byte; `bits` holds it in bit 0.
///
/// # Errors
/// The buffer is full.
pub fn put_bits(w: &mut dyn Writer, bits: u8, len: u8) -> Result<()> {
    w.write_bytes(&[4, len, bits.reverse_bits()])
}

/// A bit string of up to eight bits, with the class's bit 0 in bit 0.
///
/// # Errors
/// Not a bit string, or longer.
pub fn take_bits(d: Data<'_>) -> Result<u8> {
    let Data::BitString(bits) = d else { return Err(bad_value()) };
    bits_u8(bits)
}

fn bits_u8(bits: BitStr<'_>) -> Result<u8> {
    if bits.len() > 8 {
        return Err(bad_value());
    }
    Ok(bits.as_bytes().first().copied().unwrap_or(0).reverse_bits())
}

/// A bit string of `LEN` bits, at most eight, with the class's bit 0 in bit 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShortBits<const LEN: u8>(pub u8);

impl<const LEN: u8> super::class::Value for ShortBits<LEN> {
    type Of<'a> = Self;
}

impl<const LEN: u8> FromData<'_> for ShortBits<LEN> {
    fn from_data(d: Data<'_>) -> Result<Self> {
        take_bits(d).map(Self)
    }
}

impl<const LEN: u8> super::class::ToData for ShortBits<LEN> {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        put_bits(w, self.0, LEN)
    }
}

/// The fields of a structure with exactly `N` fields.
///
/// # Errors
/// Another type or another number of fields.
pub fn fields<'a, const N: usize>(d: Data<'a>) -> Result<[Data<'a>; N]> {
    let mut out = [Data::Null; N];
    fill(d, &mut out)?;
    Ok(out)
}

/// For every number of fields, so that a small meter has it once.
fn fill<'a>(d: Data<'a>, out: &mut [Data<'a>]) -> Result<()> {
    let seq = d.as_structure().filter(|seq| seq.len() == out.len()).ok_or_else(bad_value)?;
    for (slot, item) in out.iter_mut().zip(seq.iter()) {
        *slot = item?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::SliceWriter;

    #[test]
    fn bit_zero_of_a_class_description_is_the_first_bit_on_the_wire() {
        let mut buffer = [0xa5; 8];
        let mut w = SliceWriter::new(&mut buffer);
        put_bits(&mut w, 0b0000_0001, 8).unwrap();
        assert_eq!(w.as_slice(), [4, 8, 0x80]);
        let d = Data::from_bytes_in(&[4, 8, 0x80]).unwrap();
        assert_eq!(take_bits(d).unwrap(), 1);
    }

    #[test]
    fn an_integer_of_another_width_is_taken_when_it_fits() {
        assert_eq!(u16::from_data(Data::DoubleLong(70)).unwrap(), 70);
        assert!(u8::from_data(Data::DoubleLong(700)).is_err());
        assert!(u32::from_data(Data::DoubleLong(-1)).is_err());
        assert_eq!(u64::from_data(Data::Long64Unsigned(u64::MAX)).unwrap(), u64::MAX);
    }
}
