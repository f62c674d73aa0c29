//! Pre-established associations (Green Book, application associations): both ends are configured alike, and services are used
//! without an AARQ. A request of such a client opens it when no association is open on the link; it ends as any other does,
//! and the next request opens it again.

use super::custody::{Association, Custody};
use super::session::{Session, Stage};
use super::{Core, Event, IMPLEMENTED, Peer};
use crate::codec::acse::AuthMechanism;
use crate::codec::security::SystemTitle;
use crate::codec::xdlms::SecurityControl;
use crate::dlms::security::{Cipher, Form, KeyUsage, without_dedicated};
use crate::time::Instant;

/// What both ends of a pre-established association know of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreEstablished {
    /// Its row. Nothing is exchanged that could prove who a client is, so the mechanism must be none: the protection that the
    /// policy demands of every request is the proof. The services are those of the row; nothing is negotiated.
    pub association: Association,
    /// The client's system title, where requests are protected.
    pub client_title: SystemTitle,
    /// Largest APDU the client takes; zero means no bound.
    pub client_max_pdu: u16,
}

impl<const N: usize, const LONG: usize> Core<N, LONG> {
    /// Opens the pre-established association of `peer` if there is one and the link has none.
    pub(super) fn open_pre_established<M: Custody>(&mut self, now: Instant, peer: Peer, meter: &M) {
        if self.session.is_some() {
            return;
        }
        let Some(configured) = meter.pre_established(peer.client_sap) else { return };
        let row = configured.association;
        if row.client_sap != peer.client_sap || row.mechanism != AuthMechanism::None {
            return;
        }
        let mut cipher = None;
        if !row.policy.is_none() {
            let key = |usage| meter.key(row.key_set, usage);
            cipher = key(without_dedicated(row.policy).key_usage())
                .zip(key(KeyUsage::Authentication))
                .and_then(|(ek, ak)| Cipher::new(row.policy.suite, &ek, &ak));
            if cipher.is_none() {
                return;
            }
        }
        self.session = Some(Session {
            row,
            server_sap: peer.server_sap,
            stage: Stage::Associated,
            cipher,
            dedicated: None,
            peer: configured.client_title,
            conformance: row.conformance & IMPLEMENTED,
            client_max_pdu: configured.client_max_pdu,
            server_max_pdu: u16::try_from(N).unwrap_or(u16::MAX),
            form: Form::Plain,
            control: SecurityControl::default(),
            reply: None,
        });
        self.deadline = (!row.inactivity.is_zero()).then(|| now + row.inactivity);
        self.event(Event::Associated { client_sap: row.client_sap });
    }
}
