//! Dialogues between stations, and with frames made by others.

use super::frame::{Address, Control, Frame, Header, encode};
use super::*;
use crate::time::Duration;
use std::vec::Vec;

type Station = Hdlc<Vec<u8>, Vec<u8>>;

const NOW: Instant = Instant::ZERO;

fn vector(name: &str) -> Vec<u8> {
    let line = include_str!("../../../vectors/link/hdlc.txt")
        .lines()
        .find(|line| line.split(' ').next() == Some(name))
        .unwrap();
    let hex = line.split(' ').nth(1).unwrap();
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn station(config: Config, frame: usize, apdu: usize) -> Station {
    Hdlc::new(config, std::vec![0; frame], std::vec![0; apdu], std::vec![0; apdu])
}

fn client() -> Station {
    station(Config::client(16, Address::Two(1, 17)), 256, 1024)
}

fn server() -> Station {
    station(Config::server(1, Some(17)), 256, 1024)
}

/// What a station said and did.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Said {
    Up,
    Apdu(Vec<u8>),
    Unconfirmed(Vec<u8>),
    Down(DownReason),
    Noise(usize),
}

fn drain(station: &mut Station, said: &mut Vec<Said>) {
    while let Some(event) = station.poll_event() {
        said.push(match event {
            Event::Up => Said::Up,
            Event::Apdu(apdu) => Said::Apdu(apdu.to_vec()),
            Event::Unconfirmed(apdu) => Said::Unconfirmed(apdu.to_vec()),
            Event::Down(reason) => Said::Down(reason),
            Event::Noise { bytes } => Said::Noise(bytes),
        });
    }
}

/// Feeds all bytes, polling events in between as the contract asks.
fn feed(station: &mut Station, now: Instant, mut bytes: &[u8]) -> Vec<Said> {
    let mut said = Vec::new();
    loop {
        let n = station.handle_bytes(now, bytes);
        bytes = &bytes[n..];
        drain(station, &mut said);
        if bytes.is_empty() {
            while station.poll_timeout().is_some_and(|at| at == Instant::ZERO && now > at) {
                station.handle_timeout(now);
                drain(station, &mut said);
            }
            return said;
        }
    }
}

fn frames(station: &mut Station, now: Instant) -> Vec<Vec<u8>> {
    let (mut out, mut all) = ([0xA5; 2200], Vec::new());
    while let Some(n) = station.poll_transmit(now, &mut out) {
        all.push(out[..n].to_vec());
    }
    all
}

/// Carries frames both ways until nobody has anything to say.
fn settle(a: &mut Station, b: &mut Station, now: Instant) -> (Vec<Said>, Vec<Said>) {
    let (mut said_a, mut said_b) = (Vec::new(), Vec::new());
    loop {
        let (from_a, from_b) = (frames(a, now), frames(b, now));
        if from_a.is_empty() && from_b.is_empty() {
            return (said_a, said_b);
        }
        for frame in from_a {
            said_b.extend(feed(b, now, &frame));
        }
        for frame in from_b {
            said_a.extend(feed(a, now, &frame));
        }
    }
}

fn connected(mut a: Station, mut b: Station) -> (Station, Station) {
    a.open(NOW);
    assert_eq!(settle(&mut a, &mut b, NOW), ([Said::Up].to_vec(), [Said::Up].to_vec()));
    (a, b)
}

fn message(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

fn only(frames: &[Vec<u8>]) -> Frame<'_> {
    assert_eq!(frames.len(), 1);
    Frame::decode(&frames[0]).unwrap()
}

#[test]
fn the_published_snrm_gets_the_published_ua() {
    let mut meter =
        station(Config::server(1, Some(17)).with_parameters(Parameters::symmetric(128, 1)), 256, 64);
    assert_eq!(feed(&mut meter, NOW, &vector("kmethy-snrm")), [Said::Up]);
    assert_eq!(meter.peer_sap(), Some(16));
    let ours = frames(&mut meter, NOW);
    // The published meter names its parameters although none were proposed; ours are the defaults, so it need not.
    let theirs = vector("kmethy-ua");
    let (ours, theirs) = (only(&ours), Frame::decode(&theirs).unwrap());
    assert_eq!(ours.header, theirs.header);
    assert_eq!(Parameters::decode(ours.information), Parameters::decode(theirs.information));
    let aarq = vector("kmethy-aarq");
    let apdu = aarq[14..aarq.len() - 3].to_vec();
    assert_eq!(apdu[..2], [0x60, 0x1D]);
    assert_eq!(feed(&mut meter, NOW, &aarq), [Said::Apdu(apdu)]);
}

