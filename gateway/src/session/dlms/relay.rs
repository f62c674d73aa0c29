//! The relay of a DLMS meter: commanded by class 70, believed only when sensed.

use super::items::Item;
use super::meter::{Meter, present};
use crate::session::trouble::Trouble;
use crate::session::work::{Ending, RelayState};
use protocol::cosem::disconnect::{ControlState, REMOTE_DISCONNECT, REMOTE_RECONNECT};
use std::time::Duration;

/// How long a relay may take to follow, and how often it is looked at meanwhile.
const MOVES_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(250);
/// The parameter of both methods: integer 0.
const ZERO: [u8; 2] = [15, 0];

const DISCONNECTED: Option<u8> = Some(ControlState::Disconnected as u8);
const CONNECTED: Option<u8> = Some(ControlState::Connected as u8);
const READY: Option<u8> = Some(ControlState::ReadyForReconnection as u8);

/// What a look at the relay brought.
enum Look {
    Sensed(RelayState),
    /// The meter answers, and refuses to say where its contact is.
    Withheld(String),
}

/// The command left and its effect cannot be seen.
fn unsensed(reason: &str) -> Ending {
    Ending::Unknown {
        reason: format!("the meter took the command and does not say where its relay is: {reason}"),
    }
}

impl Meter<'_> {
    /// Opens the relay: done when the contact is sensed open, the logic says disconnected and no power flows.
    pub(super) async fn disconnect(&mut self) -> Result<Ending, Trouble> {
        let name = present(self.model.objects.disconnect_control)?;
        // For the evidence only: a meter that does not tell where its contact is can be disconnected all the same.
        if let Look::Withheld(reason) = self.look().await? {
            self.attempt.note(format!("the relay cannot be sensed beforehand: {reason}"));
        }
        self.attempt.note(format!("ACTION {name} remote disconnect: sending"));
        self.attempt.about_to_send();
        if let Some(refusal) = self.command(REMOTE_DISCONNECT.of(name), "the disconnection").await? {
            return Ok(refusal);
        }
        let mut looked = Duration::ZERO;
        loop {
            let relay = match self.look().await? {
                Look::Sensed(relay) => relay,
                Look::Withheld(reason) => return Ok(unsensed(&reason)),
            };
            let open = !relay.output_closed && relay.control_state == DISCONNECTED;
            if open {
                self.ask(&[Item::Power]).await?;
            }
            let measured = self.model.objects.power.is_some();
            let flows = measured && self.attempt.facts.power_w.is_none_or(|power| power != 0);
            if open && !flows {
                return Ok(Ending::Done);
            }
            if looked >= MOVES_WITHIN {
                return Ok(self.did_not_follow(relay, open));
            }
            tokio::time::sleep(POLL).await;
            looked += POLL;
        }
    }

    /// Closes the relay, or arms it where the mode leaves closing to a person: done when sensed closed, or open and ready.
    pub(super) async fn reconnect(&mut self) -> Result<Ending, Trouble> {
        let name = present(self.model.objects.disconnect_control)?;
        self.ask(&[Item::Output, Item::ControlState, Item::RelayReason, Item::ControlMode]).await?;
        let mode = self.control_mode.unwrap_or(0);
        self.attempt.note(format!("ACTION {name} remote reconnect: sending"));
        self.attempt.about_to_send();
        if let Some(refusal) = self.command(REMOTE_RECONNECT.of(name), "the reconnection").await? {
            return Ok(refusal);
        }
        // Blue Book, class 70: remote reconnection closes in modes 2 and 4, arms in 1, 3, 5 and 6.
        let arms = matches!(mode, 1 | 3 | 5 | 6);
        let mut looked = Duration::ZERO;
        loop {
            let relay = match self.look().await? {
                Look::Sensed(relay) => relay,
                Look::Withheld(reason) => return Ok(unsensed(&reason)),
            };
            if relay.output_closed && relay.control_state == CONNECTED {
                return Ok(Ending::Done);
            }
            let armed = arms && !relay.output_closed && relay.control_state == READY;
            if looked >= MOVES_WITHIN || (armed && !closes_by_itself(mode)) {
                if !armed {
                    return Ok(self.did_not_follow(relay, false));
                }
                self.attempt.note(format!("armed: in mode {mode} a person closes the relay at the meter"));
                return Ok(Ending::Done);
            }
            tokio::time::sleep(POLL).await;
            looked += POLL;
        }
    }

    /// Looks at the relay.
    async fn look(&mut self) -> Result<Look, Trouble> {
        match self.relay().await {
            Ok(relay) => Ok(Look::Sensed(relay)),
            Err(Trouble::Refused { reason, .. }) => Ok(Look::Withheld(reason)),
            Err(trouble) => Err(trouble),
        }
    }

    /// Invokes a method; a refusal by the meter is an ending.
    pub(super) async fn command(
        &mut self,
        method: protocol::dlms::model::Method,
        what: &str,
    ) -> Result<Option<Ending>, Trouble> {
        match self.act(method, &ZERO, what).await {
            Ok(()) => {
                self.attempt.note(format!("ACTION {} method {}: success", method.logical_name, method.index));
                Ok(None)
            }
            Err(Trouble::Refused { reason, code }) => {
                self.attempt.note(&reason);
                self.look().await?;
                Ok(Some(Ending::Rejected { reason, code }))
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn did_not_follow(&mut self, relay: RelayState, open: bool) -> Ending {
        let word = if relay.output_closed { "closed" } else { "open" };
        let because = self.attempt.facts.relay_reason.as_deref().unwrap_or("no reason given");
        let reason = if open {
            format!("the contact is open, but {} W still flow", self.attempt.facts.power_w.unwrap_or(0))
        } else {
            let seconds = MOVES_WITHIN.as_secs();
            format!(
                "the meter answered, but {seconds} s later the contact is sensed {word} (reason: {because})"
            )
        };
        self.attempt.note(&reason);
        Ending::Rejected { reason, code: None }
    }
}

/// In modes 5 and 6 the meter may close the armed relay itself, so it is given the time to.
const fn closes_by_itself(mode: u8) -> bool {
    matches!(mode, 5 | 6)
}
