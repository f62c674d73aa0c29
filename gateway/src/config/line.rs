//! Lines: the wires the gateway owns. One task owns each (`session`).

use crate::session::directory::Framing;
use std::net::SocketAddr;
use std::time::Duration;

/// One wire, or one network of meters that each have their own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineConfig {
    /// Its name: meters refer to it.
    pub name: String,
    /// What it is.
    pub kind: LineKind,
    /// The transformer area its meters belong to unless the meter says otherwise.
    pub area: Option<String>,
}

/// What a line is. A meter's `address` means something else on each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineKind {
    /// DLMS over TCP: every meter has its own `host:port` address and framing; connections are independent.
    Tcp {
        /// Connections open at once.
        connections_max: usize,
    },
    /// RS-485 or another serial port: one owner, one request at a time. A meter's address is its HDLC physical address
    /// (`dlms-hdlc`) or its unit id (`modbus-rtu`), as a decimal number.
    Serial {
        /// Device path, `/dev/ttyUSB0`.
        port: String,
        /// Bits per second.
        baud: u32,
        /// Parity bit.
        parity: Parity,
        /// What is spoken.
        protocol: SerialProtocol,
    },
    /// DLMS over UDP, in the wrapper: every meter has its own `host:port`.
    Udp {
        /// Meters talked to at once.
        connections_max: usize,
    },
    /// DLMS meters that connect to us. A meter's address is what it says it is.
    TcpIn {
        /// Where they connect to.
        address: SocketAddr,
        /// How they say who they are.
        hello: Hello,
        /// Connections at once.
        connections_max: usize,
        /// A connection that nobody used for so long is hung up.
        idle: Duration,
    },
    /// A serial line behind a converter that passes its bytes on over TCP as they are. Otherwise as [`LineKind::Serial`].
    Converter {
        /// The converter.
        address: SocketAddr,
        /// Bits per second of the line behind it.
        baud: u32,
        /// Parity bit there.
        parity: Parity,
        /// What is spoken.
        protocol: SerialProtocol,
    },
    /// One Modbus TCP server; a meter's address is its unit id.
    ModbusTcp {
        /// Where it listens.
        address: SocketAddr,
    },
}

/// Parity of a serial line; 8 data bits and 1 stop bit always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// What is spoken on a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SerialProtocol {
    /// DLMS/COSEM over HDLC, IEC 62056-46.
    DlmsHdlc,
    /// Modbus RTU.
    ModbusRtu,
}

impl LineKind {
    /// Whether Modbus is spoken here.
    #[must_use]
    pub fn is_modbus(&self) -> bool {
        matches!(
            self,
            Self::ModbusTcp { .. }
                | Self::Serial { protocol: SerialProtocol::ModbusRtu, .. }
                | Self::Converter { protocol: SerialProtocol::ModbusRtu, .. }
        )
    }
}

/// How a meter that dials in says who it is: what has to be its address on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// Its first line of text.
    Line,
    /// The IP address it calls from.
    Ip,
    /// The system title of the first APDU that it sends, a notification in the wrapper: 16 hexadecimal digits.
    Title,
    /// Its logical device name, which the gateway reads as the public client.
    Name {
        /// The model that says how to ask.
        model: String,
        /// How the question is framed.
        framing: Framing,
    },
}
