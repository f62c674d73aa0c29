//! The manner of a DLMS meter: everything in which meters that follow the same standard differ, as data. Each setting has the
//! reference meter's manner as its default.

use super::Flaw;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::DateTime;
use protocol::codec::xdlms::Conformance;
use protocol::cosem::clock;
use protocol::dlms::client::IMPLEMENTED;
use protocol::dlms::security::ecdsa::Curve;
use protocol::dlms::security::{Form, SecurityPolicy, SecuritySuite};
use serde::Deserialize;
use std::time::Duration;
use toml::Spanned;

/// How the link likes to be spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkManner {
    /// Bytes of the server's HDLC address: 1, 2 or 4; `None` for the shortest that holds it.
    pub address_bytes: Option<usize>,
    /// Lower HDLC address on a network; on a bus it is the meter's own address there.
    pub physical_address: Option<u16>,
    /// SNRM carries no parameters.
    pub bare_snrm: bool,
    /// The largest HDLC information field proposed, in bytes.
    pub information_field: Option<u16>,
    /// How long the meter must be left alone after its last byte before it hears again.
    pub pause: Duration,
    /// Sent before the link is opened.
    pub wake_up: Vec<u8>,
    /// How long the meter takes to wake up.
    pub wake_up_pause: Duration,
}

/// How a meter is convinced of who speaks, and how APDUs are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecurityManner {
    /// The authentication mechanism.
    pub mechanism: AuthMechanism,
    /// Protection of every APDU, on the global keys.
    pub policy: SecurityPolicy,
    /// The form protected requests go in: `glo` or `general-glo` (`ded` and `general-ded` with a dedicated key).
    pub form: Form,
    /// A fresh key for each association.
    pub dedicated_key: bool,
    /// The meter's invocation counters begin anew with each association, so that only those within one are compared.
    pub counters_restart: bool,
}

/// How an association begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssociationManner {
    /// The AARE says what was agreed on. Where it does not, what we propose is taken as agreed.
    pub aare_user_information: bool,
    /// Associations are released by RLRQ; otherwise closing the link ends them.
    pub rlrq: bool,
    /// Services proposed.
    pub services: Conformance,
    /// An association may be kept for the next piece of work. A meter that serves one client at a time is left at once, so
    /// that others get their turn.
    pub keep_open: bool,
}

