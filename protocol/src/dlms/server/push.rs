//! What the meter sends unasked: DataNotification and EventNotification (Green Book 9.3.10, 9.3.12).

use super::Server;
use super::custody::Custody;
use crate::codec::axdr::DateTime;
use crate::codec::codec::{Encode, Error, Reader, Writer};
use crate::codec::xdlms::{ApduTag, AttributeDescriptor, LongInvokeId, OptionalDateTime};
use crate::dlms::model::Attribute;
use crate::dlms::security::frame::Protect;
use crate::dlms::security::{Cipher, Form, KeyUsage, without_dedicated};

/// Why a notification was not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushError {
    /// The client address has no association row, or its keys are missing.
    NoSuchClient,
    /// An answer waits to be sent: poll and send that first.
    Busy,
    /// No invocation counter is left.
    CountersExhausted,
    /// The body failed or does not fit the buffer.
    Body(Error),
}

impl<const N: usize, const LONG: usize> Server<N, LONG> {
    /// Builds a DataNotification for `client_sap`; `body` writes one A-XDR value. It is protected with the global keys
    /// (unicast or broadcast) as the client's association row demands, in general-glo-ciphering, for this service has no tag of its own.
    /// [`Server::poll_transmit`] gives it out. With [`crate::dlms::LONG_INVOKE_ID_CONFIRMED`] in `long_invoke_id` the client says when it has taken it, within an
    /// association, negotiated or pre-established: [`super::Event::NotificationConfirmed`]. When to send again is the caller's.
    ///
    /// # Errors
    /// [`PushError`]; nothing is sent then.
    pub fn notify<M: Custody>(
        &mut self,
        meter: &mut M,
        client_sap: u8,
        long_invoke_id: LongInvokeId,
        time: Option<DateTime>,
        body: impl FnOnce(&mut dyn Writer) -> crate::codec::Result<()>,
    ) -> Result<(), PushError> {
        self.unasked(meter, client_sap, Form::GeneralGlo, |w| {
            w.write_u8(ApduTag::DataNotification.as_u8())?;
            w.write_u32(long_invoke_id.0)?;
            OptionalDateTime(time).encode(w)?;
            body(w)
        })
    }

    /// Builds an EventNotification for `client_sap`: `value` writes the attribute's value. Protected with the global keys
    /// as the client's association row demands, in glo-ciphering.
    ///
    /// # Errors
    /// [`PushError`]; nothing is sent then.
    pub fn notify_event<M: Custody>(
        &mut self,
        meter: &mut M,
        client_sap: u8,
        time: Option<DateTime>,
        at: Attribute,
        value: impl FnOnce(&mut dyn Writer) -> crate::codec::Result<()>,
    ) -> Result<(), PushError> {
        self.unasked(meter, client_sap, Form::Glo, |w| {
            w.write_u8(ApduTag::EventNotificationRequest.as_u8())?;
            match time {
                None => w.write_u8(0)?,
                Some(time) => {
                    w.write_u8(1)?;
                    w.write_length_prefixed(&time.to_bytes())?;
                }
            }
            AttributeDescriptor::new(at.class_id, at.logical_name, at.index).encode(w)?;
            value(w)
        })
    }

    fn unasked<M: Custody>(
        &mut self,
        meter: &mut M,
        client_sap: u8,
        form: Form,
        build: impl FnOnce(&mut dyn Writer) -> crate::codec::Result<()>,
    ) -> Result<(), PushError> {
        if self.core.tx.is_ready() {
            return Err(PushError::Busy);
        }
        let row = meter.association(client_sap).ok_or(PushError::NoSuchClient)?;
        self.core.tx.build(|w| build(w)).map_err(PushError::Body)?;
        if !row.policy.is_none() {
            let policy = without_dedicated(row.policy);
            let ek = meter.key(row.key_set, policy.key_usage());
            let ak = meter.key(row.key_set, KeyUsage::Authentication);
            let cipher = ek.zip(ak).and_then(|(ek, ak)| Cipher::new(row.policy.suite, &ek, &ak));
            let cipher = cipher.ok_or(PushError::NoSuchClient)?;
            let counter = meter.next_counter(row.key_set).ok_or(PushError::CountersExhausted)?;
            let title = meter.system_title();
            let control = policy.control();
            let how = Protect { form, control, title: &title, counter };
            self.core.tx.protect(&cipher, how).map_err(PushError::Body)?;
        }
        self.core.tx.finish();
        Ok(())
    }
}

impl<const N: usize, const LONG: usize> super::Core<N, LONG> {
    /// `Data-Notification-Confirm ::= SEQUENCE { long-invoke-id-and-priority, date-time OCTET STRING }`. It has no answer.
    pub(super) fn notification_confirmed(&mut self, body: &[u8]) {
        let Some(session) = self.session.as_ref().filter(|s| s.stage == super::Stage::Associated) else {
            return;
        };
        let client_sap = session.row.client_sap;
        if let Ok(id) = Reader::new(body).u32() {
            self.event(super::Event::NotificationConfirmed { client_sap, long_invoke_id: LongInvokeId(id) });
        }
    }
}
