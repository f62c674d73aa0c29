//! A reading head at the optical port: it signs on at 300 baud, reads over HDLC, goes, and the next one comes.

use super::{board, start};
use crate::test_board::TestBoard;
use crate::{Meter, OpticalPort};
use protocol::codec::axdr::Data;
use protocol::cosem::obis;
use protocol::dlms::client::{Client, Config, Event as Told};
use protocol::dlms::model::Attribute;
use protocol::dlms::security::CounterBlock;
use protocol::link::hdlc::frame::Address;
use protocol::link::hdlc::{self, Hdlc};
use protocol::link::mode_e::{self, LineSettings};
use protocol::link::{Event as Linked, Link};
use protocol::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

type Station = Hdlc<Vec<u8>, Vec<u8>>;

fn station(config: hdlc::Config) -> Station {
    Hdlc::new(config, vec![0; 256], vec![0; 512], vec![0; 512])
}

/// The port, and how its line is set.
struct Eye {
    meter: Meter<TestBoard>,
    port: OpticalPort<'static, Station>,
    line: LineSettings,
}

impl Eye {
    fn new() -> Self {
        let sign_on = mode_e::Server::new(*b"MGW", "REF1", "01000000018", 9_600, false);
        let port = OpticalPort::new(sign_on, station(hdlc::Config::server(1, None)), Instant::ZERO);
        let mut eye = Self { meter: start(board()), port, line: LineSettings { baud: 0, seven_even: false } };
        assert!(eye.hear(Instant::ZERO, &[]).is_empty());
        eye
    }

    /// What it answers; the line is set anew after that.
    fn hear(&mut self, now: Instant, bytes: &[u8]) -> Vec<u8> {
        self.port.handle_bytes(now, bytes, &mut self.meter);
        self.drain(now)
    }

    fn drain(&mut self, now: Instant) -> Vec<u8> {
        let (mut said, mut out) = (Vec::new(), [0xA5; 256]);
        while let Some(n) = self.port.poll_transmit(now, &mut out) {
            said.extend_from_slice(&out[..n]);
        }
        self.line = self.port.poll_line().unwrap_or(self.line);
        said
    }

    fn wait_until(&mut self, at: Instant) {
        while let Some(due) = self.port.poll_timeout().filter(|due| *due <= at) {
            self.port.handle_timeout(due, &mut self.meter);
            self.drain(due);
        }
    }
}

fn sign_on(eye: &mut Eye, now: Instant) {
    let mut head = mode_e::Client::new("", 9_600, false);
    head.start();
    let mut out = [0xA5; 40];
    for _ in 0..2 {
        let n = head.poll_transmit(now, &mut out).unwrap();
        assert_eq!(eye.line, LineSettings::START, "300 baud, 7E1");
        head.handle_bytes(&eye.hear(now, &out[..n]));
    }
    while let Some(event) = head.poll_event() {
        assert!(!matches!(event, mode_e::Event::Failed(_)));
        if event == mode_e::Event::Done {
            assert_eq!(eye.line, LineSettings { baud: 9_600, seven_even: false });
            return;
        }
    }
    panic!("no end of the sign-on");
}

/// Connects, associates without security, reads the name; disconnects in order when `politely`.
fn read_name(eye: &mut Eye, now: Instant, politely: bool) -> Vec<u8> {
    let mut link = station(hdlc::Config::client(16, Address::One(1)));
    let mut client = Client::<512, 128>::new(Config::default(), CounterBlock::new(0, 1));
    link.open(now);
    client.associate(now, &[7; 16]).unwrap();
    let (mut value, mut out) = (Vec::new(), [0xA5; 256]);
    let at = Attribute { class_id: 1, logical_name: obis::LOGICAL_DEVICE_NAME, index: 2 };
    for _ in 0..40 {
        if link.is_up()
            && let Some(apdu) = client.poll_transmit()
        {
            link.send(now, apdu).unwrap();
        }
        while let Some(n) = link.poll_transmit(now, &mut out) {
            let answer = eye.hear(now, &out[..n]);
            link.handle_bytes(now, &answer);
        }
        while let Some(event) = link.poll_event() {
            if let Linked::Apdu(apdu) = event {
                client.handle_bytes(now, apdu);
            }
        }
        while let Some(event) = client.poll_event() {
            match event {
                Told::Associated(_) => client.get(now, at, None).unwrap(),
                Told::Value { bytes, .. } => value.extend_from_slice(bytes),
                Told::Failed(failure) => panic!("{failure:?}"),
                _ => {}
            }
        }
    }
    if politely {
        link.close(now);
        let n = link.poll_transmit(now, &mut out).unwrap();
        link.handle_bytes(now, &eye.hear(now, &out[..n]));
        assert!(!link.is_up());
    }
    value
}

#[test]
fn a_head_signs_on_reads_and_leaves_and_the_next_one_begins_at_300_baud() {
    let mut eye = Eye::new();
    for visit in 1..4 {
        let now = Instant::from_millis(visit * 1_000);
        sign_on(&mut eye, now);
        let name = read_name(&mut eye, now, true);
        assert_eq!(Data::from_bytes_in(&name).unwrap(), Data::OctetString(b"MGW0000000000001"));
        assert_eq!(eye.line, LineSettings::START, "after the disconnection");
    }
}

#[test]
fn a_head_that_falls_off_is_forgotten_after_the_inactivity_timeout() {
    let mut eye = Eye::new();
    let now = Instant::from_millis(1_000);
    sign_on(&mut eye, now);
    assert!(!read_name(&mut eye, now, false).is_empty());
    assert_eq!(eye.port.port().associated(), Some(16));
    eye.wait_until(now + Duration::from_secs(119));
    assert_eq!(eye.line.baud, 9_600);
    eye.wait_until(now + Duration::from_secs(121));
    assert_eq!((eye.line, eye.port.port().associated()), (LineSettings::START, None));
    sign_on(&mut eye, now + Duration::from_secs(200));

    // One that signs on and never speaks HDLC.
    eye.wait_until(now + Duration::from_secs(330));
    assert_eq!(eye.line, LineSettings::START);
    sign_on(&mut eye, now + Duration::from_secs(400));
}

#[test]
fn frames_before_a_sign_on_and_noise_open_nothing() {
    let mut eye = Eye::new();
    // An SNRM from client 16 to server 1, at whatever rate.
    let now = Instant::from_millis(5);
    let mut link = station(hdlc::Config::client(16, Address::One(1)));
    link.open(now);
    let mut out = [0; 256];
    let n = link.poll_transmit(now, &mut out).unwrap();
    assert!(eye.hear(now, &out[..n]).is_empty());
    let mut seed = 1_u64;
    for _ in 0..5_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        eye.hear(now, &seed.to_be_bytes()[..(seed % 8) as usize]);
    }
    assert_eq!(eye.line, LineSettings::START);
    sign_on(&mut eye, now);
}