/// How the clock object takes and gives time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockManner {
    /// The deviation field is filled in; otherwise it is "not specified", and the time is local.
    pub deviation: bool,
    /// The meter's zone.
    pub zone: TimeZone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Authentication {
    None,
    Lls,
    #[serde(rename = "hls-2")]
    Hls2,
    HlsMd5,
    HlsSha1,
    HlsGmac,
    HlsSha256,
    HlsEcdsa,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    None,
    Authenticated,
    Encrypted,
    AuthenticatedEncrypted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ciphering {
    ServiceSpecific,
    General,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AnswerCounters {
    Kept,
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Release {
    Rlrq,
    LinkOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deviation {
    Required,
    Forbidden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Service {
    Get,
    Set,
    Action,
    Access,
    Lists,
    SelectiveAccess,
    GetBlocks,
    SetBlocks,
    ActionBlocks,
    GeneralBlocks,
    GeneralProtection,
    Priority,
    DataNotification,
    EventNotification,
}

impl Service {
    const fn bit(self) -> Conformance {
        match self {
            Self::Get => Conformance::GET,
            Self::Set => Conformance::SET,
            Self::Action => Conformance::ACTION,
            Self::Access => Conformance::ACCESS,
            Self::Lists => Conformance::MULTIPLE_REFERENCES,
            Self::SelectiveAccess => Conformance::SELECTIVE_ACCESS,
            Self::GetBlocks => Conformance::BLOCK_TRANSFER_WITH_GET_OR_READ,
            Self::SetBlocks => Conformance::BLOCK_TRANSFER_WITH_SET_OR_WRITE,
            Self::ActionBlocks => Conformance::BLOCK_TRANSFER_WITH_ACTION,
            Self::GeneralBlocks => Conformance::GENERAL_BLOCK_TRANSFER,
            Self::GeneralProtection => Conformance::GENERAL_PROTECTION,
            Self::Priority => Conformance::PRIORITY_MGMT_SUPPORTED,
            Self::DataNotification => Conformance::DATA_NOTIFICATION,
            Self::EventNotification => Conformance::EVENT_NOTIFICATION,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLink {
    address_bytes: Option<Spanned<usize>>,
    physical_address: Option<Spanned<u16>>,
    bare_snrm: bool,
    information_field: Option<Spanned<u16>>,
    pause_ms: Option<Spanned<u64>>,
    wake_up: Option<Spanned<String>>,
    wake_up_pause_ms: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSecurity {
    authentication: Option<Spanned<Authentication>>,
    suite: Option<Spanned<u8>>,
    policy: Option<Policy>,
    ciphering: Option<Spanned<Ciphering>>,
    dedicated_key: Option<Spanned<bool>>,
    answer_counters: Option<AnswerCounters>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAssociation {
    aare_user_information: Option<bool>,
    release: Option<Release>,
    services: Option<Spanned<Vec<Service>>>,
    keep_open: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawClock {
    deviation: Option<Deviation>,
    zone: Option<Spanned<String>>,
}

/// The longest pause a meter may ask for: it is paid with every request.
const PAUSE_MAX_MS: u64 = 5_000;
/// The longest wake-up sequence, in bytes.
const WAKE_UP_MAX: usize = 256;
/// IEC 62056-46: information fields of 32 to 2,048 bytes can be negotiated; 2,030 fill the longest frame there is.
const FIELD: std::ops::RangeInclusive<u16> = 32..=2_030;

fn milliseconds(name: &str, value: Option<&Spanned<u64>>) -> Result<Duration, Flaw> {
    match value {
        None => Ok(Duration::ZERO),
        Some(value) if *value.get_ref() <= PAUSE_MAX_MS => Ok(Duration::from_millis(*value.get_ref())),
        Some(value) => Err((value.span(), format!("{name} must be 0 to {PAUSE_MAX_MS}"))),
    }
}

impl RawLink {
    pub(super) fn check(self) -> Result<LinkManner, Flaw> {
        let address_bytes = match &self.address_bytes {
            Some(bytes) if ![1, 2, 4].contains(bytes.get_ref()) => {
                return Err((bytes.span(), "address_bytes must be 1, 2 or 4".into()));
            }
            bytes => bytes.as_ref().map(|bytes| *bytes.get_ref()),
        };
        let physical_max = if address_bytes == Some(4) { 0x3FFE } else { 0x7E };
        if let Some(physical) = &self.physical_address
            && (address_bytes.unwrap_or(1) == 1 || *physical.get_ref() > physical_max)
        {
            return Err((
                physical.span(),
                "physical_address must be 0 to 126 with address_bytes = 2, 0 to 16382 with address_bytes = 4; \
                 a one-byte address has none"
                    .into(),
            ));
        }
        if let Some(field) = &self.information_field
            && !FIELD.contains(field.get_ref())
        {
            let message = format!("information_field must be {} to {}", FIELD.start(), FIELD.end());
            return Err((field.span(), message));
        }
        let wake_up = match &self.wake_up {
            None => Vec::new(),
            Some(text) => {
                let compact: String = text.get_ref().split_whitespace().collect();
                crate::vault::unhex(&compact).filter(|bytes| bytes.len() <= WAKE_UP_MAX).map_or_else(
                    || {
                        Err((
                            text.span(),
                            format!(
                                "wake_up must be hexadecimal bytes like \"00 FF\", at most {WAKE_UP_MAX}"
                            ),
                        ))
                    },
                    |bytes| Ok(bytes.to_vec()),
                )?
            }
        };
        Ok(LinkManner {
            address_bytes,
            physical_address: self.physical_address.map(Spanned::into_inner),
            bare_snrm: self.bare_snrm,
            information_field: self.information_field.as_ref().map(|field| *field.get_ref()),
            pause: milliseconds("pause_ms", self.pause_ms.as_ref())?,
            wake_up,
            wake_up_pause: milliseconds("wake_up_pause_ms", self.wake_up_pause_ms.as_ref())?,
        })
    }
}

impl RawSecurity {
    pub(super) fn check(self) -> Result<SecurityManner, Flaw> {
        let suite = match self.suite.as_ref().map(|suite| (*suite.get_ref(), suite.span())) {
            None | Some((0, _)) => SecuritySuite::Suite0,
            Some((1, _)) => SecuritySuite::Suite1,
            Some((2, _)) => SecuritySuite::Suite2,
            Some((_, span)) => return Err((span, "suite must be 0, 1 or 2".into())),
        };
        let (authenticated, encrypted) = match self.policy.unwrap_or(Policy::AuthenticatedEncrypted) {
            Policy::None => (false, false),
            Policy::Authenticated => (true, false),
            Policy::Encrypted => (false, true),
            Policy::AuthenticatedEncrypted => (true, true),
        };
        let policy =
            SecurityPolicy { authenticated, encrypted, ..SecurityPolicy::authenticated_encrypted(suite) };
        if let Some(dedicated) = self.dedicated_key.as_ref().filter(|dedicated| *dedicated.get_ref())
            && policy.is_none()
        {
            return Err((dedicated.span(), "a dedicated key protects nothing with policy = \"none\"".into()));
        }
        let authentication =
            self.authentication.as_ref().map_or(Authentication::HlsGmac, |given| *given.get_ref());
        if let (Authentication::HlsEcdsa, SecuritySuite::Suite0, Some(given)) =
            (authentication, suite, &self.authentication)
        {
            return Err((given.span(), "hls-ecdsa needs suite = 1 (P-256) or 2 (P-384)".into()));
        }
        let form = match self.ciphering.as_ref().map(Spanned::get_ref) {
            Some(Ciphering::General) => Form::GeneralGlo,
            _ => Form::Glo,
        };
        Ok(SecurityManner {
            mechanism: match authentication {
                Authentication::None => AuthMechanism::None,
                Authentication::Lls => AuthMechanism::Low,
                Authentication::Hls2 => AuthMechanism::HighManufacturer,
                Authentication::HlsMd5 => AuthMechanism::HighMd5,
                Authentication::HlsSha1 => AuthMechanism::HighSha1,
                Authentication::HlsGmac => AuthMechanism::HighGmac,
                Authentication::HlsSha256 => AuthMechanism::HighSha256,
                Authentication::HlsEcdsa => AuthMechanism::HighEcdsa,
            },
            policy,
            form,
            dedicated_key: self.dedicated_key.is_some_and(Spanned::into_inner),
            counters_restart: self.answer_counters == Some(AnswerCounters::Restart),
        })
    }
}

impl RawAssociation {
    pub(super) fn check(self, security: &SecurityManner) -> Result<AssociationManner, Flaw> {
        // Blocks of each service stream; general blocks are for meters that have nothing else.
        let mut services = IMPLEMENTED.difference(Conformance::GENERAL_BLOCK_TRANSFER);
        if let Some(listed) = &self.services {
            services = listed.get_ref().iter().fold(Conformance::empty(), |sum, service| sum | service.bit());
            if !services.contains(Conformance::GET) {
                return Err((
                    listed.span(),
                    "services must contain \"get\": nothing can be read without".into(),
                ));
            }
            if security.form.is_general() && !services.contains(Conformance::GENERAL_PROTECTION) {
                return Err((
                    listed.span(),
                    "ciphering = \"general\" needs \"general-protection\" among the services".into(),
                ));
            }
        }
        Ok(AssociationManner {
            aare_user_information: self.aare_user_information.unwrap_or(true),
            rlrq: self.release != Some(Release::LinkOnly),
            services,
            keep_open: self.keep_open.unwrap_or(true),
        })
    }
}

impl RawClock {
    pub(super) fn check(self) -> Result<ClockManner, Flaw> {
        let zone = match &self.zone {
            None => TimeZone::UTC,
            Some(text) => TimeZone::posix(text.get_ref()).map_err(|_| {
                let message = format!(
                    "zone {:?} is not a POSIX time zone, like \"WAT-1\" or \"CET-1CEST,M3.5.0,M10.5.0/3\"",
                    text.get_ref()
                );
                (text.span(), message)
            })?,
        };
        Ok(ClockManner { deviation: self.deviation != Some(Deviation::Forbidden), zone })
    }
}

impl SecurityManner {
    /// APDUs are protected, so there are invocation counters.
    #[must_use]
    pub const fn is_ciphered(&self) -> bool {
        !self.policy.is_none()
    }

    /// Encryption and authentication keys are needed.
    #[must_use]
    pub fn needs_keys(&self) -> bool {
        self.is_ciphered() || self.mechanism == AuthMechanism::HighGmac
    }

    /// A password or shared secret is needed.
    #[must_use]
    pub fn needs_secret(&self) -> bool {
        !matches!(self.mechanism, AuthMechanism::None | AuthMechanism::HighGmac | AuthMechanism::HighEcdsa)
    }

    /// The curve of a signing key and of the meter's public key, where they are needed.
    #[must_use]
    pub fn signs_on(&self) -> Option<Curve> {
        (self.mechanism == AuthMechanism::HighEcdsa).then(|| Curve::of_suite(self.policy.suite)).flatten()
    }

    /// In words, for evidence.
    #[must_use]
    pub fn describe(&self) -> String {
        let who = match self.mechanism {
            AuthMechanism::None => "no authentication".to_owned(),
            AuthMechanism::Low => "password".to_owned(),
            AuthMechanism::HighGmac => "HLS-GMAC".to_owned(),
            AuthMechanism::HighEcdsa => "HLS-ECDSA".to_owned(),
            mechanism => format!("HLS mechanism {}", mechanism.arc()),
        };
        let how = match (self.policy.authenticated, self.policy.encrypted) {
            (false, false) => return format!("{who}, in the clear"),
            (true, false) => "authenticated",
            (false, true) => "encrypted",
            (true, true) => "ciphered",
        };
        let key = if self.dedicated_key { " with a dedicated key" } else { "" };
        format!("{who}, {how}{key}")
    }
}

/// Status bit 7: daylight saving is in effect (Blue Book, clock status).
const DAYLIGHT_SAVING: u8 = 0x80;
/// Deviation "not specified" (Blue Book, date-time).
const NOT_SPECIFIED: i16 = i16::MIN;

impl ClockManner {
    /// The date-time that sets the meter's clock to `now`; `None` when no meter can hold it.
    #[must_use]
    pub fn to_meter(&self, now: Timestamp) -> Option<DateTime> {
        let utc_s = u32::try_from(now.as_second()).ok()?;
        let daylight_saving = self.zone.to_offset_info(now).dst().is_dst();
        let status = if daylight_saving { DAYLIGHT_SAVING } else { 0 };
        let mut time = clock::date_time(utc_s, self.offset_minutes(now), status);
        if !self.deviation {
            time.deviation = NOT_SPECIFIED;
        }
        Some(time)
    }

    /// The UTC second of what the meter says; one without deviation is local. `near` says which side of a change to
    /// daylight saving is meant.
    #[must_use]
    pub fn from_meter(&self, time: DateTime, near: Timestamp) -> Option<i64> {
        let first = i64::from(clock::utc_s(time, self.offset_minutes(near))?);
        let there = Timestamp::from_second(first).ok()?;
        clock::utc_s(time, self.offset_minutes(there)).map(i64::from)
    }

    /// The UTC second of the time of a profile's row that follows one of time `near`. A local time that comes twice, when
    /// daylight saving ends, is the first one after `near`, or the one that the meter's own flag says.
    #[must_use]
    pub fn row_time(&self, time: DateTime, near: Timestamp) -> Option<i64> {
        if time.utc_offset_minutes().is_some() {
            return clock::utc_s(time, 0).map(i64::from);
        }
        let part = |value: u8| i8::try_from(if value == 0xFF { 0 } else { value }).ok();
        let (year, month) = (i16::try_from(time.year).ok()?, part(time.month)?);
        let (day, hour) = (part(time.day_of_month)?, part(time.hour)?);
        let local =
            jiff::civil::DateTime::new(year, month, day, hour, part(time.minute)?, part(time.second)?, 0);
        let ambiguous = self.zone.to_ambiguous_timestamp(local.ok()?);
        let (earlier, later) = (ambiguous.earlier().ok()?, ambiguous.later().ok()?);
        let flagged = !time.status.is_not_specified() && time.status.daylight_saving_active();
        Some(if flagged || earlier > near { earlier } else { later }.as_second())
    }

    /// Whole minutes east of Greenwich; zones of today have no others.
    fn offset_minutes(&self, at: Timestamp) -> i16 {
        i16::try_from(self.zone.to_offset(at).seconds() / 60).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn clock(deviation: bool, zone: &str) -> ClockManner {
        ClockManner { deviation, zone: TimeZone::posix(zone).expect("a zone") }
    }

    #[test]
    fn a_clock_is_set_in_its_zone_and_understood_in_it_in_summer_and_winter() {
        let zone = "CET-1CEST,M3.5.0,M10.5.0/3";
        for (at, hour, deviation, status) in
            [("2026-01-15T12:00:00Z", 13, -60, 0), ("2026-07-15T12:00:00Z", 14, -120, DAYLIGHT_SAVING)]
        {
            let now: Timestamp = at.parse().expect("a time");
            let with = clock(true, zone).to_meter(now).expect("in range");
            assert_eq!((with.hour, with.deviation, with.status.0), (hour, deviation, status), "{at}");
            let without = clock(false, zone).to_meter(now).expect("in range");
            assert_eq!((without.hour, without.deviation), (hour, NOT_SPECIFIED), "{at}");
            for time in [with, without] {
                assert_eq!(clock(false, zone).from_meter(time, now), Some(now.as_second()), "{at}");
            }
        }
    }

    #[test]
    fn rows_of_the_hour_that_comes_twice_keep_their_order() {
        let manner = clock(false, "CET-1CEST,M3.5.0,M10.5.0/3");
        // Daylight saving ends at 01:00 UTC: the hour from two to three, local time, comes twice.
        let mut near: Timestamp = "2026-10-24T23:30:00Z".parse().expect("a time");
        for quarter in 0..16 {
            let meant = near.checked_add(SignedDuration::from_mins(15)).expect("in range");
            let mut said = manner.to_meter(meant).expect("in range");
            said.status.0 = 0;
            let understood = manner.row_time(said, near).expect("a time");
            assert_eq!(understood, meant.as_second(), "quarter {quarter}: {said:?}");
            near = meant;
        }
        // The flag settles it without a row before.
        let first: Timestamp = "2026-10-25T00:30:00Z".parse().expect("a time");
        let said = manner.to_meter(first).expect("in range");
        let day_later: Timestamp = "2026-10-26T00:00:00Z".parse().expect("a time");
        assert_eq!(manner.row_time(said, day_later), Some(first.as_second()));
        // With a deviation nothing is in doubt.
        let with = clock(true, "CET-1CEST,M3.5.0,M10.5.0/3").to_meter(first).expect("in range");
        assert_eq!(manner.row_time(with, day_later), Some(first.as_second()));
    }

    #[test]
    fn an_hour_after_the_change_to_daylight_saving_a_clock_without_deviation_is_still_understood() {
        let manner = clock(false, "CET-1CEST,M3.5.0,M10.5.0/3");
        let after: Timestamp = "2026-03-29T01:30:00Z".parse().expect("a time");
        let before: Timestamp = "2026-03-29T00:30:00Z".parse().expect("a time");
        let said = manner.to_meter(after).expect("in range");
        assert_eq!(manner.from_meter(said, before), Some(after.as_second()));
    }
}
