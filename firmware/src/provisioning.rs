//! What a bench gives a real meter once, before it meters anything: who it is, and its keys.
//!
//! The record has a length fixed by its format, so that a script on the bench makes it without a library (`firmware/provision.py`).
//! Numbers are little-endian:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | "MGWP" |
//! | 4 | 2 | format: 2; 1 has no key for images, and its check code at 120 |
//! | 6 | 2 | manufacturer code of the meter's number (DRN) |
//! | 8 | 4 | serial number |
//! | 12 | 4 | supply group code |
//! | 16 | 1 | tariff index |
//! | 17 | 1 | key revision number |
//! | 18 | 1 | base date: 93, 14 or 35 |
//! | 19 | 1 | encryption algorithm: 7 or 11 |
//! | 20 | 16 | decoder key; EA07 takes the first 8 bytes |
//! | 36 | 16 | encryption key (EK) |
//! | 52 | 16 | authentication key (AK) |
//! | 68 | 1 | length of the reader's password |
//! | 69 | 16 | the reader's password |
//! | 85 | 3 | manufacturer's letters, first of the system title |
//! | 88 | 1 | payment mode: 1 credit, 2 prepayment |
//! | 89 | 1 | control mode of the relay: 0 to 6 |
//! | 90 | 1 | bit 0: the relay closes by itself after a top-up; bit 1: imports only; bit 2: Modbus may switch |
//! | 91 | 1 | what the RS-485 line speaks: 0 DLMS, else Modbus RTU as this station (1 to 247) |
//! | 92 | 4 | initial credit, watt-hours, signed |
//! | 96 | 4 | low-credit warning, watt-hours, signed |
//! | 100 | 2 | minutes of local time ahead of UTC, signed |
//! | 102 | 2 | seconds between profile rows |
//! | 104 | 16 | master key (KEK) |
//! | 120 | 64 | public key whose firmware images the meter takes (P-256, x and y); zeros: it takes none |
//! | 184 | 4 | CRC-32 of all bytes before |

use core::fmt::Write;

use protocol::cosem::account::PaymentMode;
use protocol::cosem::disconnect::ControlMode;
use protocol::sts::meter::{MeterKeyAttributes, MeterTokenState};
use protocol::sts::{BaseDate, DecoderKey, Drn, KeyRevision, KeyType, MeterPan, SupplyGroup, TariffIndex};
use protocol::wire::crc32;

use crate::image::Trust;
use crate::image::format::Model;
use crate::image::p256::VerifyingKey;
use crate::personalisation::{AccountSetup, Keys, Options, PASSWORD_MAX, Personalisation};

/// Bytes of the record.
pub const RECORD_BYTES: usize = 188;
const MAGIC: &[u8; 4] = b"MGWP";
/// Bytes in front of the check code, by the format's number; `None` for a format that is not known.
const fn checked(format: u16) -> Option<usize> {
    match format {
        1 => Some(120),
        2 => Some(184),
        _ => None,
    }
}

/// Why there is no meter in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisioningError {
    /// Never written: all ones, or all zeros.
    Blank,
    /// Not a record of this kind and format.
    Unknown,
    /// The check code does not fit.
    Damaged,
    /// A field is out of its range; its place in the record.
    Field(usize),
    /// A key that everybody knows, or one byte repeated.
    WeakKey(usize),
}

impl core::fmt::Display for ProvisioningError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Blank => f.write_str("not provisioned"),
            Self::Unknown => f.write_str("not a provisioning record of format 1 or 2"),
            Self::Damaged => f.write_str("the provisioning record's check code does not fit"),
            Self::Field(at) => write!(f, "the provisioning record's field at byte {at} is out of range"),
            Self::WeakKey(at) => write!(f, "the key at byte {at} is a published or a trivial one"),
        }
    }
}

impl core::error::Error for ProvisioningError {}

