//! Links: how whole APDUs cross a byte pipe. HDLC (IEC 62056-46), the TCP/UDP wrapper (IEC 62056-47) and the mode E
//! start of an optical port (IEC 62056-21), each as a machine fed with bytes and time.

use crate::time::Instant;

mod any;
pub mod hdlc;
pub mod mode_e;
pub mod wrapper;

pub use any::AnyLink;

/// Memory that a link borrows or owns: `[u8; N]` or `&mut [u8]` in firmware, `Vec<u8>` or `Box<[u8]>` in the gateway.
/// Its length must not change while the link has it.
pub trait Storage: AsRef<[u8]> + AsMut<[u8]> {}
impl<T: AsRef<[u8]> + AsMut<[u8]>> Storage for T {}

/// What a link tells its owner. APDUs are borrowed from the link's own buffer until the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The link is up: APDUs may be sent. HDLC after UA; the wrapper at once.
    Up,
    /// One whole APDU arrived.
    Apdu(&'a [u8]),
    /// One APDU arrived outside the connection (an HDLC UI frame: a push, or a broadcast). It is never answered, and it may
    /// come while the link is down.
    Unconfirmed(&'a [u8]),
    /// The link is down, and why. Nothing that was queued will be sent.
    Down(DownReason),
    /// Bytes that belonged to no frame were skipped.
    Noise {
        /// How many bytes.
        bytes: usize,
    },
}

/// Why a link went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownReason {
    /// We closed it, and the peer confirmed.
    Closed,
    /// The peer closed it (DISC), or answers that it is disconnected (DM).
    PeerClosed,
    /// No answer after the last retransmission.
    Timeout,
    /// Nothing was heard for the inactivity timeout.
    Inactive,
    /// The peer broke the protocol in a way that resynchronising does not mend (FRMR, an APDU larger than our buffer).
    Protocol,
}

/// A send was refused: the previous APDU is still being sent, or the link is not up, or the APDU is larger than the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The link is not up.
    NotUp,
    /// The previous APDU is not out yet.
    Busy,
    /// The APDU does not fit the transmit buffer.
    TooLong,
}

/// The contract of every link machine: one call that changes it, then drain `poll_event` and `poll_transmit` until both
/// give nothing, then wait for bytes or for `poll_timeout`.
pub trait Link {
    /// Opens the link (client: SNRM for HDLC). A server's link waits instead.
    fn open(&mut self, now: Instant);
    /// Closes the link in order.
    fn close(&mut self, now: Instant);
    /// Feeds received bytes, any number of them. Returns how many were taken: fewer than given when an event has to be
    /// polled first; poll, then feed the rest.
    fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> usize;
    /// Tells the machine that its deadline has passed.
    fn handle_timeout(&mut self, now: Instant);
    /// The next thing that happened, if anything did.
    fn poll_event(&mut self) -> Option<Event<'_>>;
    /// Writes the next bytes to send into `out` and returns how many; `None` when there is nothing to send.
    /// `out` must hold a whole frame of the negotiated size.
    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize>;
    /// When `handle_timeout` wants to be called, if at all.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Queues one whole APDU.
    ///
    /// # Errors
    /// [`SendError`] says what to do: wait, or reopen.
    fn send(&mut self, now: Instant, apdu: &[u8]) -> Result<(), SendError>;
    /// Whether APDUs may be sent.
    fn is_up(&self) -> bool;
    /// The service access point at the other end: for a server the client's (source wPort or HDLC client address) of the
    /// APDU last delivered, for a client the server's. `None` before the first contact.
    fn peer_sap(&self) -> Option<u16>;
}

/// Copies `source` into `target` from `at` on; `false` when it does not fit (nothing is copied then).
fn put(target: &mut [u8], at: usize, source: &[u8]) -> bool {
    let Some(room) = at.checked_add(source.len()).and_then(|end| target.get_mut(at..end)) else {
        return false;
    };
    for (to, from) in room.iter_mut().zip(source) {
        *to = *from;
    }
    true
}

/// `value` moved into `low..=high`. `Ord::clamp` leaves a panic path for `low > high` in builds optimised for size.
fn within<T: Ord>(value: T, low: T, high: T) -> T {
    value.max(low).min(high)
}
