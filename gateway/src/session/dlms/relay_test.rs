//! The self-test of a DLMS meter's relay: looked at, and where that is allowed opened and closed again in one go.

use super::items::Item;
use super::meter::Meter;
use crate::session::relay_test::{Look, RelayTest};
use crate::session::trouble::Trouble;
use crate::session::work::{Ending, RelayTested};

impl Meter<'_> {
    /// Tests the relay. An opened one is closed again before this returns, or its ending is unknown.
    pub(super) async fn test_relay(&mut self, test: &RelayTest) -> Result<Ending, Trouble> {
        self.ask(&[Item::Output, Item::ControlState, Item::RelayReason, Item::ControlMode, Item::Power])
            .await?;
        // Blue Book, class 70: remote reconnection closes in modes 2 and 4.
        let closes = matches!(self.control_mode, Some(2 | 4));
        match test.look(&self.attempt.facts, closes) {
            Look::Fails(reason) => {
                self.attempt.note(&reason);
                return Ok(Ending::Rejected { reason, code: None });
            }
            Look::Ends(how, line) => {
                self.attempt.note(line);
                self.attempt.facts.relay_tested = Some(how);
                return Ok(Ending::Done);
            }
            Look::Operates => {}
        }
        let opened = self.disconnect().await?;
        if opened != Ending::Done {
            // Whatever it did: its logic shall want supply.
            self.reconnect().await?;
            return Ok(opened);
        }
        match self.reconnect().await? {
            Ending::Done => {
                self.attempt.facts.relay_tested = Some(RelayTested::Operated);
                Ok(Ending::Done)
            }
            Ending::Rejected { reason, .. } | Ending::NotSent { reason } | Ending::Unknown { reason } => {
                Ok(Ending::Unknown { reason: format!("it opened, and it is not closed again: {reason}") })
            }
        }
    }
}
