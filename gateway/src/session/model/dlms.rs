//! DLMS models: which objects of a meter hold what, and how it likes to be spoken to.

use super::Flaw;
use super::manner::{
    AssociationManner, ClockManner, LinkManner, RawAssociation, RawClock, RawLink, RawSecurity,
    SecurityManner,
};
use super::profile::{self, Cadence, ProfileModel, RawProfile};
use protocol::codec::acse::AuthMechanism;
use protocol::codec::obis::Obis;
use protocol::dlms::model::Attribute;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

/// A DLMS meter model, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DlmsModel {
    /// Which edition of the file this is; its author counts up.
    pub version: u32,
    /// What it describes, for people.
    pub description: String,
    /// Client address (SAP) the gateway speaks as.
    pub client_sap: u8,
    /// Client address without security, from which the invocation counter is read when ours is not accepted.
    pub public_sap: u8,
    /// Client address that may change the meter's keys.
    pub management_sap: u8,
    /// Server address: the wrapper port, or the upper HDLC address.
    pub server_address: u16,
    /// How long to wait for the answer to one request.
    pub response_timeout: Duration,
    /// The largest APDU we take, in bytes.
    pub receive_pdu_max: u16,
    /// The largest APDU we send, in bytes, whatever the meter says it takes; 0 where it can be believed.
    pub send_pdu_max: u16,
    /// How an STS token is given to the token gateway.
    pub token_form: TokenForm,
    /// How the link likes to be spoken to.
    pub link: LinkManner,
    /// Authentication and protection.
    pub security: SecurityManner,
    /// How an association begins and ends.
    pub association: AssociationManner,
    /// How the clock takes and gives time.
    pub clock: ClockManner,
    /// Where things are.
    pub objects: Objects,
    /// Base names of the objects, where the meter is addressed by short names.
    pub short_names: Option<ShortNames>,
    /// Where its transformer ratios are (class 1): a change of one is a change of every reading.
    pub ratios: Vec<Obis>,
    /// What the structure of its notifications holds, in order; empty where nothing is known of it.
    pub push_fields: Vec<PushField>,
    /// Its profiles, by name.
    pub profiles: Vec<Arc<ProfileModel>>,
}

/// Base names by logical name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShortNames(BTreeMap<[u8; 6], u16>);

impl ShortNames {
    /// The short name of an attribute: eight per attribute above its object's base name (Green Book 9.1.4.4.2).
    #[must_use]
    pub fn name(&self, at: Attribute) -> Option<u16> {
        let above = u16::from(at.index.unsigned_abs().checked_sub(1)?) * 8;
        self.0.get(at.logical_name.as_bytes())?.checked_add(above)
    }
}

/// How the 20 digits of a token travel in class 115 method 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenForm {
    /// 20 ASCII digits.
    #[default]
    Ascii,
    /// The 66 bits in 9 bytes, right-aligned.
    Binary,
}

/// One field of a notification (class 40, attribute 2 says which there are).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushField {
    /// Logical device name.
    DeviceName,
    /// When it happened, by the meter's clock.
    Time,
    /// What happened: a code below 128 of the shared lists, or one of the reference meter's own.
    EventCode,
    /// What the code alone does not say.
    EventDetail,
    /// Something else.
    Other,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPush {
    fields: Vec<PushField>,
}

