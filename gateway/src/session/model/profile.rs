//! Which profiles (class 7) a meter has: what is in a row, how often there is one, and how rows are asked for.

use super::Flaw;
use super::dlms::logical_name;
use protocol::codec::obis::Obis;
use protocol::cosem::profile::CaptureObject;
use serde::Deserialize;
use toml::Spanned;

/// One profile of a meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileModel {
    /// Its name in API and store.
    pub name: String,
    /// Its logical name.
    pub object: Obis,
    /// What it is read for.
    pub purpose: Purpose,
    /// How often a row is due.
    pub cadence: Cadence,
    /// How rows are asked for.
    pub access: RowAccess,
    /// Rows that the meter keeps: what is older is gone.
    pub rows: u32,
    /// Null-data in a row stands for a value like the row's before, or a time one period after it (Blue Book 4.3.6, buffer).
    pub compressed: bool,
    /// The captured object that says what a row is worth.
    pub status: Option<Obis>,
    /// Bits of that status with which the meter says that it estimated.
    pub estimated_bits: u32,
    /// What is taken from a row.
    pub channels: Vec<ChannelModel>,
}

/// What a profile is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Load profiles: after billing, before backfill.
    Load,
    /// Billing snapshots: first, with a deadline.
    Billing,
}

/// How often a row is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// At every multiple of so many seconds of UTC.
    Every(u32),
    /// Once in every local day, at its beginning or as soon after it as the meter could.
    Daily,
    /// Once in every local month, likewise.
    Monthly,
}

