//! Meters on their way in: one row of a CSV file or one JSON object, checked against configuration and models.

use super::App;
use crate::config::{LineConfig, LineKind, SerialProtocol};
use crate::session::directory::Framing;
use crate::session::model::Model;
use crate::session::work::Serial;
use crate::store::meter::{BalanceHolder, Meter, Role};
use crate::vault::{DlmsKeys, StsIdentity};
use jiff::Timestamp;
use serde::Deserialize;
use std::net::SocketAddr;
use utoipa::ToSchema;

/// A meter to be entered. In CSV files these are the columns; `serial`, `line`, `address` and `model` are needed, an empty
/// field is an absent one.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewMeter {
    /// Serial number; the DRN (11 or 13 digits) of meters that take tokens.
    serial: String,
    /// The configured line it is on.
    line: String,
    /// `address:port` on a tcp line; HDLC physical address or Modbus unit id elsewhere.
    address: String,
    /// Model name.
    model: String,
    /// `wrapper` (default) or `hdlc`, on tcp lines.
    framing: Option<String>,
    /// Who holds the balance: `meter`, `gateway` or `none`. Default: the meter on DLMS lines, nobody on Modbus lines.
    balance: Option<String>,
    /// `customer` (default) or `feeder`.
    role: Option<String>,
    /// Transformer area; default is the line's.
    area: Option<String>,
    /// Issuer identification number; default 600727, or 0000 for 13-digit serials.
    iin: Option<String>,
    /// Supply group code, 6 digits. Needed for meters that take tokens.
    sgc: Option<String>,
    /// Tariff index, default 1.
    ti: Option<String>,
    /// Key revision number, default 1.
    krn: Option<String>,
    /// Key type, default 2.
    kt: Option<String>,
    /// Key expiry number, default 255.
    ken: Option<String>,
    /// Base date of token ids: 1993, 2014 (default) or 2035.
    base_year: Option<String>,
    /// Encryption algorithm: 7 or 11 (default).
    ea: Option<String>,
    /// DLMS encryption key, 32 hexadecimal digits. Needed on DLMS lines.
    ek: Option<String>,
    /// DLMS authentication key, 32 hexadecimal digits. Needed on DLMS lines.
    ak: Option<String>,
}

impl std::fmt::Debug for NewMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewMeter").field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// A checked meter and its keys.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    pub meter: Meter,
    pub keys: Option<DlmsKeys>,
}

impl NewMeter {
    pub(super) fn serial(&self) -> &str {
        &self.serial
    }

    /// Checks it.
    pub(super) fn check(&self, app: &App, now: Timestamp) -> Result<Intake, String> {
        let serial = serial(&self.serial)?;
        let line =
            app.config.line(&self.line).ok_or_else(|| format!("line {:?} is not configured", self.line))?;
        let address = address(&self.address, line)?;
        self.check_model(app, line)?;
        let modbus = line.kind.is_modbus();
        let balance = match (given(&self.balance), modbus) {
            (None, true) => BalanceHolder::None,
            (None, false) => BalanceHolder::Meter,
            (Some(word), _) => BalanceHolder::parse(word)
                .ok_or_else(|| format!("balance {word:?} is none of meter, gateway, none"))?,
        };
        if modbus && balance == BalanceHolder::Meter {
            return Err("a Modbus meter cannot hold its balance: use gateway or none".to_owned());
        }
        let role = match given(&self.role) {
            None => Role::Customer,
            Some(word) => {
                Role::parse(word).ok_or_else(|| format!("role {word:?} is none of customer, feeder"))?
            }
        };
        let area = given(&self.area).or(line.area.as_deref()).unwrap_or_default().to_owned();
        let sts = if balance == BalanceHolder::Meter { Some(self.sts(&serial)?) } else { None };
        let meter = Meter {
            serial: Serial(serial),
            line: line.name.clone(),
            address,
            framing: framing(given(&self.framing), line)?,
            model: self.model.clone(),
            balance,
            role,
            area,
            sts,
            added_at: now,
        };
        Ok(Intake { meter, keys: if modbus { None } else { Some(self.keys()?) } })
    }

    fn check_model(&self, app: &App, line: &LineConfig) -> Result<(), String> {
        let known = || app.models.names().collect::<Vec<_>>().join(", ");
        let model = app
            .models
            .find(&self.model)
            .ok_or_else(|| format!("model {:?} is not known; there are {}", self.model, known()))?;
        let (speaks, modbus) = match *model {
            Model::Dlms(_) => ("DLMS", false),
            Model::Modbus(_) => ("Modbus", true),
        };
        if modbus == line.kind.is_modbus() {
            return Ok(());
        }
        Err(format!("model {:?} speaks {speaks}, line {:?} does not", self.model, line.name))
    }

