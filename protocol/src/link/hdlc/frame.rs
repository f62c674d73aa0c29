//! One HDLC frame, format type 3: addresses, control field, check sequences (IEC 62056-46, clause 6.4; ISO/IEC 13239).
//!
//! `7E | A/S + 11-bit length | destination | source | control | [HCS | information] | FCS | 7E`. The length counts
//! everything between the flags; there is no byte stuffing, so a flag value may occur inside.

use super::super::put;
use core::fmt;

/// Opens and closes every frame.
pub const FLAG: u8 = 0x7E;
/// What a frame adds around its information field at most: two flags, format, a 4-byte and a 1-byte address, control,
/// HCS and FCS. With both addresses of 4 bytes it is three more.
pub const OVERHEAD_MAX: usize = 17;
/// The largest value of the 11-bit length field.
pub const LENGTH_MAX: usize = 0x7FF;
/// Format, two 1-byte addresses, control, FCS: the shortest length field that can be true.
const LENGTH_MIN: usize = 7;

/// An HDLC address as it was written on the wire: its length is part of it, because an answer repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Address {
    /// One byte: a client, or a server's upper address alone. 0..=0x7F.
    One(u8),
    /// Two bytes of seven bits: upper (logical device) and lower (physical device).
    Two(u8, u8),
    /// Four bytes: upper and lower of fourteen bits.
    Four(u16, u16),
}

impl Address {
    /// The address of `len` bytes (1, 2 or 4) with these halves; the shortest form that holds them when `len` is anything
    /// else or too short. A one-byte address has no lower half.
    #[must_use]
    pub const fn server(logical: u16, physical: u16, len: usize) -> Self {
        let (upper, lower) = (logical & 0x3FFF, physical & 0x3FFF);
        if len == 1 && upper <= 0x7F {
            Self::One(upper.to_le_bytes()[0])
        } else if len != 4 && upper <= 0x7F && lower <= 0x7F {
            Self::Two(upper.to_le_bytes()[0], lower.to_le_bytes()[0])
        } else {
            Self::Four(upper, lower)
        }
    }

    /// The upper half: the client SAP, or the server's logical device.
    #[must_use]
    pub const fn upper(self) -> u16 {
        match self {
            Self::One(upper) | Self::Two(upper, _) => upper as u16,
            Self::Four(upper, _) => upper,
        }
    }

    /// The lower half: the server's physical device; `None` in the one-byte form.
    #[must_use]
    pub const fn lower(self) -> Option<u16> {
        match self {
            Self::One(_) => None,
            Self::Two(_, lower) => Some(lower as u16),
            Self::Four(_, lower) => Some(lower),
        }
    }

    /// Whether either half is the all-stations address (0x7F, or 0x3FFF in the long form): such a frame is never answered.
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        match self {
            Self::One(upper) => upper == 0x7F,
            Self::Two(upper, lower) => upper == 0x7F || lower == 0x7F,
            Self::Four(upper, lower) => upper == 0x3FFF || lower == 0x3FFF,
        }
    }

    /// The bytes on the wire and how many of them count.
    const fn to_wire(self) -> ([u8; 4], usize) {
        const fn low(v: u16) -> u8 {
            ((v & 0x7F) as u8) << 1
        }
        match self {
            Self::One(upper) => ([(upper << 1) | 1, 0, 0, 0], 1),
            Self::Two(upper, lower) => ([upper << 1, (lower << 1) | 1, 0, 0], 2),
            Self::Four(upper, lower) => ([low(upper >> 7), low(upper), low(lower >> 7), low(lower) | 1], 4),
        }
    }

    /// Reads an address at the start of `bytes`: the address and its length.
    fn from_wire(bytes: &[u8]) -> Option<(Self, usize)> {
        let seven = |b: u8| u16::from(b >> 1);
        match *bytes {
            [a, ..] if a & 1 == 1 => Some((Self::One(a >> 1), 1)),
            [a, b, ..] if b & 1 == 1 => Some((Self::Two(a >> 1, b >> 1), 2)),
            [a, b, c, d, ..] if c & 1 == 0 && d & 1 == 1 => {
                Some((Self::Four((seven(a) << 7) | seven(b), (seven(c) << 7) | seven(d)), 4))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lower() {
            None => write!(f, "{}", self.upper()),
            Some(lower) => write!(f, "{}/{lower}", self.upper()),
        }
    }
}

/// The control field without its poll/final bit (IEC 62056-46, table of commands and responses; REJ from ISO/IEC 13239).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Information with send and receive sequence numbers.
    Information {
        /// N(S), 0..=7.
        ns: u8,
        /// N(R), 0..=7: everything before it is acknowledged.
        nr: u8,
    },
    /// Receive ready.
    Rr(u8),
    /// Receive not ready.
    Rnr(u8),
    /// Reject: send again from this number.
    Rej(u8),
    /// Set normal response mode.
    Snrm,
    /// Disconnect.
    Disc,
    /// Unnumbered acknowledge.
    Ua,
    /// Disconnected mode.
    Dm,
    /// Frame reject.
    Frmr,
    /// Unnumbered information.
    Ui,
    /// Anything else, as it came (poll/final bit cleared).
    Unknown(u8),
}