/// How rows are asked for (Blue Book 4.3.6, selective access).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowAccess {
    /// By range of the clock.
    #[default]
    Range,
    /// By entry, counted back from the newest.
    Entry,
    /// The whole buffer: for meters without selective access.
    Whole,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelModel {
    /// Its name in API and store.
    pub name: String,
    /// The captured object.
    pub object: CaptureObject,
    /// Its unit, once scaled.
    pub unit: String,
    /// What the meter says is multiplied by ten to this power.
    pub scale10: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    name: Spanned<String>,
    object: Spanned<String>,
    purpose: Purpose,
    period: Spanned<RawPeriod>,
    #[serde(default)]
    access: RowAccess,
    rows: Spanned<u32>,
    #[serde(default)]
    compressed: bool,
    status: Option<Spanned<String>>,
    #[serde(default)]
    estimated_bits: u32,
    channels: Vec<RawChannel>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawPeriod {
    Seconds(u32),
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChannel {
    name: Spanned<String>,
    class: u16,
    object: Spanned<String>,
    #[serde(default = "value")]
    attribute: i8,
    #[serde(default)]
    index: u16,
    unit: String,
    #[serde(default)]
    scale10: Option<Spanned<u8>>,
}

/// Attribute 2 is the value of registers, data and clocks.
const fn value() -> i8 {
    2
}

/// The longest period of a load profile; what is longer is a snapshot.
const PERIOD_MAX: u32 = 86_400;
/// The most columns of a row that are taken.
const CHANNELS_MAX: usize = 32;
/// Ten to this power fits with room for every register.
const SCALE_MAX: u8 = 9;

/// Checks all profiles of a model.
pub(super) fn check(raw: Vec<RawProfile>) -> Result<Vec<ProfileModel>, Flaw> {
    let mut profiles: Vec<ProfileModel> = Vec::new();
    for raw in raw {
        let span = raw.name.span();
        let profile = raw.check()?;
        if profiles.iter().any(|other| other.name == profile.name) {
            return Err((span, format!("profile {:?} is there twice", profile.name)));
        }
        profiles.push(profile);
    }
    Ok(profiles)
}

impl RawProfile {
    fn check(self) -> Result<ProfileModel, Flaw> {
        let cadence = self.cadence()?;
        if *self.rows.get_ref() == 0 {
            return Err((self.rows.span(), "rows must say how many rows the meter keeps".into()));
        }
        if self.channels.is_empty() || self.channels.len() > CHANNELS_MAX {
            return Err((self.name.span(), format!("a profile has 1 to {CHANNELS_MAX} channels")));
        }
        let mut channels: Vec<ChannelModel> = Vec::new();
        for raw in &self.channels {
            if channels.iter().any(|other| other.name == *raw.name.get_ref()) {
                return Err((raw.name.span(), format!("channel {:?} is there twice", raw.name.get_ref())));
            }
            channels.push(raw.check()?);
        }
        Ok(ProfileModel {
            name: word(&self.name)?,
            object: logical_name(&self.object)?,
            purpose: self.purpose,
            cadence,
            access: self.access,
            rows: *self.rows.get_ref(),
            compressed: self.compressed,
            status: self.status.as_ref().map(logical_name).transpose()?,
            estimated_bits: self.estimated_bits,
            channels,
        })
    }

    fn cadence(&self) -> Result<Cadence, Flaw> {
        match self.period.get_ref() {
            RawPeriod::Seconds(seconds @ 1..=PERIOD_MAX) => Ok(Cadence::Every(*seconds)),
            RawPeriod::Word(word) if word == "day" => Ok(Cadence::Daily),
            RawPeriod::Word(word) if word == "month" => Ok(Cadence::Monthly),
            _ => Err((
                self.period.span(),
                format!("period must be 1 to {PERIOD_MAX} seconds, \"day\" or \"month\""),
            )),
        }
    }
}

impl RawChannel {
    fn check(&self) -> Result<ChannelModel, Flaw> {
        let scale10 = match &self.scale10 {
            None => 0,
            Some(scale) if *scale.get_ref() <= SCALE_MAX => *scale.get_ref(),
            Some(scale) => return Err((scale.span(), format!("scale10 must be 0 to {SCALE_MAX}"))),
        };
        let object = CaptureObject {
            class_id: self.class,
            logical_name: logical_name(&self.object)?,
            attribute_index: self.attribute,
            data_index: self.index,
        };
        Ok(ChannelModel { name: word(&self.name)?, object, unit: self.unit.clone(), scale10 })
    }
}

/// A name that goes into addresses and columns.
fn word(name: &Spanned<String>) -> Result<String, Flaw> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    let text = name.get_ref();
    if text.is_empty() || !text.bytes().all(good) {
        return Err((name.span(), format!("the name {text:?} must be small letters, digits, '-' or '_'")));
    }
    Ok(text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::model::Model;

    const GOOD: &str = include_str!("../../../models/reference-dlms.toml");

    #[test]
    fn the_reference_meter_has_a_load_profile_and_two_billing_profiles() {
        let Model::Dlms(model) = Model::parse("m.toml", GOOD).expect("a good model") else { panic!("DLMS") };
        let load = &model.profiles[0];
        assert_eq!(
            (load.name.as_str(), load.purpose, load.cadence),
            ("load", Purpose::Load, Cadence::Every(900))
        );
        let names: Vec<&str> = load.channels.iter().map(|channel| channel.name.as_str()).collect();
        assert_eq!(names, ["import_wh", "export_wh", "credit_wh", "voltage_dv"]);
        let snapshots: Vec<_> =
            model.profiles[1..].iter().map(|profile| (profile.purpose, profile.cadence)).collect();
        assert_eq!(snapshots, [(Purpose::Billing, Cadence::Daily), (Purpose::Billing, Cadence::Monthly)]);
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_said_with_its_line() {
        let profile = "[[profile]]\nname = \"extra\"\nobject = \"1.0.99.2.0.255\"\npurpose = \"load\"\nperiod = 900\nrows = 96\n\
                       channels = [{ name = \"a\", class = 3, object = \"1.0.1.8.0.255\", unit = \"Wh\" }]\n";
        let base = GOOD.lines().count();
        for (good, bad, line, says) in [
            ("period = 900", "period = \"week\"", 5, "1 to 86400 seconds, \"day\" or \"month\""),
            ("rows = 96", "rows = 0", 6, "how many rows the meter keeps"),
            ("\"extra\"", "\"load\"", 2, "profile \"load\" is there twice"),
            ("\"extra\"", "\"Extra/1\"", 2, "must be small letters"),
            ("1.0.99.2.0.255", "1.0.99", 3, "is not a logical name"),
            ("purpose = \"load\"", "purpose = \"fun\"", 4, "expected `load` or `billing`"),
            ("\"Wh\" }", "\"Wh\", scale10 = 12 }", 7, "scale10 must be 0 to 9"),
        ] {
            let text = format!("{GOOD}{}", profile.replace(good, bad));
            let error = Model::parse("m.toml", &text).expect_err(bad);
            assert!(error.message.contains(says), "{bad}: {error}");
            assert_eq!(error.line, base + line, "{bad}: {error}");
        }
    }
}