/// Logical names of a meter's objects. What a meter lacks is not asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objects {
    /// Class 1: the serial number.
    pub serial: Obis,
    /// Class 8.
    pub clock: Obis,
    /// Class 3: active energy import in watt-hours before its scaler.
    pub import: Obis,
    /// Class 3: active power.
    pub power: Option<Obis>,
    /// Class 111. A meter without one is no prepaid meter of its own: the gateway may hold its balance.
    pub account: Option<Obis>,
    /// Class 112: the token credit.
    pub credit: Option<Obis>,
    /// Class 113: every charge of the account, for the audit of its balance.
    pub charges: [Option<Obis>; CHARGES_MAX],
    /// Class 115.
    pub token_gateway: Option<Obis>,
    /// Class 70.
    pub disconnect_control: Option<Obis>,
    /// Class 1: why the relay is open, a code.
    pub relay_reason: Option<Obis>,
    /// Class 1: the meter's memory of our invocation counter.
    pub invocation_counter: Option<Obis>,
    /// Class 64: takes new keys.
    pub security_setup: Option<Obis>,
    /// Class 71: limits the load.
    pub limiter: Option<Obis>,
    /// Class 1: the tariff in force, in the reference meter's form (`protocol::cosem::tariff`).
    pub tariff_active: Option<Obis>,
    /// Class 1: the tariff to come.
    pub tariff_passive: Option<Obis>,
    /// Class 1: when it comes.
    pub tariff_activation: Option<Obis>,
    /// Class 7: the log with the signs of tampering; its columns begin with time and code.
    pub event_log: Option<Obis>,
    /// Class 20: says when which script of the tariff runs.
    pub activity_calendar: Option<Obis>,
    /// Class 9: the scripts that it runs.
    pub tariff_scripts: Option<Obis>,
    /// Class 11: the special days in force.
    pub special_days: Option<Obis>,
    /// Class 11: the special days to come, where the meter has a table of its own for them.
    pub special_days_passive: Option<Obis>,
    /// Class 18: takes new firmware.
    pub image_transfer: Option<Obis>,
    /// Class 1: the firmware that runs.
    pub firmware_version: Option<Obis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Referencing {
    #[default]
    LogicalNames,
    ShortNames,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(rename = "protocol")]
    _protocol: String,
    #[serde(default = "super::first_edition")]
    version: u32,
    description: String,
    client_sap: Spanned<u8>,
    #[serde(default = "public")]
    public_sap: u8,
    management_sap: Option<Spanned<u8>>,
    #[serde(default = "one")]
    server_address: u16,
    response_timeout_ms: Option<Spanned<u64>>,
    receive_pdu_max: Option<Spanned<u16>>,
    send_pdu_max: Option<Spanned<u16>>,
    #[serde(default)]
    token_form: TokenForm,
    #[serde(default)]
    referencing: Option<Spanned<Referencing>>,
    #[serde(default)]
    link: RawLink,
    #[serde(default)]
    security: RawSecurity,
    #[serde(default)]
    association: RawAssociation,
    #[serde(default)]
    clock: RawClock,
    objects: RawObjects,
    #[serde(default)]
    short_names: BTreeMap<Spanned<String>, Spanned<u16>>,
    #[serde(default)]
    push: RawPush,
    #[serde(default, rename = "profile")]
    profiles: Vec<RawProfile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawObjects {
    serial: Spanned<String>,
    clock: Spanned<String>,
    import: Spanned<String>,
    power: Option<Spanned<String>>,
    account: Option<Spanned<String>>,
    credit: Option<Spanned<String>>,
    #[serde(default)]
    charges: Vec<Spanned<String>>,
    token_gateway: Option<Spanned<String>>,
    disconnect_control: Option<Spanned<String>>,
    relay_reason: Option<Spanned<String>>,
    invocation_counter: Option<Spanned<String>>,
    security_setup: Option<Spanned<String>>,
    limiter: Option<Spanned<String>>,
    #[serde(default)]
    ratios: Vec<Spanned<String>>,
    tariff_active: Option<Spanned<String>>,
    tariff_passive: Option<Spanned<String>>,
    tariff_activation: Option<Spanned<String>>,
    event_log: Option<Spanned<String>>,
    activity_calendar: Option<Spanned<String>>,
    tariff_scripts: Option<Spanned<String>>,
    special_days: Option<Spanned<String>>,
    special_days_passive: Option<Spanned<String>>,
    image_transfer: Option<Spanned<String>>,
    firmware_version: Option<Spanned<String>>,
}

/// The most charges of an account that are audited: a bound of ours.
pub const CHARGES_MAX: usize = 4;

const fn public() -> u8 {
    16
}
const fn one() -> u16 {
    1
}