    fn sts(&self, serial: &str) -> Result<StsIdentity, String> {
        check_drn(serial)?;
        let sgc = given(&self.sgc).ok_or("a meter that takes tokens needs sgc, its supply group code")?;
        if sgc.len() != 6 || !sgc.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("sgc {sgc:?} is not 6 digits"));
        }
        let iin = given(&self.iin).unwrap_or(if serial.len() == 11 { "600727" } else { "0000" });
        if iin != if serial.len() == 11 { "600727" } else { "0000" } {
            return Err(format!("iin {iin:?} does not go with a serial of {} digits", serial.len()));
        }
        let base_year = number("base_year", &self.base_year, 2014, 1993, 2035)?;
        if ![1993, 2014, 2035].contains(&base_year) {
            return Err(format!("base_year {base_year} is none of 1993, 2014, 2035"));
        }
        let ea = number("ea", &self.ea, 11, 7, 11)?;
        if ![7, 11].contains(&ea) {
            return Err(format!("ea {ea} is none of 7, 11"));
        }
        let byte = |value: u16| u8::try_from(value).map_err(|_| "number above 255".to_owned());
        Ok(StsIdentity {
            iin: iin.to_owned(),
            drn: serial.to_owned(),
            sgc: sgc.parse().map_err(|_| format!("sgc {sgc:?}"))?,
            ti: byte(number("ti", &self.ti, 1, 0, 99)?)?,
            krn: byte(number("krn", &self.krn, 1, 1, 9)?)?,
            kt: byte(number("kt", &self.kt, 2, 0, 3)?)?,
            ken: byte(number("ken", &self.ken, 255, 0, 255)?)?,
            base_year,
            ea: byte(ea)?,
        })
    }

    fn keys(&self) -> Result<DlmsKeys, String> {
        let key = |name: &str, text: &Option<String>| {
            let text = given(text).ok_or_else(|| format!("a DLMS meter needs {name}"))?;
            unhex(text).ok_or_else(|| format!("{name} is not 32 hexadecimal digits"))
        };
        Ok(DlmsKeys { encryption: key("ek", &self.ek)?, authentication: key("ak", &self.ak)? })
    }
}

fn given(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|text| !text.is_empty())
}

/// The longest serial, in characters: what a log line and the page have room for.
const SERIAL_MAX: usize = 32;

fn serial(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() <= SERIAL_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits {
        return Ok(text.to_owned());
    }
    Err(format!("serial {text:?} is not 1 to {SERIAL_MAX} letters, digits or '-'"))
}

/// A DRN: 11 or 13 digits, the last of which is the Luhn check digit (IEC 62055-41 clause 6.1.2).
fn check_drn(serial: &str) -> Result<(), String> {
    if ![11, 13].contains(&serial.len()) || !serial.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("serial {serial:?} of a meter that takes tokens is not 11 or 13 digits"));
    }
    let sum: u32 = serial
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            let weighed = if place % 2 == 1 { digit * 2 } else { digit };
            weighed / 10 + weighed % 10
        })
        .sum();
    if sum.is_multiple_of(10) { Ok(()) } else { Err(format!("serial {serial} has a wrong check digit")) }
}

fn address(text: &str, line: &LineConfig) -> Result<String, String> {
    let range = match &line.kind {
        LineKind::Tcp { .. } => {
            let parsed: SocketAddr = text.parse().map_err(|_| {
                format!("address {text:?} is not address:port, as line {:?} needs", line.name)
            })?;
            return Ok(parsed.to_string());
        }
        // HDLC physical addresses have 14 bits; 0 and the topmost are reserved (IEC 62056-46 clause 6.4.2.3).
        LineKind::Serial { protocol: SerialProtocol::DlmsHdlc, .. } => 1..=16_382,
        LineKind::Serial { protocol: SerialProtocol::ModbusRtu, .. } | LineKind::ModbusTcp { .. } => 1..=247,
    };
    match text.parse::<u32>() {
        Ok(number) if range.contains(&number) => Ok(number.to_string()),
        _ => Err(format!(
            "address {text:?} is not a number from {} to {}, as line {:?} needs",
            range.start(),
            range.end(),
            line.name
        )),
    }
}

fn framing(word: Option<&str>, line: &LineConfig) -> Result<Framing, String> {
    let is_tcp = matches!(line.kind, LineKind::Tcp { .. });
    match (word, is_tcp) {
        (None | Some("wrapper"), true) => Ok(Framing::Wrapper),
        (None | Some("hdlc"), false) | (Some("hdlc"), true) => Ok(Framing::Hdlc),
        (Some(word), true) => Err(format!("framing {word:?} is none of wrapper, hdlc")),
        (Some(word), false) => Err(format!("framing {word:?} does not go with line {:?}", line.name)),
    }
}

fn number(name: &str, field: &Option<String>, default: u16, min: u16, max: u16) -> Result<u16, String> {
    let Some(text) = given(field) else { return Ok(default) };
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{name} {text:?} is not a number from {min} to {max}")),
    }
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0u8; 16];
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}
