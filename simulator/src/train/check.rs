//! Expectations against readings.

use super::case::Expect;
use super::reading::Reading;
use protocol::cosem::account::PaymentMode;
use protocol::cosem::disconnect::ControlState;
use protocol::cosem::events::Event;

/// What was found of one expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// It was as expected.
    pub met: bool,
    /// What was expected and what was found.
    pub text: String,
}

/// The names that cases give to events: those of [`Event`].
fn event_name(code: u8) -> String {
    Event::from_u8(code).map_or_else(|| code.to_string(), |event| format!("{event:?}"))
}

/// Payment modes as cases write them.
#[must_use]
pub fn mode_name(mode: PaymentMode) -> &'static str {
    match mode {
        PaymentMode::Prepayment => "prepayment",
        PaymentMode::Credit => "credit",
    }
}

fn wants_name(state: ControlState) -> &'static str {
    match state {
        ControlState::Disconnected => "disconnected",
        ControlState::Connected => "connected",
        ControlState::ReadyForReconnection => "ready",
    }
}

/// Collects what was found.
#[derive(Debug, Default)]
struct Findings(Vec<Found>);

impl Findings {
    fn same<T: PartialEq + std::fmt::Display>(&mut self, what: &str, wanted: Option<T>, found: T) {
        if let Some(wanted) = wanted {
            let text = format!("{what} {found}");
            let met = wanted == found;
            let text = if met { text } else { format!("{text}, expected {wanted}") };
            self.0.push(Found { met, text });
        }
    }

    fn within(&mut self, what: &str, wanted: Option<[i64; 2]>, found: i64) {
        if let Some([from, to]) = wanted {
            self.0.push(within(what, [from, to], found));
        }
    }
}

/// A number within bounds.
#[must_use]
pub fn within(what: &str, [from, to]: [i64; 2], found: i64) -> Found {
    Found { met: (from..=to).contains(&found), text: format!("{what} {found}, expected {from} to {to}") }
}

/// Holds a meter against an expectation: its reading (none when it did not answer), the pages of its display (none when it is
/// dark), and its earlier reading where the expectation is about one.
#[must_use]
pub fn check(
    expect: &Expect,
    reading: Option<&Reading>,
    display: &[String],
    earlier: Option<&Reading>,
) -> Vec<Found> {
    let mut findings = Findings::default();
    let yes_no = |answer: bool| if answer { "yes" } else { "no" };
    findings.same("answers:", expect.answers.map(yes_no), yes_no(reading.is_some()));
    findings.same("display dark:", expect.dark.map(yes_no), yes_no(display.is_empty()));
    if let Some(wanted) = &expect.display {
        let line = display.iter().find(|line| line.contains(wanted));
        let text = line.map_or_else(|| format!("display without {wanted}"), |line| format!("display {line}"));
        findings.0.push(Found { met: line.is_some(), text });
    }
    let Some(reading) = reading else {
        if expect.answers != Some(false) {
            findings.0.push(Found { met: false, text: "no answer".into() });
        }
        return findings.0;
    };
    let relay = if reading.closed { "closed" } else { "open" };
    findings.same("contact", expect.relay.as_deref(), relay);
    findings.same("relay logic", expect.wants.as_deref(), wants_name(reading.wants));
    findings.same("reason:", expect.reason.clone(), reading.reason.to_string());
    findings.within("credit Wh", expect.credit_wh, reading.credit_wh);
    findings.same("payment mode", expect.mode.as_deref(), mode_name(reading.mode));
    let logged = |name: &String| reading.events.iter().any(|row| event_name(row.code) == *name);
    for (names, wanted) in [(&expect.logged, true), (&expect.not_logged, false)] {
        for name in names {
            let there = logged(name);
            let text = format!("{name} {} the event log", if there { "in" } else { "not in" });
            findings.0.push(Found { met: there == wanted, text });
        }
    }
    let exceeds = reading.neutral > reading.phase + reading.phase / 10;
    let exceeding = expect.neutral_exceeds_phase.map(yes_no);
    findings.same("neutral current above phase current:", exceeding, yes_no(exceeds));
    let Some(earlier) = earlier else { return findings.0 };
    findings.within("import rose by Wh", expect.import_rose_wh, reading.import_wh - earlier.import_wh);
    findings.within("export rose by Wh", expect.export_rose_wh, reading.export_wh - earlier.export_wh);
    let rose = reading.changes.wrapping_sub(earlier.changes);
    findings.same("configuration changes:", expect.changes_rose, rose);
    let differs = |one: &[u8], other: &[u8]| yes_no(one != other);
    let digest = differs(&reading.digest, &earlier.digest);
    findings.same("configuration digest changed:", expect.digest_changed.map(yes_no), digest);
    let serial = differs(&reading.serial, &earlier.serial);
    findings.same("serial number changed:", expect.serial_changed.map(yes_no), serial);
    findings.0
}
