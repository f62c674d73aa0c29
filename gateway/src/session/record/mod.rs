//! Record and replay: what one meter and the gateway say to each other, as readable text without secrets, and the same
//! session run again against a player that answers as recorded.
//!
//! A recording is a text of lines. `#: ` begins a directive, `# ` a remark; the others are one APDU each: time since the
//! begin, direction, protection on the wire, and the deciphered APDU in hex.
//!
//! ```text
//! # meter-gateway recording
//! #: format 1
//! #: model reference-dlms
//! #: serial 00000000000
//! #: open
//! +0.004 sent glo 60 36 A1 09 …
//! +0.011 received glo 61 42 A1 09 …
//! #: work read
//! +0.020 sent glo C0 01 C1 …
//! ```
//!
//! What is replaced (`redact`): serial number and system titles by stand-ins of the same length, token digits by
//! counted ones, challenges, their answers, passwords and keys by zeros. Invocation counters and tags are not in it at all.

mod canon;
mod file;
mod player;
mod redact;
mod replay;
mod tape;

pub use canon::Keyring;
pub use file::{Entry, Recording};
pub use replay::{Replayed, replay};
pub(crate) use tape::ending_word;
pub use tape::{FOR_MAX, Recordings, StartRefused, Tape};

/// The system titles that stand for the real ones.
pub(crate) const CLIENT_TITLE: [u8; 8] = *b"EXAMPLEC";
pub(crate) const SERVER_TITLE: [u8; 8] = *b"EXAMPLES";