#[test]
fn our_client_writes_the_published_frames() {
    let config = Config::client(16, Address::Four(1, 17)).with_parameters(Parameters::symmetric(128, 1));
    let mut ours = station(Config { bare_snrm: true, ..config }, 256, 64);
    ours.open(NOW);
    assert_eq!(frames(&mut ours, NOW), [vector("kmethy-snrm")]);
    assert_eq!(feed(&mut ours, NOW, &vector("kmethy-ua")), [Said::Up]);
    assert_eq!(ours.agreed(), Parameters::DEFAULT);
    let aarq = vector("kmethy-aarq");
    ours.send(NOW, &aarq[14..aarq.len() - 3]).unwrap();
    assert_eq!(frames(&mut ours, NOW), [aarq]);

    for (name, info) in [("l6-snrm-180", 180), ("l6-snrm-256", 256)] {
        let config = Config::client(32, Address::Four(1, 17)).with_parameters(Parameters::symmetric(info, 1));
        let mut ours = station(config, 300, 64);
        ours.open(NOW);
        assert_eq!(frames(&mut ours, NOW), [vector(name)]);
    }
    let mut ours = station(Config::client(32, Address::Four(1, 17)), 300, 64);
    let mut meter = station(Config::server(1, Some(17)), 300, 64);
    ours.open(NOW);
    settle(&mut ours, &mut meter, NOW);
    ours.close(NOW);
    assert_eq!(frames(&mut ours, NOW), [vector("l6-disc")]);

    let config = Config::client(1, Address::One(1)).with_parameters(Parameters::symmetric(2000, 1));
    let mut ours = station(config, 2048, 64);
    ours.open(NOW);
    assert_eq!(frames(&mut ours, NOW), [vector("csd-snrm")]);
}

#[test]
fn parameters_are_what_both_ends_can_do() {
    let client = Config::client(16, Address::One(1)).with_parameters(Parameters {
        info_transmit: 2000,
        info_receive: 1024,
        window_transmit: 7,
        window_receive: 3,
    });
    let server = Config::server(1, None).with_parameters(Parameters::symmetric(2030, 5));
    let (a, b) = connected(station(client, 2048, 64), station(server, 256, 64));
    let agreed = a.agreed();
    assert_eq!(
        (agreed.info_transmit, agreed.info_receive),
        (239, 1024),
        "the server's buffer takes 256 bytes"
    );
    assert_eq!((agreed.window_transmit, agreed.window_receive), (5, 3));
    assert_eq!((b.agreed().info_transmit, b.agreed().info_receive), (1024, 239));
    assert_eq!((b.agreed().window_transmit, b.agreed().window_receive), (3, 5));
}

#[test]
fn long_apdus_cross_in_segments_both_ways_with_every_window() {
    for window in 1..=7 {
        for len in [1, 125, 126, 127, 128, 129, 1000, 1024] {
            let p = Parameters::symmetric(128, window);
            let (mut a, mut b) = connected(
                station(Config::client(16, Address::One(1)).with_parameters(p), 256, 1024),
                station(Config::server(1, None).with_parameters(p), 256, 1024),
            );
            a.send(NOW, &message(len)).unwrap();
            assert_eq!(a.send(NOW, &[1]), Err(SendError::Busy));
            let (_, said) = settle(&mut a, &mut b, NOW);
            assert_eq!(said, [Said::Apdu(message(len))]);
            b.send(NOW, &message(len)).unwrap();
            let (said, _) = settle(&mut a, &mut b, NOW);
            assert_eq!(said, [Said::Apdu(message(len))], "window {window}, {len} bytes");
        }
    }
}

