//! Sealed records: a postcard value with a sequence number and a check code, as a meter keeps them in its journal and as
//! test benches exchange them.
//!
//! ```text
//! length u16 | sequence u32 | payload (postcard, `length` bytes) | CRC-32 of everything before it, u32
//! ```
//! Numbers are little-endian, like postcard's own. A record that was cut while it was written fails its check.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes a seal adds to the payload.
pub const SEAL: usize = 2 + 4 + 4;

/// A record is not readable, or does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireError {
    /// What is wrong.
    pub kind: WireErrorKind,
    /// At which byte of the record.
    pub offset: usize,
}

/// See [`WireError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireErrorKind {
    /// The buffer ends before the record does.
    Truncated,
    /// The check code does not fit the bytes: torn, or never written.
    Check,
    /// The bytes are whole, but not this type of value.
    Value,
    /// The buffer is too small to write the record.
    TooLong,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let what = match self.kind {
            WireErrorKind::Truncated => "record ends too early",
            WireErrorKind::Check => "check code does not fit",
            WireErrorKind::Value => "not a value of this type",
            WireErrorKind::TooLong => "record does not fit",
        };
        write!(f, "byte {}: {what}", self.offset)
    }
}

impl core::error::Error for WireError {}

const fn error(kind: WireErrorKind, offset: usize) -> WireError {
    WireError { kind, offset }
}

/// Writes `value` as record number `sequence` into `out`; returns its length.
///
/// # Errors
/// [`WireErrorKind::TooLong`].
pub fn seal<T: Serialize>(sequence: u32, value: &T, out: &mut [u8]) -> Result<usize, WireError> {
    let room = out.len().checked_sub(SEAL).ok_or(error(WireErrorKind::TooLong, out.len()))?;
    let payload = out.get_mut(6..6 + room).ok_or(error(WireErrorKind::TooLong, 6))?;
    let len = postcard::to_slice(value, payload).map_err(|_| error(WireErrorKind::TooLong, 6))?.len();
    let length = u16::try_from(len).map_err(|_| error(WireErrorKind::TooLong, 0))?;
    out[..2].copy_from_slice(&length.to_le_bytes());
    out[2..6].copy_from_slice(&sequence.to_le_bytes());
    let check = crc32(&out[..6 + len]);
    out[6 + len..SEAL + len].copy_from_slice(&check.to_le_bytes());
    Ok(SEAL + len)
}

/// Reads the record at the start of `bytes`: its sequence number and value.
///
/// # Errors
/// [`WireErrorKind::Truncated`], [`WireErrorKind::Check`] or [`WireErrorKind::Value`].
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<(u32, T), WireError> {
    let (sequence, payload) = unseal(bytes)?;
    let value = postcard::from_bytes(payload).map_err(|_| error(WireErrorKind::Value, 6))?;
    Ok((sequence, value))
}

/// As [`open`], without looking into the payload.
///
/// # Errors
/// [`WireErrorKind::Truncated`] or [`WireErrorKind::Check`].
pub fn unseal(bytes: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let truncated = error(WireErrorKind::Truncated, bytes.len());
    let head: [u8; 6] = bytes.get(..6).and_then(|h| h.try_into().ok()).ok_or(truncated)?;
    let len = usize::from(u16::from_le_bytes([head[0], head[1]]));
    let sequence = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
    let covered = bytes.get(..6 + len).ok_or(truncated)?;
    let check: [u8; 4] = bytes.get(6 + len..SEAL + len).and_then(|c| c.try_into().ok()).ok_or(truncated)?;
    if u32::from_le_bytes(check) != crc32(covered) {
        return Err(error(WireErrorKind::Check, 6 + len));
    }
    Ok((sequence, &covered[6..]))
}

/// CRC-32 of IEEE 802.3 (reflected, polynomial 0xEDB88320), a nibble at a time: 64 bytes of table.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0_u32; 16];
        let mut i = 0;
        while i < 16 {
            let mut c = i as u32;
            let mut bit = 0;
            while bit < 4 {
                c = if c & 1 != 0 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 };
                bit += 1;
            }
            table[i] = c;
            i += 1;
        }
        table
    };
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        crc = TABLE[(crc & 15) as usize] ^ (crc >> 4);
        crc = TABLE[(crc & 15) as usize] ^ (crc >> 4);
    }
    !crc
}

/// CRC-16 with polynomial 0xA001 reflected and start 0xFFFF (that of Modbus RTU), bit by bit: for rows of a few bytes.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(u16::MAX, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |c, _| if c & 1 != 0 { (c >> 1) ^ 0xA001 } else { c >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_the_crc_catalogue_come_out() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc16(b"123456789"), 0x4B37);
    }

    #[test]
    fn a_record_is_postcard_between_its_head_and_its_check() {
        // (300u16, true) is AC 02 01 in postcard's wire format (varint 300, then the boolean).
        let mut out = [0xa5; 32];
        let n = seal(7, &(300_u16, true), &mut out).unwrap();
        assert_eq!(out[..9], [3, 0, 7, 0, 0, 0, 0xAC, 0x02, 0x01]);
        assert_eq!(open::<(u16, bool)>(&out[..n]).unwrap(), (7, (300, true)));
    }

    #[test]
    fn a_record_cut_anywhere_or_with_any_bit_turned_is_refused() {
        let mut out = [0; 32];
        let n = seal(7, &(300_u16, true), &mut out).unwrap();
        for cut in 0..n {
            let mut torn = [0xff; 32];
            torn[..cut].copy_from_slice(&out[..cut]);
            assert!(open::<(u16, bool)>(&torn).is_err(), "cut after {cut} bytes");
        }
        for bit in 0..n * 8 {
            let mut bad = out;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open::<(u16, bool)>(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(open::<u8>(&[0; 32]).unwrap_err().kind, WireErrorKind::Check);
        assert_eq!(open::<u8>(&[]).unwrap_err().kind, WireErrorKind::Truncated);
    }
}
