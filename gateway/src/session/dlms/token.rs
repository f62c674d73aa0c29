//! Tokens at a meter: enter one, or ask what became of one.

use super::items::Item;
use super::meter::{Meter, present};
use crate::session::model::TokenForm;
use crate::session::trouble::Trouble;
use crate::session::work::{Ending, TokenDigits};
use protocol::cosem::token_gateway::{ENTER, TokenStatus, TokenStatusCode, sts_text};
use std::time::Duration;

/// How long a meter may take to look at a token that it has taken in, and how often it is asked.
const PROCESSED_WITHIN: Duration = Duration::from_secs(8);
const PROCESSED_POLL: Duration = Duration::from_millis(500);
/// What is read back after a token, together with its status.
const AFTER: [Item; 4] = [Item::Credit, Item::Output, Item::ControlState, Item::RelayReason];
/// STS result: the meter has seen the token's id before, in this token or in another.
const STS_USED: u8 = 10;
/// What tells whether a token that is called used is in the credit.
const REGISTERS: [Item; 2] = [Item::Credit, Item::Import];

/// What a meter says about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Its last token is another one, or it never had any.
    NotOurs,
    /// Taken in, not yet looked at.
    Pending,
    Accepted,
    Refused(TokenStatus),
}

impl Meter<'_> {
    /// Enters the token unless the meter already has it, and reads back what became of it.
    pub(super) async fn deliver(&mut self, token: &TokenDigits) -> Result<Ending, Trouble> {
        match self.verdict(token, &[Item::Credit]).await? {
            Verdict::Accepted => {
                self.attempt.note("the meter has accepted this very token before: it is not entered again");
                return Ok(Ending::Done);
            }
            Verdict::NotOurs | Verdict::Pending | Verdict::Refused(_) => {}
        }
        let name = present(self.model.objects.token_gateway)?;
        let parameter = self.octets(token)?;
        self.attempt.note(format!("ACTION {name} enter: sending token {}", token.masked()));
        self.attempt.about_to_send();
        let refusal = match self.act(ENTER.of(name), &parameter, "the token").await {
            Ok(()) => None,
            // The action's own result is no verdict: a meter may refuse the action and say why in its status.
            Err(Trouble::Refused { reason, code }) => Some((reason, code)),
            Err(trouble) => return Err(trouble),
        };
        self.attempt.note(match &refusal {
            None => format!("ACTION {name} enter: answered"),
            Some((reason, _)) => format!("ACTION {name} enter: {reason}"),
        });
        let verdict = self.wait_for_verdict(token).await?;
        Ok(match verdict {
            Verdict::Accepted => Ending::Done,
            Verdict::Refused(status) => self.refused(status).await?,
            Verdict::Pending => Ending::Unknown {
                reason: format!(
                    "the meter took the token in and has not decided within {} s",
                    PROCESSED_WITHIN.as_secs()
                ),
            },
            // The meter said no to the action, and its last token is another: it did not take this one.
            Verdict::NotOurs => match refusal {
                Some((reason, code)) => Ending::Rejected { reason, code },
                None => {
                    Ending::Unknown { reason: "the meter answered, but its last token is another one".into() }
                }
            },
        })
    }

    /// Asks what became of the token; enters nothing.
    pub(super) async fn ask_token(&mut self, token: &TokenDigits) -> Result<Ending, Trouble> {
        let verdict = self.wait_for_verdict(token).await?;
        Ok(match verdict {
            Verdict::Accepted => Ending::Done,
            Verdict::Refused(status) => self.refused(status).await?,
            Verdict::Pending => {
                Ending::Unknown { reason: "the meter has the token and has not decided yet".into() }
            }
            Verdict::NotOurs => Ending::NotSent {
                reason: "the meter has not seen this token: its last one is another".into(),
            },
        })
    }

    async fn refused(&mut self, status: TokenStatus) -> Result<Ending, Trouble> {
        let code = status.data_value;
        if code == STS_USED {
            self.ask(&REGISTERS).await?;
        }
        Ok(Ending::Rejected { reason: format!("STS result {code}: {}", sts_text(code)), code: Some(code) })
    }

    async fn wait_for_verdict(&mut self, token: &TokenDigits) -> Result<Verdict, Trouble> {
        let mut waited = Duration::ZERO;
        loop {
            let verdict = self.verdict(token, &AFTER).await?;
            if verdict != Verdict::Pending || waited >= PROCESSED_WITHIN {
                return Ok(verdict);
            }
            tokio::time::sleep(PROCESSED_POLL).await;
            waited += PROCESSED_POLL;
        }
    }

    /// Asks about the last token, and for more of the same moment.
    async fn verdict(&mut self, token: &TokenDigits, more: &[Item]) -> Result<Verdict, Trouble> {
        let name = present(self.model.objects.token_gateway)?;
        let mut items = vec![Item::Token, Item::TokenTime, Item::TokenStatus];
        items.extend_from_slice(more);
        self.ask(&items).await?;
        let last = std::mem::take(&mut self.token);
        let ours = last.octets == token.reveal().as_bytes() || last.octets == binary(token)?;
        self.attempt.facts.token_is_ours = Some(ours);
        let Some(status) = last.status.filter(|_| ours) else {
            self.attempt.facts.token_status = None;
            let word = if last.octets.is_empty() { "none yet" } else { "another one" };
            self.attempt.note(format!("GET {name} last token: {word}"));
            return Ok(Verdict::NotOurs);
        };
        self.attempt.facts.token_status = Some((status.code as u8, status.data_value));
        let (code, result) = (status.code as u8, status.data_value);
        let entered = last
            .time
            .and_then(|time| protocol::cosem::clock::utc_s(time, 0))
            .and_then(|utc| jiff::Timestamp::from_second(i64::from(utc)).ok())
            .map_or_else(
                || "at an unknown time".to_owned(),
                |at| at.strftime("at %Y-%m-%dT%H:%M:%SZ").to_string(),
            );
        self.attempt.note(format!(
            "GET {name} token {}: entered {entered}, status {:?} ({code}), STS result {result}: {}",
            token.masked(),
            status.code,
            sts_text(result)
        ));
        Ok(match status.code {
            TokenStatusCode::ExecutionOk => Verdict::Accepted,
            TokenStatusCode::FormatFailure
            | TokenStatusCode::AuthenticationFailure
            | TokenStatusCode::ValidationFailure
            | TokenStatusCode::ExecutionFailure => Verdict::Refused(status),
            TokenStatusCode::FormatOk
            | TokenStatusCode::AuthenticationOk
            | TokenStatusCode::ValidationOk
            | TokenStatusCode::Received => Verdict::Pending,
        })
    }

    /// The token as the octet string that this model wants.
    fn octets(&self, token: &TokenDigits) -> Result<zeroize::Zeroizing<Vec<u8>>, Trouble> {
        let octets = match self.model.token_form {
            TokenForm::Ascii => token.reveal().as_bytes().to_vec(),
            TokenForm::Binary => binary(token)?.to_vec(),
        };
        // 9 is the tag of an octet string; its length is 20 or 9.
        let mut parameter = zeroize::Zeroizing::new(vec![9, octets.len() as u8]);
        parameter.extend_from_slice(&octets);
        Ok(parameter)
    }
}

/// The 66 bits of a token in 9 bytes, right-aligned.
fn binary(token: &TokenDigits) -> Result<[u8; 9], Trouble> {
    let number: u128 =
        token.reveal().parse().map_err(|_| Trouble::NotReady("the token is not twenty digits".into()))?;
    let bytes = number.to_be_bytes();
    let mut out = [0; 9];
    out.copy_from_slice(&bytes[7..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_nines_fit_nine_bytes() {
        let token = TokenDigits::new("99999999999999999999").expect("twenty digits");
        let mut wide = [0; 16];
        wide[7..].copy_from_slice(&binary(&token).expect("digits"));
        assert_eq!(u128::from_be_bytes(wide), 99_999_999_999_999_999_999);
    }
}