impl Control {
    const POLL_FINAL: u8 = 0x10;

    /// The control byte.
    #[must_use]
    pub const fn to_wire(self, poll_final: bool) -> u8 {
        let byte = match self {
            Self::Information { ns, nr } => ((nr & 7) << 5) | ((ns & 7) << 1),
            Self::Rr(nr) => ((nr & 7) << 5) | 0x01,
            Self::Rnr(nr) => ((nr & 7) << 5) | 0x05,
            Self::Rej(nr) => ((nr & 7) << 5) | 0x09,
            Self::Snrm => 0x83,
            Self::Disc => 0x43,
            Self::Ua => 0x63,
            Self::Dm => 0x0F,
            Self::Frmr => 0x87,
            Self::Ui => 0x03,
            Self::Unknown(byte) => byte,
        };
        if poll_final { byte | Self::POLL_FINAL } else { byte }
    }

    /// The meaning of a control byte and its poll/final bit.
    #[must_use]
    pub const fn from_wire(byte: u8) -> (Self, bool) {
        let (base, nr) = (byte & !Self::POLL_FINAL, byte >> 5);
        let control = match base {
            _ if base & 1 == 0 => Self::Information { ns: (base >> 1) & 7, nr },
            0x83 => Self::Snrm,
            0x43 => Self::Disc,
            0x63 => Self::Ua,
            0x0F => Self::Dm,
            0x87 => Self::Frmr,
            0x03 => Self::Ui,
            _ => match base & 0x0F {
                0x01 => Self::Rr(nr),
                0x05 => Self::Rnr(nr),
                0x09 => Self::Rej(nr),
                _ => Self::Unknown(base),
            },
        };
        (control, byte & Self::POLL_FINAL != 0)
    }
}

/// Everything of a frame but its information field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The segmentation bit: the information continues in the next frame.
    pub segmented: bool,
    /// For whom.
    pub destination: Address,
    /// From whom.
    pub source: Address,
    /// What kind.
    pub control: Control,
    /// Poll (client) or final (server): the other side may speak now.
    pub poll_final: bool,
}

/// A whole frame that passed its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// The information field; empty when there is none.
    pub information: &'a [u8],
}

/// Why bytes are not a frame. Offsets count from the opening flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// More bytes are needed; how many the frame takes in all, as far as known.
    Short(usize),
    /// Not a flag, or not format type 3.
    Format,
    /// A length that no frame can have.
    Length,
    /// No flag where the length says the frame ends.
    NoClosingFlag,
    /// An address of three bytes, or one that never ends.
    Address,
    /// The header check sequence is wrong: what it should be.
    HeaderCheck {
        /// Where it stands.
        offset: usize,
        /// What the bytes give.
        expected: u16,
        /// What the frame says.
        found: u16,
    },
    /// The frame check sequence is wrong.
    FrameCheck {
        /// Where it stands.
        offset: usize,
        /// What the bytes give.
        expected: u16,
        /// What the frame says.
        found: u16,
    },
}