#[test]
fn one_apdu_takes_one_frame_each_way_and_no_rr() {
    let (mut a, mut b) = connected(client(), server());
    for _ in 0..20 {
        a.send(NOW, &[0xC0]).unwrap();
        let there = frames(&mut a, NOW);
        assert_eq!(feed(&mut b, NOW, &there.concat()), [Said::Apdu([0xC0].to_vec())]);
        assert!(frames(&mut b, NOW).is_empty(), "no RR while the answer is made");
        b.send(NOW, &[0xC4]).unwrap();
        let back = frames(&mut b, NOW);
        assert_eq!((there.len(), back.len()), (1, 1));
        assert_eq!(feed(&mut a, NOW, &back.concat()), [Said::Apdu([0xC4].to_vec())]);
        assert!(frames(&mut a, NOW).is_empty());
    }
}

#[test]
fn bytes_may_come_one_at_a_time_or_glued_between_garbage() {
    let (mut a, mut b) = connected(client(), server());
    a.send(NOW, &message(300)).unwrap();
    let mut said = Vec::new();
    for _ in 0..8 {
        for frame in frames(&mut a, NOW) {
            for byte in [&[0x00, 0x7E, 0xA0, 0x11][..], &frame].concat() {
                said.extend(feed(&mut b, NOW, &[byte]));
            }
        }
        let back = frames(&mut b, NOW).concat();
        feed(&mut a, NOW, &[&[0x7E, 0x7E][..], &back, &[0xFF, 0x7E]].concat());
    }
    said.retain(|s| !matches!(s, Said::Noise(_)));
    assert_eq!(said, [Said::Apdu(message(300))]);
}

#[test]
fn a_false_start_that_promises_a_long_frame_does_not_swallow_the_real_one() {
    let mut b = server();
    let snrm = {
        let mut a = client();
        a.open(NOW);
        frames(&mut a, NOW).concat()
    };
    // The flag and length of a frame of 250 bytes, then silence, then a whole SNRM inside the hole.
    let said = feed(&mut b, NOW, &[&[0x7E, 0xA0, 0xF8][..], &snrm].concat());
    assert_eq!(said, []);
    let at = b.poll_timeout().unwrap();
    b.handle_timeout(at);
    let mut said = Vec::new();
    drain(&mut b, &mut said);
    assert_eq!(said, [Said::Noise(3), Said::Up]);
}

#[test]
fn a_lost_request_is_repeated_until_the_retries_are_used_up() {
    let (mut a, _) = connected(client(), server());
    a.send(NOW, &[0xC0]).unwrap();
    let (mut now, mut sent) = (NOW, 0);
    let reason = loop {
        sent += frames(&mut a, now).len();
        now = a.poll_timeout().unwrap();
        a.handle_timeout(now);
        if let Some(Event::Down(reason)) = a.poll_event() {
            break reason;
        }
    };
    assert_eq!((sent, reason), (4, DownReason::Timeout));
    assert_eq!(now, NOW + Duration::from_secs(12), "four times the response timeout");
    assert_eq!(a.poll_timeout(), None);
}

#[test]
fn a_lost_answer_is_sent_again_and_the_request_is_not_delivered_twice() {
    let (mut a, mut b) = connected(client(), server());
    a.send(NOW, &[0xC0]).unwrap();
    feed(&mut b, NOW, &frames(&mut a, NOW).concat());
    b.send(NOW, &[0xC4]).unwrap();
    assert_eq!(frames(&mut b, NOW).len(), 1, "and it is lost");
    let now = a.poll_timeout().unwrap();
    a.handle_timeout(now);
    let (said_a, said_b) = settle(&mut a, &mut b, now);
    assert_eq!(said_a, [Said::Apdu([0xC4].to_vec())]);
    assert_eq!(said_b, []);
}

