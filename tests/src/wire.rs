//! Hand-encoded frames: what a system test sends when it wants no library of anybody's between itself and the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// AARQ: logical names, no security, client proposes the usual services and a PDU of 1,200 bytes.
pub const AARQ: &[u8] = &[
    0x60, 0x1D, 0xA1, 0x09, 0x06, 0x07, 0x60, 0x85, 0x74, 0x05, 0x08, 0x01, 0x01, 0xBE, 0x10, 0x04, 0x0E,
    0x01, 0x00, 0x00, 0x00, 0x06, 0x5F, 0x1F, 0x04, 0x00, 0x00, 0x7E, 0x1F, 0x04, 0xB0,
];

/// GET of the logical device name, class 1, 0.0.42.0.0.255, attribute 2.
pub const GET_NAME: &[u8] = &[0xC0, 0x01, 0xC1, 0x00, 0x01, 0x00, 0x00, 0x2A, 0x00, 0x00, 0xFF, 0x02, 0x00];

/// The wrapper's header and the APDU (Green Book: version 1, source and destination wPort, length).
///
/// # Panics
/// When the APDU is longer than the header can say.
#[must_use]
pub fn wrapped(client: u16, apdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(apdu.len()).expect("an APDU of a test fits the wrapper");
    let mut frame = vec![0, 1];
    for field in [client, 1, length] {
        frame.extend(field.to_be_bytes());
    }
    frame.extend(apdu);
    frame
}

/// Sends an APDU in the wrapper and reads one back.
///
/// # Errors
/// When the connection ends or nothing comes in time.
pub fn exchange(stream: &mut TcpStream, client: u16, apdu: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&wrapped(client, apdu))?;
    let mut header = [0; 8];
    stream.read_exact(&mut header)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes([header[6], header[7]]))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Whether a meter still answers who it is.
///
/// # Errors
/// When it cannot be reached or does not answer.
pub fn answers(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    let accepted = exchange(&mut stream, 16, AARQ)?;
    let name = exchange(&mut stream, 16, GET_NAME)?;
    Ok(accepted.first() == Some(&0x61) && name.starts_with(&[0xC4, 0x01, 0xC1, 0x00]))
}
