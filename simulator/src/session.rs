//! What a meter does with the bytes of one connection or line: link, association, firmware, and the faults in between.

use crate::faults::Damage;
use crate::meter::{Firmware, Heard, SimMeter};
use protocol::dlms::server::{Peer, Server};
use protocol::link::hdlc::frame::fcs16;
use protocol::link::hdlc::{self, Hdlc};
use protocol::link::wrapper::{self, Wrapper};
use protocol::link::{AnyLink, DownReason, Event, Link, SendError};
use protocol::time::{Duration, Instant};
use std::sync::Arc;

/// Largest APDU in either direction: what the Cortex-M image can afford.
pub const APDU_MAX: usize = 1024;
/// What outlives one APDU in the association engine: a token, a key change set.
const LONG: usize = 512;
/// HDLC frame buffer: information fields of 239 bytes.
const FRAME_MAX: usize = 256;
/// The management logical device, the only one.
const LOGICAL_DEVICE: u16 = 1;
/// The wrapper sends a whole APDU at once.
const WIRE_MAX: usize = APDU_MAX + wrapper::HEADER_LEN;

/// How APDUs are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// TCP wrapper (IEC 62056-47).
    Wrapper,
    /// HDLC (IEC 62056-46).
    Hdlc,
}

/// What to do for a session after it was fed.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Bytes to send, after the delay.
    pub bytes: Vec<u8>,
    /// How long to wait before they are sent.
    pub delay: Duration,
    /// Hang up (TCP).
    pub close: bool,
}

/// One client's conversation with one meter.
#[derive(Debug)]
pub struct Session {
    meter: Arc<SimMeter>,
    life: u32,
    link: AnyLink<Vec<u8>, Vec<u8>>,
    server: Box<Server<APDU_MAX, LONG>>,
    framing: Framing,
    /// The lower HDLC address, on a line with other stations.
    physical: Option<u16>,
    /// An answer was lost: nothing is heard until the link opens anew.
    muted: bool,
    /// Associations and frames that were refused.
    refused: u32,
    damage: Option<Damage>,
}

impl Session {
    /// A connection of its own.
    #[must_use]
    pub fn on_tcp(meter: Arc<SimMeter>, framing: Framing, now: Instant) -> Self {
        let link = match framing {
            Framing::Wrapper => {
                let config = wrapper::Config::server(Some(LOGICAL_DEVICE));
                AnyLink::Wrapper(Wrapper::new(config, vec![0; APDU_MAX], vec![0; APDU_MAX]))
            }
            Framing::Hdlc => hdlc_server(hdlc::Config::server(LOGICAL_DEVICE, None).over_tcp()),
        };
        Self::new(meter, framing, None, link, now)
    }

    /// A station on a multi-drop line, with this lower HDLC address.
    #[must_use]
    pub fn on_line(meter: Arc<SimMeter>, physical: u16, now: Instant) -> Self {
        let link = hdlc_server(hdlc::Config::server(LOGICAL_DEVICE, Some(physical)));
        Self::new(meter, Framing::Hdlc, Some(physical), link, now)
    }

    fn new(
        meter: Arc<SimMeter>,
        framing: Framing,
        physical: Option<u16>,
        mut link: AnyLink<Vec<u8>, Vec<u8>>,
        now: Instant,
    ) -> Self {
        if framing == Framing::Wrapper {
            link.open(now);
        }
        let life = meter.life();
        let server = Box::new(Server::new());
        Self { meter, life, link, server, framing, physical, muted: false, refused: 0, damage: None }
    }