/// Keys printed in the Green Book and used by every example; no meter that bills people has them.
const PUBLISHED: [[u8; 16]; 2] = [
    *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F",
    *b"\xD0\xD1\xD2\xD3\xD4\xD5\xD6\xD7\xD8\xD9\xDA\xDB\xDC\xDD\xDE\xDF",
];

/// The public half of the key that test images are signed with (`images/mps2-an386/test-signing-key.pem`).
const TEST_IMAGES: [u8; 64] =
    *b"\x02\x17\xE6\x17\xF0\xB6\x44\x39\x28\x27\x8F\x96\x99\x9E\x69\xA2\x3A\x4F\x2C\x15\x2B\xDF\x6D\x6C\
      \xDF\x66\xE5\xB8\x02\x82\xD4\xED\x19\x4A\x7D\xEB\xCB\x97\x71\x2D\x2D\xDA\x3C\xA8\x5A\xA8\x76\x5A\
      \x56\xF4\x5F\xC7\x58\x59\x96\x52\xF2\x89\x7C\x65\x30\x6E\x57\x94";

/// Fields by their place; the record's length is checked before.
struct Fields<'a>(&'a [u8; RECORD_BYTES]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }

    fn byte(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    /// A key that is neither published nor one byte repeated.
    fn key(&self, at: usize) -> Result<[u8; 16], ProvisioningError> {
        let key: [u8; 16] = self.array(at);
        let trivial = key.iter().all(|byte| *byte == key[0]);
        if trivial || PUBLISHED.contains(&key) { Err(ProvisioningError::WeakKey(at)) } else { Ok(key) }
    }

    /// Whose images it takes.
    fn images(&self, model: Model) -> Result<Option<Trust>, ProvisioningError> {
        let signing_key: [u8; 64] = self.array(120);
        if signing_key == [0; 64] {
            return Ok(None);
        }
        if signing_key == TEST_IMAGES {
            return Err(ProvisioningError::WeakKey(120));
        }
        let key = VerifyingKey::from_bytes(&signing_key).ok_or(ProvisioningError::Field(120));
        key.map(|_| Some(Trust { signing_key, model }))
    }

    fn decoder_key(&self) -> Result<DecoderKey, ProvisioningError> {
        match self.byte(19) {
            11 => Ok(DecoderKey::Ea11(self.key(20)?)),
            7 => {
                let key: [u8; 8] = self.array(20);
                let trivial = key.iter().all(|byte| *byte == key[0]);
                if trivial { Err(ProvisioningError::WeakKey(20)) } else { Ok(DecoderKey::Ea07(key)) }
            }
            _ => Err(ProvisioningError::Field(19)),
        }
    }
}

fn at<T, E>(place: usize, value: Result<T, E>) -> Result<T, ProvisioningError> {
    value.map_err(|_| ProvisioningError::Field(place))
}

/// The meter in a record, which may be followed by anything. `model` is what its board's images are for.
///
/// # Errors
/// [`ProvisioningError`]: there is none, and nothing of it may be used.
pub fn open(bytes: &[u8], model: Model) -> Result<Personalisation, ProvisioningError> {
    // A record of format 1 is shorter.
    let mut padded = [0xFF; RECORD_BYTES];
    let length = bytes.len().min(RECORD_BYTES);
    padded[..length].copy_from_slice(&bytes[..length]);
    let record = &padded;
    if matches!(record[0], 0x00 | 0xFF) && record.iter().all(|byte| *byte == record[0]) {
        return Err(ProvisioningError::Blank);
    }
    let fields = Fields(record);
    let known = checked(fields.u16(4)).filter(|_| &fields.array::<4>(0) == MAGIC);
    let checked = known.ok_or(ProvisioningError::Unknown)?;
    if fields.u32(checked) != crc32(&record[..checked]) {
        return Err(ProvisioningError::Damaged);
    }
    let mut who = personalisation(&fields)?;
    if fields.u16(4) > 1 {
        who.options.images = fields.images(model)?;
    }
    Ok(who)
}