impl FrameError {
    /// The byte that is wrong.
    #[must_use]
    pub const fn offset(self, bytes: &[u8]) -> usize {
        match self {
            Self::Short(_) => bytes.len(),
            Self::Format => 0,
            Self::Length => 1,
            Self::Address => 3,
            Self::NoClosingFlag => match total_len(bytes) {
                Ok(total) => total.saturating_sub(1),
                Err(_) => bytes.len(),
            },
            Self::HeaderCheck { offset, .. } | Self::FrameCheck { offset, .. } => offset,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(needed) => write!(f, "the frame ends early: it says it takes {needed} bytes"),
            Self::Format => f.write_str("no HDLC frame of format type 3 begins here"),
            Self::Length => f.write_str("a length no HDLC frame can have"),
            Self::NoClosingFlag => f.write_str("no flag 7E where the length says the frame ends"),
            Self::Address => f.write_str("an HDLC address is neither 1, 2 nor 4 bytes long"),
            Self::HeaderCheck { expected, found, .. } => {
                write!(
                    f,
                    "header check sequence {:04X}, the bytes give {:04X}",
                    found.swap_bytes(),
                    expected.swap_bytes()
                )
            }
            Self::FrameCheck { expected, found, .. } => {
                write!(
                    f,
                    "frame check sequence {:04X}, the bytes give {:04X}",
                    found.swap_bytes(),
                    expected.swap_bytes()
                )
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// How many bytes the frame that begins at `bytes[0]` takes, flags included, from its first three bytes.
///
/// # Errors
/// [`FrameError::Short`] until three bytes are there; `Format` or `Length` when no frame can begin like this.
pub const fn total_len(bytes: &[u8]) -> Result<usize, FrameError> {
    match *bytes {
        [FLAG, high, low, ..] if high & 0xF0 == 0xA0 => {
            let length = ((high as usize & 7) << 8) | low as usize;
            if length < LENGTH_MIN { Err(FrameError::Length) } else { Ok(length + 2) }
        }
        [] | [FLAG] => Err(FrameError::Short(LENGTH_MIN + 2)),
        [FLAG, high] if high & 0xF0 == 0xA0 => Err(FrameError::Short(LENGTH_MIN + 2)),
        _ => Err(FrameError::Format),
    }
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`; further bytes are ignored.
    ///
    /// # Errors
    /// [`FrameError`]: what is wrong; [`FrameError::offset`] says where.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let total = total_len(bytes)?;
        let whole = bytes.get(..total).ok_or(FrameError::Short(total))?;
        if whole.last() != Some(&FLAG) {
            return Err(FrameError::NoClosingFlag);
        }
        let body = whole.get(1..total - 1).ok_or(FrameError::Length)?;
        let fcs_at = body.len().checked_sub(2).ok_or(FrameError::Length)?;
        let (checked, fcs) = body.split_at_checked(fcs_at).ok_or(FrameError::Length)?;
        let (expected, found) = (fcs16(checked), little_endian(fcs));
        if expected != found {
            return Err(FrameError::FrameCheck { offset: fcs_at + 1, expected, found });
        }
        let (header, header_len) = decode_header(checked)?;
        let (head, rest) = checked.split_at_checked(header_len).ok_or(FrameError::Length)?;
        if rest.is_empty() {
            return Ok(Self { header, information: &[] });
        }
        let (hcs, information) = rest.split_at_checked(2).ok_or(FrameError::Length)?;
        let (expected, found) = (fcs16(head), little_endian(hcs));
        if expected != found {
            return Err(FrameError::HeaderCheck { offset: header_len + 1, expected, found });
        }
        Ok(Self { header, information })
    }
}

/// Reads format, addresses and control: the header and its length. `body` starts behind the opening flag.
fn decode_header(body: &[u8]) -> Result<(Header, usize), FrameError> {
    let (format, rest) = body.split_at_checked(2).ok_or(FrameError::Length)?;
    let (destination, d) = Address::from_wire(rest).ok_or(FrameError::Address)?;
    let rest = rest.get(d..).unwrap_or(&[]);
    let (source, s) = Address::from_wire(rest).ok_or(FrameError::Address)?;
    let control = *rest.get(s).ok_or(FrameError::Length)?;
    let (control, poll_final) = Control::from_wire(control);
    let segmented = format.first().is_some_and(|b| b & 0x08 != 0);
    Ok((Header { segmented, destination, source, control, poll_final }, 2 + d + s + 1))
}

/// Writes a frame into `out` and returns its length; `None` when `out` or the 11-bit length is too small.
/// The information field is given in two parts, so that the LLC header need not be copied before the APDU.
#[must_use]
pub fn encode(header: &Header, llc: &[u8], information: &[u8], out: &mut [u8]) -> Option<usize> {
    let (destination, d) = header.destination.to_wire();
    let (source, s) = header.source.to_wire();
    let info_len = llc.len().checked_add(information.len())?;
    let header_len = 2 + d + s + 1;
    let length = header_len + if info_len == 0 { 2 } else { 4 } + info_len;
    if length > LENGTH_MAX {
        return None;
    }
    let out = out.get_mut(..length + 2)?;
    let format = 0xA000 | (u16::from(header.segmented) << 11) | u16::try_from(length).ok()?;
    let mut at = 0;
    let mut write = |bytes: &[u8]| {
        put(out, at, bytes);
        at += bytes.len();
    };
    write(&[FLAG]);
    write(&format.to_be_bytes());
    write(destination.get(..d)?);
    write(source.get(..s)?);
    write(&[header.control.to_wire(header.poll_final)]);
    if info_len > 0 {
        let hcs = fcs16(out.get(1..1 + header_len)?);
        let mut at = 1 + header_len;
        for part in [&hcs.to_le_bytes()[..], llc, information] {
            put(out, at, part);
            at += part.len();
        }
    }
    let fcs = fcs16(out.get(1..length - 1)?);
    put(out, length - 1, &fcs.to_le_bytes());
    put(out, length + 1, &[FLAG]);
    Some(length + 2)
}

fn little_endian(two: &[u8]) -> u16 {
    match *two {
        [low, high, ..] => u16::from_le_bytes([low, high]),
        _ => 0,
    }
}

/// The check sequence of ISO/IEC 13239 (CRC-16/X-25), a nibble at a time: 32 bytes of table serve both the Cortex-M and
/// the gateway.
#[must_use]
pub fn fcs16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 16] = table();
    let step = |crc: u16, nibble: u8| (crc >> 4) ^ TABLE[usize::from(nibble & 0x0F)];
    !bytes.iter().fold(0xFFFF_u16, |crc, byte| {
        let crc = step(crc, crc.to_le_bytes()[0] ^ byte);
        step(crc, crc.to_le_bytes()[0] ^ (byte >> 4))
    })
}

const fn table() -> [u16; 16] {
    let mut table = [0_u16; 16];
    let mut i = 0;
    while i < 16 {
        let mut crc = i as u16;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x8408 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::Encode;
    use crate::codec::codec::SliceWriter;
    use crate::codec::transport::hdlc as other;

    #[test]
    fn the_check_sequence_gives_the_published_check_value() {
        assert_eq!(fcs16(b"123456789"), 0x906E);
    }

    #[test]
    fn frames_agree_byte_for_byte_with_the_codec_of_another_author() {
        let addresses = [Address::One(0x10), Address::Two(1, 0x11), Address::Four(0x3FFF, 0x1234)];
        let theirs = |a: Address| match a {
            Address::One(a) => other::Address::Single(a),
            Address::Two(upper, lower) => other::Address::Double { upper, lower },
            Address::Four(upper, lower) => other::Address::Quad { upper, lower },
        };
        for destination in addresses {
            for source in addresses {
                for (information, segmented) in [(&[][..], false), (&[1, 2, 0x7E, 4][..], true)] {
                    let control = Control::Information { ns: 3, nr: 5 };
                    let header = Header { segmented, destination, source, control, poll_final: true };
                    let mut ours = [0xA5; 64];
                    let n = encode(&header, &[], information, &mut ours).unwrap();
                    let mut buffer = [0x5A; 64];
                    let mut writer = SliceWriter::new(&mut buffer);
                    let frame = other::Frame {
                        segmented,
                        destination: theirs(destination),
                        source: theirs(source),
                        control: other::Control::I { ns: 3, nr: 5, pf: true },
                        information,
                    };
                    frame.encode(&mut writer).unwrap();
                    assert_eq!(&ours[..n], writer.as_slice());
                    assert_eq!(Frame::decode(&ours[..n]), Ok(Frame { header, information }));
                }
            }
        }
    }

    #[test]
    fn every_control_byte_survives_reading_and_writing() {
        for byte in 0..=255 {
            let (control, poll_final) = Control::from_wire(byte);
            assert_eq!(control.to_wire(poll_final), byte);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_between_the_flags_is_noticed() {
        let header = Header {
            segmented: false,
            destination: Address::Two(1, 17),
            source: Address::One(16),
            control: Control::Information { ns: 0, nr: 0 },
            poll_final: true,
        };
        let mut frame = [0; 64];
        let n = encode(&header, &[0xE6, 0xE6, 0], &[0xC0, 1, 0xC1], &mut frame).unwrap();
        assert!(Frame::decode(&frame[..n]).is_ok());
        for bit in 8..(n - 1) * 8 {
            let mut broken = frame;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&broken[..n]).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_output_one_byte_too_short_is_refused() {
        let header = Header {
            segmented: false,
            destination: Address::One(1),
            source: Address::One(16),
            control: Control::Snrm,
            poll_final: true,
        };
        assert_eq!(encode(&header, &[], &[], &mut [0; 8]), None);
        assert_eq!(encode(&header, &[], &[], &mut [0; 9]), Some(9));
        assert_eq!(encode(&header, &[], &[0; 2040], &mut [0; 4096]), None, "longer than eleven bits can say");
    }
}
