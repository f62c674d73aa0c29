//! A port of the meter: a link with the server engine behind it, fed with bytes and time.

use hardware::board::Board;
use protocol::codec::xdlms::LongInvokeId;
use protocol::cosem::events::Event;
use protocol::dlms::server::{self, Peer, PushError, Server};
use protocol::link::{self, Link, SendError};
use protocol::time::Instant;

use crate::alarm::Alarm;
use crate::meter::Meter;
use crate::objects::client;

/// Bytes of the largest APDU a port takes and sends: a block of a load profile with ten rows, and what the gateway announces.
pub const APDU_MAX: usize = 512;
/// Bytes for a parameter that comes in blocks or a selection whose answer goes out in blocks.
const LONG_MAX: usize = 256;
/// Server address of the meter's only logical device.
const SERVER_SAP: u16 = 1;

/// One link of the meter and the association on it. A meter may have several: optical port, RS-485, network.
///
/// After each call drain [`Port::poll_transmit`]; then wait for bytes or for [`Port::poll_timeout`].
///
/// ```no_run
/// # fn go<B: hardware::board::Board, L: protocol::link::Link>(
/// #     meter: &mut firmware::Meter<B>, port: &mut firmware::Port<L>,
/// #     now: protocol::time::Instant, bytes: &[u8], mut send: impl FnMut(&[u8])) {
/// port.handle_bytes(now, bytes, meter);
/// let mut out = [0; 600];
/// while let Some(n) = port.poll_transmit(now, &mut out) {
///     send(&out[..n]);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Port<L> {
    link: L,
    server: Server<APDU_MAX, LONG_MAX>,
    /// Frames that could not be opened and associations refused, since the start.
    refused: u32,
}

impl<L: Link> Port<L> {
    /// A port over a server's link. Opens it.
    pub fn new(mut link: L, now: Instant) -> Self {
        link.open(now);
        Self { link, server: Server::new(), refused: 0 }
    }

    /// Bytes arrived, any number of them. Requests in them are carried out at once.
    pub fn handle_bytes<B: Board>(&mut self, now: Instant, bytes: &[u8], meter: &mut Meter<B>) {
        let mut rest = bytes;
        loop {
            let taken = self.link.handle_bytes(now, rest);
            rest = rest.get(taken..).unwrap_or(&[]);
            let progressed = self.drain_events(now, meter);
            if rest.is_empty() || (taken == 0 && !progressed) {
                return;
            }
        }
    }

    /// The deadline of link or association has passed.
    pub fn handle_timeout<B: Board>(&mut self, now: Instant, meter: &mut Meter<B>) {
        self.link.handle_timeout(now);
        self.server.handle_timeout(now);
        self.drain_events(now, meter);
    }

    /// The pipe under the link is gone (a TCP connection closed): the association with it.
    pub fn hang_up(&mut self, now: Instant) {
        self.link.close(now);
        self.server.link_down();
    }

    /// Writes the next bytes to send into `out` and returns how many. `out` holds a whole frame.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.transmit(now);
        self.link.poll_transmit(now, out)
    }

    /// When [`Port::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.link.poll_timeout(), self.server.poll_timeout()].into_iter().flatten().min()
    }

    /// Whether the link is connected.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// The client address of the association that is open.
    #[must_use]
    pub fn associated(&self) -> Option<u8> {
        self.server.associated()
    }

    /// Frames that could not be opened and associations that were refused, since the start.
    #[must_use]
    pub const fn refused(&self) -> u32 {
        self.refused
    }

    /// Sends an alarm to the vending client as a data notification, protected as its association demands.
    ///
    /// # Errors
    /// [`PushError`]; the alarm was not sent.
    pub fn push<B: Board>(
        &mut self,
        now: Instant,
        alarm: &Alarm,
        meter: &mut Meter<B>,
    ) -> Result<(), PushError> {
        let name = meter.personalisation().logical_device_name.clone();
        let offset = meter.settings.zone.offset_at(alarm.utc_s);
        let invoke = LongInvokeId(alarm.utc_s & 0x00FF_FFFF);
        self.server.notify(meter, client::VENDING, invoke, None, |w| alarm.encode(&name, offset, w))?;
        self.transmit(now);
        Ok(())
    }

    /// Sends the alarm that is due over this port, whose link leads to [`Meter::push_destination`], and tells the meter what
    /// became of it. False when none was due or it could not be sent.
    pub fn push_due<B: Board>(&mut self, now: Instant, meter: &mut Meter<B>) -> bool {
        let Some(alarm) = meter.due_alarm(now) else { return false };
        let sent = self.link.is_up() && self.push(now, &alarm, meter).is_ok();
        meter.alarm_told(now, sent);
        sent
    }

    fn drain_events<B: Board>(&mut self, now: Instant, meter: &mut Meter<B>) -> bool {
        let mut progressed = false;
        loop {
            let client_sap = self.link.peer_sap().and_then(|sap| u8::try_from(sap).ok());
            match self.link.poll_event() {
                None => break,
                Some(link::Event::Apdu(apdu)) => {
                    // An address no client of DLMS has reaches no association.
                    let peer = Peer { client_sap: client_sap.unwrap_or(0), server_sap: SERVER_SAP };
                    self.server.handle_bytes(now, peer, apdu, meter);
                }
                Some(link::Event::Down(_)) => self.server.link_down(),
                Some(link::Event::Up | link::Event::Noise { .. } | link::Event::Unconfirmed(_)) => {}
            }
            progressed = true;
            self.note_security(meter);
            self.transmit(now);
        }
        // Further blocks of a long value, when those before them are on their way.
        while self.server.has_more() && self.server.refill(meter) {
            progressed = true;
            self.transmit(now);
        }
        progressed
    }

    fn note_security<B: Board>(&mut self, meter: &mut Meter<B>) {
        while let Some(event) = self.server.poll_event() {
            meter.note_security(&event, &mut self.refused);
        }
    }

    fn transmit(&mut self, now: Instant) {
        while let Some(apdu) = self.server.poll_transmit() {
            if self.link.send(now, apdu) == Err(SendError::Busy) {
                // One of several blocks: it goes when the one before it is out.
                self.server.not_sent();
                return;
            }
        }
    }
}

impl<B: Board> Meter<B> {
    /// Takes notice of what a server engine told of security. Counts refusals in `refused`, and logs the first, the second,
    /// the fourth …: whoever guesses keys cannot fill the log with it.
    pub fn note_security(&mut self, event: &server::Event, refused: &mut u32) {
        let (event, client_sap) = match *event {
            server::Event::Refused { client_sap, .. } => (Event::AssociationRefused, client_sap),
            server::Event::SecurityAlarm { client_sap, .. } => (Event::FrameRefused, client_sap),
            _ => return,
        };
        *refused = refused.saturating_add(1);
        if refused.is_power_of_two() {
            self.note(event, i32::from(client_sap));
        }
    }
}