/// What we offer to receive: an Ethernet segment's worth.
const PDU_DEFAULT: u16 = 1_400;
/// Green Book: the smallest PDU a client may offer is 12; below 64 bytes no association request of ours would be answered.
const PDU_MIN: u16 = 64;
/// How long an answer may take, in milliseconds.
const TIMEOUT_DEFAULT: u64 = 3_000;
const TIMEOUT: std::ops::RangeInclusive<u64> = 100..=60_000;

impl DlmsModel {
    pub(super) fn check(raw: Raw) -> Result<Self, Flaw> {
        for (name, sap) in
            [("client_sap", Some(&raw.client_sap)), ("management_sap", raw.management_sap.as_ref())]
        {
            if let Some(sap) = sap.filter(|sap| !(1..=127).contains(sap.get_ref())) {
                return Err((sap.span(), format!("{name} must be 1 to 127: HDLC carries it in seven bits")));
            }
        }
        for (name, size) in [("receive_pdu_max", &raw.receive_pdu_max), ("send_pdu_max", &raw.send_pdu_max)] {
            if let Some(size) = size
                && !(PDU_MIN..=PDU_DEFAULT).contains(size.get_ref())
            {
                return Err((size.span(), format!("{name} must be {PDU_MIN} to {PDU_DEFAULT}")));
            }
        }
        if let Some(timeout) = &raw.response_timeout_ms
            && !TIMEOUT.contains(timeout.get_ref())
        {
            let message = format!("response_timeout_ms must be {} to {}", TIMEOUT.start(), TIMEOUT.end());
            return Err((timeout.span(), message));
        }
        let objects = raw.objects.check()?;
        let ratios = raw.objects.ratios.iter().map(logical_name).collect::<Result<_, _>>()?;
        let security = raw.security.check()?;
        let short_names = short_names(raw.referencing, raw.short_names, &objects, &security)?;
        Ok(Self {
            version: raw.version,
            description: raw.description,
            client_sap: *raw.client_sap.get_ref(),
            public_sap: raw.public_sap,
            management_sap: raw.management_sap.map_or(*raw.client_sap.get_ref(), Spanned::into_inner),
            server_address: raw.server_address,
            response_timeout: Duration::from_millis(
                raw.response_timeout_ms.map_or(TIMEOUT_DEFAULT, Spanned::into_inner),
            ),
            receive_pdu_max: raw.receive_pdu_max.map_or(PDU_DEFAULT, Spanned::into_inner),
            send_pdu_max: raw.send_pdu_max.map_or(0, Spanned::into_inner),
            token_form: raw.token_form,
            link: raw.link.check()?,
            association: raw.association.check(&security)?,
            security,
            clock: raw.clock.check()?,
            objects,
            short_names,
            ratios,
            push_fields: raw.push.fields,
            profiles: profile::check(raw.profiles)?.into_iter().map(Arc::new).collect(),
        })
    }

    /// The shortest period of its load profiles in seconds; a day where it has none.
    #[must_use]
    pub fn shortest_period_s(&self) -> u32 {
        let periods = self.profiles.iter().filter_map(|profile| match profile.cadence {
            Cadence::Every(seconds) => Some(seconds),
            Cadence::Daily | Cadence::Monthly => None,
        });
        periods.min().unwrap_or(86_400)
    }

    /// The profile of that name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&ProfileModel> {
        self.profiles.iter().find(|profile| profile.name == name).map(Arc::as_ref)
    }
}

impl RawObjects {
    fn charges(&self) -> Result<[Option<Obis>; CHARGES_MAX], Flaw> {
        if let Some(more) = self.charges.get(CHARGES_MAX) {
            return Err((more.span(), format!("more than {CHARGES_MAX} charges")));
        }
        let mut charges = [None; CHARGES_MAX];
        for (place, text) in charges.iter_mut().zip(&self.charges) {
            *place = Some(logical_name(text)?);
        }
        Ok(charges)
    }

