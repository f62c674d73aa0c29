//! Security setup: policy and keys. One object for each key set.

use hardware::board::Board;
use protocol::codec::axdr::Data;
use protocol::codec::codec::Writer;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::{Access, Enumeration, Invoked, Items};
use protocol::cosem::events::Event;
use protocol::cosem::obis;
#[cfg(feature = "ecdsa")]
use protocol::cosem::security_setup::KeyPair;
use protocol::cosem::security_setup::{KeyData, NewKeys, Policy, SecuritySetup};
use protocol::dlms::model::Caller;
use protocol::dlms::security::{KeyUsage, SecuritySuite};

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

/// One of the meter's key sets.
pub(super) struct SecurityObject<'m, B: Board> {
    pub meter: &'m mut Meter<B>,
    pub name: Obis,
    /// Where a method writes what it returns, and who called it; nobody when attributes are read.
    pub call: Option<Call<'m>>,
}

/// A method under way.
#[cfg_attr(not(feature = "ecdsa"), expect(dead_code, reason = "only methods of suite 1 return something"))]
pub(super) struct Call<'m> {
    pub caller: Caller,
    pub out: &'m mut dyn Writer,
    /// Something was written.
    pub answered: bool,
}

impl<B: Board> SecurityObject<'_, B> {
    fn keys(&self) -> Access<(SecuritySuite, &KeyStore)> {
        self.meter.key_set(self.name).map_err(|_| DataAccessResult::ObjectUndefined)
    }

    /// Makes `next` this object's keys.
    fn change(&mut self, next: KeyStore) -> Invoked {
        #[cfg(feature = "ecdsa")]
        if let (obis::SECURITY_SETUP_SUITE_1, Some(store)) = (self.name, &self.meter.suite1) {
            return self.meter.change_suite1(store.with_keys(next));
        }
        self.meter.change_keys(next)
    }
}

impl<B: Board> SecuritySetup for SecurityObject<'_, B> {
    fn security_policy(&mut self) -> Access<Policy> {
        self.keys().map(|(_, keys)| keys.policy())
    }

    fn security_suite(&mut self) -> Access<Enumeration> {
        self.keys().map(|(suite, _)| Enumeration(suite.id()))
    }

    fn client_system_title(&mut self) -> Access<&[u8]> {
        let (suite, _) = self.keys()?;
        Ok(self.meter.client_title(suite))
    }

    fn server_system_title(&mut self) -> Access<&[u8]> {
        Ok(&self.meter.who.system_title)
    }

    fn certificates(&mut self) -> Access<impl ExactSizeIterator<Item = Data<'_>>> {
        Ok(core::iter::empty())
    }

    fn security_activate(&mut self, wanted: Policy) -> Invoked {
        let (_, keys) = self.meter.key_set(self.name)?;
        let policy = keys.policy().strengthened(wanted).ok_or(ActionResult::ReadWriteDenied)?;
        let next = keys.with_policy(policy);
        self.change(next)
    }

    fn key_transfer(&mut self, wrapped: Items<'_, KeyData<'_>>) -> Invoked {
        let (suite, keys) = self.meter.key_set(self.name)?;
        let master = keys.get(KeyUsage::KeyEncrypting).ok_or(ActionResult::ObjectUnavailable)?;
        let new = NewKeys::transferred(wrapped, suite, &master)?;
        let next = keys.with(&new).ok_or(ActionResult::OtherReason)?;
        self.change(next)
    }

    #[cfg(feature = "ecdsa")]
    fn key_agreement(&mut self, offered: Items<'_, KeyData<'_>>) -> Invoked {
        let call = self.call.as_mut().ok_or(ActionResult::OtherReason)?;
        self.meter.agree_suite1(call.caller, offered, call.out)?;
        call.answered = true;
        Ok(())
    }

    #[cfg(feature = "ecdsa")]
    fn generate_key_pair(&mut self, which: KeyPair) -> Invoked {
        self.meter.generate_suite1_pair(which)
    }

    #[cfg(feature = "ecdsa")]
    fn generate_certificate_request(&mut self, which: KeyPair) -> Invoked {
        let call = self.call.as_mut().ok_or(ActionResult::OtherReason)?;
        self.meter.request_suite1_certificate(which, call.out)?;
        call.answered = true;
        Ok(())
    }
}