    /// Takes received bytes, any number of them.
    pub fn handle_bytes(&mut self, now: Instant, mut bytes: &[u8]) -> Outcome {
        // Over TCP whoever asks waits for the answer: what comes at once is one frame.
        if !self.meter.hears() || (self.physical.is_none() && self.meter.loses_frame()) {
            return Outcome::default();
        }
        self.follow_restart(now);
        let mut outcome = Outcome::default();
        loop {
            let taken = self.link.handle_bytes(now, bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
            let progress = self.drain(now, &mut outcome);
            if bytes.is_empty() || outcome.close || (taken == 0 && !progress) {
                if !outcome.bytes.is_empty() {
                    outcome.delay += Duration::from_millis(u64::from(self.meter.slow_ms()));
                }
                return outcome;
            }
        }
    }

    /// The deadline of the link or of the association has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        if self.link.poll_timeout().is_some_and(|at| at <= now) {
            self.link.handle_timeout(now);
        }
        self.server.handle_timeout(now);
        self.drain(now, &mut outcome);
        outcome
    }

    /// When [`Session::handle_timeout`] wants to be called, in real time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.link.poll_timeout(), self.server.poll_timeout()].into_iter().flatten().min()
    }

    /// A meter that restarted knows nothing of its sessions.
    fn follow_restart(&mut self, now: Instant) {
        let life = self.meter.life();
        if life == self.life {
            return;
        }
        let meter = Arc::clone(&self.meter);
        *self = match self.physical {
            Some(physical) => Self::on_line(meter, physical, now),
            None => Self::on_tcp(meter, self.framing, now),
        };
    }

    /// Handles what the link has to tell and collects what it has to send. True when it had anything.
    fn drain(&mut self, now: Instant, outcome: &mut Outcome) -> bool {
        let mut any = false;
        loop {
            let mut request = None;
            let Some(event) = self.link.poll_event() else { break };
            any = true;
            match event {
                Event::Up => {
                    self.server.link_down();
                    self.muted = false;
                }
                Event::Apdu(apdu) => request = Some(apdu.to_vec()),
                Event::Down(reason) => {
                    self.server.link_down();
                    outcome.close |= self.framing == Framing::Wrapper || reason == DownReason::Inactive;
                }
                Event::Unconfirmed(_) | Event::Noise { .. } => {}
            }
            if let Some(apdu) = request {
                self.answer(now, &apdu);
                self.transmit(now, outcome);
            }
        }
        self.transmit(now, outcome) || any
    }

    fn answer(&mut self, now: Instant, apdu: &[u8]) {
        let client_sap = self.link.peer_sap().and_then(|sap| u8::try_from(sap).ok()).unwrap_or(0);
        let peer = Peer { client_sap, server_sap: LOGICAL_DEVICE };
        let (server, refused) = (&mut self.server, &mut self.refused);
        let request = |meter: &mut Firmware| {
            server.handle_bytes(now, peer, apdu, meter);
            while let Some(event) = server.poll_event() {
                meter.note_security(&event, refused);
            }
        };
        let heard = self.meter.carry_out(self.life, request);
        self.take_notice(heard);
    }

    fn take_notice(&mut self, heard: Heard) {
        match heard {
            Heard::Carried(Some(Damage::Lost)) => self.muted = true,
            Heard::Carried(damage) => self.damage = damage,
            Heard::Nothing => self.muted = true,
        }
    }

    /// Hands the link the next APDU that waits. False when there is none, or the link has no room for it yet.
    fn send_next(&mut self, now: Instant) -> bool {
        if self.server.has_more() {
            // The next of several blocks of a long value.
            let server = &mut self.server;
            let heard = self.meter.carry_out(self.life, |meter| {
                server.refill(meter);
            });
            self.take_notice(heard);
        }
        let Some(answer) = self.server.poll_transmit() else { return false };
        match self.link.send(now, answer) {
            Ok(()) => true,
            // One of several blocks: it goes when the one before it is out.
            Err(SendError::Busy) => {
                self.server.not_sent();
                false
            }
            // The link is up, it has just delivered a request; an answer it can't take is lost, as on any wire.
            Err(_) => true,
        }
    }

    /// Collects what there is to send; true when there was anything.
    fn transmit(&mut self, now: Instant, outcome: &mut Outcome) -> bool {
        let mut any = self.transmit_link(now, outcome);
        while self.send_next(now) {
            any |= self.transmit_link(now, outcome);
        }
        any
    }

    /// Collects what the link has to send; true when there was anything.
    fn transmit_link(&mut self, now: Instant, outcome: &mut Outcome) -> bool {
        let mut wire = [0; WIRE_MAX];
        let mut any = false;
        while let Some(length) = self.link.poll_transmit(now, &mut wire) {
            any = true;
            let frame = &mut wire[..length];
            if self.muted || self.meter.loses_frame() {
                continue;
            }
            match self.damage.take() {
                None | Some(Damage::Lost) => outcome.bytes.extend_from_slice(frame),
                Some(Damage::Late { delay_ms }) => {
                    outcome.bytes.extend_from_slice(frame);
                    outcome.delay = Duration::from_millis(u64::from(delay_ms));
                }
                Some(Damage::Corrupted) => {
                    frame[length / 2] ^= 0x10;
                    outcome.bytes.extend_from_slice(frame);
                }
                Some(Damage::WrongTransaction) => {
                    to_another_client(frame, self.framing);
                    outcome.bytes.extend_from_slice(frame);
                }
                Some(Damage::Truncated) => outcome.bytes.extend_from_slice(&frame[..length / 2]),
                Some(Damage::Duplicated) => {
                    outcome.bytes.extend_from_slice(frame);
                    outcome.bytes.extend_from_slice(frame);
                }
            }
        }
        any
    }
}

/// Addresses a frame to the client after the one that asked; its check sequences fit.
fn to_another_client(frame: &mut [u8], framing: Framing) {
    match framing {
        // Version and source port, two bytes each, stand before the destination port.
        Framing::Wrapper => {
            if let Some(low) = frame.get_mut(5) {
                *low = low.wrapping_add(1);
            }
        }
        Framing::Hdlc => {
            let Some(body) = frame.len().checked_sub(1).and_then(|end| frame.get_mut(1..end)) else { return };
            // Format, client address, server address up to the byte with the lowest bit, control.
            let Some(server) = body.get(3..).and_then(|rest| rest.iter().position(|byte| byte & 1 == 1))
            else {
                return;
            };
            let header = 3 + server + 2;
            let Some(check) = body.len().checked_sub(2).filter(|check| *check >= header) else { return };
            body[2] = body[2].wrapping_add(2);
            if check >= header + 2 {
                let sum = fcs16(&body[..header]).to_le_bytes();
                body[header..header + 2].copy_from_slice(&sum);
            }
            let sum = fcs16(&body[..check]).to_le_bytes();
            body[check..].copy_from_slice(&sum);
        }
    }
}

fn hdlc_server(config: hdlc::Config) -> AnyLink<Vec<u8>, Vec<u8>> {
    AnyLink::Hdlc(Hdlc::new(config, vec![0; FRAME_MAX], vec![0; APDU_MAX], vec![0; APDU_MAX]))
}
