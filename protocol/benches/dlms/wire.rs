//! GET after GET on one association over loopback TCP: client and server in two threads, one request under way at a time. The
//! framing and the sockets are the same for both crates' engines.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant as Clock;

use dlms_cosem_rs::client::Response;
use protocol::codec::axdr::Data;
use protocol::codec::xdlms::AttributeDescriptor;
use protocol::dlms::client::Event as Came;
use protocol::dlms::model::Attribute;
use protocol::dlms::server::Peer;
use protocol::link::wrapper::{Config, Wrapper};
use protocol::link::{Event, Link};
use protocol::time::Instant;

use crate::{ENERGY, Ours, Theirs};

/// GETs of one measurement.
const GETS: u32 = 20_000;
/// Measurements, of which the best counts: where the scheduler puts the two threads makes a factor of three.
const RUNS: u32 = 20;
/// What one association should manage.
const BAR: u32 = 30_000;

/// One end of the connection.
struct End {
    stream: TcpStream,
    link: Wrapper<Vec<u8>>,
    apdu: Vec<u8>,
}

impl End {
    fn new(stream: TcpStream, config: Config) -> Self {
        stream.set_nodelay(true).unwrap();
        let mut link = Wrapper::new(config, vec![0; 2048], vec![0; 2048]);
        link.open(Instant::ZERO);
        while link.poll_event().is_some() {}
        Self { stream, link, apdu: Vec::new() }
    }

    fn send(&mut self, apdu: &[u8]) {
        let mut out = [0; 2048];
        self.link.send(Instant::ZERO, apdu).unwrap();
        while let Some(n) = self.link.poll_transmit(Instant::ZERO, &mut out) {
            self.stream.write_all(&out[..n]).unwrap();
        }
    }

    /// The next whole APDU; false at the end of the stream.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 2048];
        loop {
            let n = self.stream.read(&mut bytes).unwrap_or(0);
            if n == 0 {
                return false;
            }
            let mut rest = &bytes[..n];
            while !rest.is_empty() {
                rest = &rest[self.link.handle_bytes(Instant::ZERO, rest)..];
                while let Some(event) = self.link.poll_event() {
                    if let Event::Apdu(apdu) = event {
                        self.apdu.clear();
                        self.apdu.extend_from_slice(apdu);
                        // One request at a time: nothing comes behind it.
                        return true;
                    }
                }
            }
        }
    }
}

/// GETs a second of the best run: `answer` is the server, `get` one GET through a connection.
fn rate(mut answer: impl FnMut(&[u8], &mut End) + Send, mut get: impl FnMut(&mut End)) -> u32 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut end = End::new(stream, Config::server(Some(1)));
            while end.receive() {
                let request = std::mem::take(&mut end.apdu);
                answer(&request, &mut end);
                end.apdu = request;
            }
        });
        let mut end = End::new(TcpStream::connect(to).unwrap(), Config::client(18, 1));
        (0..RUNS)
            .map(|_| {
                let start = Clock::now();
                (0..GETS).for_each(|_| get(&mut end));
                let micros = start.elapsed().as_micros().max(1);
                u32::try_from(u128::from(GETS) * 1_000_000 / micros).unwrap_or(u32::MAX)
            })
            .max()
            .unwrap_or(0)
    })
}

fn ours(ciphered: bool) -> u32 {
    // Associated in memory, then put apart.
    let mut both = Ours::new(ciphered);
    both.associate(ciphered);
    let Ours { mut client, mut server, mut meter } = both;
    rate(
        move |request, end| {
            server.handle_bytes(Instant::ZERO, Peer { client_sap: 18, server_sap: 1 }, request, &mut meter);
            if let Some(apdu) = server.poll_transmit() {
                end.send(apdu);
            }
        },
        |end| {
            client
                .get(Instant::ZERO, Attribute { class_id: 3, logical_name: ENERGY, index: 2 }, None)
                .unwrap();
            end.send(client.poll_transmit().unwrap());
            assert!(end.receive());
            client.handle_bytes(Instant::ZERO, &end.apdu);
            let Some(Came::Value { bytes, last: true }) = client.poll_event() else { panic!() };
            assert_eq!(protocol::dlms::client::value(bytes), Ok(Data::DoubleLongUnsigned(123_456)));
        },
    )
}

fn theirs(ciphered: bool) -> u32 {
    let mut both = Theirs::new(ciphered);
    both.associate();
    let Theirs { mut client, mut server, mut request, mut answer, mut plain } = both;
    rate(
        move |request, end| {
            let n = server.handle(request, &mut answer).unwrap();
            end.send(&answer[..n]);
        },
        |end| {
            let n = client.get_request(AttributeDescriptor::new(3, ENERGY, 2), None, &mut request).unwrap();
            end.send(&request[..n]);
            assert!(end.receive());
            match client.handle_response(&end.apdu, &mut plain).unwrap() {
                Response::Data(value) => assert_eq!(value, Data::DoubleLongUnsigned(123_456)),
                other => panic!("{other:?}"),
            }
        },
    )
}

/// What a round trip of the sockets and the framing alone takes: the same bytes, nothing done with them.
fn nobody() -> u32 {
    rate(
        |request, end| end.send(request),
        |end| {
            end.send(&[0xC0; 13]);
            assert!(end.receive());
        },
    )
}

pub fn print() {
    for (ciphered, what) in [(false, "plain"), (true, "ciphered")] {
        let (a, b) = (ours(ciphered), theirs(ciphered));
        let ratio = a * 100 / b.max(1);
        let verdict = if a >= BAR { "met" } else { "missed" };
        println!(
            "GET/s over loopback, {what:<9} {a:>7}   dlms-cosem-rs {b:>7}   {}.{:02} x   bar {BAR} {verdict}",
            ratio / 100,
            ratio % 100
        );
    }
    println!("round trips/s of the sockets and the framing alone {:>7}", nobody());
}
