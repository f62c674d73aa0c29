//! Faults by name, as scenarios and requests write them: one name, its parameters, when, for how long, and at which meters.

use crate::faults::{Damage, Fault, On};
use crate::units::{Share, Span};
use crate::wiring::{FrontEnd, Mechanics, NOMINAL_MV};
use serde::{Deserialize, Serialize};

macro_rules! names {
    ($($name:ident, $lasts:literal, [$($parameter:literal),*], $text:literal;)*) => {
        /// The names of all faults.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum FaultName { $(#[doc = $text] $name,)* }

        impl FaultName {
            /// Every name.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// For people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether it goes on until it is ended.
            #[must_use]
            pub const fn lasts(self) -> bool {
                match self { $(Self::$name => $lasts,)* }
            }

            /// Parameters that it takes.
            #[must_use]
            pub const fn parameters(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($parameter,)*],)* }
            }
        }
    };
}

names! {
    Silence, true, [], "hears nothing and says nothing; the meter works on";
    LostAnswer, false, ["on", "count"], "the request is carried out, its answer is lost";
    LateAnswer, false, ["delay_ms", "on", "count"], "the answer comes after the client gave up (default 15,000 ms)";
    DuplicatedFrame, false, ["on", "count"], "the frame comes twice";
    CorruptedFrame, false, ["on", "count"], "a bit of the frame is wrong";
    TruncatedFrame, false, ["on", "count"], "half of the frame comes";
    WrongTransaction, false, ["on", "count"], "the answer carries another client's number";
    SlowMeter, true, ["delay_ms"], "every answer takes longer (default 1,500 ms)";
    FrameLoss, true, ["percent"], "frames are lost by chance (default 1 %)";
    SingleSession, true, [], "one connection at a time, further ones are closed at once";
    CounterDesync, false, ["ahead"], "invocation counters of its clients are used up (default by 1,000)";
    WrongKey, true, [], "other encryption and authentication keys than everybody believes";
    ClockDrift, true, ["ppm"], "the clock runs too fast (default 200 ppm; negative: too slow)";
    ClockJump, false, ["seconds"], "the clock jumps (default 3,600 s)";
    ProfileHole, false, ["rows"], "the newest rows of the load profile are lost (default 4)";
    WrappedBuffer, false, ["rows"], "the load profile holds so few rows that it wraps (default 4)";
    RelayStuck, true, [], "the relay accepts and does not move";
    RelayWelded, true, [], "the contact never opens again";
    LostTokenAnswer, false, ["count"], "a token is accepted and the answer lost";
    PowerCutAtWrite, false, ["writes"], "power is cut in the write after so many (default 0)";
    RebootInTransfer, false, ["requests"], "a restart after so many more requests (default 2)";
    SwitchedToPostpaid, false, [], "payment mode switched, in no log and no counter";
    MeterExchanged, false, [], "another meter at the place: other serial number, empty registers";
    PowerOff, true, [], "no power";
    Reboot, false, [], "power goes and comes back at once";
    Hang, true, [], "the processor hangs; when that ends, the watchdog restarts it";
    CoverOpen, true, [], "the terminal cover is open";
    Magnet, true, [], "a magnet at the meter";
    Theft, true, ["percent"], "part of the load is tapped before the meter (default 40 %)";
    Bypass, true, ["percent"], "part of the load goes around the phase element (default 40 %)";
    LowVoltage, true, ["volts"], "the supply's voltage (default 180 V)";
    BrokenNeutral, true, [], "the neutral before the meter is broken, voltage floats";
    StuckRegister, true, [], "power is shown, the energy register stands still";
    ReversedCt, true, [], "import is counted as export";
    RegisterJump, false, ["wh"], "the register jumps (default 100,000 Wh)";
}

