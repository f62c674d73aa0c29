//! Signed payments: the header `X-Signature: t=UNIX-SECONDS,v1=HEX` carries HMAC-SHA-256 under the channel's secret of
//! `t "." method "." path "." idempotency-key "." body`.

use super::Problem;
use crate::config::{ChannelConfig, ChannelSecret};
use crate::vault::{Vault, VaultError, verify_hmac};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// How far a signature's time may be from ours, in seconds. Five minutes is what payment services commonly allow.
pub const TOLERANCE_S: u64 = 300;

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `POST`.
    pub method: &'a str,
    /// `/api/v1/top-ups`.
    pub path: &'a str,
    /// The Idempotency-Key.
    pub key: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

fn message(time: u64, signed: &Signed<'_>) -> Vec<u8> {
    let mut message = format!("{time}.{}.{}.{}.", signed.method, signed.path, signed.key).into_bytes();
    message.extend_from_slice(signed.body);
    message
}

/// Makes the header's value.
#[must_use]
pub fn sign(secret: &[u8], unix_s: u64, signed: &Signed<'_>) -> String {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(&message(unix_s, signed));
    let tag = mac.finalize().into_bytes();
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={unix_s},v1={hex}")
}

/// Checks the header's value, in constant time where it matters.
///
/// # Errors
/// 401, saying what is wrong but not what would be right; 500 when the vault lacks the channel's secret.
pub fn verify(
    vault: &dyn Vault,
    channel: &ChannelConfig,
    header: Option<&str>,
    now_unix_s: u64,
    signed: &Signed<'_>,
) -> Result<(), Problem> {
    let wrong = |kind: &str, detail: String| Err(Problem::unauthorized(kind, detail));
    let Some(header) = header else {
        return wrong(
            "missing-signature",
            "a payment needs an X-Signature header: t=UNIX-SECONDS,v1=HEX".into(),
        );
    };
    let mut time = None;
    let mut tag = None;
    for part in header.split(',') {
        match part.split_once('=') {
            Some(("t", value)) => time = value.parse::<u64>().ok(),
            Some(("v1", value)) => tag = unhex(value),
            _ => {}
        }
    }
    let (Some(time), Some(tag)) = (time, tag) else {
        return wrong("malformed-signature", "X-Signature is not t=UNIX-SECONDS,v1=HEX".into());
    };
    let good = is_tag_of(vault, &channel.secret, &message(time, signed), &tag)
        .map_err(|error| Problem::internal(&error))?;
    if !good {
        let detail = format!("the signature is not one of channel {} over this request", channel.id);
        return wrong("wrong-signature", detail);
    }
    let off = time.abs_diff(now_unix_s);
    if off > TOLERANCE_S {
        let detail = format!("the signature's time is {off} s from ours; {TOLERANCE_S} s are allowed");
        return wrong("stale-signature", detail);
    }
    Ok(())
}

/// Whether `tag` is HMAC-SHA-256 of `text` under this secret, in constant time.
///
/// # Errors
/// The vault lacks the secret.
pub(crate) fn is_tag_of(
    vault: &dyn Vault,
    secret: &ChannelSecret,
    text: &[u8],
    tag: &[u8],
) -> Result<bool, VaultError> {
    match secret {
        ChannelSecret::Vault(name) => vault.verify_signature(name, text, tag),
        ChannelSecret::Plain(secret) => Ok(verify_hmac(secret, text, tag)),
    }
}

/// The bytes of an HMAC-SHA-256 in hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    // 32 bytes of HMAC-SHA-256; anything else cannot be right.
    if digits.len() != 64 {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Signed<'_> =
        Signed { method: "POST", path: "/api/v1/top-ups", key: "k1", body: b"{\"serial\":\"1\"}" };

    const SECRET: &[u8] = b"0123456789abcdef";

    fn channel() -> ChannelConfig {
        ChannelConfig { id: "shop".into(), secret: ChannelSecret::Plain(SECRET.to_vec()) }
    }

    /// A vault without secrets.
    fn vault() -> std::sync::Arc<dyn Vault> {
        static PLACE: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
        let place = PLACE.get_or_init(|| {
            let mut random = [0u8; 8];
            getrandom::fill(&mut random).unwrap();
            std::env::temp_dir().join(format!("signature-{:016x}.sealed", u64::from_be_bytes(random)))
        });
        let master = crate::vault::MasterKey::from_bytes([7; 32]);
        let vault = crate::vault::SoftVault::open_file(place, &master).unwrap();
        let _ = std::fs::remove_file(place);
        std::sync::Arc::new(vault)
    }

    fn said(header: Option<&str>, now: u64, signed: &Signed<'_>) -> String {
        verify(vault().as_ref(), &channel(), header, now, signed)
            .err()
            .map_or_else(|| "good".into(), |problem| problem.kind)
    }

    #[test]
    fn the_signature_is_the_one_openssl_makes() {
        // printf '1700000000.POST./api/v1/top-ups.k1.{"serial":"1"}' | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(
            sign(b"0123456789abcdef", 1_700_000_000, &REQUEST),
            "t=1700000000,v1=a39398db092973cf81a6edcd583ae794d06bdb34ed2197ac8f8bfd71c0d4d057"
        );
    }

    #[test]
    fn a_signature_is_good_for_its_request_its_channel_and_its_time_only() {
        let header = sign(SECRET, 1_000_000, &REQUEST);
        assert_eq!(said(Some(&header), 1_000_300, &REQUEST), "good");
        assert_eq!(said(Some(&header), 1_000_301, &REQUEST), "/problems/stale-signature");
        assert_eq!(said(Some(&header), 999_699, &REQUEST), "/problems/stale-signature");
        for other in [
            Signed { method: "GET", ..REQUEST },
            Signed { path: "/api/v1/commands", ..REQUEST },
            Signed { key: "k2", ..REQUEST },
            Signed { body: b"{\"serial\":\"2\"}", ..REQUEST },
        ] {
            assert_eq!(said(Some(&header), 1_000_000, &other), "/problems/wrong-signature");
        }
        let foreign = sign(b"another secret!!", 1_000_000, &REQUEST);
        assert_eq!(said(Some(&foreign), 1_000_000, &REQUEST), "/problems/wrong-signature");
    }

    #[test]
    fn what_is_no_signature_is_said_to_be_none() {
        assert_eq!(said(None, 0, &REQUEST), "/problems/missing-signature");
        for header in ["", "t=1", "v1=00", "t=x,v1=zz", "t=1,v1=abcd"] {
            assert_eq!(said(Some(header), 0, &REQUEST), "/problems/malformed-signature", "{header}");
        }
    }
}
