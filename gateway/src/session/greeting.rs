//! How a meter that dials in says who it is. What it says is a claim: the association that follows proves it, and nothing is done
//! before the serial number was read back.

use super::dlms;
use super::lines::{Arrival, Context};
use crate::config::Hello;
use crate::driver::{CallerStream, Greet, Greeted, NAME_MAX};
use protocol::dlms::security::frame::Sealed;
use protocol::link::wrapper::{HEADER_LEN, Header};
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::sync::broadcast;

/// The largest notification a meter may introduce itself with, in bytes.
const NOTIFICATION_MAX: usize = 2_048;

/// Greets the callers of one line.
pub(super) struct Greeter {
    /// The line's name.
    pub line: String,
    /// How callers say who they are.
    pub hello: Hello,
    /// Where meters are.
    pub context: Context,
    /// Who has called is told here.
    pub arrivals: broadcast::Sender<Arrival>,
}

impl Greet for Greeter {
    async fn greet(&self, mut stream: CallerStream, peer: SocketAddr) -> Result<Greeted, String> {
        let of = |name| Greeted { name, notification: None };
        match &self.hello {
            Hello::Ip => Ok(of(peer.ip().to_string())),
            Hello::Line => first_line(&mut stream).await.map(of),
            Hello::Title => {
                let apdu = first_apdu(&mut stream).await?;
                Ok(Greeted { name: title(&apdu)?, notification: Some(apdu) })
            }
            Hello::Name { model, framing } => {
                let name = dlms::device_name(&self.context, model, *framing, stream).await;
                name.map(of)
                    .map_err(|trouble| format!("its logical device name could not be read: {trouble}"))
            }
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.context.directory.on_line(&self.line, name).is_some()
    }

    fn called(&self, greeted: Greeted, peer: SocketAddr) {
        if let Some(serial) = self.context.directory.on_line(&self.line, &greeted.name) {
            // That it is this meter's, whoever entered the meter says; whether this is the meter, its keys do.
            if let Some(title) = greeted.notification.as_deref().and_then(title_of) {
                self.context.directory.learn_title(&serial, title);
            }
            tracing::info!(line = self.line, meter = serial.0, %peer, "the meter has called");
            // Nobody listens only in tests.
            let _ = self.arrivals.send(Arrival { serial, peer, notification: greeted.notification });
        }
    }
}

/// The first line, without its end and the blanks around it. Byte by byte: what follows is not ours to read.
async fn first_line(stream: &mut CallerStream) -> Result<String, String> {
    let mut line = Vec::new();
    while line.len() <= NAME_MAX {
        match stream.read_u8().await.map_err(|error| error.to_string())? {
            b'\n' => {
                let line = String::from_utf8(line).map_err(|_| "its first line is no text".to_owned())?;
                return Ok(line.trim().to_owned());
            }
            byte => line.push(byte),
        }
    }
    Err(format!("its first line is longer than {NAME_MAX} bytes"))
}

/// The first APDU, in the wrapper; what follows is left unread.
async fn first_apdu(stream: &mut CallerStream) -> Result<Vec<u8>, String> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).await.map_err(|error| error.to_string())?;
    let header = Header::from_wire(header).ok_or("what it sent first is no frame of the wrapper")?;
    let length = usize::from(header.length);
    if length > NOTIFICATION_MAX {
        return Err(format!("its first APDU has {length} bytes, more than {NOTIFICATION_MAX}"));
    }
    let mut apdu = vec![0; length];
    stream.read_exact(&mut apdu).await.map_err(|error| error.to_string())?;
    Ok(apdu)
}

/// The system title that an APDU names.
fn title_of(apdu: &[u8]) -> Option<[u8; 8]> {
    Sealed::parse(apdu).ok()??.title?.try_into().ok()
}

/// The same as 16 hexadecimal digits.
fn title(apdu: &[u8]) -> Result<String, String> {
    let title = title_of(apdu)
        .ok_or("its first APDU names no system title: it has to be ciphered in a general form")?;
    Ok(title.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_title_is_taken_from_a_generally_ciphered_apdu_and_from_nothing_else() {
        let mut apdu = vec![0xDB, 8, b'M', b'G', b'W', 0, 0, 0, 0, 0x2A, 22, 0x30, 0, 0, 0, 1];
        apdu.extend([0; 17]);
        assert_eq!(title(&apdu).as_deref(), Ok("4d4757000000002a"));
        // In the clear; empty; torn.
        for wrong in [&[0x0F, 0, 0, 0, 1, 0, 0][..], &[], &apdu[..6]] {
            assert!(title(wrong).is_err(), "{wrong:?}");
        }
    }
}
