//! The protocol explainer: bytes in, a tree out that says what each byte means and where it stands, and where a broken frame
//! breaks. Layers: input text → framing (HDLC, M-Bus, wrapper) → APDU → A-XDR.
//!
//! Nothing here panics, loops or grows beyond the input: [`INPUT_MAX`] bytes, [`tree::NODES_MAX`] nodes, [`value::DEPTH_MAX`]
//! levels. Keys are used and never shown.

mod apdu;
mod capture;
mod framing;
mod input;
mod names;
mod octets;
mod tree;
mod value;

pub use framing::explain_stream;
pub use input::{Stream, read_input};
pub use names::{attribute_name, class_name, method_name, obis_name};
pub use octets::Octets;
pub use tree::{Node, Space};

use std::collections::HashMap;

/// The largest input, in bytes.
pub const INPUT_MAX: usize = 16 << 20;

/// Keys for deciphering, and the sender's system title where no frame carries it.
#[derive(Clone, Default)]
pub struct Keys {
    /// Global (unicast or broadcast) encryption key, 16 or 32 bytes.
    pub encryption: Option<Vec<u8>>,
    /// Authentication key. Without it, what is deciphered is not verified.
    pub authentication: Option<Vec<u8>>,
    /// Dedicated key; one found in a deciphered InitiateRequest is used by itself.
    pub dedicated: Option<Vec<u8>>,
    /// System title of whoever sent frames that do not carry one.
    pub system_title: Option<[u8; 8]>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// One attribute that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    class_id: u16,
    logical_name: [u8; 6],
    attribute: i8,
}

/// What one capture has taught so far: an answer is explained by its question.
#[derive(Debug, Default)]
pub struct Session {
    keys: Keys,
    /// System titles from AARQ and AARE.
    client_title: Option<[u8; 8]>,
    server_title: Option<[u8; 8]>,
    /// Attributes asked for, by invoke id.
    asked: HashMap<u8, Vec<Asked>>,
    /// Scaler and unit of registers whose attribute 3 was seen.
    scalers: HashMap<[u8; 6], (i8, u8)>,
    /// Parts of APDUs that go on, by how they are cut and whose they are.
    parts: HashMap<Part, (Octets, u32)>,
    nodes: usize,
}

/// Whose parts belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Hdlc(u16, u16),
    Mbus(u8, u8),
    Blocks { general: bool, response: bool },
}

impl Session {
    /// A session that deciphers with these keys.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self { keys, ..Self::default() }
    }
}

/// What an input turned out to be.
#[derive(Debug)]
pub struct Explanation {
    /// One node per stream of the input.
    pub streams: Vec<Node>,
    /// Places that are broken: offset in the input or the plaintext, and why.
    pub broken: Vec<(Space, usize, String)>,
}

/// Explains every stream of an input.
#[must_use]
pub fn explain(streams: &[Stream], keys: Keys) -> Explanation {
    let mut session = Session::new(keys);
    let mut explained: Vec<Node> =
        streams.iter().map(|stream| explain_stream(stream, &mut session)).collect();
    if let Some(last) = explained.last_mut() {
        framing::unfinished(&session, last);
    }
    let mut broken = Vec::new();
    for stream in &explained {
        stream.collect_broken(&mut broken);
    }
    Explanation { streams: explained, broken }
}
