//! Carries APDUs over a pipe: the loop that feeds a link machine with bytes and time and carries out what it says.

use crate::driver::{DATAGRAM_MAX, Pipe};
use crate::session::model::LinkManner;
use crate::session::trouble::Trouble;
use protocol::link::hdlc::frame::Address;
use protocol::link::hdlc::{self, Hdlc, Parameters};
use protocol::link::wrapper::{self, Wrapper};
use protocol::link::{AnyLink, DownReason, Event, Link};
use protocol::time;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// The largest APDU either way, in bytes: what the models may offer, with room for ciphering.
pub(super) const APDU_MAX: usize = 2_048;
/// Information field proposed on a serial line: half a second at 9,600 baud, so that a damaged frame costs no more.
const SERIAL_FIELD: u16 = 512;
/// Information field proposed over TCP: the most HDLC can carry.
const TCP_FIELD: u16 = 2_030;
/// HDLC over a network or a bus repeats a frame once; each try has half of the time for an answer.
const HDLC_TRIES: u32 = 2;
/// The most bytes thrown away before a link is opened, so that a babbling peer cannot hold us here.
const DRAIN_MAX: usize = 16 * 1_024;
/// How long an orderly end may take. The meter forgets us anyway.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// Who speaks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Our client address (SAP).
    pub client: u8,
    /// Server address: wrapper port or upper HDLC address.
    pub server: u16,
    /// Lower HDLC address on a shared bus.
    pub physical: Option<u16>,
    /// Length of the server's HDLC address in bytes; 0 for the shortest that holds it.
    pub bytes: usize,
}

/// How APDUs cross the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// The TCP wrapper.
    Wrapper,
    /// The wrapper over UDP: one datagram is one APDU, and a lost one is a lost answer.
    Datagrams,
    /// HDLC over TCP.
    HdlcTcp,
    /// HDLC on a serial line with this time per byte.
    HdlcSerial {
        /// How long one byte takes.
        byte_time: Duration,
    },
}

/// A link machine with the buffers and the clock it needs. The pipe is lent to each call.
pub struct Channel {
    link: AnyLink<Vec<u8>, Vec<u8>>,
    origin: Instant,
    /// What one read brings is one datagram.
    datagrams: bool,
    patience: Duration,
    manner: LinkManner,
    heard: Option<Instant>,
    out: Vec<u8>,
    input: Vec<u8>,
    apdu: Vec<u8>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("patience", &self.patience).finish_non_exhaustive()
    }
}

enum Step {
    Up,
    Apdu,
    Down(DownReason),
    Nothing,
}

impl Channel {
    /// A link that is down. `patience` is how long the meter may take for the answer to one request.
    #[must_use]
    pub fn new(addresses: Addresses, carrier: Carrier, patience: Duration, manner: &LinkManner) -> Self {
        let apdu = || vec![0; APDU_MAX];
        let Addresses { client, server, physical, bytes } = addresses;
        // What leaves may be held back by the pause; the answer is waited for as long all the same.
        let patience = patience + manner.pause;
        let mut frames = 1;
        let link = match carrier {
            Carrier::Wrapper | Carrier::Datagrams => {
                let config = wrapper::Config {
                    datagrams: carrier == Carrier::Datagrams,
                    ..wrapper::Config::client(u16::from(client), server)
                };
                AnyLink::Wrapper(Wrapper::new(config, apdu(), apdu()))
            }
            Carrier::HdlcTcp | Carrier::HdlcSerial { .. } => {
                let address = match physical {
                    Some(physical) => Address::server(server, physical, bytes),
                    None => Address::server(server, 0, bytes.max(1)),
                };
                let mut config = hdlc::Config::client(client, address);
                config.retries = u8::try_from(HDLC_TRIES - 1).unwrap_or(0);
                config.response_timeout = patience / HDLC_TRIES;
                let most = manner.information_field.unwrap_or(u16::MAX);
                let field = match carrier {
                    Carrier::HdlcSerial { byte_time } => {
                        let field = SERIAL_FIELD.min(most);
                        config.response_timeout += byte_time * u32::from(field);
                        field
                    }
                    _ => {
                        config = config.over_tcp();
                        TCP_FIELD.min(most)
                    }
                };
                config.bare_snrm = manner.bare_snrm;
                config = config.with_parameters(Parameters::symmetric(field, 1));
                // Segments both ways and what acknowledges them.
                frames = 2 * (APDU_MAX as u32).div_ceil(u32::from(field)) + 1;
                let frame = vec![0; usize::from(field) + hdlc::frame::OVERHEAD_MAX];
                AnyLink::Hdlc(Hdlc::new(config, frame, apdu(), apdu()))
            }
        };
        let wire_time = match carrier {
            // A whole APDU each way, and the pauses between its frames.
            Carrier::HdlcSerial { byte_time } => byte_time * 3 * APDU_MAX as u32,
            _ => Duration::ZERO,
        };
        let patience = patience + wire_time + manner.pause * frames;
        Self {
            link,
            origin: Instant::now(),
            datagrams: carrier == Carrier::Datagrams,
            patience,
            manner: manner.clone(),
            heard: None,
            out: vec![0; APDU_MAX + 64],
            input: Vec::new(),
            apdu: Vec::new(),
        }
    }

