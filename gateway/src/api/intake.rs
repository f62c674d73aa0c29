//! Meters on their way in: one row of a CSV file or one JSON object, checked against configuration and models.

use super::App;
use crate::config::{Hello, LineConfig, LineKind, SerialProtocol};
use crate::driver::NAME_MAX;
use crate::session::directory::Framing;
use crate::session::model::{Model, SecurityManner};
use crate::session::order::{LIMIT_W_MAX, LIMIT_W_MIN};
use crate::session::work::Serial;
use crate::store::meter::{BalanceHolder, LoadRecord, Meter, Role};
use crate::vault::{DlmsKeys, StsIdentity, unhex};
use jiff::Timestamp;
use protocol::dlms::security::ecdsa::{Curve, PrivateKey, PublicKey};
use protocol::dlms::security::{Key, Secret};
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use utoipa::ToSchema;
use zeroize::Zeroizing;

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
    /// Who holds the balance: `meter`, `gateway` or `none`. Default: the meter where its model has an
    /// account, else nobody.
    balance: Option<String>,
    /// `customer` (default) or `feeder`.
    role: Option<String>,
    /// Transformer area; default is the line's.
    area: Option<String>,
    /// Load class, 1 (most important) to 9: who goes down first in a shortage.
    load_class: Option<String>,
    /// What the connection is made for, in watts.
    rated_w: Option<String>,
    /// What a large user goes down to in a shortage, by its own plan, in watts.
    plan_w: Option<String>,
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
    /// DLMS encryption key, 32 hexadecimal digits (64 with security suite 2). Needed where the model's security has keys.
    ek: Option<String>,
    /// DLMS authentication key, as long. Needed where the model's security has keys.
    ak: Option<String>,
    /// DLMS master key, as long: new keys travel to the meter under it. Without one its keys cannot be rotated.
    mk: Option<String>,
    /// DLMS password, or shared secret of a hash mechanism: text, or hexadecimal digits after `0x`. Needed where the model's
    /// security has one.
    password: Option<String>,
    /// Our signing key for this meter, 64 hexadecimal digits with security suite 1, 96 with suite 2. Needed where the model's
    /// authentication is `hls-ecdsa`.
    signing_key: Option<String>,
    /// The meter's public signing key, `x` and `y` together: twice as many digits. Needed with it.
    meter_public_key: Option<String>,
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
        let config = app.config();
        let line =
            config.line(&self.line).ok_or_else(|| format!("line {:?} is not configured", self.line))?;
        let address = address(&self.address, line)?;
        let model = self.model(app, line)?;
        let prepaid = match &*model {
            Model::Dlms(model) => model.objects.account.is_some(),
            Model::Modbus(model) => model.holds_credit(),
        };
        let balance = match (given(&self.balance), prepaid) {
            (None, false) => BalanceHolder::None,
            (None, true) => BalanceHolder::Meter,
            (Some(word), _) => BalanceHolder::parse(word)
                .ok_or_else(|| format!("balance {word:?} is none of meter, gateway, none"))?,
        };
        if !prepaid && balance == BalanceHolder::Meter {
            return Err(format!(
                "a meter of model {:?} cannot hold its balance: use gateway or none",
                self.model
            ));
        }
        if balance == BalanceHolder::Gateway
            && matches!(&*model, Model::Modbus(model) if model.holds_credit())
        {
            return Err(format!(
                "a meter of model {:?} counts its own credit, and two balances for one supply would both disconnect: \
                 use meter or none",
                self.model
            ));
        }
        let role = match given(&self.role) {
            None => Role::Customer,
            Some(word) => {
                Role::parse(word).ok_or_else(|| format!("role {word:?} is none of customer, feeder"))?
            }
        };
        let area = given(&self.area).or(line.area.as_deref()).unwrap_or_default().to_owned();
        // A Modbus meter that counts its own credit takes no tokens from here.
        let takes_tokens = balance == BalanceHolder::Meter && matches!(*model, Model::Dlms(_));
        let sts = if takes_tokens { Some(self.sts(&serial)?) } else { None };
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
            load: self.load()?,
            added_at: now,
        };
        let keys = match &*model {
            Model::Modbus(_) => None,
            Model::Dlms(model) => Some(self.keys(&model.security)?),
        };
        Ok(Intake { meter, keys })
    }

    fn load(&self) -> Result<LoadRecord, String> {
        let watts = |name: &str, text: &Option<String>| match given(text) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .ok()
                .filter(|watts| (1..=LIMIT_W_MAX).contains(watts))
                .map(Some)
                .ok_or_else(|| format!("{name} {text:?} is not 1 to {LIMIT_W_MAX} watts")),
        };
        let class = match given(&self.load_class) {
            None => None,
            Some(text) => match text.parse() {
                Ok(class @ 1..=9) => Some(class),
                _ => return Err(format!("load_class {text:?} is not 1 to 9")),
            },
        };
        let plan_w = watts("plan_w", &self.plan_w)?;
        if let Some(plan) = plan_w.filter(|plan| *plan < LIMIT_W_MIN) {
            return Err(format!("plan_w {plan} is below {LIMIT_W_MIN}: that is a disconnection"));
        }
        Ok(LoadRecord { class, rated_w: watts("rated_w", &self.rated_w)?, plan_w })
    }

    fn model(&self, app: &App, line: &LineConfig) -> Result<Arc<Model>, String> {
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
            return Ok(model);
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

    /// The keys that the model's security needs, and no others.
    fn keys(&self, security: &SecurityManner) -> Result<DlmsKeys, String> {
        let key_len = security.policy.suite.key_len();
        let key = |name: &str, text: &Option<String>, needed: bool| {
            let Some(text) = given(text) else {
                return if needed { Err(format!("meters of this model need {name}")) } else { Ok(None) };
            };
            let bytes = unhex(text).filter(|bytes| bytes.len() == key_len);
            let key = bytes.and_then(|bytes| Key::from_slice(&bytes).ok());
            key.map(Some).ok_or_else(|| format!("{name} is not {} hexadecimal digits", key_len * 2))
        };
        let secret = match given(&self.password) {
            None if security.needs_secret() => return Err("meters of this model need password".to_owned()),
            None => None,
            Some(text) => Some(secret(text)?),
        };
        Ok(DlmsKeys {
            encryption: key("ek", &self.ek, security.needs_keys())?,
            authentication: key("ak", &self.ak, security.needs_keys())?,
            master: key("mk", &self.mk, false)?,
            secret,
            signing: self.signing_key(security.signs_on())?,
            meter_public: self.meter_public_key(security.signs_on())?,
        })
    }

    fn signing_key(&self, curve: Option<Curve>) -> Result<Option<PrivateKey>, String> {
        let Some((curve, digits)) = signed(curve, "signing_key", &self.signing_key)? else { return Ok(None) };
        let key = unhex(digits).and_then(|bytes| PrivateKey::from_bytes(curve, &bytes));
        key.map(Some).ok_or_else(|| {
            let count = curve.field_len() * 2;
            format!("signing_key is not {count} hexadecimal digits of a number within the curve's order")
        })
    }

    fn meter_public_key(&self, curve: Option<Curve>) -> Result<Option<PublicKey>, String> {
        let given = signed(curve, "meter_public_key", &self.meter_public_key)?;
        let Some((curve, digits)) = given else { return Ok(None) };
        let key = unhex(digits).and_then(|bytes| PublicKey::from_bytes(curve, &bytes));
        key.map(Some).ok_or_else(|| {
            let count = curve.field_len() * 4;
            format!("meter_public_key is not {count} hexadecimal digits of a point on the suite's curve")
        })
    }
}