    fn check(&self) -> Result<Objects, Flaw> {
        let optional = |text: &Option<Spanned<String>>| text.as_ref().map(logical_name).transpose();
        Ok(Objects {
            serial: logical_name(&self.serial)?,
            clock: logical_name(&self.clock)?,
            import: logical_name(&self.import)?,
            power: optional(&self.power)?,
            account: optional(&self.account)?,
            credit: optional(&self.credit)?,
            charges: self.charges()?,
            token_gateway: optional(&self.token_gateway)?,
            disconnect_control: optional(&self.disconnect_control)?,
            relay_reason: optional(&self.relay_reason)?,
            invocation_counter: optional(&self.invocation_counter)?,
            security_setup: optional(&self.security_setup)?,
            limiter: optional(&self.limiter)?,
            tariff_active: optional(&self.tariff_active)?,
            tariff_passive: optional(&self.tariff_passive)?,
            tariff_activation: optional(&self.tariff_activation)?,
            event_log: optional(&self.event_log)?,
            activity_calendar: optional(&self.activity_calendar)?,
            tariff_scripts: optional(&self.tariff_scripts)?,
            special_days: optional(&self.special_days)?,
            special_days_passive: optional(&self.special_days_passive)?,
            image_transfer: optional(&self.image_transfer)?,
            firmware_version: optional(&self.firmware_version)?,
        })
    }
}

impl Objects {
    /// Each object the meter has, with its key in the file.
    fn named(&self) -> impl Iterator<Item = (&'static str, Obis)> {
        let all = [
            ("serial", Some(self.serial)),
            ("clock", Some(self.clock)),
            ("import", Some(self.import)),
            ("power", self.power),
            ("account", self.account),
            ("credit", self.credit),
            ("token_gateway", self.token_gateway),
            ("disconnect_control", self.disconnect_control),
            ("relay_reason", self.relay_reason),
            ("invocation_counter", self.invocation_counter),
            ("security_setup", self.security_setup),
            ("limiter", self.limiter),
            ("tariff_active", self.tariff_active),
            ("tariff_passive", self.tariff_passive),
            ("tariff_activation", self.tariff_activation),
            ("event_log", self.event_log),
            ("activity_calendar", self.activity_calendar),
            ("tariff_scripts", self.tariff_scripts),
            ("special_days", self.special_days),
            ("special_days_passive", self.special_days_passive),
            ("image_transfer", self.image_transfer),
            ("firmware_version", self.firmware_version),
        ];
        all.into_iter().filter_map(|(key, object)| Some((key, object?)))
    }
}

/// Checks that every object has its short name, and none that is not there.
fn short_names(
    referencing: Option<Spanned<Referencing>>,
    bases: BTreeMap<Spanned<String>, Spanned<u16>>,
    objects: &Objects,
    security: &SecurityManner,
) -> Result<Option<ShortNames>, Flaw> {
    let Some(referencing) = referencing.filter(|way| *way.get_ref() == Referencing::ShortNames) else {
        return match bases.first_key_value() {
            Some((key, _)) => {
                Err((key.span(), "short_names are used with referencing = \"short-names\" alone".into()))
            }
            None => Ok(None),
        };
    };
    if !matches!(security.mechanism, AuthMechanism::None | AuthMechanism::Low) {
        let message = "short names go with authentication \"none\" or \"lls\" here";
        return Err((referencing.span(), message.into()));
    }
    let mut names = ShortNames::default();
    for (key, object) in objects.named() {
        let base = bases.iter().find(|(name, _)| name.get_ref() == key).ok_or_else(|| {
            (referencing.span(), format!("the object {key} has no base name in [short_names]"))
        })?;
        names.0.insert(*object.as_bytes(), *base.1.get_ref());
    }
    if objects.charges.iter().any(Option::is_some) {
        return Err((referencing.span(), "charges are not read by short names".into()));
    }
    let known = |name: &str| objects.named().any(|(key, _)| key == name);
    match bases.keys().find(|name| !known(name.get_ref())) {
        Some(name) => Err((name.span(), format!("there is no object {} in [objects]", name.get_ref()))),
        None => Ok(Some(names)),
    }
}