impl std::fmt::Display for FaultName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// A fault as it is written. Every parameter has a default, so that a name alone will do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultEntry {
    /// Which.
    pub fault: FaultName,
    /// When, after the start (scenario) or from now (request). At once without this.
    #[serde(default)]
    pub at: Option<Span>,
    /// For how long, for those that last. Until ended without this.
    #[serde(default, rename = "for")]
    pub lasts_for: Option<Span>,
    /// Numbers of the meters; all of them with neither this nor `share`.
    #[serde(default)]
    pub meters: Option<Vec<u32>>,
    /// Share of the meters, chosen by the street's seed.
    #[serde(default)]
    pub share: Option<Share>,
    /// To which answers.
    #[serde(default)]
    pub on: Option<On>,
    /// How many answers.
    #[serde(default)]
    pub count: Option<u32>,
    /// Real milliseconds.
    #[serde(default)]
    pub delay_ms: Option<u32>,
    /// Counters ahead.
    #[serde(default)]
    pub ahead: Option<u32>,
    /// Parts per million.
    #[serde(default)]
    pub ppm: Option<i32>,
    /// Seconds, negative backwards.
    #[serde(default)]
    pub seconds: Option<i64>,
    /// Rows of load profile.
    #[serde(default)]
    pub rows: Option<u32>,
    /// Writes that succeed.
    #[serde(default)]
    pub writes: Option<u64>,
    /// Requests that are answered.
    #[serde(default)]
    pub requests: Option<u32>,
    /// Percent of the load, or of the frames.
    #[serde(default)]
    pub percent: Option<u16>,
    /// Volts.
    #[serde(default)]
    pub volts: Option<u32>,
    /// Watt-hours.
    #[serde(default)]
    pub wh: Option<u32>,
}

/// What a name stands for: something that the meter can do to itself, or another meter at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// This fault.
    Fault(Fault),
    /// [`Fault::Exchanged`], with the other meter still to be made.
    Exchange,
}

impl FaultEntry {
    /// The fault of this name, everywhere and at once, with its defaults.
    #[must_use]
    pub fn new(fault: FaultName) -> Self {
        Self {
            fault,
            at: None,
            lasts_for: None,
            meters: None,
            share: None,
            on: None,
            count: None,
            delay_ms: None,
            ahead: None,
            ppm: None,
            seconds: None,
            rows: None,
            writes: None,
            requests: None,
            percent: None,
            volts: None,
            wh: None,
        }
    }

