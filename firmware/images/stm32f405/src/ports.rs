//! The meter's three ways to the world: optical head and RS-485 line with HDLC, modem with the wrapper.

use embedded_io::{Read, ReadReady, Write};
use firmware::{APDU_MAX, Meter, Port};
use hardware::stm32f405::{LinePort, Stm32f405, Uart};
use protocol::link::AnyLink;
use protocol::link::hdlc::{Config as HdlcConfig, Hdlc};
use protocol::link::wrapper::{Config as WrapperConfig, Wrapper};
use protocol::time::Instant;

/// HDLC frame buffer: information fields of 239 bytes.
const FRAME: usize = 256;
/// The longest piece that leaves in one go.
const OUT: usize = 256;

/// One type for all of them: the server engine is in the image once.
type AnyPort = Port<AnyLink<[u8; FRAME], [u8; APDU_MAX]>>;

/// The ports, each with its UART.
#[derive(Debug)]
pub struct Ports {
    optical: (AnyPort, Uart),
    line: (AnyPort, LinePort),
    network: (AnyPort, Uart),
}

impl Ports {
    /// Opens them.
    pub fn new(now: Instant, optical: Uart, line: LinePort, network: Uart) -> Self {
        let hdlc = || {
            let link = Hdlc::new(HdlcConfig::server(1, None), [0; FRAME], [0; APDU_MAX], [0; APDU_MAX]);
            Port::new(AnyLink::Hdlc(link), now)
        };
        let wrapper = Wrapper::new(WrapperConfig::server(Some(1)), [0; APDU_MAX], [0; APDU_MAX]);
        let modem = Port::new(AnyLink::Wrapper(wrapper), now);
        Self { optical: (hdlc(), optical), line: (hdlc(), line), network: (modem, network) }
    }

    /// Takes what has arrived on each and sends the answers. Whether there was anything.
    pub fn serve(&mut self, now: Instant, meter: &mut Meter<Stm32f405>) -> bool {
        let optical = serve(now, &mut self.optical.0, &mut self.optical.1, meter);
        let line = serve(now, &mut self.line.0, &mut self.line.1, meter);
        let network = serve(now, &mut self.network.0, &mut self.network.1, meter);
        optical || line || network
    }
}

fn serve<U: Read + ReadReady + Write>(
    now: Instant,
    port: &mut AnyPort,
    uart: &mut U,
    meter: &mut Meter<Stm32f405>,
) -> bool {
    let mut buffer = [0; 64];
    let arrived = uart.read_ready().unwrap_or(false);
    if arrived {
        // Lost bytes spoil a frame; the client repeats it.
        let taken = uart.read(&mut buffer).unwrap_or(0);
        port.handle_bytes(now, &buffer[..taken], meter);
    } else if port.poll_timeout().is_some_and(|at| at <= now) {
        port.handle_timeout(now, meter);
    }
    let mut frame = [0; OUT];
    while let Some(length) = port.poll_transmit(now, &mut frame) {
        // A UART of this board takes everything.
        let _ = uart.write_all(&frame[..length]);
    }
    arrived
}
