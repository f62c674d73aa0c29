//! `[[listen]]`: where notifications of meters are received.

use super::raw::Checker;
use super::{ConfigError, Surroundings};
use serde::Deserialize;
use std::net::SocketAddr;
use toml::Spanned;

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// Its name in events and logs.
    pub name: String,
    /// What it listens for.
    pub kind: ListenKind,
    /// Where.
    pub address: SocketAddr,
    /// Connections at once (TCP).
    pub peers_max: usize,
}

/// What a listener listens for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenKind {
    /// Connections, each with notifications in the wrapper.
    Tcp,
    /// Datagrams, each one notification in the wrapper.
    Udp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListen {
    name: Spanned<String>,
    kind: Spanned<ListenKind>,
    address: Spanned<String>,
    peers_max: Option<Spanned<usize>>,
}

/// Connections at once where nothing is said: a feeder that fails makes a whole street speak.
const PEERS: usize = 256;

pub(super) fn listeners<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &[Spanned<RawListen>],
) -> Result<Vec<ListenConfig>, ConfigError> {
    let mut listeners: Vec<ListenConfig> = Vec::new();
    for spanned in raw {
        let raw = spanned.get_ref();
        let name = checker.id("listener name", &raw.name)?;
        if listeners.iter().any(|other| other.name == name) {
            return Err(checker.at(&raw.name.span(), format!("listener name {name:?} is used twice")));
        }
        let address = raw.address.get_ref();
        let address: SocketAddr = address.parse().map_err(|_| {
            checker.at(&raw.address.span(), format!("address {address:?} is not address:port"))
        })?;
        let kind = *raw.kind.get_ref();
        if listeners.iter().any(|other| (other.kind, other.address) == (kind, address)) {
            return Err(checker.at(&raw.address.span(), format!("{address} is listened on twice")));
        }
        let peers_max = match (&raw.peers_max, kind) {
            (Some(peers), ListenKind::Udp) => {
                return Err(checker.at(&peers.span(), "peers_max belongs to listeners of kind tcp"));
            }
            (Some(peers), ListenKind::Tcp) if *peers.get_ref() == 0 => {
                return Err(checker.at(&peers.span(), "peers_max must be at least 1"));
            }
            (peers, _) => peers.as_ref().map_or(PEERS, |peers| *peers.get_ref()),
        };
        listeners.push(ListenConfig { name, kind, address, peers_max });
    }
    Ok(listeners)
}
