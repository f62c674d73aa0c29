//! Security setup: policy and keys.

use hardware::board::Board;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::FromData;
use protocol::cosem::events::Event;
use protocol::cosem::security_setup::{CERTIFICATES, NewKeys, Policy};
use protocol::cosem::values::put_array;
use protocol::dlms::security::KeyUsage;

use super::full;
use crate::custody::SUITE;
use crate::keys::KeyStore;
use crate::meter::Meter;

impl<B: Board> Meter<B> {
    pub(super) fn get_security_setup(
        &mut self,
        index: i8,
        out: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        match index {
            2 => Data::Enum(self.keys.policy().0).encode(out),
            3 => Data::Enum(SUITE.id()).encode(out),
            // Peers are known by the title they bring.
            4 => Data::OctetString(&[]).encode(out),
            5 => Data::OctetString(&self.who.system_title).encode(out),
            CERTIFICATES => put_array(out, 0),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    pub(super) fn invoke_security_setup(
        &mut self,
        index: i8,
        parameter: Data<'_>,
    ) -> Result<(), ActionResult> {
        let next = match index {
            1 => {
                let wanted = Policy::from_data(parameter).map_err(|_| ActionResult::TypeUnmatched)?;
                let policy = self.keys.policy().strengthened(wanted).ok_or(ActionResult::ReadWriteDenied)?;
                self.keys.with_policy(policy)
            }
            2 => {
                let master = self.keys.get(KeyUsage::KeyEncrypting).ok_or(ActionResult::ObjectUnavailable)?;
                let new = NewKeys::transferred(parameter, SUITE, &master)?;
                self.keys.with(&new).ok_or(ActionResult::OtherReason)?
            }
            _ => return Err(ActionResult::ObjectUnavailable),
        };
        self.change_keys(next)
    }

    /// Stores `next` and makes it the keys of every association from the next on; an open one keeps those it began with.
    fn change_keys(&mut self, next: KeyStore) -> Result<(), ActionResult> {
        if next == self.keys {
            return Ok(());
        }
        self.key_journal.write(self.board.storage(), &next).map_err(|_| ActionResult::HardwareFault)?;
        self.keys = next;
        self.note(Event::KeysChanged, 0);
        Ok(())
    }
}
