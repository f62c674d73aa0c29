//! A wide meter on TCP: a thread for the port and one for each connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use protocol::codec::xdlms::LongInvokeId;
use protocol::dlms::server::{Peer, Server};
use protocol::link::hdlc::{self, Hdlc};
use protocol::link::wrapper::{self, Wrapper};
use protocol::link::{AnyLink, Event, Link, SendError};
use protocol::time::Instant;

use super::meter::WideMeter;

/// Largest APDU in either direction, as the simulator and the Cortex-M image have it.
pub const APDU_MAX: usize = 1024;
/// A parameter that comes in blocks is held here until it is whole.
const LONG: usize = 4096;
/// HDLC frame buffer.
const FRAME_MAX: usize = 256;
/// The only logical device.
const LOGICAL_DEVICE: u16 = 1;
/// How often a connection looks at the time.
const TICK: Duration = Duration::from_millis(200);

type AnyVec = AnyLink<Vec<u8>, Vec<u8>>;

/// How a link frames APDUs: `wrapper` or `hdlc`.
fn link(framing: &str) -> AnyVec {
    let apdu = || vec![0; APDU_MAX];
    if framing == "hdlc" {
        let config = hdlc::Config::server(LOGICAL_DEVICE, None).over_tcp();
        AnyLink::Hdlc(Hdlc::new(config, vec![0; FRAME_MAX], apdu(), apdu()))
    } else {
        AnyLink::Wrapper(Wrapper::new(wrapper::Config::server(Some(LOGICAL_DEVICE)), apdu(), apdu()))
    }
}

/// Serves the meter on a new port of loopback as long as the test program runs; gives the port.
///
/// # Panics
/// When the system has no port left.
#[must_use]
pub fn serve(meter: Arc<WideMeter>, framing: &'static str) -> u16 {
    let listener = TcpListener::bind((meter.host(), 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let meter = Arc::clone(&meter);
            std::thread::spawn(move || converse(stream, &meter, framing));
        }
    });
    port
}

/// One connection, until it ends.
fn converse(mut stream: TcpStream, meter: &WideMeter, framing: &str) -> std::io::Result<()> {
    let began = std::time::Instant::now();
    let now = || Instant::from_millis(began.elapsed().as_millis() as u64);
    stream.set_read_timeout(Some(TICK))?;
    stream.set_nodelay(true)?;
    let mut link = link(framing);
    let mut server = Box::new(Server::<APDU_MAX, LONG>::new());
    if framing != "hdlc" {
        link.open(now());
    }
    let mut buffer = [0; 4096];
    loop {
        let mut bytes: &[u8] = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(taken) => &buffer[..taken],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => &[],
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            link.handle_timeout(now());
            server.handle_timeout(now());
        }
        loop {
            let taken = link.handle_bytes(now(), bytes);
            bytes = &bytes[taken..];
            let heard = drain(&mut link, &mut server, &mut stream, (meter, framing), now())?;
            if bytes.is_empty() || (taken == 0 && !heard) {
                break;
            }
        }
    }
}

/// Handles what the link has to tell and sends what it has to send. True when it had anything to tell.
fn drain(
    link: &mut AnyVec,
    server: &mut Server<APDU_MAX, LONG>,
    stream: &mut TcpStream,
    (meter, framing): (&WideMeter, &str),
    now: Instant,
) -> std::io::Result<bool> {
    let mut heard = false;
    while let Some(event) = link.poll_event() {
        heard = true;
        let apdu = match event {
            Event::Apdu(apdu) => apdu.to_vec(),
            Event::Up => {
                server.link_down();
                continue;
            }
            Event::Down(_) => {
                server.link_down();
                if framing != "hdlc" {
                    return Err(std::io::ErrorKind::ConnectionAborted.into());
                }
                continue;
            }
            Event::Unconfirmed(_) | Event::Noise { .. } => continue,
        };
        let client_sap = link.peer_sap().and_then(|sap| u8::try_from(sap).ok()).unwrap_or(0);
        let peer = Peer { client_sap, server_sap: LOGICAL_DEVICE };
        let _ = meter.carry_out(|view| server.handle_bytes(now, peer, &apdu, view));
        while server.poll_event().is_some() {}
        send_waiting(link, server, stream, meter, now)?;
    }
    send_waiting(link, server, stream, meter, now)?;
    transmit(link, stream, now)?;
    Ok(heard)
}

/// Hands the link what waits, as long as it takes it: of several blocks the next goes when the one before it is out.
fn send_waiting(
    link: &mut AnyVec,
    server: &mut Server<APDU_MAX, LONG>,
    stream: &mut TcpStream,
    meter: &WideMeter,
    now: Instant,
) -> std::io::Result<()> {
    loop {
        if server.has_more() {
            let _ = meter.carry_out(|view| server.refill(view));
        }
        let Some(answer) = server.poll_transmit() else { return Ok(()) };
        if link.send(now, answer) == Err(SendError::Busy) {
            server.not_sent();
            return Ok(());
        }
        transmit(link, stream, now)?;
    }
}

fn transmit(link: &mut AnyVec, stream: &mut TcpStream, now: Instant) -> std::io::Result<()> {
    let mut wire = [0; APDU_MAX + wrapper::HEADER_LEN];
    while let Some(length) = link.poll_transmit(now, &mut wire) {
        stream.write_all(&wire[..length])?;
    }
    Ok(())
}

/// Pushes a DataNotification for the client address `client_sap`, in the wrapper, to whoever listens on this port.
///
/// # Panics
/// When nobody listens, or the meter does not build it.
pub fn push(meter: &WideMeter, client_sap: u8, port: u16) {
    let mut server = Box::new(Server::<APDU_MAX, LONG>::new());
    let built = meter.carry_out(|view| {
        // The engine asks for keys and counters while the body is written, so the body is written first.
        let mut body = vec![0; 512];
        let mut writer = protocol::codec::codec::SliceWriter::new(&mut body);
        view.pushed(&mut writer).expect("the values fit");
        let body = writer.as_slice().to_vec();
        server.notify(view, client_sap, LongInvokeId(1), None, |out| out.write_bytes(&body))
    });
    built.expect("the meter has power").expect("the meter builds a notification");
    let apdu = server.poll_transmit().expect("there is a notification to send");
    let mut stream = TcpStream::connect((meter.host(), port)).expect("somebody listens for pushes");
    stream.write_all(&pushed_frame(client_sap, apdu)).expect("the push leaves");
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; 1]);
}

/// The wrapper from the meter's logical device to the client.
fn pushed_frame(client_sap: u8, apdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(apdu.len()).expect("an APDU fits the wrapper");
    let mut frame = vec![0, 1, 0, 1, 0, client_sap];
    frame.extend(length.to_be_bytes());
    frame.extend(apdu);
    frame
}