    /// The time as the machines of `protocol` count it.
    #[must_use]
    pub fn now(&self) -> time::Instant {
        time::Instant::from_millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Opens the link and waits until it is up.
    ///
    /// # Errors
    /// Nobody answers, or the pipe breaks.
    pub async fn open(&mut self, pipe: &mut Pipe) -> Result<(), Trouble> {
        drain(pipe).await.map_err(|error| Trouble::Broken {
            waited_for: "the link to open".into(),
            why: error.to_string(),
        })?;
        let what = "the link to open";
        self.wake(pipe)
            .await
            .map_err(|error| Trouble::Broken { waited_for: what.into(), why: error.to_string() })?;
        let now = self.now();
        self.link.open(now);
        match self.drive(pipe, what, self.patience).await? {
            Step::Up => Ok(()),
            _ => Err(Trouble::Protocol("an APDU arrived before the link was open".into())),
        }
    }

    /// Sends what wakes the meter, and gives it the time to.
    async fn wake(&mut self, pipe: &mut Pipe) -> std::io::Result<()> {
        if self.manner.wake_up.is_empty() {
            return Ok(());
        }
        pipe.write_all(&self.manner.wake_up).await?;
        tokio::time::sleep_until(pipe.sent_until() + self.manner.wake_up_pause).await;
        // An echo, or what the meter mutters while it wakes up.
        drain(pipe).await
    }

    /// How long one answer may take, with the time its bytes need on the wire.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// Queues one APDU; it leaves with the next [`Channel::receive`].
    ///
    /// # Errors
    /// The link is down, busy, or the APDU is too long for it.
    pub fn send(&mut self, apdu: &[u8], what: &str) -> Result<(), Trouble> {
        let now = self.now();
        self.link
            .send(now, apdu)
            .map_err(|error| Trouble::Protocol(format!("{what} could not be sent: {error:?}")))
    }

    /// The APDU that came last.
    #[must_use]
    pub fn apdu(&self) -> &[u8] {
        &self.apdu
    }

    /// Waits for the next APDU; [`Channel::apdu`] has it then.
    ///
    /// # Errors
    /// Silence, a broken pipe, a link that went down.
    pub async fn receive(&mut self, pipe: &mut Pipe, what: &str) -> Result<(), Trouble> {
        match self.drive(pipe, what, self.patience).await? {
            Step::Apdu => Ok(()),
            _ => Err(Trouble::Protocol(format!("the link was opened again while waiting for {what}"))),
        }
    }

    /// Closes the link in order, as far as the meter plays along.
    pub async fn close(&mut self, pipe: &mut Pipe) {
        let now = self.now();
        self.link.close(now);
        // Whatever comes of it, the link is of no more use.
        let _ = self.drive(pipe, "the link to close", CLOSE_PATIENCE).await;
    }

    /// Runs the machine until it is up, has an APDU, or is down.
    async fn drive(&mut self, pipe: &mut Pipe, what: &str, patience: Duration) -> Result<Step, Trouble> {
        let deadline = Instant::now() + patience;
        let broken = |why: String| Trouble::Broken { waited_for: what.to_owned(), why };
        let silent = || Trouble::Silent { waited_for: what.to_owned(), waited: patience };
        let mut buffer = [0; DATAGRAM_MAX];
        loop {
            self.transmit(pipe).await.map_err(|error| broken(error.to_string()))?;
            match self.step() {
                Step::Nothing => {}
                Step::Down(DownReason::Timeout) => return Err(silent()),
                Step::Down(reason) => return Err(broken(format!("link down: {reason:?}"))),
                step => return Ok(step),
            }
            if !self.input.is_empty() && self.feed() {
                continue;
            }
            let machine =
                self.link.poll_timeout().map(|at| self.origin + Duration::from_millis(at.as_millis()));
            let until = machine.map_or(deadline, |at| at.min(deadline));
            tokio::select! {
                read = pipe.read(&mut buffer) => match read {
                    Ok(0) => return Err(broken("the peer closed the connection".into())),
                    Ok(n) => {
                        self.heard = Some(Instant::now());
                        if self.datagrams {
                            self.input.clear();
                        }
                        self.input.extend_from_slice(&buffer[..n]);
                    }
                    Err(error) => return Err(broken(error.to_string())),
                },
                () = tokio::time::sleep_until(until) => {
                    if Instant::now() >= deadline {
                        return Err(silent());
                    }
                    let now = self.now();
                    self.link.handle_timeout(now);
                }
            }
        }
    }

    /// Gives the machine what was received; whether it took anything.
    fn feed(&mut self) -> bool {
        let now = self.now();
        let taken = self.link.handle_bytes(now, &self.input);
        self.input.drain(..taken);
        taken > 0
    }

    async fn transmit(&mut self, pipe: &mut Pipe) -> std::io::Result<()> {
        loop {
            let now = self.now();
            match self.link.poll_transmit(now, &mut self.out) {
                Some(n) => {
                    if let Some(heard) = self.heard {
                        tokio::time::sleep_until(heard + self.manner.pause).await;
                    }
                    pipe.write_all(&self.out[..n]).await?;
                }
                None => return Ok(()),
            }
        }
    }

    fn step(&mut self) -> Step {
        loop {
            match self.link.poll_event() {
                Some(Event::Up) => return Step::Up,
                Some(Event::Apdu(bytes)) => {
                    self.apdu.clear();
                    self.apdu.extend_from_slice(bytes);
                    return Step::Apdu;
                }
                Some(Event::Down(reason)) => return Step::Down(reason),
                // Noise is counted by the link; a push on this pipe is not what is waited for.
                Some(Event::Noise { .. } | Event::Unconfirmed(_)) => {}
                None => return Step::Nothing,
            }
        }
    }
}

/// Throws away what came late for an association that is over.
async fn drain(pipe: &mut Pipe) -> std::io::Result<()> {
    let mut scratch = [0; 1_024];
    let mut thrown_away = 0;
    while thrown_away < DRAIN_MAX {
        // Polls once: what has not arrived yet is not waited for.
        match tokio::time::timeout(Duration::ZERO, pipe.read(&mut scratch)).await {
            Ok(Ok(0)) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => thrown_away += read?,
            Err(_nothing_there) => break,
        }
    }
    Ok(())
}