/// A key for signatures: there where the model signs, and nowhere else.
fn signed<'a>(
    curve: Option<Curve>,
    name: &str,
    text: &'a Option<String>,
) -> Result<Option<(Curve, &'a str)>, String> {
    match (curve, given(text)) {
        (Some(curve), Some(digits)) => Ok(Some((curve, digits))),
        (Some(_), None) => Err(format!("meters of this model need {name}")),
        (None, Some(_)) => Err(format!("meters of this model have no use for {name}")),
        (None, None) => Ok(None),
    }
}

fn secret(text: &str) -> Result<Secret, String> {
    let bytes = match text.strip_prefix("0x") {
        Some(digits) => unhex(digits).ok_or("password is not hexadecimal digits after 0x")?,
        None => Zeroizing::new(text.as_bytes().to_vec()),
    };
    Secret::new(&bytes).map_err(|_| format!("password is longer than {} bytes", Secret::MAX_LEN))
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
        LineKind::Tcp { .. } | LineKind::Udp { .. } => {
            let parsed: SocketAddr = text.parse().map_err(|_| {
                format!("address {text:?} is not address:port, as line {:?} needs", line.name)
            })?;
            return Ok(parsed.to_string());
        }
        LineKind::TcpIn { hello: Hello::Ip, .. } => {
            let parsed: IpAddr = text.parse().map_err(|_| {
                format!("address {text:?} is not an IP address, as line {:?} needs", line.name)
            })?;
            return Ok(parsed.to_string());
        }
        LineKind::TcpIn { hello: Hello::Title, .. } => {
            let good = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            return match good {
                true => Ok(text.to_ascii_lowercase()),
                false => Err(format!(
                    "address {text:?} is not a system title in 16 hexadecimal digits, as line {:?} needs",
                    line.name
                )),
            };
        }
        LineKind::TcpIn { hello: Hello::Line | Hello::Name { .. }, .. } => {
            let good = (1..=NAME_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            return match good {
                true => Ok(text.to_owned()),
                false => Err(format!(
                    "address {text:?} is not what a meter can call itself on line {:?}",
                    line.name
                )),
            };
        }
        // HDLC physical addresses have 14 bits; 0 and the topmost are reserved (IEC 62056-46 clause 6.4.2.3).
        LineKind::Serial { protocol: SerialProtocol::DlmsHdlc, .. }
        | LineKind::Converter { protocol: SerialProtocol::DlmsHdlc, .. } => 1..=16_382,
        LineKind::Serial { protocol: SerialProtocol::ModbusRtu, .. }
        | LineKind::Converter { protocol: SerialProtocol::ModbusRtu, .. }
        | LineKind::ModbusTcp { .. } => 1..=247,
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
    if let (LineKind::Udp { .. }, None | Some("wrapper")) = (&line.kind, word) {
        return Ok(Framing::Wrapper);
    }
    let is_tcp = matches!(line.kind, LineKind::Tcp { .. } | LineKind::TcpIn { .. });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(signing_key: &str, meter_public_key: &str) -> NewMeter {
        NewMeter {
            signing_key: Some(signing_key.into()),
            meter_public_key: Some(meter_public_key.into()),
            ..NewMeter::default()
        }
    }

    #[test]
    fn keys_for_signatures_are_numbers_and_points_of_the_suites_curve_and_wanted_only_where_the_model_signs()
    {
        let number = "11".repeat(32);
        let key = PrivateKey::from_bytes(Curve::P256, &[0x11; 32]).expect("a number within the order");
        let point: String = key.public_key().to_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
        let good = meter(&number, &point);
        assert!(good.signing_key(Some(Curve::P256)).is_ok_and(|key| key.is_some()));
        assert!(good.meter_public_key(Some(Curve::P256)).is_ok_and(|key| key.is_some()));
        let refusal = |meter: &NewMeter, curve| {
            let private = meter.signing_key(curve).err();
            private.or(meter.meter_public_key(curve).err()).unwrap_or_default()
        };
        assert_eq!(refusal(&good, None), "meters of this model have no use for signing_key");
        assert_eq!(refusal(&NewMeter::default(), Some(Curve::P256)), "meters of this model need signing_key");
        assert!(refusal(&good, Some(Curve::P384)).starts_with("signing_key is not 96 hexadecimal digits"));
        assert!(
            refusal(&meter(&"FF".repeat(32), &point), Some(Curve::P256)).contains("within the curve's order")
        );
        assert!(
            refusal(&meter(&number, &"11".repeat(64)), Some(Curve::P256)).contains("a point on the suite's")
        );
    }
}
