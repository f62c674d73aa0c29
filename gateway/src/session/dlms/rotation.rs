//! New keys for a meter, such that a cut anywhere leaves a meter that can be reached: the new keys are stored before they are
//! sent, both pairs are kept until the meter has answered under the new one, and only then does the old one go.

use super::{As, DlmsTalker};
use crate::session::attempt::Attempt;
use crate::session::directory::Endpoint as MeterEndpoint;
use crate::session::lines::Context;
use crate::session::model::DlmsModel;
use crate::session::trouble::Trouble;
use crate::session::work::Ending;
use crate::vault::DlmsKeys;
use protocol::codec::codec::SliceWriter;
use protocol::cosem::security_setup::{KEY_TRANSFER, KeyId, put_key_transfer};
use zeroize::Zeroizing;

/// Room for two wrapped keys of 32 bytes and their structure.
const PARAMETER_MAX: usize = 128;

impl DlmsTalker {
    /// Gives the meter new global keys and proves them.
    pub(super) async fn rotate_keys(
        &mut self,
        context: &Context,
        attempt: &mut Attempt,
        endpoint: &MeterEndpoint,
        model: &DlmsModel,
    ) -> Result<Ending, Trouble> {
        let serial = &endpoint.serial;
        self.release().await;
        self.associate(context, attempt, endpoint, model, As::Management).await?;
        if let Some(reason) = self.identify(attempt, endpoint, model).await? {
            return Ok(Ending::Rejected { reason, code: None });
        }
        let (vault, meter) = (context.keys.clone(), serial.clone());
        // The vault writes a file: the new keys are durable before the first byte of them leaves.
        let begun = tokio::task::spawn_blocking(move || vault.begin_rotation(&meter)).await;
        let not_ready = |error: &dyn std::fmt::Display| Trouble::NotReady(error.to_string());
        let keys = begun.map_err(|error| not_ready(&error))?.map_err(|error| not_ready(&error))?;
        attempt.note("new keys are stored beside the old ones");
        let refusal = self.transfer(attempt, model, &keys).await?;
        self.release().await;
        if let Some(refusal) = refusal {
            return Ok(refusal);
        }
        self.associate(context, attempt, endpoint, model, As::Prover(&keys)).await?;
        attempt.note("the meter answers under the new keys: they are in force, and the old ones are gone");
        self.release().await;
        Ok(Ending::Done)
    }

    /// Sends the new keys, wrapped under the master key; a refusal by the meter is an ending.
    async fn transfer(
        &mut self,
        attempt: &mut Attempt,
        model: &DlmsModel,
        keys: &DlmsKeys,
    ) -> Result<Option<Ending>, Trouble> {
        let (Some(name), Some((_, association)), Some(pipe)) =
            (model.objects.security_setup, &mut self.open, &mut self.pipe)
        else {
            return Err(Trouble::NotReady("the association did not stay open".into()));
        };
        let parameter = wrapped(keys).ok_or_else(|| {
            Trouble::NotReady("the meter lacks a key that is needed to change its keys".into())
        })?;
        attempt.note(format!("ACTION {name} key transfer: sending"));
        attempt.about_to_send();
        match association.act(pipe, KEY_TRANSFER.of(name), &parameter, "the key transfer").await {
            Ok(()) => {
                attempt.note(format!("ACTION {name} key transfer: success"));
                Ok(None)
            }
            Err(Trouble::Refused { reason, code }) => Ok(Some(Ending::Rejected { reason, code })),
            Err(trouble) => Err(trouble),
        }
    }
}

/// Which keys the meter has, when an association is open: the pending ones are in force then, if they were right.
pub(super) fn found(context: &Context, endpoint: &MeterEndpoint) -> Result<Ending, Trouble> {
    match context.keys.pending(&endpoint.serial).map_err(|error| Trouble::NotReady(error.to_string()))? {
        None => Ok(Ending::Done),
        Some(_) => Ok(Ending::Rejected { reason: "the meter still has its old keys".into(), code: None }),
    }
}

/// The parameter of the transfer: unicast and authentication key.
fn wrapped(keys: &DlmsKeys) -> Option<Zeroizing<Vec<u8>>> {
    let new =
        [(KeyId::Unicast, keys.encryption.as_ref()?), (KeyId::Authentication, keys.authentication.as_ref()?)];
    let mut out = Zeroizing::new([0; PARAMETER_MAX]);
    let mut writer = SliceWriter::new(&mut out[..]);
    put_key_transfer(&mut writer, keys.master.as_ref()?, &new).ok()?;
    Some(Zeroizing::new(writer.as_slice().to_vec()))
}
