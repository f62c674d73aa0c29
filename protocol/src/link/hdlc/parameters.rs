//! What SNRM proposes and UA grants (IEC 62056-46, clause 6.4.4.4.3.2).

use super::super::{put, within};

/// Information field sizes and windows of one end, from that end's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// The largest information field it sends, bytes.
    pub info_transmit: u16,
    /// The largest information field it receives, bytes.
    pub info_receive: u16,
    /// Frames it sends before it waits for an acknowledgement, 1..=7.
    pub window_transmit: u8,
    /// Frames it receives before it acknowledges, 1..=7.
    pub window_receive: u8,
}

/// The longest encoded form: three bytes of group header, two values of 4 bytes and two of 6.
pub const ENCODED_MAX: usize = 3 + 4 + 4 + 6 + 6;

impl Parameters {
    /// What holds when nothing is negotiated.
    pub const DEFAULT: Self =
        Self { info_transmit: 128, info_receive: 128, window_transmit: 1, window_receive: 1 };

    /// Both directions alike; `info` is kept within 32..=2048 and `window` within 1..=7.
    #[must_use]
    pub fn symmetric(info: u16, window: u8) -> Self {
        let (info, window) = (within(info, 32, 2048), within(window, 1, 7));
        Self { info_transmit: info, info_receive: info, window_transmit: window, window_receive: window }
    }

    /// Writes the negotiation field into `out`, which must hold [`ENCODED_MAX`] bytes, and returns its length.
    #[must_use]
    pub fn encode(&self, out: &mut [u8; ENCODED_MAX]) -> usize {
        let mut at = 3;
        for (id, value) in [(5, self.info_transmit), (6, self.info_receive)] {
            // Two bytes even where one would do: the form of the DLMS UA's examples, and the one every meter reads.
            let [high, low] = value.to_be_bytes();
            put(out, at, &[id, 2, high, low]);
            at += 4;
        }
        for (id, value) in [(7, self.window_transmit), (8, self.window_receive)] {
            put(out, at, &[id, 4, 0, 0, 0, value]);
            at += 6;
        }
        put(out, 0, &[0x81, 0x80, u8::try_from(at - 3).unwrap_or(0)]);
        at
    }

    /// Reads the information field of SNRM or UA. What is absent, zero or unreadable keeps its default; unknown
    /// parameters are skipped.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let mut found = Self::DEFAULT;
        let Some([0x81, 0x80, _, rest @ ..]) = bytes.get(..) else { return found };
        let mut rest = rest;
        while let [id, len, after @ ..] = rest {
            let Some((value, next)) = after.split_at_checked(usize::from(*len)) else { break };
            let number = value.iter().fold(0_u32, |sum, &b| (sum << 8) | u32::from(b));
            let info = u16::try_from(number).unwrap_or(u16::MAX);
            let window = u8::try_from(number.min(7)).unwrap_or(7);
            match id {
                5 if number > 0 => found.info_transmit = info,
                6 if number > 0 => found.info_receive = info,
                7 if number > 0 => found.window_transmit = window,
                8 if number > 0 => found.window_receive = window,
                _ => {}
            }
            rest = next;
        }
        found
    }

    /// What this end may do towards `peer`: each direction limited by whoever can do less.
    #[must_use]
    pub fn limited_by(&self, peer: &Self) -> Self {
        Self {
            info_transmit: self.info_transmit.min(peer.info_receive),
            info_receive: self.info_receive.min(peer.info_transmit),
            window_transmit: self.window_transmit.min(peer.window_receive),
            window_receive: self.window_receive.min(peer.window_transmit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::transport::hdlc as other;

    #[test]
    fn another_authors_decoder_reads_what_we_write() {
        let ours =
            Parameters { info_transmit: 128, info_receive: 2030, window_transmit: 1, window_receive: 7 };
        let mut out = [0xA5; ENCODED_MAX];
        let n = ours.encode(&mut out);
        let theirs = other::Parameters::decode(&out[..n]).unwrap();
        assert_eq!(
            (theirs.max_info_tx, theirs.max_info_rx, theirs.window_tx, theirs.window_rx),
            (128, 2030, 1, 7)
        );
        assert_eq!(Parameters::decode(&out[..n]), ours);
    }

    #[test]
    fn nothing_or_nonsense_means_the_defaults() {
        for bytes in
            [&[][..], &[0x81], &[0x82, 0x80, 0], &[0x81, 0x80, 9, 5, 200, 1], &[0x81, 0x80, 3, 7, 1, 0]]
        {
            assert_eq!(Parameters::decode(bytes), Parameters::DEFAULT);
        }
    }
}
