//! The links, both roles of each.

use core::hint::black_box;
use protocol::link::hdlc::frame::Address;
use protocol::link::hdlc::{Config, Hdlc};
use protocol::link::wrapper::{self, Wrapper};
use protocol::link::{Link, mode_e};

use crate::{bytes, now};

/// Every call of a link.
fn drive(link: &mut impl Link) {
    let mut buffer = [0; 600];
    let mut out = [0; 600];
    while black_box(true) {
        link.open(now());
        let _ = black_box(link.handle_bytes(now(), bytes(&mut buffer)));
        while let Some(event) = link.poll_event() {
            black_box(event);
        }
        let _ = black_box(link.send(now(), bytes(&mut buffer)));
        while black_box(link.poll_transmit(now(), &mut out)).is_some() {}
        if black_box(link.poll_timeout()).is_some() {
            link.handle_timeout(now());
        }
        black_box((link.is_up(), link.peer_sap()));
        link.close(now());
    }
}

pub fn hdlc() {
    let server = Config::server(black_box(1), Some(black_box(17)));
    let client = Config::client(black_box(18), Address::Two(black_box(1), black_box(17)));
    for config in [server, client] {
        drive(&mut Hdlc::new(black_box(config), [0; 300], [0; 600], [0; 600]));
    }
}

pub fn wrapper() {
    let server = wrapper::Config::server(Some(black_box(1)));
    let client = wrapper::Config::client(black_box(18), black_box(1));
    for config in [server, client] {
        drive(&mut Wrapper::new(black_box(config), [0; 600], [0; 600]));
    }
}

pub fn mode_e() {
    let mut buffer = [0; 600];
    let mut out = [0; 64];
    let mut client = mode_e::Client::new("", black_box(9_600), black_box(true));
    while black_box(true) {
        client.start();
        client.handle_bytes(bytes(&mut buffer));
        while let Some(event) = client.poll_event() {
            black_box(event);
        }
        black_box(client.poll_transmit(now(), &mut out));
        if black_box(client.poll_timeout()).is_some() {
            client.handle_timeout(now());
        }
    }
}