fn personalisation(fields: &Fields<'_>) -> Result<Personalisation, ProvisioningError> {
    let serial = fields.u32(8);
    let drn = at(6, Drn::from_parts(fields.u16(6), serial))?;
    let base_date = match fields.byte(18) {
        93 => BaseDate::Year1993,
        14 => BaseDate::Year2014,
        35 => BaseDate::Year2035,
        _ => return Err(ProvisioningError::Field(18)),
    };
    let attributes = MeterKeyAttributes {
        supply_group: Some(at(12, SupplyGroup::try_from(fields.u32(12)))?),
        tariff_index: at(16, TariffIndex::try_from(u32::from(fields.byte(16))))?,
        key_revision: at(17, KeyRevision::try_from(u32::from(fields.byte(17))))?,
        key_type: KeyType::Dutk,
        base_date,
        expiry: u8::MAX,
    };
    let password: [u8; PASSWORD_MAX] = fields.array(69);
    let password = password.get(..usize::from(fields.byte(68))).filter(|p| !p.is_empty());
    let letters: [u8; 3] = fields.array(85);
    if !letters.iter().all(u8::is_ascii_uppercase) {
        return Err(ProvisioningError::Field(85));
    }
    let [a, b, c, d] = serial.to_be_bytes();
    let mut logical_device_name = heapless::String::new();
    for letter in letters {
        at(85, logical_device_name.push(char::from(letter)))?;
    }
    at(8, write!(logical_device_name, "{serial:013}"))?;
    let payment_mode = match fields.byte(88) {
        1 => PaymentMode::Credit,
        2 => PaymentMode::Prepayment,
        _ => return Err(ProvisioningError::Field(88)),
    };
    let flags = fields.byte(90);
    let (initial, low) = (fields.i32(92), fields.i32(96));
    if flags > 0b111 {
        return Err(ProvisioningError::Field(90));
    }
    let modbus_station = Some(fields.byte(91)).filter(|station| *station != 0);
    if modbus_station.is_some_and(|station| station > 247) {
        return Err(ProvisioningError::Field(91));
    }
    if initial < 0 {
        return Err(ProvisioningError::Field(92));
    }
    let offset = fields.u16(100).cast_signed();
    if !(-840..=840).contains(&offset) {
        return Err(ProvisioningError::Field(100));
    }
    Ok(Personalisation {
        tokens: MeterTokenState::new(MeterPan::from_drn(&drn), fields.decoder_key()?, attributes, None),
        system_title: [letters[0], letters[1], letters[2], 0, a, b, c, d],
        logical_device_name,
        keys: Keys {
            encryption: fields.key(36)?,
            authentication: fields.key(52)?,
            master: fields.key(104)?,
            reader_password: at(
                68,
                heapless::Vec::from_slice(password.ok_or(ProvisioningError::Field(68))?),
            )?,
        },
        account: AccountSetup {
            payment_mode,
            initial_credit_wh: i64::from(initial),
            low_credit_wh: i64::from(low),
        },
        control_mode: ControlMode::new(fields.byte(89)).ok_or(ProvisioningError::Field(89))?,
        return_automatically: flags & 1 != 0,
        utc_offset_minutes: offset,
        profile_period_s: u32::from(fields.u16(102)),
        sample_period_ms: 1_000,
        options: Options {
            imports_only: flags & 2 != 0,
            modbus_switches: flags & 4 != 0,
            modbus_station,
            ..Options::default()
        },
    })
}

/// Finds a record in the bytes of the bench link.
#[derive(Debug)]
pub struct Intake {
    bytes: [u8; RECORD_BYTES],
    filled: usize,
}

impl Default for Intake {
    fn default() -> Self {
        Self { bytes: [0; RECORD_BYTES], filled: 0 }
    }
}

