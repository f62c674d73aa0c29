//! RS-485 lines as pseudo terminals: several stations on one pair of wires, at the pace of the wires.

use crate::bus::Bus;
use crate::clock::SimClock;
use crate::modbus_server::{self, Station};
use crate::session::{Outcome, Session};
use crate::tcp::{now, until};
use anyhow::Context;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use tokio::time::Duration;
use tokio_serial::{SerialPort, SerialStream};

/// Rate of the simulated lines unless the street says otherwise.
pub const BAUD: u32 = 9_600;

/// A terminal that is opened does not become this process's own (Linux, asm-generic/fcntl.h).
const O_NOCTTY: i32 = 0o400;

/// The meters' end of a line, and the path of the other end.
#[derive(Debug)]
pub struct Line {
    near: SerialStream,
    /// Of a line of our own: kept open so that it stays there while nobody has opened the other end. Without a lock, for clients
    /// that want the line for themselves.
    far: Option<File>,
    path: String,
    baud: u32,
}

impl Line {
    /// A new line as a pair of pseudo terminals.
    ///
    /// # Errors
    /// The system gives no more of them.
    pub fn open(baud: u32) -> anyhow::Result<Self> {
        let (near, mut far) = SerialStream::pair().context("no pseudo terminal for an RS-485 line")?;
        far.set_exclusive(false).context("pseudo terminal")?;
        let path = far.name().context("the pseudo terminal has no path")?;
        let unlocked = File::options().read(true).write(true).custom_flags(O_NOCTTY).open(&path);
        let far = Some(unlocked.with_context(|| format!("pseudo terminal {path}"))?);
        Ok(Self { near, far, path, baud })
    }

    /// Meters at the end of a serial device that exists already: a real adapter, or one end of somebody else's pair.
    ///
    /// # Errors
    /// There is no such device, or it can't be opened.
    pub fn attach(path: &str, baud: u32) -> anyhow::Result<Self> {
        let near = SerialStream::open(&tokio_serial::new(path, baud))
            .with_context(|| format!("serial device {path}"))?;
        Ok(Self { near, far: None, path: path.into(), baud })
    }

    /// What a gateway opens.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Serves DLMS meters on this line until the task is dropped.
    ///
    /// # Errors
    /// The terminal failed.
    pub async fn serve_dlms(self, mut stations: Vec<Session>, clock: SimClock) -> io::Result<()> {
        let _far = self.far;
        let mut bus = Bus::new(self.near, self.baud);
        let mut buffer = [0; 256];
        loop {
            let deadline =
                stations.iter().map(|station| until(station, &clock)).min().unwrap_or(Duration::MAX);
            let heard = bus.hear(deadline, &mut buffer).await?;
            for (number, station) in stations.iter_mut().enumerate() {
                let Outcome { bytes, delay, .. } = match heard {
                    Some(taken) => station.handle_bytes(now(&clock), &buffer[..taken]),
                    None => station.handle_timeout(now(&clock)),
                };
                bus.say(number, delay, bytes);
            }
        }
    }

    /// Serves Modbus RTU meters on this line until the task is dropped.
    ///
    /// # Errors
    /// The terminal failed.
    pub async fn serve_modbus(self, stations: Vec<Station>) -> io::Result<()> {
        let _far = self.far;
        modbus_server::serve_rtu(Bus::new(self.near, self.baud), &stations, self.baud).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_may_have_the_line_for_itself() {
        let line = Line::open(BAUD).unwrap();
        let other_end =
            File::options().read(true).write(true).custom_flags(O_NOCTTY).open(line.path()).unwrap();
        other_end.try_lock().unwrap();
    }
}
