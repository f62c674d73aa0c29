//! Serial ports.

use super::{OpenError, Pacing};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio_serial::{SerialPortBuilderExt, SerialStream};

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// No parity bit.
    #[default]
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// A serial port of this machine with its line settings; always 8 data bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialEndpoint {
    /// Path of the device.
    pub port: String,
    /// Bits per second.
    pub baud: u32,
    /// Parity.
    pub parity: Parity,
    /// 1 or 2 stop bits.
    pub stop_bits: u8,
    /// The pause between the last byte of an answer and the first of the next request.
    pub turnaround: Duration,
}

impl SerialEndpoint {
    /// Bits of one character on the line: start, 8 data, parity if any, stop.
    fn bits_per_character(&self) -> u32 {
        1 + 8 + u32::from(self.parity != Parity::None) + u32::from(self.stop_bits.clamp(1, 2))
    }

    /// How fast bytes cross this line, and how long it must be quiet between frames.
    #[must_use]
    pub fn pacing(&self) -> Pacing {
        let byte_time = Duration::from_nanos(
            u64::from(self.bits_per_character()) * 1_000_000_000 / u64::from(self.baud.max(1)),
        );
        Pacing { byte_time, turnaround: self.turnaround }
    }

    pub(super) fn open(&self) -> Result<SerialStream, OpenError> {
        if !std::path::Path::new(&self.port).exists() {
            return Err(OpenError::NoSuchPort { port: self.port.clone() });
        }
        let parity = match self.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        };
        let stop_bits =
            if self.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One };
        // The exclusive mark of a terminal outlives a killed process as long as anyone holds the other end of a pty, and
        // would lock us out of our own line after a crash. Real ports lose it with their last close.
        let exclusive = !self.port.starts_with("/dev/pts/");
        tokio_serial::new(&self.port, self.baud)
            .parity(parity)
            .stop_bits(stop_bits)
            .exclusive(exclusive)
            .open_native_async()
            .map_err(|error| self.refused(error))
    }

    fn refused(&self, error: tokio_serial::Error) -> OpenError {
        let port = self.port.clone();
        let error = std::io::Error::from(error);
        match error.kind() {
            std::io::ErrorKind::NotFound if !std::path::Path::new(&port).exists() => {
                OpenError::NoSuchPort { port }
            }
            std::io::ErrorKind::ResourceBusy | std::io::ErrorKind::WouldBlock => OpenError::PortBusy { port },
            _ if error.to_string().contains("busy") => OpenError::PortBusy { port },
            _ => OpenError::Port { port, error },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Endpoint, open};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_serial::SerialPort;

    fn endpoint(port: &str) -> SerialEndpoint {
        SerialEndpoint {
            port: port.into(),
            baud: 9_600,
            parity: Parity::None,
            stop_bits: 1,
            turnaround: Duration::from_millis(4),
        }
    }

    #[tokio::test]
    async fn a_port_that_does_not_exist_is_named() {
        let error = open(&Endpoint::Serial(endpoint("/dev/ttyMISSING7")), Arc::default())
            .await
            .expect_err("no such port");
        assert_eq!(error.to_string(), "serial port /dev/ttyMISSING7 does not exist");
    }

    #[tokio::test]
    async fn a_file_that_is_no_serial_port_is_refused_with_its_name() {
        let error =
            open(&Endpoint::Serial(endpoint("/dev/null")), Arc::default()).await.expect_err("not a terminal");
        assert!(error.to_string().starts_with("serial port /dev/null: "), "{error}");
    }

    #[tokio::test]
    async fn bytes_cross_a_pty_unchanged_and_the_port_opens_again_after_it_was_dropped() {
        let (mut meter, ours) = SerialStream::pair().expect("a pty pair");
        let path = ours.name().expect("a pty has a name");
        drop(ours);
        for round in 0..2u8 {
            let mut pipe = open(&Endpoint::Serial(endpoint(&path)), Arc::default()).await.expect("opened");
            let request: Vec<u8> = (0..=255).collect();
            pipe.write_all(&request).await.expect("sent");
            let mut heard = vec![0; request.len()];
            meter.read_exact(&mut heard).await.expect("heard");
            assert_eq!(heard, request, "round {round}: a raw line changes no byte");
            meter.write_all(&[0x11, 0x13, 0x0A, 0x0D, round]).await.expect("answered");
            let mut answer = [0; 5];
            pipe.read_exact(&mut answer).await.expect("heard");
            assert_eq!(answer, [0x11, 0x13, 0x0A, 0x0D, round]);
        }
    }

    #[test]
    fn a_character_at_9600_baud_8n1_takes_1041_microseconds() {
        assert_eq!(endpoint("x").pacing().byte_time.as_micros(), 1041);
        let even = SerialEndpoint { parity: Parity::Even, ..endpoint("x") };
        assert_eq!(even.pacing().byte_time.as_micros(), 1145);
    }
}
