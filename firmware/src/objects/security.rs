//! Security setup: policy and keys. One object for each key set.

use hardware::board::Board;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::events::Event;
use protocol::cosem::security_setup::{CERTIFICATES, NewKeys, Policy};
use protocol::cosem::values::put_array;
use protocol::cosem::{FromData, obis};
use protocol::dlms::model::Caller;
use protocol::dlms::security::{KeyUsage, SecuritySuite};

use super::full;
use crate::custody::SUITE;
use crate::keys::KeyStore;
use crate::meter::Meter;

impl<B: Board> Meter<B> {
    /// Whether this meter has the object of that name.
    pub(super) fn has(&self, name: Obis) -> bool {
        name != obis::SECURITY_SETUP_SUITE_1 || self.key_set(name).is_ok()
    }

    /// The suite and the keys of a Security setup object.
    fn key_set(&self, name: Obis) -> Result<(SecuritySuite, &KeyStore), ActionResult> {
        match name {
            obis::SECURITY_SETUP => Ok((SUITE, &self.keys)),
            #[cfg(feature = "ecdsa")]
            obis::SECURITY_SETUP_SUITE_1 => match &self.suite1 {
                Some(store) => Ok((crate::suite1::SUITE, &store.keys)),
                None => Err(ActionResult::ObjectUndefined),
            },
            _ => Err(ActionResult::ObjectUndefined),
        }
    }

    /// The client's title: empty where peers are known by the title they bring.
    fn client_title(&self, suite: SecuritySuite) -> &[u8] {
        #[cfg(feature = "ecdsa")]
        if let (SecuritySuite::Suite1, Some(known)) = (suite, &self.who.options.suite1) {
            return &known.client_title;
        }
        let _ = suite;
        &[]
    }

    pub(super) fn get_security_setup(
        &mut self,
        name: Obis,
        index: i8,
        out: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        let (suite, keys) = self.key_set(name).map_err(|_| DataAccessResult::ObjectUndefined)?;
        match index {
            2 => Data::Enum(keys.policy().0).encode(out),
            3 => Data::Enum(suite.id()).encode(out),
            4 => Data::OctetString(self.client_title(suite)).encode(out),
            5 => Data::OctetString(&self.who.system_title).encode(out),
            CERTIFICATES => put_array(out, 0),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    pub(super) fn invoke_security_setup(
        &mut self,
        caller: Caller,
        (name, index): (Obis, i8),
        parameter: Data<'_>,
        out: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        let (suite, keys) = self.key_set(name)?;
        let next = match index {
            1 => {
                let wanted = Policy::from_data(parameter).map_err(|_| ActionResult::TypeUnmatched)?;
                let policy = keys.policy().strengthened(wanted).ok_or(ActionResult::ReadWriteDenied)?;
                keys.with_policy(policy)
            }
            2 => {
                let master = keys.get(KeyUsage::KeyEncrypting).ok_or(ActionResult::ObjectUnavailable)?;
                let new = NewKeys::transferred(parameter, suite, &master)?;
                keys.with(&new).ok_or(ActionResult::OtherReason)?
            }
            #[cfg(feature = "ecdsa")]
            _ => return self.invoke_suite1(caller, index, parameter, out),
            #[cfg(not(feature = "ecdsa"))]
            _ => {
                let _ = (caller, out);
                return Err(ActionResult::ObjectUnavailable);
            }
        };
        #[cfg(feature = "ecdsa")]
        if let (SecuritySuite::Suite1, Some(store)) = (suite, &self.suite1) {
            return self.change_suite1(store.with_keys(next)).map(|()| false);
        }
        self.change_keys(next).map(|()| false)
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

    /// As [`Meter::change_keys`], for what clients that sign use.
    #[cfg(feature = "ecdsa")]
    pub(crate) fn change_suite1(&mut self, next: crate::suite1::Suite1Store) -> Result<(), ActionResult> {
        if self.suite1.as_ref() == Some(&next) {
            return Ok(());
        }
        self.suite1_journal.write(self.board.storage(), &next).map_err(|_| ActionResult::HardwareFault)?;
        self.suite1 = Some(next);
        self.note(Event::KeysChanged, 1);
        Ok(())
    }
}