/// A logical name as a model file writes it.
pub(super) fn logical_name(text: &Spanned<String>) -> Result<Obis, Flaw> {
    // Obis::parse fills in missing groups; a model file says all six.
    let six = text.get_ref().split('.').count() == 6;
    Obis::parse(text.get_ref()).ok().filter(|_| six).ok_or_else(|| {
        (
            text.span(),
            format!("{:?} is not a logical name of six numbers, like 1.0.1.8.0.255", text.get_ref()),
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::session::model::Model;

    const GOOD: &str = include_str!("../../../models/reference-dlms.toml");

    /// The reference model with `line` put before its objects.
    fn with(line: &str) -> String {
        GOOD.replace("[objects]", &format!("{line}\n[objects]"))
    }

    #[test]
    fn a_logical_name_that_is_none_is_refused_with_its_line() {
        let bad = GOOD.replace("\"1.0.1.8.0.255\"", "\"1.0.1.8\"");
        let line = GOOD.lines().position(|line| line.contains("1.0.1.8.0.255")).expect("it has energy") + 1;
        let error = Model::parse("m.toml", &bad).expect_err("four numbers");
        assert_eq!(error.line, line);
        assert!(error.message.contains("\"1.0.1.8\" is not a logical name"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_manner_is_said_with_its_line_and_what_is_allowed() {
        let base = GOOD.lines().position(|line| line == "[objects]").expect("objects") + 1;
        for (lines, at, says) in [
            ("[link]\naddress_bytes = 3", 1, "address_bytes must be 1, 2 or 4"),
            ("[link]\nphysical_address = 17", 1, "a one-byte address has none"),
            ("[link]\naddress_bytes = 2\nphysical_address = 300", 2, "0 to 126 with address_bytes = 2"),
            ("[link]\ninformation_field = 8", 1, "information_field must be 32 to 2030"),
            ("[link]\nwake_up = \"0\"", 1, "wake_up must be hexadecimal bytes"),
            ("[link]\npause_ms = 60000", 1, "pause_ms must be 0 to 5000"),
            ("[link]\ncolour = 3", 1, "unknown field `colour`, expected one of `address_bytes`"),
            ("[security]\nauthentication = \"hls\"", 1, "expected one of `none`, `lls`, `hls-2`, `hls-md5`"),
            ("[security]\nsuite = 3", 1, "suite must be 0, 1 or 2"),
            ("[security]\npolicy = \"none\"\ndedicated_key = true", 2, "protects nothing"),
            ("[association]\nservices = [\"set\"]", 1, "services must contain \"get\""),
            ("[association]\nservices = [\"got\"]", 1, "unknown variant `got`, expected one of `get`, `set`"),
            (
                "[security]\nciphering = \"general\"\n[association]\nservices = [\"get\"]",
                3,
                "needs \"general-protection\"",
            ),
            ("[association]\nrelease = \"never\"", 1, "expected `rlrq` or `link-only`"),
            ("[clock]\nzone = \"Mars\"", 1, "is not a POSIX time zone"),
            ("[short_names]\nserial = 7", 1, "used with referencing = \"short-names\" alone"),
        ] {
            let error = Model::parse("m.toml", &with(lines)).expect_err(lines);
            assert!(error.message.contains(says), "{lines}: {error}");
            assert_eq!(error.line, base + at, "{lines}: {error}");
        }
    }

    #[test]
    fn short_names_are_wanted_for_every_object_and_refused_with_high_level_security() {
        let short = "referencing = \"short-names\"\n[security]\nauthentication = \"lls\"\npolicy = \"none\"";
        let error = Model::parse("m.toml", &with(short)).expect_err("no names");
        assert!(error.message.contains("the object serial has no base name"), "{error}");
        let error = Model::parse("m.toml", &with("referencing = \"short-names\"")).expect_err("GMAC");
        assert!(error.message.contains("authentication \"none\" or \"lls\""), "{error}");
    }
}
