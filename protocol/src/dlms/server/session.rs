//! One association as the server holds it.

use super::custody::Association;
use super::general::Reply;
use crate::codec::cosem::AttributeAccess;
use crate::codec::security::SystemTitle;
use crate::codec::xdlms::{Conformance, SecurityControl};
use crate::dlms::model::Caller;
use crate::dlms::security::hls::Challenge;
use crate::dlms::security::{Cipher, Form, Key, without_dedicated};

/// Where an association stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// High-level security: challenges are exchanged, the client's answer is awaited.
    Challenged { to_client: Challenge, to_server: Challenge },
    /// Open for services.
    Associated,
}

/// A key that a client brought for one association.
#[derive(Debug)]
pub(super) struct Dedicated {
    pub key: Key,
    pub cipher: Cipher,
    /// The last counter accepted under it.
    pub floor: Option<u32>,
}

/// Everything that lives as long as an association.
#[derive(Debug)]
pub(super) struct Session {
    pub row: Association,
    pub server_sap: u16,
    pub stage: Stage,
    /// Keyed with the global keys; absent when the association needs none.
    pub cipher: Option<Cipher>,
    /// The key the client brought for this association.
    pub dedicated: Option<Dedicated>,
    /// The client's system title; zeros when it gave none.
    pub peer: SystemTitle,
    pub conformance: Conformance,
    /// Largest APDU the client takes; zero means no bound.
    pub client_max_pdu: u16,
    /// Largest APDU this server takes.
    pub server_max_pdu: u16,
    /// How the last request came: answers go the same way.
    pub form: Form,
    /// How the last request was protected.
    pub control: SecurityControl,
    /// What its answer needs to know, where it came in general-ciphering or general-signing.
    pub reply: Option<Reply>,
}

impl Session {
    pub fn caller(&self) -> Caller {
        Caller {
            client_sap: self.row.client_sap,
            authenticated: self.row.mechanism.is_high_level() && self.stage == Stage::Associated,
        }
    }

    /// The control byte of what this server sends.
    pub fn own_control(&self) -> SecurityControl {
        without_dedicated(self.row.policy).control()
    }

    /// Whether the last request and the answer to come are protected as these access bits demand (attribute and method
    /// access use the same bits).
    pub fn satisfies(&self, access: u8) -> bool {
        let access = AttributeAccess::from_bits_truncate(access);
        let own = if self.form == Form::Plain { SecurityControl::default() } else { self.own_control() };
        let signed = self.reply.as_ref().is_some_and(Reply::is_signed);
        let demands = [
            (AttributeAccess::AUTHENTICATED_REQUEST, self.control.authenticated()),
            (AttributeAccess::ENCRYPTED_REQUEST, self.control.encrypted()),
            (AttributeAccess::AUTHENTICATED_RESPONSE, own.authenticated()),
            (AttributeAccess::ENCRYPTED_RESPONSE, own.encrypted()),
            (AttributeAccess::DIGITALLY_SIGNED_REQUEST, signed),
            (AttributeAccess::DIGITALLY_SIGNED_RESPONSE, signed),
        ];
        demands.into_iter().all(|(bit, met)| met || !access.contains(bit))
    }
}