impl Intake {
    /// Takes a byte; gives the record when it is whole, valid or not. What does not begin like one is passed over.
    pub fn push(&mut self, byte: u8) -> Option<&[u8]> {
        if let Some(expected) = MAGIC.get(self.filled)
            && *expected != byte
        {
            self.filled = 0;
            if byte != MAGIC[0] {
                return None;
            }
        }
        self.bytes[self.filled] = byte;
        self.filled += 1;
        // An unknown format is taken for the longest one: it is refused by its number.
        let format = u16::from_le_bytes([self.bytes[4], self.bytes[5]]);
        let length = checked(format).map_or(RECORD_BYTES, |checked| checked + 4);
        if self.filled < 6 || self.filled < length {
            return None;
        }
        self.filled = 0;
        self.bytes.get(..length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::dlms::security::ecdsa::{Curve, PrivateKey};
    use std::process::Command;
    use std::string::ToString;
    use std::vec::Vec;

    // Who the emulated meter is, and the published key of its images.
    #[allow(dead_code)]
    mod identity {
        include!("../images/mps2-an386/src/identity.rs");
    }
    use identity::SIGNING_NUMBER;

    const EXAMPLE: &str = include_str!("../images/stm32f405/example.ini");

    /// What the bench's script makes of a description, as `python3 provision.py` prints it.
    fn made(ini: &str) -> Vec<u8> {
        let name = std::format!("provision-{:?}.ini", std::thread::current().id()).replace(['(', ')'], "");
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, ini).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/provision.py");
        let out = Command::new("python3").arg(script).arg(&path).arg("-").output().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(out.status.success(), "{}", std::string::String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    const MODEL: Model = *b"TEST\0\0\0\0";

    fn look(record: &[u8]) -> Result<Personalisation, ProvisioningError> {
        open(record, MODEL)
    }

    fn resealed(mut record: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
        record[at..at + value.len()].copy_from_slice(value);
        let end = record.len() - 4;
        let check = crc32(&record[..end]).to_le_bytes();
        record[end..].copy_from_slice(&check);
        record
    }

    #[test]
    fn the_benchs_script_and_the_meter_agree() {
        let record = made(EXAMPLE);
        assert_eq!(record.len(), RECORD_BYTES);
        let who = look(&record).unwrap();
        assert_eq!(who.tokens.pan.drn().as_str(), "01900000017");
        assert_eq!(&who.system_title, b"MGW\x00\x05\x5D\x4A\x81");
        assert_eq!(who.logical_device_name, "MGW0000090000001");
        assert_eq!(who.keys.reader_password, b"change-me");
        assert_eq!(who.keys.encryption[..3], [0x3f, 0x8a, 0x91]);
        assert_eq!(who.control_mode.number(), 6);
        assert_eq!((who.utc_offset_minutes, who.profile_period_s), (120, 900));
        assert!(who.return_automatically && who.options.imports_only && !who.options.modbus_switches);
        assert_eq!(who.account.initial_credit_wh, 5_000);
        assert_eq!((who.options.modbus_station, who.options.images), (None, None));
    }

    #[test]
    fn the_bench_says_what_the_line_speaks_and_whose_images_the_meter_takes() {
        let key = [0x31; 32];
        let public = PrivateKey::from_bytes(Curve::P256, &key).unwrap().public_key().to_bytes();
        let hex: std::string::String = public.iter().map(|byte| std::format!("{byte:02x}")).collect();
        let ini = EXAMPLE.replace("modbus_station = 0", "modbus_station = 17");
        let ini = ini.replace("signing_key = none", &std::format!("signing_key = {hex}"));
        let record = made(&ini);
        let options = look(&record).unwrap().options;
        assert_eq!(options.modbus_station, Some(17));
        let trust = options.images.unwrap();
        assert_eq!((&trust.signing_key[..], trust.model), (&public[..], MODEL));
        // The key that everybody can sign with, a point that is not on the curve, a station that nobody may be.
        let published = PrivateKey::from_bytes(Curve::P256, &SIGNING_NUMBER).unwrap().public_key();
        let published = published.to_bytes();
        let weak = Err(ProvisioningError::WeakKey(120));
        assert_eq!(look(&resealed(record.clone(), 120, &published)).map(drop), weak);
        let off = Err(ProvisioningError::Field(120));
        assert_eq!(look(&resealed(record.clone(), 120, &[0x77; 64])).map(drop), off);
        let nobody = Err(ProvisioningError::Field(91));
        assert_eq!(look(&resealed(record, 91, &[248])).map(drop), nobody);
    }

    #[test]
    fn a_record_of_format_1_is_taken_and_that_meter_takes_no_images() {
        let mut record = made(EXAMPLE);
        record.truncate(124);
        record[4] = 1;
        let record = resealed(record, 91, &[3]);
        let options = look(&record).unwrap().options;
        assert_eq!((options.modbus_station, options.images), (Some(3), None));
        let mut intake = Intake::default();
        let found = record.iter().filter_map(|byte| intake.push(*byte).map(<[u8]>::to_vec)).next();
        assert_eq!(found.as_ref(), Some(&record));
    }

    #[test]
    fn a_blank_or_damaged_sector_is_no_meter() {
        let record = made(EXAMPLE);
        assert_eq!(look(&[0xFF; 1024]), Err(ProvisioningError::Blank));
        assert_eq!(look(&[0; RECORD_BYTES]), Err(ProvisioningError::Blank));
        assert_eq!(look(&[]), Err(ProvisioningError::Blank));
        assert_eq!(look(&[1; RECORD_BYTES]), Err(ProvisioningError::Unknown));
        assert_eq!(look(&record[..120]), Err(ProvisioningError::Damaged));
        for at in 6..RECORD_BYTES {
            let mut damaged = record.clone();
            damaged[at] ^= 1;
            assert_eq!(look(&damaged), Err(ProvisioningError::Damaged), "byte {at}");
        }
    }

    #[test]
    fn published_and_trivial_keys_are_refused() {
        let record = made(EXAMPLE);
        for (at, key) in
            [(36, PUBLISHED[0]), (52, PUBLISHED[1]), (20, [0; 16]), (36, [0xFF; 16]), (104, [9; 16])]
        {
            assert_eq!(look(&resealed(record.clone(), at, &key)), Err(ProvisioningError::WeakKey(at)));
        }
        let ea07 = resealed(record.clone(), 19, &[7]);
        assert!(look(&ea07).is_ok());
        assert_eq!(look(&resealed(ea07, 20, &[0x55; 8])), Err(ProvisioningError::WeakKey(20)));
    }

    #[test]
    fn a_field_out_of_its_range_is_named_by_its_place() {
        let record = made(EXAMPLE);
        let bad: [(usize, &[u8]); 12] = [
            (6, &[0xFF, 0xFF]),
            (12, &[0xFF; 4]),
            (16, &[0xFF]),
            (17, &[0xFF]),
            (18, &[15]),
            (19, &[4]),
            (68, &[0]),
            (68, &[17]),
            (85, b"mgw"),
            (88, &[0]),
            (89, &[7]),
            (90, &[8]),
        ];
        for (at, value) in bad {
            let error = look(&resealed(record.clone(), at, value)).unwrap_err();
            assert_eq!(error, ProvisioningError::Field(at), "{error}");
        }
        assert!(ProvisioningError::Field(85).to_string().contains("85"));
    }

    #[test]
    fn the_record_is_found_behind_noise_and_a_false_start() {
        let record = made(EXAMPLE);
        let mut intake = Intake::default();
        let noise = b"\r\nAT\r\nMGMGW".iter().copied();
        let found: Vec<_> = noise
            .chain(record.iter().copied())
            .filter_map(|byte| intake.push(byte).map(<[u8]>::to_vec))
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0][..], record[..]);
    }

    #[test]
    fn neither_a_record_nor_an_error_shows_a_key() {
        let record = made(EXAMPLE);
        let who = look(&record).unwrap();
        let text = std::format!("{who:?}");
        for key in [who.keys.encryption, who.keys.authentication, who.keys.master] {
            assert!(!text.contains(&std::format!("{key:?}")));
        }
    }
}
