//! In what a meter differs from the reference meter: each a fault seen from the default profile, each met by a setting of a model.

use super::meter::AK;
use protocol::codec::acse::{Aare, Aarq, AuthMechanism};
use protocol::codec::axdr::DateTime;
use protocol::codec::codec::{Decode, Encode, Reader, SliceWriter};
use protocol::codec::xdlms::{ApduTag, Conformance, InitiateRequest};
use protocol::dlms::security::ecdsa::{Curve, PrivateKey};
use protocol::dlms::security::{Key, SecurityPolicy, SecuritySuite};
use protocol::link::hdlc::frame::{Address, Control, Frame};
use std::time::Duration;

/// The password or shared secret of every meter that has one.
pub(super) const SECRET: &[u8] = b"correct horse";

/// The habits of one meter.
#[derive(Debug, Clone)]
pub(super) struct Habits {
    /// The client it knows besides the public one.
    pub(super) client_sap: u8,
    /// Its logical device.
    pub(super) server_sap: u16,
    pub(super) mechanism: AuthMechanism,
    pub(super) policy: SecurityPolicy,
    /// It has a public client.
    pub(super) public: bool,
    /// Whether it hears these bytes of the wire at all.
    pub(super) hears_bytes: fn(&[u8]) -> bool,
    /// Whether it hears this APDU.
    pub(super) hears: fn(&[u8]) -> bool,
    /// What it makes of an APDU on its way out.
    pub(super) says: fn(&[u8]) -> Vec<u8>,
    /// It sleeps until it hears this, and takes so long to wake up.
    pub(super) wakes_to: Option<(&'static [u8], Duration)>,
    /// It does not hear for so long after it spoke.
    pub(super) deaf_after_speaking: Duration,
    /// It does not hear for a minute after an RLRQ.
    pub(super) deaf_after_rlrq: bool,
    /// Its clock takes and gives times with a deviation, without one, or takes both.
    pub(super) deviation: Option<bool>,
    /// Its own invocation counters begin again with each connection.
    pub(super) counter_restarts: bool,
    /// It refuses to say where its contact is.
    pub(super) hides_contact: bool,
}

/// What both ends sign with.
pub(super) struct KeysThatSign {
    pub(super) meter: PrivateKey,
    pub(super) gateway: PrivateKey,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            client_sap: 18,
            server_sap: 1,
            mechanism: AuthMechanism::HighGmac,
            policy: SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0),
            public: true,
            hears_bytes: |_| true,
            hears: |_| true,
            says: <[u8]>::to_vec,
            wakes_to: None,
            deaf_after_speaking: Duration::ZERO,
            deaf_after_rlrq: false,
            deviation: None,
            counter_restarts: false,
            hides_contact: false,
        }
    }
}

impl Habits {
    /// No authentication and no protection.
    pub(super) fn open() -> Self {
        Self { mechanism: AuthMechanism::None, policy: SecurityPolicy::NONE, ..Self::default() }
    }

    /// The keys of the suite in use.
    pub(super) fn keys(&self) -> (Key, Key) {
        match self.policy.suite {
            SecuritySuite::Suite2 => (Key::new_256([0x5A; 32]), Key::new_256([0xA5; 32])),
            _ => (Key::new(super::meter::EK), Key::new(AK)),
        }
    }

    /// What both ends sign with, in suites that have a curve.
    pub(super) fn keys_that_sign(&self) -> Option<KeysThatSign> {
        let curve = Curve::of_suite(self.policy.suite)?;
        let key = |byte| PrivateKey::from_bytes(curve, &vec![byte; curve.field_len()]);
        Some(KeysThatSign { meter: key(0x11)?, gateway: key(0x22)? })
    }

    /// Whether the clock takes this.
    pub(super) fn takes(&self, time: DateTime) -> bool {
        self.deviation.is_none_or(|given| given == time.utc_offset_minutes().is_some())
    }
}

/// The proposal in an AARQ in the clear; `None` for every other APDU.
fn proposed(apdu: &[u8]) -> Option<(Conformance, u16)> {
    let [tag, request @ ..] = Aarq::from_bytes(apdu).ok()?.user_information? else { return None };
    if *tag != ApduTag::InitiateRequest.as_u8() {
        return None;
    }
    let request = InitiateRequest::decode(&mut Reader::new(request)).ok()?;
    Some((request.proposed_conformance, request.client_max_receive_pdu_size))
}

/// Only offers to receive up to 256 bytes.
pub(super) fn small_offers(apdu: &[u8]) -> bool {
    proposed(apdu).is_none_or(|(_, size)| size <= 256)
}

/// Only APDUs of up to 70 bytes, whatever it says it takes.
pub(super) fn short_apdus(apdu: &[u8]) -> bool {
    apdu.len() <= 70
}

/// Only proposals without lists and ACCESS.
pub(super) fn modest_proposals(apdu: &[u8]) -> bool {
    proposed(apdu).is_none_or(|(services, _)| {
        !services.intersects(Conformance::MULTIPLE_REFERENCES | Conformance::ACCESS)
    })
}

/// Ciphered requests in general-glo-ciphering alone.
pub(super) fn general(apdu: &[u8]) -> bool {
    !matches!(apdu.first(), Some(0xC8..=0xD7))
}

/// Ciphered requests with the dedicated key alone: the `ded` tags.
pub(super) fn dedicated(apdu: &[u8]) -> bool {
    !matches!(apdu.first(), Some(0xC8..=0xCF))
}

/// The AARE without its user-information; everything else as it is.
pub(super) fn aare_without_user_information(apdu: &[u8]) -> Vec<u8> {
    let Ok(aare) = Aare::from_bytes(apdu) else { return apdu.to_vec() };
    let mut out = [0; 256];
    let mut writer = SliceWriter::new(&mut out);
    Aare { user_information: None, ..aare }.encode(&mut writer).expect("it became shorter");
    writer.as_slice().to_vec()
}

/// HDLC frames to a two-byte address.
pub(super) fn two_byte_addresses(bytes: &[u8]) -> bool {
    Frame::decode(bytes).is_ok_and(|frame| matches!(frame.header.destination, Address::Two(..)))
}

/// HDLC frames to a four-byte address.
pub(super) fn four_byte_addresses(bytes: &[u8]) -> bool {
    Frame::decode(bytes).is_ok_and(|frame| matches!(frame.header.destination, Address::Four(..)))
}

/// SNRM without parameters.
pub(super) fn bare_snrm(bytes: &[u8]) -> bool {
    Frame::decode(bytes)
        .is_ok_and(|frame| frame.header.control != Control::Snrm || frame.information.is_empty())
}

/// HDLC frames with information fields of up to 64 bytes.
pub(super) fn short_frames(bytes: &[u8]) -> bool {
    Frame::decode(bytes).is_ok_and(|frame| frame.information.len() <= 64)
}
