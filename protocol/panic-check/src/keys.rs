//! Keys that come over the network.

use core::hint::black_box;

use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::cosem::FromData;
use protocol::cosem::class::Items;
use protocol::cosem::security_setup::{KeyId, NewKeys, Parties};
use protocol::dlms::security::ecdsa::{Curve, PrivateKey};
use protocol::dlms::security::{SecuritySuite, SystemTitle, pkcs10};

use crate::bytes;
use crate::device::{Device, key};

/// What a meter is sent: keys wrapped, and halves of keys to agree on.
pub fn offered() {
    let mut buffer = [0; 600];
    let Ok(parameter) = Data::from_bytes_in(bytes(&mut buffer)) else { return };
    let suite = black_box(SecuritySuite::Suite1);
    let mut answer = [0; 600];
    let room = black_box(0_usize).min(answer.len());
    let mut out = SliceWriter::new(answer.get_mut(..room).unwrap_or(&mut []));
    let client = SystemTitle(black_box([0; 8]));
    let Ok(list) = Items::from_data(parameter) else { return };
    let _ = black_box(NewKeys::agreed(list, suite, (black_box(1), &client), &mut Device, &mut out));
    let _ = black_box(NewKeys::transferred(list, suite, &key()));
}

/// What a client is answered: the other halves, and a certificate request.
pub fn answered() {
    let mut buffer = [0; 600];
    let received = bytes(&mut buffer);
    let _ = black_box(pkcs10::verify(Curve::P256, received));
    let Some(ours) = PrivateKey::from_bytes(Curve::P256, &black_box([1; 32])) else { return };
    let _ = black_box(pkcs10::request(&SystemTitle(black_box([0; 8])), &ours));
    let Ok(answer) = Data::from_bytes_in(received) else { return };
    let (client, server) = (SystemTitle(black_box([0; 8])), SystemTitle(black_box([0; 8])));
    let parties = Parties { suite: black_box(SecuritySuite::Suite1), client: &client, server: &server };
    let _ = black_box(NewKeys::agreed_with(answer, parties, &[(KeyId::Unicast, &ours)], &ours.public_key()));
}
