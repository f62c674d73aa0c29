//! The optical port: the sign-on of IEC 62056-21 at 300 baud, then HDLC at the rate both agreed on (protocol mode E), and
//! back again when the reading head is gone.

use hardware::board::Board;
use protocol::link::Link;
use protocol::link::mode_e::{self, LineSettings};
use protocol::time::{Duration, Instant};

use crate::meter::Meter;
use crate::port::Port;

/// How long the meter waits for the first HDLC frame after a sign-on before it listens at 300 baud again: the inactivity
/// timeout of HDLC.
const FIRST_FRAME: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// 300 baud, waits for a request.
    SignOn,
    /// HDLC; not connected yet, until then.
    Agreed(Instant),
    /// HDLC, connected.
    Up,
}

/// An optical port. Use it as a [`Port`]; and after [`OpticalPort::poll_transmit`] gave nothing and its bytes are out, set
/// the line as [`OpticalPort::poll_line`] says.
#[derive(Debug)]
pub struct OpticalPort<'a, L> {
    sign_on: mode_e::Server<'a>,
    port: Port<L>,
    stage: Stage,
    line: Option<LineSettings>,
}

impl<'a, L: Link> OpticalPort<'a, L> {
    /// A port that names itself with `sign_on` and then speaks over `link`, a server's HDLC.
    pub fn new(sign_on: mode_e::Server<'a>, link: L, now: Instant) -> Self {
        let mut optical = Self { sign_on, port: Port::new(link, now), stage: Stage::SignOn, line: None };
        optical.follow_sign_on(now);
        optical
    }

    /// Bytes arrived.
    pub fn handle_bytes<B: Board>(&mut self, now: Instant, bytes: &[u8], meter: &mut Meter<B>) {
        match self.stage {
            Stage::SignOn => self.sign_on.handle_bytes(bytes),
            Stage::Agreed(_) | Stage::Up => self.port.handle_bytes(now, bytes, meter),
        }
        self.follow_link();
    }

    /// The deadline has passed.
    pub fn handle_timeout<B: Board>(&mut self, now: Instant, meter: &mut Meter<B>) {
        match self.stage {
            Stage::SignOn => self.sign_on.handle_timeout(now),
            Stage::Agreed(until) if now >= until => self.listen(now),
            Stage::Agreed(_) | Stage::Up => self.port.handle_timeout(now, meter),
        }
        self.follow_link();
    }

    /// Writes the next bytes to send into `out` and returns how many. `out` holds a whole frame, at least 40 bytes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        if self.stage == Stage::SignOn {
            let written = self.sign_on.poll_transmit(now, out);
            self.follow_sign_on(now);
            return written;
        }
        let written = self.port.poll_transmit(now, out);
        // The last frame of a connection is out: the next reading head begins from the beginning.
        if written.is_none() && self.stage == Stage::Up && !self.port.is_up() {
            self.listen(now);
        }
        written
    }

    /// How the line has to be set from now on, when that changed. Ask after all bytes are out.
    pub const fn poll_line(&mut self) -> Option<LineSettings> {
        self.line.take()
    }

    /// When [`OpticalPort::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::SignOn => self.sign_on.poll_timeout(),
            Stage::Agreed(until) => Some(self.port.poll_timeout().map_or(until, |at| at.min(until))),
            Stage::Up => self.port.poll_timeout(),
        }
    }

    /// The port behind the sign-on.
    #[must_use]
    pub const fn port(&self) -> &Port<L> {
        &self.port
    }

    fn follow_link(&mut self) {
        if matches!(self.stage, Stage::Agreed(_)) && self.port.is_up() {
            self.stage = Stage::Up;
        }
    }

    fn follow_sign_on(&mut self, now: Instant) {
        while let Some(event) = self.sign_on.poll_event() {
            match event {
                mode_e::Event::Line(line) => self.line = Some(line),
                mode_e::Event::Done => self.stage = Stage::Agreed(now + FIRST_FRAME),
                mode_e::Event::Failed(_) => {}
            }
        }
    }

    fn listen(&mut self, now: Instant) {
        self.port.hang_up(now);
        self.sign_on.restart();
        self.stage = Stage::SignOn;
        self.follow_sign_on(now);
    }
}