    /// What it means.
    ///
    /// # Errors
    /// A parameter that this fault does not take, or a value out of range, with what would be right.
    pub fn meaning(&self) -> Result<Meant, String> {
        self.check()?;
        let answer = |damage, on| Fault::Answer { damage, on, count: self.count.unwrap_or(1) };
        let on = self.on.unwrap_or_default();
        let permille = || self.percent.unwrap_or(40) * 10;
        Ok(Meant::Fault(match self.fault {
            FaultName::Silence => Fault::Silence { on: true },
            FaultName::LostAnswer => answer(Damage::Lost, on),
            FaultName::LateAnswer => answer(Damage::Late { delay_ms: self.delay_ms.unwrap_or(15_000) }, on),
            FaultName::DuplicatedFrame => answer(Damage::Duplicated, on),
            FaultName::CorruptedFrame => answer(Damage::Corrupted, on),
            FaultName::TruncatedFrame => answer(Damage::Truncated, on),
            FaultName::WrongTransaction => answer(Damage::WrongTransaction, on),
            FaultName::LostTokenAnswer => answer(Damage::Lost, On::TokenAccepted),
            FaultName::SlowMeter => Fault::Slow { delay_ms: self.delay_ms.unwrap_or(1_500) },
            FaultName::FrameLoss => Fault::FrameLoss { permille: self.percent.unwrap_or(1) * 10 },
            FaultName::SingleSession => Fault::SingleSession { on: true },
            FaultName::CounterDesync => Fault::CounterDesync { ahead: self.ahead.unwrap_or(1_000) },
            FaultName::WrongKey => Fault::WrongKey { on: true },
            FaultName::ClockDrift => Fault::ClockDrift { ppm: self.ppm.unwrap_or(200) },
            FaultName::ClockJump => Fault::ClockJump { seconds: self.seconds.unwrap_or(3_600) },
            FaultName::ProfileHole => Fault::ProfileHole { rows: self.rows.unwrap_or(4) },
            FaultName::WrappedBuffer => Fault::WrappedBuffer { rows: self.rows.unwrap_or(4) },
            FaultName::RelayStuck => Fault::Relay { mechanics: Mechanics::Stuck },
            FaultName::RelayWelded => Fault::Relay { mechanics: Mechanics::Welded },
            FaultName::PowerCutAtWrite => Fault::CutAtWrite { after: self.writes.unwrap_or(0) },
            FaultName::RebootInTransfer => Fault::RebootInTransfer { requests: self.requests.unwrap_or(2) },
            FaultName::SwitchedToPostpaid => Fault::SwitchedToPostpaid,
            FaultName::MeterExchanged => return Ok(Meant::Exchange),
            FaultName::PowerOff => Fault::Power { on: false },
            FaultName::Reboot => Fault::Reboot,
            FaultName::Hang => Fault::Hang { on: true },
            FaultName::CoverOpen => Fault::Cover { open: true },
            FaultName::Magnet => Fault::Magnet { present: true },
            FaultName::Theft => Fault::Theft { permille: permille() },
            FaultName::Bypass => Fault::Bypass { permille: permille() },
            FaultName::LowVoltage => {
                Fault::Voltage { nominal_mv: self.volts.unwrap_or(180).saturating_mul(1000) }
            }
            FaultName::BrokenNeutral => Fault::BrokenNeutral { on: true },
            FaultName::StuckRegister => Fault::FrontEnd { front_end: FrontEnd::StuckRegister },
            FaultName::ReversedCt => Fault::FrontEnd { front_end: FrontEnd::ReversedCt },
            FaultName::RegisterJump => Fault::RegisterJump { wh: self.wh.unwrap_or(100_000) },
        }))
    }

    fn check(&self) -> Result<(), String> {
        let given = [
            ("on", self.on.is_some()),
            ("count", self.count.is_some()),
            ("delay_ms", self.delay_ms.is_some()),
            ("ahead", self.ahead.is_some()),
            ("ppm", self.ppm.is_some()),
            ("seconds", self.seconds.is_some()),
            ("rows", self.rows.is_some()),
            ("writes", self.writes.is_some()),
            ("requests", self.requests.is_some()),
            ("percent", self.percent.is_some()),
            ("volts", self.volts.is_some()),
            ("wh", self.wh.is_some()),
        ];
        let allowed = self.fault.parameters();
        if let Some((name, _)) = given.iter().find(|(name, given)| *given && !allowed.contains(name)) {
            let takes = if allowed.is_empty() { "no parameters".into() } else { allowed.join(", ") };
            return Err(format!("{} has no `{name}`; it takes {takes}", self.fault));
        }
        if self.lasts_for.is_some() && !self.fault.lasts() {
            return Err(format!("{} happens once: `for` is for those that last", self.fault));
        }
        if self.share.is_some() && self.meters.is_some() {
            return Err("`meters` and `share` at once: say which meters, or how many".into());
        }
        if self.percent.is_some_and(|percent| percent > 100) {
            return Err("`percent` is from 0 to 100".into());
        }
        if self.volts.is_some_and(|volts| !(1..=400).contains(&volts)) {
            return Err("`volts` is from 1 to 400".into());
        }
        if self.rows == Some(0) || self.count == Some(0) {
            return Err("`rows` and `count` are at least 1".into());
        }
        Ok(())
    }
}

