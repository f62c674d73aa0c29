//! Operations of the matrix that have an association of their own, or none: with our client on a foreign meter, and with the
//! engines of `dlms-cosem-rs`.

use protocol::codec::xdlms::{Conformance, ExceptionResponse, ServiceError};
use protocol::cosem::obis;
use protocol::dlms::client::{Config, IMPLEMENTED, selection};
use protocol::dlms::model::Attribute;
use protocol::dlms::security::SystemTitle;

use super::client::{Done, OurClient};
use super::operations::{Conversation, ROWS_OF, rows};

/// A thousand rows in an association whose only blocks are general ones.
pub const GENERAL_BLOCKS: &str = "general blocks";
/// An APDU that the meter refuses with an exception-response.
pub const EXCEPTION: &str = "exception";
/// Services without an AARQ.
pub const PRE_ESTABLISHED: &str = "pre-established";
/// A DataNotification that the client confirms.
pub const PUSH_CONFIRMED: &str = "push, confirmed";
/// All of them, in the order of the table.
pub const ASIDE: [&str; 4] = [GENERAL_BLOCKS, EXCEPTION, PRE_ESTABLISHED, PUSH_CONFIRMED];

const NAME: Attribute = Attribute { class_id: 1, logical_name: obis::LOGICAL_DEVICE_NAME, index: 2 };

/// Where a meter is, and how our client would associate there.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Port of loopback.
    pub port: u16,
    /// `wrapper` or `hdlc`.
    pub framing: &'a str,
    /// Client address.
    pub sap: u8,
    /// Counters from here on were not used.
    pub counter: u32,
    /// The meter's title.
    pub meter: SystemTitle,
}

/// Does one of [`ASIDE`] with our client.
///
/// # Errors
/// What did not come out as it must, or what the meter said.
pub fn with_our_client(at: Place<'_>, config: Config, operation: &str) -> Done<()> {
    match operation {
        GENERAL_BLOCKS => general_blocks(at, config),
        EXCEPTION => exception(at, config),
        PRE_ESTABLISHED => {
            let mut client = without_aarq(at, config)?;
            client.get(NAME, None).map(drop)
        }
        other => Err(format!("not offered: {other}")),
    }
}

fn general_blocks(at: Place<'_>, config: Config) -> Done<()> {
    let own = Conformance::BLOCK_TRANSFER_WITH_GET_OR_READ;
    // On HDLC a meter speaks when it is asked.
    let block_window = if at.framing == "wrapper" { 8 } else { 1 };
    let config = Config { conformance: IMPLEMENTED.difference(own), block_window, ..config };
    let mut client = OurClient::open(at.port, at.framing, at.sap, config, at.counter)?;
    if !client.agreed(Conformance::GENERAL_BLOCK_TRANSFER) {
        return Err("not offered: general block transfer".into());
    }
    let mut read = |from, to| {
        let mut buffer = [0; 32];
        let entries = selection::by_entry(&mut buffer, from, to, 1, 0).map_err(|e| e.to_string())?;
        rows(&client.get(ROWS_OF, Some(entries))?)
    };
    let (all, one) = (read(1, 1000)?, read(12, 12)?);
    if all.len() != 1000 || one.first() != all.get(11) {
        return Err(format!("failed: {} rows, row 12 is {:?}", all.len(), one.first()));
    }
    client.release()
}

/// A counter from before where there are counters, or else a service without an association.
fn exception(at: Place<'_>, config: Config) -> Done<()> {
    let ciphered = !config.policy.is_none();
    let said = if ciphered {
        OurClient::refused(at.port, at.framing, at.sap, config)?
    } else {
        let mut client = without_aarq(at, config)?;
        let _ = client.get(NAME, None);
        client.exception()
    };
    judge(said, ciphered)
}

/// Whether an exception is the one that a used counter, or a service without an association, must bring. Peers differ in what
/// they call the latter.
///
/// # Errors
/// What was said instead.
pub fn judge(said: Option<ExceptionResponse>, ciphered: bool) -> Done<()> {
    let right = said.is_some_and(|said| match said.service_error {
        ServiceError::InvocationCounterError => ciphered && said.expected_invocation_counter.is_some(),
        ServiceError::OperationNotPossible | ServiceError::ServiceNotSupported => !ciphered,
        _ => false,
    });
    if right { Ok(()) } else { Err(format!("failed: {said:?}")) }
}

fn without_aarq(at: Place<'_>, config: Config) -> Done<OurClient> {
    let mechanism = protocol::codec::acse::AuthMechanism::None;
    let config = Config { mechanism, server_title: Some(at.meter), ..config };
    OurClient::without_aarq(at.port, at.framing, at.sap, config, at.counter)
}
