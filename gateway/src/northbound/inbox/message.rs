//! One message: what it has to carry, and who signed it.

use crate::api::Problem;
use crate::api::signature::{self, unhex};
use crate::config::Principal;
use crate::store::message::Message;
use crate::vault::Vault;
use async_nats::header::HeaderMap;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

/// The principal's own id of it: the same id is the same command.
pub const ID: &str = "Nats-Msg-Id";
/// Who signed it.
pub const PRINCIPAL: &str = "X-Principal";
/// Nothing is done about it after this time (RFC 3339).
pub const NOT_AFTER: &str = "X-Not-After";
/// `v1=HEX`: see [`signed_text`].
pub const SIGNATURE: &str = "X-Signature";

/// The longest message id, in bytes.
const ID_MAX: usize = 128;
/// The largest body, in bytes: the API's commands have some hundred.
const BODY_MAX: usize = 64 * 1_024;
/// How far ahead a message's time may be: what is remembered of messages is bounded by it.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Where it was published.
    pub subject: &'a str,
    /// Its headers.
    pub headers: Option<&'a HeaderMap>,
    /// Its body.
    pub body: &'a [u8],
}

/// What is signed, line by line: `COMMAND`, the subject, the principal, the message id, the time, the body as it is.
#[must_use]
pub fn signed_text(subject: &str, principal: &str, id: &str, not_after: &str, body: &[u8]) -> Vec<u8> {
    let mut text = format!("COMMAND\n{subject}\n{principal}\n{id}\n{not_after}\n").into_bytes();
    text.extend_from_slice(body);
    text
}

