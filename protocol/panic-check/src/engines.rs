//! The association engines.

use core::hint::black_box;

use protocol::codec::axdr::Data;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::LongInvokeId;
use protocol::dlms::axdr_walk::Walk;
use protocol::dlms::client::{AccessItem, Client, Config, ContentKey};
use protocol::dlms::model::{Attribute, Method};
use protocol::dlms::security::{CounterBlock, Form, Secret, SystemTitle};
use protocol::dlms::server::{Peer, Server};

use crate::device::{Device, key, policy, private};
use crate::{bytes, now};

pub fn server() {
    let mut server = Server::<512, 512>::new();
    let mut buffer = [0; 600];
    let mut device = Device;
    while black_box(true) {
        let peer = Peer { client_sap: black_box(1), server_sap: black_box(1) };
        server.handle_bytes(now(), peer, bytes(&mut buffer), &mut device);
        while let Some(event) = server.poll_event() {
            black_box(event);
        }
        while let Some(apdu) = server.poll_transmit() {
            black_box(apdu);
        }
        if black_box(server.has_more()) {
            black_box(server.refill(&mut device));
        }
        if black_box(false) {
            server.not_sent();
        }
        if black_box(server.poll_timeout()).is_some() {
            server.handle_timeout(now());
        }
        let id = LongInvokeId(black_box(0));
        let _ = black_box(server.notify(&mut device, 1, id, None, |w| w.write_bytes(black_box(&[0; 64]))));
        let at = attribute();
        let _ = black_box(server.notify_event(&mut device, 1, None, at, |w| w.write_bytes(black_box(&[0; 64]))));
        if black_box(false) {
            server.link_down();
        }
    }
}

fn attribute() -> Attribute {
    Attribute { class_id: black_box(1), logical_name: Obis(black_box([0; 6])), index: black_box(2) }
}

/// One of the ways to a content key.
fn content_key() -> ContentKey {
    let Some(ephemeral) = private() else { return ContentKey::Global };
    let server = ephemeral.public_key();
    match black_box(0) {
        0 => ContentKey::Global,
        1 => ContentKey::Wrapped { master: key(), key: key() },
        2 => ContentKey::Agreed { ephemeral, server },
        _ => ContentKey::Static { server },
    }
}

pub fn client() {
    let config = Config {
        mechanism: protocol::codec::acse::AuthMechanism::from_arc(black_box(5)),
        secret: Secret::new(&black_box([0; 8])).ok(),
        policy: policy(),
        system_title: SystemTitle(black_box([0; 8])),
        encryption_key: Some(key()),
        authentication_key: Some(key()),
        dedicated_key: Some(key()),
        form: black_box(Form::General),
        signed: black_box(true),
        signing_key: private(),
        agreement_key: private(),
        server_public_key: private().map(|key| key.public_key()),
        content_key: content_key(),
        ..Config::default()
    };
    let mut client = Client::<512, 512>::new(config, CounterBlock::new(black_box(1), black_box(1_000)));
    let mut buffer = [0; 600];
    let mut value = [0; 600];
    while black_box(true) {
        let data = Data::OctetString(bytes(&mut value));
        let (at, method) = (attribute(), Method { class_id: 1, logical_name: Obis([0; 6]), index: black_box(1) });
        match black_box(0) {
            0 => drop(black_box(client.associate(now(), bytes(&mut buffer)))),
            1 => drop(black_box(client.get(now(), at, None))),
            2 => drop(black_box(client.get_list(now(), &[(at, None), (at, None)]))),
            3 => drop(black_box(client.set(now(), at, None, data))),
            4 => drop(black_box(client.set_list(now(), &[(at, data)]))),
            5 => drop(black_box(client.action(now(), method, Some(data)))),
            6 => drop(black_box(client.action_list(now(), &[(method, data)]))),
            7 => drop(black_box(client.access(now(), &[AccessItem::Get(at, None), AccessItem::Set(at, data)]))),
            8 => drop(black_box(client.read(now(), black_box(8), None))),
            9 => drop(black_box(client.write(now(), black_box(8), data))),
            _ => drop(black_box(client.release(now()))),
        }
        while let Some(apdu) = client.poll_transmit() {
            black_box(apdu);
        }
        client.handle_bytes(now(), bytes(&mut buffer));
        while let Some(event) = client.poll_event() {
            black_box(event);
        }
        if black_box(client.poll_timeout()).is_some() {
            client.handle_timeout(now());
        }
        if black_box(false) {
            client.link_down();
        }
        for node in Walk::new(bytes(&mut buffer)) {
            let _ = black_box(node);
        }
    }
}
