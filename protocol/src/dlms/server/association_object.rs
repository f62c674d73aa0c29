//! The Association LN object (class 15) as far as the engine knows it: Blue Book 4.4.4, attributes 1, 3 to 6, 8 and 9.
//! The object list (2), the secret (7) and everything from 10 on belong to the object model.

use super::session::{Session, Stage};
use crate::codec::Writer;
use crate::codec::obis::Obis;
use crate::codec::xdlms::{DLMS_VERSION, DataAccessResult};
use crate::dlms::model::{Attribute, Piece};

/// Interface class of Association LN.
pub(super) const CLASS: u16 = 15;

/// The current association: 0.0.40.0.0.255.
pub(super) const CURRENT: Obis = Obis::new(0, 0, 40, 0, 0, 255);

/// Whether the name is the current association, under its common name or its own.
pub(super) fn is_own(session: &Session, name: Obis) -> bool {
    name == CURRENT || name == Obis::new(0, 0, 40, 0, session.row.instance, 255)
}

/// Writes the attribute when it is one the engine knows; `None` when the model has to be asked.
pub(super) fn get(
    session: &Session,
    at: Attribute,
    w: &mut dyn Writer,
) -> Option<Result<Piece, DataAccessResult>> {
    if at.class_id != CLASS || !is_own(session, at.logical_name) {
        return None;
    }
    let written = match at.index {
        1 => w.write_bytes(&[9, 6]).and_then(|()| w.write_bytes(at.logical_name.as_bytes())),
        3 => partners(session, w),
        4 => name(w, 1, if session.cipher.is_some() && !session.row.policy.is_none() { 3 } else { 1 }),
        5 => context_info(session, w),
        6 => name(w, 2, session.row.mechanism.arc()),
        8 => {
            let status = match session.stage {
                Stage::Challenged { .. } => 1,
                Stage::Associated => 2,
            };
            w.write_bytes(&[22, status])
        }
        9 => w.write_bytes(&[9, 6, 0, 0, 43, 0, session.row.key_set, 255]),
        _ => return None,
    };
    Some(written.map(|()| Piece::Last).map_err(|_| DataAccessResult::OtherReason))
}

/// `associated_partners_id ::= structure { client_SAP: integer, server_SAP: long-unsigned }`
fn partners(session: &Session, w: &mut dyn Writer) -> crate::codec::Result<()> {
    w.write_bytes(&[2, 2, 15, session.row.client_sap, 18])?;
    w.write_u16(session.server_sap)
}

/// A context or mechanism name as a structure: 2.16.756.5.8.branch.arc.
fn name(w: &mut dyn Writer, branch: u8, arc: u8) -> crate::codec::Result<()> {
    w.write_bytes(&[2, 7, 17, 2, 17, 16, 18, 0x02, 0xF4, 17, 5, 17, 8, 17, branch, 17, arc])
}

/// `xDLMS_context_info ::= structure { conformance: bitstring(24), max_receive, max_send: long-unsigned,
/// version: unsigned, quality_of_service: integer, cyphering_info: octet-string }`
fn context_info(session: &Session, w: &mut dyn Writer) -> crate::codec::Result<()> {
    w.write_bytes(&[2, 6, 4, 24])?;
    w.write_bytes(&session.conformance.to_bytes())?;
    w.write_u8(18)?;
    w.write_u16(session.server_max_pdu)?;
    w.write_u8(18)?;
    w.write_u16(session.client_max_pdu)?;
    w.write_bytes(&[17, DLMS_VERSION, 15, 0, 9, 0])
}