impl<'a> Incoming<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.and_then(|headers| headers.get(name)).map(|value| value.as_str())
    }

    /// The message, when one of these principals signed it.
    ///
    /// # Errors
    /// 401 for whoever is not known, which is not answered; 500 when the vault lacks the secret.
    pub fn authenticate<'p>(
        &self,
        principals: &'p [Principal],
        vault: &dyn Vault,
    ) -> Result<(&'p Principal, &'a str, &'a str), Problem> {
        let missing =
            |name: &str| Problem::unauthorized("missing-header", format!("the message has no header {name}"));
        if self.body.len() > BODY_MAX {
            return Err(Problem::unauthorized(
                "too-long",
                format!("the body is longer than {BODY_MAX} bytes"),
            ));
        }
        let name = self.header(PRINCIPAL).ok_or_else(|| missing(PRINCIPAL))?;
        let id = self.header(ID).ok_or_else(|| missing(ID))?;
        let not_after = self.header(NOT_AFTER).ok_or_else(|| missing(NOT_AFTER))?;
        let tag = self.header(SIGNATURE).ok_or_else(|| missing(SIGNATURE))?;
        let principal = principals.iter().find(|principal| principal.name == name).ok_or_else(|| {
            Problem::unauthorized(
                "unknown-principal",
                "no principal of that name is configured for this inbox",
            )
        })?;
        if id.is_empty() || id.len() > ID_MAX {
            let detail = format!("the message id has {} bytes; it needs 1 to {ID_MAX}", id.len());
            return Err(Problem::unauthorized("malformed-id", detail));
        }
        let tag = tag.strip_prefix("v1=").and_then(unhex).ok_or_else(|| {
            Problem::unauthorized("malformed-signature", format!("{SIGNATURE} is not v1=HEX"))
        })?;
        let text = signed_text(self.subject, name, id, not_after, self.body);
        let good = signature::is_tag_of(vault, &principal.secret, &text, &tag)
            .map_err(|error| Problem::internal(&error))?;
        if !good {
            let detail = format!("the signature is not one of principal {name} over this message");
            return Err(Problem::unauthorized("wrong-signature", detail));
        }
        Ok((principal, id, not_after))
    }

    /// What is remembered of it. A time that is none counts as over.
    #[must_use]
    pub fn remembered(&self, principal: &Principal, id: &str, not_after: &str) -> Message {
        let text = signed_text(self.subject, &principal.name, id, not_after, self.body);
        Message {
            principal: principal.name.clone(),
            message_id: id.to_owned(),
            digest: Sha256::digest(&text).to_vec(),
            not_after: not_after.parse().unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

/// What is wrong with a known sender's time, if anything is.
///
/// # Errors
/// 400 and 422.
pub fn timely(not_after: &str, now: Timestamp) -> Result<(), Problem> {
    let limit: Timestamp = not_after.parse().map_err(|_| {
        Problem::malformed(format!("{NOT_AFTER} {not_after:?} is not a time like 2030-01-01T00:00:00Z"))
    })?;
    if limit < now {
        let detail = format!("its time was over at {limit}, and it is {now}: nothing was done");
        return Err(Problem::new(StatusCode::GONE, "expired", detail));
    }
    if limit.duration_since(now) > AHEAD_MAX {
        let detail = format!("{NOT_AFTER} may be {} days ahead at most", AHEAD_MAX.as_hours() / 24);
        return Err(Problem::refused("too-far-ahead", detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;
    use crate::config::ChannelSecret;
    use crate::store::access::Scope;
    use hmac::{Hmac, Mac};

    const SUBJECT: &str = "commands.4d47470102030405";
    const BODY: &[u8] = b"{\"serial\":\"1\",\"kind\":\"read\"}";

    /// The value of the signature's header.
    fn sign(secret: &[u8], text: &[u8]) -> String {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(text);
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("v1={hex}")
    }

    fn principals() -> Vec<Principal> {
        let of = |name: &str, secret: &[u8]| Principal {
            name: name.into(),
            scopes: vec![Scope::Operate],
            secret: ChannelSecret::Plain(secret.to_vec()),
        };
        let banks = Principal { secret: ChannelSecret::Vault("bank".into()), ..of("vaulted", b"") };
        vec![of("a", b"the secret of a!"), of("b", b"the secret of b!"), banks]
    }

    fn headers(principal: &str, id: &str, not_after: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(PRINCIPAL, principal);
        headers.insert(ID, id);
        headers.insert(NOT_AFTER, not_after);
        headers.insert(SIGNATURE, signature);
        headers
    }

    const UNTIL: &str = "2030-01-01T00:00:00Z";

    #[tokio::test]
    async fn a_message_is_believed_as_it_was_signed_and_with_nothing_changed() {
        let bench = Bench::new().await;
        let vault = bench.vault.as_ref();
        let judge = |headers: Option<&HeaderMap>, subject: &str, body: &[u8]| {
            let incoming = Incoming { subject, headers, body };
            let known = principals();
            let judged = incoming.authenticate(&known, vault);
            judged
                .map(|(principal, ..)| principal.name.clone())
                .map_err(|problem| (problem.status, problem.kind))
        };
        let signed = |principal: &str, secret: &[u8]| {
            sign(secret, &signed_text(SUBJECT, principal, "m-1", UNTIL, BODY))
        };
        let good = signed("a", b"the secret of a!");
        assert_eq!(judge(Some(&headers("a", "m-1", UNTIL, &good)), SUBJECT, BODY), Ok("a".into()));
        let vaulted = signed("vaulted", crate::bench::BANK_SECRET.as_bytes());
        assert_eq!(
            judge(Some(&headers("vaulted", "m-1", UNTIL, &vaulted)), SUBJECT, BODY),
            Ok("vaulted".into())
        );
        let wrong = |kind: &str| Err((401, format!("/problems/{kind}")));
        // Each part is covered: another sender, id, time, subject, body; another's secret; none.
        for (headers, subject, body) in [
            (headers("b", "m-1", UNTIL, &good), SUBJECT, BODY),
            (headers("a", "m-2", UNTIL, &good), SUBJECT, BODY),
            (headers("a", "m-1", "2031-01-01T00:00:00Z", &good), SUBJECT, BODY),
            (headers("a", "m-1", UNTIL, &good), "commands.4d47470102030499", BODY),
            (headers("a", "m-1", UNTIL, &good), SUBJECT, b"{}"),
            (headers("a", "m-1", UNTIL, &signed("a", b"the secret of b!")), SUBJECT, BODY),
        ] {
            assert_eq!(judge(Some(&headers), subject, body), wrong("wrong-signature"));
        }
        assert_eq!(
            judge(Some(&headers("c", "m-1", UNTIL, &good)), SUBJECT, BODY),
            wrong("unknown-principal")
        );
        assert_eq!(
            judge(Some(&headers("a", "m-1", UNTIL, "v1=00")), SUBJECT, BODY),
            wrong("malformed-signature")
        );
        assert_eq!(judge(Some(&headers("a", "", UNTIL, &good)), SUBJECT, BODY), wrong("malformed-id"));
        assert_eq!(judge(None, SUBJECT, BODY), wrong("missing-header"));
        assert_eq!(judge(None, SUBJECT, &[0; BODY_MAX + 1]), wrong("too-long"));
    }

    #[test]
    fn the_tag_is_that_of_another_implementation() {
        // printf 'COMMAND\ns\na\nm-1\n2030-01-01T00:00:00Z\n{}' | openssl dgst -sha256 -hmac 'the secret of a!'
        let text = signed_text("s", "a", "m-1", UNTIL, b"{}");
        assert_eq!(
            sign(b"the secret of a!", &text),
            "v1=95a570bab29080d6eee148da268f669dcc417c938c50a1ad8ac53de998f5129d"
        );
    }

    #[test]
    fn a_message_is_good_until_its_time_and_its_time_is_not_far_ahead() {
        let now: Timestamp = "2029-12-31T23:59:59Z".parse().expect("a time");
        assert!(timely(UNTIL, now).is_ok());
        let kind =
            |not_after: &str, now| timely(not_after, now).map_err(|problem| (problem.status, problem.kind));
        let later = now + SignedDuration::from_secs(2);
        assert_eq!(kind(UNTIL, later), Err((410, "/problems/expired".into())));
        assert_eq!(kind("2030-01-09T00:00:00Z", now), Err((422, "/problems/too-far-ahead".into())));
        assert_eq!(kind("tomorrow", now), Err((400, "/problems/malformed-request".into())));
    }
}