#[test]
fn a_slow_server_says_rr_and_is_asked_again() {
    let (mut a, mut b) = connected(client(), server());
    a.send(NOW, &[0xC3]).unwrap();
    feed(&mut b, NOW, &frames(&mut a, NOW).concat());
    let now = b.poll_timeout().unwrap();
    assert_eq!(now, NOW + Duration::from_secs(1));
    b.handle_timeout(now);
    let rr = frames(&mut b, now);
    assert_eq!(only(&rr).header.control, Control::Rr(1));
    assert_eq!(feed(&mut a, now, &rr[0]), []);
    b.send(now, &[0xC7]).unwrap();
    assert!(frames(&mut b, now).is_empty(), "it may not speak before it is asked");
    let now = a.poll_timeout().unwrap();
    a.handle_timeout(now);
    assert_eq!(settle(&mut a, &mut b, now).0, [Said::Apdu([0xC7].to_vec())]);
}

#[test]
fn a_server_that_never_answers_is_not_polled_for_ever() {
    let (mut a, mut b) = connected(client(), server());
    a.send(NOW, &[0xC3]).unwrap();
    let mut now = NOW;
    let mut polls = 0;
    while let Some(at) = {
        settle(&mut a, &mut b, now);
        [a.poll_timeout(), b.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
            .filter(|_| a.poll_timeout().is_some())
    } {
        now = now.max(at);
        a.handle_timeout(now);
        b.handle_timeout(now);
        polls += 1;
        assert!(polls < 400);
    }
    assert!(a.is_up(), "whether the request failed is the owner's to decide");
    assert!(now <= NOW + Duration::from_secs(31));
}

#[test]
fn a_busy_peer_gets_no_information_until_it_is_ready() {
    let (mut a, _) = connected(client(), server());
    let answer = |control| {
        let header = Header {
            segmented: false,
            destination: Address::One(16),
            source: Address::Two(1, 17),
            control,
            poll_final: true,
        };
        let mut out = [0; 32];
        let n = encode(&header, &[], &[], &mut out).unwrap();
        out[..n].to_vec()
    };
    a.send(NOW, &message(300)).unwrap();
    assert_eq!(frames(&mut a, NOW).len(), 1);
    feed(&mut a, NOW, &answer(Control::Rnr(1)));
    assert!(frames(&mut a, NOW).is_empty());
    let now = a.poll_timeout().unwrap();
    a.handle_timeout(now);
    assert_eq!(only(&frames(&mut a, now)).header.control, Control::Rr(0));
    feed(&mut a, now, &answer(Control::Rr(1)));
    let next = frames(&mut a, now);
    assert_eq!(only(&next).header.control, Control::Information { ns: 1, nr: 0 });
    feed(&mut a, now, &answer(Control::Rej(1)));
    let again = frames(&mut a, now);
    assert_eq!(
        only(&again).header.control,
        Control::Information { ns: 1, nr: 0 },
        "REJ asks for it once more"
    );
}

#[test]
fn stations_on_one_line_answer_only_for_themselves() {
    let mut meters: Vec<_> = (17..20).map(|p| station(Config::server(1, Some(p)), 256, 64)).collect();
    for called in 17..20_u8 {
        for len in [2, 4] {
            let mut a = station(Config::client(16, Address::server(1, called.into(), len)), 256, 64);
            a.open(NOW);
            let snrm = frames(&mut a, NOW).concat();
            for (meter, own) in meters.iter_mut().zip(17..) {
                let said = feed(meter, NOW, &snrm);
                assert_eq!(said.contains(&Said::Up), own == called);
                let answer = frames(meter, NOW);
                assert_eq!(answer.len(), usize::from(own == called));
                if own == called {
                    assert_eq!(only(&answer).header.source, Address::server(1, called.into(), len));
                }
            }
        }
    }
}

#[test]
fn a_broadcast_is_taken_and_never_answered() {
    let (_, mut b) = connected(client(), server());
    for (control, information, said) in [
        (Control::Ui, &[0xE6, 0xE6, 0, 0x0F, 1][..], &[Said::Unconfirmed([0x0F, 1].to_vec())][..]),
        (Control::Snrm, &[], &[]),
        (Control::Disc, &[], &[]),
    ] {
        let header = Header {
            segmented: false,
            destination: Address::Four(0x3FFF, 0x3FFF),
            source: Address::One(16),
            control,
            poll_final: true,
        };
        let mut out = [0; 64];
        let n = encode(&header, &[], information, &mut out).unwrap();
        assert_eq!(feed(&mut b, NOW, &out[..n]), said);
        assert!(frames(&mut b, NOW).is_empty());
    }
    assert!(b.is_up());
}

#[test]
fn a_client_that_restarted_opens_again_without_closing() {
    let (_, mut b) = connected(client(), server());
    let mut again = client();
    again.open(NOW);
    let (said_a, said_b) = settle(&mut again, &mut b, NOW);
    assert_eq!(said_a, [Said::Up]);
    assert_eq!(said_b, [Said::Down(DownReason::PeerClosed), Said::Up]);
}

#[test]
fn closing_is_confirmed_and_a_second_disc_gets_dm() {
    let (mut a, mut b) = connected(client(), server());
    a.close(NOW);
    let disc = frames(&mut a, NOW);
    assert_eq!(feed(&mut b, NOW, &disc[0]), [Said::Down(DownReason::PeerClosed)]);
    assert_eq!(only(&frames(&mut b, NOW)).header.control, Control::Ua, "which is lost");
    let now = a.poll_timeout().unwrap();
    a.handle_timeout(now);
    let disc = frames(&mut a, now);
    feed(&mut b, now, &disc[0]);
    let dm = frames(&mut b, now);
    assert_eq!(only(&dm).header.control, Control::Dm);
    assert_eq!(feed(&mut a, now, &dm[0]), [Said::Down(DownReason::Closed)]);
}

#[test]
fn a_server_that_rebooted_answers_dm_and_the_client_hears_it() {
    let (mut a, _) = connected(client(), server());
    let mut rebooted = server();
    a.send(NOW, &[0xC0]).unwrap();
    assert_eq!(
        settle(&mut a, &mut rebooted, NOW),
        ([Said::Down(DownReason::PeerClosed)].to_vec(), [].to_vec())
    );
}

#[test]
fn silence_ends_the_servers_link() {
    let (_, mut b) = connected(client(), server());
    let at = b.poll_timeout().unwrap();
    assert_eq!(at, NOW + Duration::from_secs(120));
    b.handle_timeout(at);
    assert_eq!(b.poll_event(), Some(Event::Down(DownReason::Inactive)));
    assert_eq!(b.poll_timeout(), None);
}

#[test]
fn an_unknown_command_gets_frmr_and_frmr_ends_the_clients_link() {
    let (mut a, mut b) = connected(client(), server());
    let header = Header {
        segmented: false,
        destination: Address::Two(1, 17),
        source: Address::One(16),
        control: Control::Unknown(0xAF),
        poll_final: true,
    };
    let mut out = [0; 32];
    let n = encode(&header, &[], &[], &mut out).unwrap();
    feed(&mut b, NOW, &out[..n]);
    let frmr = frames(&mut b, NOW);
    assert_eq!(only(&frmr).header.control, Control::Frmr);
    assert_eq!(only(&frmr).information, [0xBF, 0, 1]);
    assert_eq!(feed(&mut a, NOW, &frmr[0]), [Said::Down(DownReason::Protocol)]);
}

#[test]
fn an_apdu_longer_than_the_buffer_ends_the_link_instead_of_being_cut() {
    let (mut a, mut b) = connected(client(), station(Config::server(1, Some(17)), 256, 100));
    a.send(NOW, &message(101)).unwrap();
    let (said_a, said_b) = settle(&mut a, &mut b, NOW);
    assert_eq!(said_b, [Said::Down(DownReason::Protocol)]);
    assert_eq!(said_a, [Said::Down(DownReason::PeerClosed)]);
    assert_eq!(a.send(NOW, &[1]), Err(SendError::NotUp));
}

#[test]
fn an_echo_of_our_own_frames_is_not_an_answer() {
    let mut a = client();
    a.open(NOW);
    let snrm = frames(&mut a, NOW);
    assert_eq!(feed(&mut a, NOW, &snrm[0]), []);
    assert_eq!(a.counters().foreign, 1);
    assert!(!a.is_up());
}
