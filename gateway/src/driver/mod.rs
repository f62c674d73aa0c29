//! Byte pipes: TCP connections, serial ports, converters and datagrams, opened with exact errors, counted, and paced where a wire is half-duplex.
//!
//! Nothing here knows a protocol. A session asks for a [`Pipe`], owns it, and drops it when it breaks; opening it again is
//! how a port that vanished (an unplugged adapter) comes back.

mod callers;
mod pipe;
mod serial;
mod tcp;
mod udp;

pub use callers::{CallerStream, Callers, Greet, Greeted, Held, NAME_MAX};
pub use pipe::{ByteCounters, Pacing, Pipe, Traffic};
pub use serial::{Parity, SerialEndpoint};
pub use tcp::TcpEndpoint;
pub use udp::{DATAGRAM_MAX, Datagrams};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where a pipe leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP connection that we open.
    Tcp(TcpEndpoint),
    /// A serial port of this machine.
    Serial(SerialEndpoint),
    /// A serial line behind a converter: its bytes come and go over a TCP connection as they are, at the line's pace.
    Converter(TcpEndpoint, Pacing),
    /// Datagrams to and from one peer, each one write or read.
    Udp(SocketAddr),
    /// The connection of a meter that dials in, by its name on the line.
    Caller(Callers, String),
}

impl Endpoint {
    /// The timing of the wire, where there is one.
    #[must_use]
    pub fn pacing(&self) -> Option<Pacing> {
        match self {
            Self::Serial(serial) => Some(serial.pacing()),
            Self::Converter(_, pacing) => Some(*pacing),
            Self::Tcp(_) | Self::Udp(_) | Self::Caller(..) => None,
        }
    }

    /// How long one byte takes on the wire; nothing on a network.
    #[must_use]
    pub fn byte_time(&self) -> Duration {
        self.pacing().map_or(Duration::ZERO, |pacing| pacing.byte_time)
    }

    /// It leads to one meter alone, and is closed with its association.
    #[must_use]
    pub const fn is_one_meters(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Udp(_))
    }
}

/// Why a pipe could not be opened. Each text names the place, so that it can be shown as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody answered the connection request in time.
    #[error("{address}: no connection within {} ms", .waited.as_millis())]
    ConnectTimeout {
        /// Who was called.
        address: String,
        /// For how long.
        waited: Duration,
    },
    /// The connection was refused, unreachable, or the name is unknown.
    #[error("{address}: {error}")]
    Connect {
        /// Who was called.
        address: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A meter that dials in has not done so.
    #[error("the meter {name:?} has not called")]
    NotCalled {
        /// Its name on the line.
        name: String,
    },
    /// There is no such device file.
    #[error("serial port {port} does not exist")]
    NoSuchPort {
        /// Path of the device.
        port: String,
    },
    /// Another program holds it.
    #[error("serial port {port} is in use by another program")]
    PortBusy {
        /// Path of the device.
        port: String,
    },
    /// The device file exists and cannot be used: no permission, not a serial port, a baud rate it does not know.
    #[error("serial port {port}: {error}")]
    Port {
        /// Path of the device.
        port: String,
        /// What the system says.
        error: std::io::Error,
    },
}

/// Opens a pipe and counts its bytes in `counters`.
///
/// # Errors
/// [`OpenError`], within the connect timeout of the endpoint.
pub async fn open(endpoint: &Endpoint, counters: Arc<ByteCounters>) -> Result<Pipe, OpenError> {
    match endpoint {
        Endpoint::Tcp(tcp) => Ok(Pipe::new(tcp.connect().await?, counters, None)),
        Endpoint::Serial(serial) => Ok(Pipe::new(serial.open()?, counters, Some(serial.pacing()))),
        Endpoint::Converter(tcp, pacing) => Ok(Pipe::new(tcp.connect().await?, counters, Some(*pacing))),
        Endpoint::Caller(callers, name) => Ok(Pipe::new(callers.open(name)?, counters, None)),
        Endpoint::Udp(peer) => Ok(Pipe::new(Datagrams::to(*peer).await?, counters, None)),
    }
}
