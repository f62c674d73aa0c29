//! A training case as it is written: a street, and steps with what is expected after each.

use crate::fault_entry::{FaultEntry, FaultName};
use crate::load::Mix;
use crate::scenario::{self, FeederPart, File, ScenarioError, StreetPart, TimePart};
use crate::setup::Setup;
use crate::street::StreetConfig;
use crate::units::Span;
use serde::Deserialize;
use toml::Spanned;

/// A case.
#[derive(Debug)]
pub struct Case {
    /// In a few words.
    pub title: String,
    /// What a person is to look at on a gateway's page, and what the gateway does not show; for a person who trains with one.
    pub gateway: String,
    /// The street it is played on.
    pub street: StreetConfig,
    /// In order.
    pub steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    title: String,
    gateway: String,
    street: Spanned<StreetPart>,
    time: TimePart,
    #[serde(default)]
    meter: Setup,
    #[serde(default)]
    households: Option<Spanned<Mix>>,
    #[serde(default)]
    feeder: FeederPart,
    #[serde(default)]
    fault: Vec<Spanned<FaultEntry>>,
    step: Vec<Step>,
}

/// What is done in a step, in the order of the fields, and what is expected then.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens, for people.
    pub say: String,
    /// A clerk makes a token.
    pub vend: Option<Vend>,
    /// A constant load is switched on.
    pub load: Option<Load>,
    /// Something goes wrong.
    pub fault: Option<FaultEntry>,
    /// It ends.
    pub end: Option<End>,
    /// Somebody types at the keypad.
    #[serde(rename = "type")]
    pub typed: Option<Typed>,
    /// Somebody presses the button.
    pub button: Option<u32>,
    /// The head-end sends a token.
    pub send: Option<Typed>,
    /// The head-end opens relays.
    pub disconnect: Option<Vec<u32>>,
    /// The head-end closes or arms relays.
    pub reconnect: Option<Vec<u32>>,
    /// The head-end sets the payment mode.
    pub set_mode: Option<SetMode>,
    /// The head-end sets the threshold of the low-credit warning.
    pub set_low_credit: Option<SetLowCredit>,
    /// Time passes.
    pub advance: Option<Span>,
    /// What the display or the meter answered to what was done, in part.
    pub answer: Option<String>,
    /// All meters are read, and the readings kept under this name.
    pub remember: Option<String>,
    /// What is expected of the meters.
    #[serde(default)]
    pub expect: Vec<Expect>,
    /// What is expected of the feeder.
    pub loss: Option<Loss>,
}

/// See [`Step::vend`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vend {
    /// For which meter.
    pub meter: u32,
    /// A multiple of 100.
    pub wh: u32,
    /// What the token is called in later steps.
    pub token: String,
}

/// See [`Step::load`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// At which meters.
    pub meters: Vec<u32>,
    /// How much.
    pub watts: u32,
}

/// See [`Step::end`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// At which meters.
    pub meters: Vec<u32>,
    /// Which.
    pub fault: FaultName,
}

/// See [`Step::typed`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typed {
    /// At which meter.
    pub meter: u32,
    /// A token that was vended.
    pub token: String,
}

/// See [`Step::set_mode`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMode {
    /// Of which meter.
    pub meter: u32,
    /// `prepayment` or `credit`.
    pub mode: String,
}

/// See [`Step::set_low_credit`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLowCredit {
    /// Of which meter.
    pub meter: u32,
    /// Watt-hours.
    pub wh: i32,
}

/// What is expected of meters, as it is read from them over their own protocol.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Of which.
    pub meters: Vec<u32>,
    /// Whether they answer at all.
    pub answers: Option<bool>,
    /// The contact as sensed: `open` or `closed`.
    pub relay: Option<String>,
    /// What the logic wants: `disconnected`, `connected`, `ready`.
    pub wants: Option<String>,
    /// Why it is open.
    pub reason: Option<String>,
    /// Credit in watt-hours, from and to.
    pub credit_wh: Option<[i64; 2]>,
    /// Payment mode: `prepayment` or `credit`.
    pub mode: Option<String>,
    /// In the event log.
    pub logged: Vec<String>,
    /// Not there.
    pub not_logged: Vec<String>,
    /// On a page of the display, in part.
    pub display: Option<String>,
    /// The display is dark.
    pub dark: Option<bool>,
    /// More current comes back through the neutral than goes through the phase element.
    pub neutral_exceeds_phase: Option<bool>,
    /// Earlier readings that the following are about.
    pub since: Option<String>,
    /// How far the import register rose, from and to; negative: it went back.
    pub import_rose_wh: Option<[i64; 2]>,
    /// The same of the export register.
    pub export_rose_wh: Option<[i64; 2]>,
    /// How far the counter of configuration changes rose.
    pub changes_rose: Option<u32>,
    /// The configuration digest is another.
    pub digest_changed: Option<bool>,
    /// The serial number is another.
    pub serial_changed: Option<bool>,
}

/// What is expected of the feeder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Earlier readings.
    pub since: String,
    /// What is missing between the feeder's register and the sum of its meters', in permille of the former, from and to.
    pub permille: [i64; 2],
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// What is wrong at which line, and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let case: CaseFile = toml::from_str(text).map_err(|error| scenario::syntax(text, &error))?;
        let CaseFile { title, gateway, street, time, meter, households, feeder, fault, step: steps } = case;
        let street = scenario::config(text, File { street, time, meter, households, feeder, fault })?;
        Ok(Self { title, gateway, street, steps })
    }
}
