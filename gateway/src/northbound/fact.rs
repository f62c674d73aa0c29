//! The shape in which a fact leaves the gateway.

use crate::store::event::Event;
use serde::Serialize;

/// One event, and whose it is: `gateway` and `id` together name it for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// The gateway's system title, 16 hexadecimal digits.
    pub gateway: String,
    /// The event: `id`, `at`, `kind`, `serial`, `detail`.
    #[serde(flatten)]
    pub event: Event,
}

impl Fact {
    /// Names it on every side: a repetition has the same.
    #[must_use]
    pub fn message_id(&self) -> String {
        message_id(&self.gateway, self.event.id)
    }

    /// The levels under which it is published: gateway, kind, meter (`-` where it is about none).
    #[must_use]
    pub fn levels(&self) -> [&str; 3] {
        [&self.gateway, &self.event.kind, self.event.serial.as_deref().unwrap_or("-")]
    }

    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        // A structure of text and numbers always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The id of event `id` of this gateway.
#[must_use]
pub fn message_id(gateway: &str, id: i64) -> String {
    format!("{gateway}-{id}")
}

/// The event's number in a message id of this gateway.
#[must_use]
pub fn event_id(gateway: &str, message_id: &str) -> Option<i64> {
    message_id.strip_prefix(gateway)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_names_its_gateway_and_its_event() {
        assert_eq!(message_id("4d47470102030405", 17), "4d47470102030405-17");
        assert_eq!(event_id("4d47470102030405", "4d47470102030405-17"), Some(17));
        assert_eq!(event_id("4d47470102030405", "4d47470102030499-17"), None);
        assert_eq!(event_id("4d47470102030405", "4d47470102030405"), None);
    }
}
