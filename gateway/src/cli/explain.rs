//! `meter-gateway explain`: says what captured bytes mean.

use super::Failure;
use crate::explain::{Explanation, INPUT_MAX, Keys, Space, explain, read_input};
use serde_json::json;
use std::io::Read as _;
use std::path::PathBuf;

/// Explain a captured telegram or session: HDLC, M-Bus, wrapper or a bare APDU, down to each value.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Hex digits, with or without blanks.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    hex: Vec<String>,
    /// Read a file instead: hex text, a log, a hex dump, binary, pcap or pcapng; `-` is standard input.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Global encryption key, in hex.
    #[arg(long, value_name = "HEX", value_parser = key)]
    key: Option<Secret>,
    /// Authentication key, in hex. Without it ciphered text is shown unverified.
    #[arg(long, value_name = "HEX", value_parser = key)]
    auth_key: Option<Secret>,
    /// Dedicated key, in hex.
    #[arg(long, value_name = "HEX", value_parser = key)]
    dedicated_key: Option<Secret>,
    /// System title of the sender, 8 bytes in hex, where the frames do not carry it.
    #[arg(long, value_name = "HEX", value_parser = title)]
    system_title: Option<[u8; 8]>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// A key from the command line; it has no `Debug` worth reading.
#[derive(Clone)]
struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(key)")
    }
}

fn digits(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let digit = |b: &u8| char::from(*b).to_digit(16);
        u8::try_from(digit(pair.first()?)? * 16 + digit(pair.get(1)?)?).ok()
    });
    pairs.collect()
}

fn key(text: &str) -> Result<Secret, String> {
    // The digits themselves never go into a message.
    match digits(text) {
        Some(bytes) if matches!(bytes.len(), 16 | 32) => Ok(Secret(bytes)),
        Some(bytes) => Err(format!("a key has 16 or 32 bytes, this one {}", bytes.len())),
        None => Err("not hex digits in pairs".into()),
    }
}

fn title(text: &str) -> Result<[u8; 8], String> {
    let bytes = digits(text).ok_or("not hex digits in pairs")?;
    <[u8; 8]>::try_from(bytes.as_slice())
        .map_err(|_| format!("a system title has 8 bytes, this one {}", bytes.len()))
}

/// Prints the explanation. Broken input is still shown, and then the command fails.
///
/// # Errors
/// [`Failure::Data`] when the input can't be read as bytes, or when something in it is broken.
pub fn run(args: &Args) -> Result<(), Failure> {
    let input = match &args.file {
        None => args.hex.join(" ").into_bytes(),
        Some(path) => read(path)?,
    };
    let streams = read_input(&input).map_err(Failure::Data)?;
    let secret = |key: &Option<Secret>| key.as_ref().map(|key| key.0.clone());
    let keys = Keys {
        encryption: secret(&args.key),
        authentication: secret(&args.auth_key),
        dedicated: secret(&args.dedicated_key),
        system_title: args.system_title,
    };
    let explanation = explain(&streams, keys);
    print(&explanation, args.json)?;
    match explanation.broken.as_slice() {
        [] => Ok(()),
        [(space, offset, why), ..] => {
            let place = match space {
                Space::Input => format!("byte {offset} (0x{offset:X})"),
                Space::Plain => format!("byte {offset} (0x{offset:X}) of the plaintext"),
            };
            let more = match explanation.broken.len() - 1 {
                0 => String::new(),
                more => format!("; {more} more above"),
            };
            Err(Failure::Data(format!("broken at {place}: {why}{more}")))
        }
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = INPUT_MAX as u64 + 1;
    let outcome = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    outcome.map_err(|e| Failure::Data(format!("{}: {e}", path.display())))?;
    if bytes.len() > INPUT_MAX {
        return Err(Failure::Data(format!("{}: more than {INPUT_MAX} bytes", path.display())));
    }
    Ok(bytes)
}

fn print(explanation: &Explanation, as_json: bool) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let text = if as_json {
        let broken: Vec<_> = explanation
            .broken
            .iter()
            .map(|(space, offset, why)| json!({ "offset": offset, "plaintext": *space == Space::Plain, "why": why }))
            .collect();
        let streams: Vec<_> = explanation.streams.iter().map(crate::explain::Node::to_json).collect();
        let document = json!({ "streams": streams, "broken": broken });
        serde_json::to_string_pretty(&document).map_err(anyhow::Error::from)? + "\n"
    } else {
        explanation.streams.iter().map(crate::explain::Node::to_text).collect()
    };
    // A reader that has seen enough closes the pipe; that is no failure of ours.
    match out.write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(anyhow::Error::from(e).into()),
        _ => Ok(()),
    }
}
