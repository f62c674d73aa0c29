//! Who an HDLC station is, and how patient.

use super::frame::Address;
use super::parameters::Parameters;
use crate::time::Duration;

/// Which end, and who may speak to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Station {
    /// The primary station: opens the link, polls and repeats.
    Client {
        /// Its own address, 0..=0x7F: the client SAP (16 is public).
        sap: u8,
        /// The server's address, in the length that server expects.
        server: Address,
    },
    /// The secondary station: answers in the address form it was asked with.
    Server {
        /// Logical device, the upper address; 1 is management.
        logical: u16,
        /// Physical device, the lower address. `None` on a line with this server alone: then a one-byte address and any
        /// lower address reach it. With `Some`, only frames that carry this lower address do.
        physical: Option<u16>,
    },
}

/// Timing and sizes. The defaults are for a serial line; [`Config::over_tcp`] for a converter behind a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Which end.
    pub station: Station,
    /// What this end proposes or grants at most; limited further by the frame buffer.
    pub parameters: Parameters,
    /// Client: SNRM carries no parameters (some meters refuse them); the defaults hold then.
    pub bare_snrm: bool,
    /// Client: how long after the last byte sent the answer must begin. Must cover the time the frame takes on the line.
    pub response_timeout: Duration,
    /// Client: how often a frame is sent again before the link is given up.
    pub retries: u8,
    /// Client: pause before it asks again a server that has accepted a request but has no answer yet, or is busy.
    pub poll_interval: Duration,
    /// Client: how long it keeps asking so.
    pub poll_patience: Duration,
    /// Server: how long it waits for its owner's answer before it sends RR, so that the client does not give up.
    /// Must be shorter than the client's response timeout.
    pub answer_delay: Duration,
    /// A pause inside a frame longer than this ends it.
    pub inter_octet_timeout: Duration,
    /// Without any frame from the peer for so long the link is down; `None`: never.
    pub inactivity_timeout: Option<Duration>,
}

impl Config {
    /// A client with window 1 and 128-byte fields proposed up to what its buffer holds.
    #[must_use]
    pub fn client(sap: u8, server: Address) -> Self {
        Self { inactivity_timeout: None, ..Self::new(Station::Client { sap, server }) }
    }

    /// A server; its inactivity timeout is the standard's default of 120 s.
    #[must_use]
    pub fn server(logical: u16, physical: Option<u16>) -> Self {
        Self::new(Station::Server { logical, physical })
    }

    fn new(station: Station) -> Self {
        Self {
            station,
            parameters: Parameters::symmetric(2048, 1),
            bare_snrm: false,
            response_timeout: Duration::from_millis(3_000),
            retries: 3,
            poll_interval: Duration::from_millis(200),
            poll_patience: Duration::from_secs(30),
            answer_delay: Duration::from_millis(1_000),
            // The standard's 25 ms cannot be kept where an operating system's scheduler or a USB adapter sits between.
            inter_octet_timeout: Duration::from_millis(200),
            inactivity_timeout: Some(Duration::from_secs(120)),
        }
    }

    /// The same with pauses inside frames that a network may cause.
    #[must_use]
    pub const fn over_tcp(mut self) -> Self {
        self.inter_octet_timeout = Duration::from_millis(2_000);
        self
    }

    /// The same with these sizes proposed.
    #[must_use]
    pub const fn with_parameters(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters;
        self
    }
}
