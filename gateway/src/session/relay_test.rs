//! The self-test of a relay (N05): whether it is operated, by one pure function; what it is like without that is told in any case.

use super::work::{Facts, RelayTested};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayTest {
    /// That supply may be off for a moment: who said so, and when. Without it a relay under load is not operated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
    /// What forbids to operate it now, whatever was agreed.
    #[serde(skip)]
    pub withheld: Option<String>,
}

/// The longest consent, in bytes.
const CONSENT_MAX: usize = 200;

/// What a look at the relay says about the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It does not act: that shows without moving it.
    Fails(String),
    /// The test ends here, and why it goes no further.
    Ends(RelayTested, String),
    /// It is opened and closed again.
    Operates,
}

impl RelayTest {
    /// What is wrong with it.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        let bad = self
            .consent
            .as_deref()
            .is_some_and(|consent| consent.trim().is_empty() || consent.len() > CONSENT_MAX);
        bad.then(|| format!("consent is not 1 to {CONSENT_MAX} bytes that say who agreed"))
    }

    /// What to do, by what was just read. `closes`: a command from here closes the relay again, nobody has to go there.
    #[must_use]
    pub fn look(&self, facts: &Facts, closes: bool) -> Look {
        let Some(relay) = facts.relay else {
            return Look::Fails("the meter does not say where its contact is".into());
        };
        let power = facts.power_w;
        match (relay.output_closed, relay.control_state) {
            (true, Some(0 | 2)) => {
                return Look::Fails("its logic says open, its contact is sensed closed".into());
            }
            (false, Some(1)) => {
                return Look::Fails("its logic says connected, its contact is sensed open".into());
            }
            _ => {}
        }
        if !relay.output_closed {
            return match power.filter(|power| *power != 0) {
                Some(power) => Look::Fails(format!("its contact is sensed open, and {power} W flow")),
                None => Look::Ends(RelayTested::SeenOpen, "it is open, and nothing flows".into()),
            };
        }
        let kept = match (&self.withheld, &self.consent, power) {
            (Some(why), ..) => why.clone(),
            (None, Some(_), _) => return Look::Operates,
            (None, None, Some(0)) if closes => return Look::Operates,
            (None, None, Some(0)) => {
                "nobody draws anything, but a person would have to close it at the meter".into()
            }
            (None, None, Some(power)) => {
                format!("{power} W flow, and nobody agreed to a moment without supply")
            }
            (None, None, None) => {
                "what flows is not known, and nobody agreed to a moment without supply".into()
            }
        };
        Look::Ends(RelayTested::Sensed, format!("not operated: {kept}; closed, as its logic says"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::work::RelayState;

    fn facts(output_closed: bool, control: u8, power_w: Option<i64>) -> Facts {
        let relay = Some(RelayState { output_closed, control_state: Some(control) });
        Facts { relay, power_w, ..Facts::default() }
    }

    #[test]
    fn a_relay_is_operated_with_consent_or_where_nothing_flows_and_it_closes_again() {
        let without = RelayTest::default();
        let agreed = RelayTest { consent: Some("Anna, by telephone".into()), withheld: None };
        let protected = RelayTest { withheld: Some("the customer is protected".into()), ..agreed.clone() };
        let closed = |power| facts(true, 1, power);
        assert_eq!(without.look(&closed(Some(0)), true), Look::Operates);
        assert_eq!(agreed.look(&closed(Some(700)), false), Look::Operates);
        for (test, power, closes, word) in [
            (&without, Some(0), false, "a person would have to close it"),
            (&without, Some(700), true, "700 W flow"),
            (&without, None, true, "not known"),
            (&protected, Some(0), true, "the customer is protected"),
        ] {
            match test.look(&closed(power), closes) {
                Look::Ends(RelayTested::Sensed, why) => assert!(why.contains(word), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn one_that_shows_that_it_does_not_act_is_not_moved() {
        let agreed = RelayTest { consent: Some("Anna".into()), withheld: None };
        let fails = |facts: &Facts| match agreed.look(facts, true) {
            Look::Fails(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(fails(&Facts::default()).contains("does not say"));
        assert!(fails(&facts(true, 0, Some(0))).contains("sensed closed"));
        assert!(fails(&facts(false, 1, Some(0))).contains("sensed open"));
        assert!(fails(&facts(false, 0, Some(90))).contains("90 W flow"));
        let open = agreed.look(&facts(false, 2, Some(0)), true);
        assert!(matches!(open, Look::Ends(RelayTested::SeenOpen, _)), "{open:?}");
        assert!(RelayTest { consent: Some(" ".into()), withheld: None }.flaw().is_some());
    }
}
