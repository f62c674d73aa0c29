//! Invocation counters: what this meter may send, and what it must not accept again.

use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Bytes of one place of the counter journal.
pub const COUNTER_PLACE_BYTES: usize = 192;
/// Peers whose counters are kept apart; a bound of ours. When another comes, the one heard longest ago is forgotten, and its
/// counter becomes the floor of all unknown peers, so that nothing it sent can be replayed.
pub const PEERS_MAX: usize = 8;
/// Counters reserved at once for sending: a write for every so many answers.
pub const BLOCK: u32 = 64;

/// The counters' journal record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Everything below may have been used for sending.
    reserved: u32,
    /// System title and highest accepted counter, heard longest ago first.
    peers: Vec<([u8; 8], u32), PEERS_MAX>,
    /// Highest counter of any peer not in the list.
    floor: Option<u32>,
}

impl Counters {
    /// Reserves a block for sending; store the record before using it. Returns the first value and how many; `None` when the
    /// counter has come to its end and the key must be changed.
    pub fn reserve(&mut self) -> Option<(u32, u32)> {
        let first = self.reserved;
        let end = first.saturating_add(BLOCK);
        self.reserved = end;
        if end == first { None } else { Some((first, end - first)) }
    }

    /// The highest counter accepted from a peer.
    #[must_use]
    pub fn last_seen(&self, peer: [u8; 8]) -> Option<u32> {
        self.peers.iter().find(|(title, _)| *title == peer).map(|(_, counter)| *counter).or(self.floor)
    }

    /// The highest counter accepted from anybody, zero when there was none: what the object 0.0.43.1.0.255 shows. A client
    /// that starts one above it is accepted.
    #[must_use]
    pub fn highest(&self) -> u32 {
        self.peers.iter().map(|(_, counter)| *counter).chain(self.floor).max().unwrap_or(0)
    }

    /// A frame with this counter was verified.
    pub fn accept(&mut self, peer: [u8; 8], counter: u32) {
        if let Some(at) = self.peers.iter().position(|(title, _)| *title == peer) {
            let (_, before) = self.peers.remove(at);
            let _ = self.peers.push((peer, counter.max(before)));
            return;
        }
        if self.peers.is_full() {
            let (_, forgotten) = self.peers.remove(0);
            self.floor = Some(self.floor.unwrap_or(0).max(forgotten));
        }
        let _ = self.peers.push((peer, counter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_record_fits_its_place() {
        let mut counters = Counters { reserved: u32::MAX, floor: Some(u32::MAX), ..Counters::default() };
        for n in 0..=PEERS_MAX as u8 {
            counters.accept([n; 8], u32::MAX);
        }
        let mut place = [0; COUNTER_PLACE_BYTES];
        assert!(protocol::wire::seal(u32::MAX, &counters, &mut place).is_ok());
    }

    #[test]
    fn a_forgotten_peer_cannot_be_replayed() {
        let mut counters = Counters::default();
        counters.accept([1; 8], 500);
        for n in 2..12 {
            counters.accept([n; 8], 10);
        }
        assert_eq!(counters.last_seen([1; 8]), Some(500));
        assert_eq!(counters.last_seen([99; 8]), Some(500), "nor can a stranger claim less");
        assert_eq!(counters.highest(), 500);
    }

    #[test]
    fn no_counter_is_given_twice_and_the_last_one_is_the_end() {
        let mut counters = Counters::default();
        assert_eq!(counters.reserve(), Some((0, BLOCK)));
        assert_eq!(counters.reserve(), Some((BLOCK, BLOCK)));
        counters.reserved = u32::MAX - 1;
        assert_eq!(counters.reserve(), Some((u32::MAX - 1, 1)));
        assert_eq!(counters.reserve(), None);
    }
}
