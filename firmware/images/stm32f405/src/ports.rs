//! The meter's three ways to the world: optical head with sign-on and HDLC, RS-485 line with HDLC or Modbus RTU, modem with the
//! wrapper.

use embedded_io::{Read, ReadReady, Write};
use firmware::{APDU_MAX, Meter, OpticalPort, Port, RtuServer};
use hardware::place::Place;
use hardware::stm32f405::{LinePort, Stm32f405, Uart};
use protocol::link::hdlc::{Config as HdlcConfig, Hdlc};
use protocol::link::wrapper::{Config as WrapperConfig, Wrapper};
use protocol::link::{AnyLink, mode_e};
use protocol::sts::Drn;
use protocol::time::Instant;

/// HDLC frame buffer: information fields of 239 bytes.
const FRAME: usize = 256;
/// The longest piece that leaves in one go.
const OUT: usize = 256;
/// The fastest rate that the optical head is offered.
const OPTICAL_BAUD: u32 = 9_600;

/// One type for all of them: the server engine is in the image once.
type Link = AnyLink<[u8; FRAME], [u8; APDU_MAX]>;
type Head = OpticalPort<'static, Link>;

// In static memory, each made on its own: on the stack they would lie twice, and together.
static SERIAL: Place<Drn> = Place::new();
static OPTICAL: Place<Head> = Place::new();
static LINE: Place<Station> = Place::new();
static NETWORK: Place<Port<Link>> = Place::new();

/// What the RS-485 line speaks: the bench says so once.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, in static memory")]
enum Station {
    Dlms(Port<Link>),
    Modbus(RtuServer),
}

/// The ports, each with its UART.
#[derive(Debug)]
pub struct Ports {
    optical: (&'static mut Head, Uart),
    line: (&'static mut Station, LinePort),
    network: (&'static mut Port<Link>, Uart),
}

impl Ports {
    /// Opens them; `None` when they are open already.
    pub fn open(
        now: Instant,
        meter: &Meter<Stm32f405>,
        optical: Uart,
        line: LinePort,
        network: Uart,
    ) -> Option<Self> {
        let serial = SERIAL.put(meter.serial())?;
        Some(Self {
            optical: (head(now, serial)?, optical),
            line: (rs485(now, meter.personalisation().options.modbus_station)?, line),
            network: (modem(now)?, network),
        })
    }

    /// Takes what has arrived on each and sends the answers. Whether there was anything.
    pub fn serve(&mut self, now: Instant, meter: &mut Meter<Stm32f405>) -> bool {
        let optical = serve_head(now, self.optical.0, &mut self.optical.1, meter);
        let line = match self.line.0 {
            Station::Dlms(port) => serve(now, port, &mut self.line.1, meter),
            Station::Modbus(station) => station.serve(now, &mut self.line.1, meter),
        };
        let network = serve(now, self.network.0, &mut self.network.1, meter);
        // Alarms go through the modem, which has to hold the connection; nowhere before management has named a destination.
        let pushed = self.network.0.push_due(now, meter);
        optical || line || network || pushed
    }
}

fn hdlc() -> Link {
    AnyLink::Hdlc(Hdlc::new(HdlcConfig::server(1, None), [0; FRAME], [0; APDU_MAX], [0; APDU_MAX]))
}

// Not inlined, for what these take of the stack is free again afterwards.

#[inline(never)]
fn head(now: Instant, serial: &'static Drn) -> Option<&'static mut Head> {
    // The parity bit is made in software: the UART sends eight bits at 300 baud as at any other rate.
    let sign_on = mode_e::Server::new(*b"MGW", "STM32F405", serial.as_str(), OPTICAL_BAUD, true);
    OPTICAL.put(OpticalPort::new(sign_on, hdlc(), now))
}

#[inline(never)]
fn rs485(now: Instant, modbus_station: Option<u8>) -> Option<&'static mut Station> {
    LINE.put(match modbus_station {
        Some(number) => Station::Modbus(RtuServer::new(number)),
        None => Station::Dlms(Port::new(hdlc(), now)),
    })
}

#[inline(never)]
fn modem(now: Instant) -> Option<&'static mut Port<Link>> {
    let wrapper = Wrapper::new(WrapperConfig::server(Some(1)), [0; APDU_MAX], [0; APDU_MAX]);
    NETWORK.put(Port::new(AnyLink::Wrapper(wrapper), now))
}

/// What has arrived, where something has. Lost bytes spoil a frame; the client repeats it.
fn arrived<'a, U: Read + ReadReady>(uart: &mut U, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    uart.read_ready().unwrap_or(false).then(|| uart.read(buffer).unwrap_or(0)).and_then(|n| buffer.get(..n))
}

fn serve<U: Read + ReadReady + Write>(
    now: Instant,
    port: &mut Port<Link>,
    uart: &mut U,
    meter: &mut Meter<Stm32f405>,
) -> bool {
    let mut buffer = [0; 64];
    let arrived = arrived(uart, &mut buffer);
    if let Some(bytes) = arrived {
        port.handle_bytes(now, bytes, meter);
    } else if port.poll_timeout().is_some_and(|at| at <= now) {
        port.handle_timeout(now, meter);
    }
    let mut frame = [0; OUT];
    while let Some(length) = port.poll_transmit(now, &mut frame) {
        // A UART of this board takes everything.
        let _ = uart.write_all(&frame[..length]);
    }
    arrived.is_some()
}

/// As [`serve`]; and the rate changes when the last byte of the sign-on has left.
fn serve_head(now: Instant, head: &mut Head, uart: &mut Uart, meter: &mut Meter<Stm32f405>) -> bool {
    let mut buffer = [0; 64];
    let arrived = arrived(uart, &mut buffer);
    if let Some(bytes) = arrived {
        head.handle_bytes(now, bytes, meter);
    } else if head.poll_timeout().is_some_and(|at| at <= now) {
        head.handle_timeout(now, meter);
    }
    let mut frame = [0; OUT];
    while let Some(length) = head.poll_transmit(now, &mut frame) {
        let _ = uart.write_all(&frame[..length]);
    }
    if let Some(line) = head.poll_line() {
        let _ = uart.flush();
        uart.set_baud(line.baud);
    }
    arrived.is_some()
}