/// What ends a fault of this name; `None` for one that does not last. Frames that wait to be damaged are ended too.
#[must_use]
pub fn end_of(name: FaultName) -> Option<Fault> {
    Some(match name {
        FaultName::Silence => Fault::Silence { on: false },
        FaultName::SlowMeter => Fault::Slow { delay_ms: 0 },
        FaultName::FrameLoss => Fault::FrameLoss { permille: 0 },
        FaultName::SingleSession => Fault::SingleSession { on: false },
        FaultName::WrongKey => Fault::WrongKey { on: false },
        FaultName::ClockDrift => Fault::ClockDrift { ppm: 0 },
        FaultName::RelayStuck | FaultName::RelayWelded => Fault::Relay { mechanics: Mechanics::Sound },
        FaultName::PowerOff => Fault::Power { on: true },
        FaultName::Hang => Fault::Hang { on: false },
        FaultName::CoverOpen => Fault::Cover { open: false },
        FaultName::Magnet => Fault::Magnet { present: false },
        FaultName::Theft => Fault::Theft { permille: 0 },
        FaultName::Bypass => Fault::Bypass { permille: 0 },
        FaultName::LowVoltage => Fault::Voltage { nominal_mv: NOMINAL_MV },
        FaultName::BrokenNeutral => Fault::BrokenNeutral { on: false },
        FaultName::StuckRegister | FaultName::ReversedCt => Fault::FrontEnd { front_end: FrontEnd::Sound },
        FaultName::LostAnswer
        | FaultName::LateAnswer
        | FaultName::DuplicatedFrame
        | FaultName::CorruptedFrame
        | FaultName::TruncatedFrame
        | FaultName::WrongTransaction
        | FaultName::LostTokenAnswer
        | FaultName::CounterDesync
        | FaultName::ClockJump
        | FaultName::ProfileHole
        | FaultName::WrappedBuffer
        | FaultName::PowerCutAtWrite
        | FaultName::RebootInTransfer
        | FaultName::SwitchedToPostpaid
        | FaultName::MeterExchanged
        | FaultName::Reboot
        | FaultName::RegisterJump => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Meant, String> {
        serde_json::from_str::<FaultEntry>(text).map_err(|error| error.to_string())?.meaning()
    }

    #[test]
    fn a_name_alone_is_a_fault_and_what_lasts_can_be_ended() {
        for name in FaultName::ALL {
            let entry = FaultEntry::new(*name);
            assert!(entry.meaning().is_ok(), "{name}");
            assert_eq!(end_of(*name).is_some(), name.lasts(), "{name}");
            assert_eq!(read(&format!(r#"{{"fault":"{name}"}}"#)), entry.meaning());
        }
    }

    #[test]
    fn parameters_are_those_of_the_fault_and_in_range() {
        let late = Fault::Answer { damage: Damage::Late { delay_ms: 4000 }, on: On::Any, count: 2 };
        let text = r#"{"fault":"late_answer","delay_ms":4000,"count":2}"#;
        assert_eq!(read(text), Ok(Meant::Fault(late)));
        let wrong = read(r#"{"fault":"silence","rows":3}"#).unwrap_err();
        assert_eq!(wrong, "silence has no `rows`; it takes no parameters");
        let wrong = read(r#"{"fault":"late_answer","ppm":3}"#).unwrap_err();
        assert_eq!(wrong, "late_answer has no `ppm`; it takes delay_ms, on, count");
        let wrong = read(r#"{"fault":"reboot","for":"5m"}"#).unwrap_err();
        assert!(wrong.contains("happens once"), "{wrong}");
        let wrong = read(r#"{"fault":"silense"}"#).unwrap_err();
        assert!(wrong.contains("unknown variant `silense`, expected one of `silence`"), "{wrong}");
        assert!(read(r#"{"fault":"theft","percent":101}"#).is_err());
        assert!(read(r#"{"fault":"silence","share":"2 %","meters":[1]}"#).is_err());
    }
}
