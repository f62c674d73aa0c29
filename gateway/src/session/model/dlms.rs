//! DLMS models: which objects of a meter hold what, and how it likes to be spoken to.

use super::Flaw;
use protocol::codec::obis::Obis;
use serde::Deserialize;
use std::time::Duration;
use toml::Spanned;

/// A DLMS meter model, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DlmsModel {
    /// What it describes, for people.
    pub description: String,
    /// Client address (SAP) the gateway speaks as.
    pub client_sap: u8,
    /// Client address without security, from which the invocation counter is read when ours is not accepted.
    pub public_sap: u8,
    /// Server address: the wrapper port, or the upper HDLC address.
    pub server_address: u16,
    /// How long to wait for the answer to one request.
    pub response_timeout: Duration,
    /// The largest APDU we take, in bytes.
    pub receive_pdu_max: u16,
    /// How an STS token is given to the token gateway.
    pub token_form: TokenForm,
    /// Where things are.
    pub objects: Objects,
}

/// How the 20 digits of a token travel in class 115 method 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenForm {
    /// 20 ASCII digits.
    #[default]
    Ascii,
    /// The 66 bits in 9 bytes, right-aligned.
    Binary,
}

/// Logical names of a meter's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objects {
    /// Class 1: the serial number.
    pub serial: Obis,
    /// Class 8.
    pub clock: Obis,
    /// Class 3: active energy import in watt-hours before its scaler.
    pub import: Obis,
    /// Class 3: active power.
    pub power: Obis,
    /// Class 111.
    pub account: Obis,
    /// Class 112: the token credit.
    pub credit: Obis,
    /// Class 115.
    pub token_gateway: Obis,
    /// Class 70.
    pub disconnect_control: Obis,
    /// Class 1: why the relay is open, a code. Not every meter has it.
    pub relay_reason: Option<Obis>,
    /// Class 1: the meter's memory of our invocation counter.
    pub invocation_counter: Obis,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(rename = "protocol")]
    _protocol: String,
    description: String,
    client_sap: Spanned<u8>,
    #[serde(default = "public")]
    public_sap: u8,
    #[serde(default = "one")]
    server_address: u16,
    #[serde(default = "three_seconds")]
    response_timeout_ms: u64,
    #[serde(default = "one_segment")]
    receive_pdu_max: Spanned<u16>,
    #[serde(default)]
    token_form: TokenForm,
    objects: RawObjects,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawObjects {
    serial: Spanned<String>,
    clock: Spanned<String>,
    import: Spanned<String>,
    power: Spanned<String>,
    account: Spanned<String>,
    credit: Spanned<String>,
    token_gateway: Spanned<String>,
    disconnect_control: Spanned<String>,
    relay_reason: Option<Spanned<String>>,
    invocation_counter: Spanned<String>,
}

const fn public() -> u8 {
    16
}
const fn one() -> u16 {
    1
}
const fn three_seconds() -> u64 {
    3_000
}
fn one_segment() -> Spanned<u16> {
    Spanned::new(0..0, PDU_DEFAULT)
}

/// What we offer to receive: an Ethernet segment's worth.
const PDU_DEFAULT: u16 = 1_400;
/// Green Book: the smallest PDU a client may offer is 12; below 64 bytes no association request of ours would be answered.
const PDU_MIN: u16 = 64;

impl DlmsModel {
    pub(super) fn check(raw: Raw) -> Result<Self, Flaw> {
        if *raw.client_sap.get_ref() == 0 || *raw.client_sap.get_ref() > 127 {
            return Err((
                raw.client_sap.span(),
                "client_sap must be 1 to 127: HDLC carries it in seven bits".into(),
            ));
        }
        if !(PDU_MIN..=PDU_DEFAULT).contains(raw.receive_pdu_max.get_ref()) {
            return Err((
                raw.receive_pdu_max.span(),
                format!("receive_pdu_max must be {PDU_MIN} to {PDU_DEFAULT}"),
            ));
        }
        let objects = Objects {
            serial: name(&raw.objects.serial)?,
            clock: name(&raw.objects.clock)?,
            import: name(&raw.objects.import)?,
            power: name(&raw.objects.power)?,
            account: name(&raw.objects.account)?,
            credit: name(&raw.objects.credit)?,
            token_gateway: name(&raw.objects.token_gateway)?,
            disconnect_control: name(&raw.objects.disconnect_control)?,
            relay_reason: raw.objects.relay_reason.as_ref().map(name).transpose()?,
            invocation_counter: name(&raw.objects.invocation_counter)?,
        };
        Ok(Self {
            description: raw.description,
            client_sap: *raw.client_sap.get_ref(),
            public_sap: raw.public_sap,
            server_address: raw.server_address,
            response_timeout: Duration::from_millis(raw.response_timeout_ms.clamp(100, 60_000)),
            receive_pdu_max: *raw.receive_pdu_max.get_ref(),
            token_form: raw.token_form,
            objects,
        })
    }
}

fn name(text: &Spanned<String>) -> Result<Obis, Flaw> {
    // Obis::parse fills in missing groups; a model file says all six.
    let six = text.get_ref().split('.').count() == 6;
    Obis::parse(text.get_ref()).ok().filter(|_| six).ok_or_else(|| {
        (
            text.span(),
            format!("{:?} is not a logical name of six numbers, like 1.0.1.8.0.255", text.get_ref()),
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::session::model::Model;

    #[test]
    fn a_logical_name_that_is_none_is_refused_with_its_line() {
        let good = include_str!("../../../models/reference-dlms.toml");
        let bad = good.replace("\"1.0.1.8.0.255\"", "\"1.0.1.8\"");
        let line = good.lines().position(|line| line.contains("1.0.1.8.0.255")).expect("it has energy") + 1;
        let error = Model::parse("m.toml", &bad).expect_err("four numbers");
        assert_eq!(error.line, line);
        assert!(error.message.contains("\"1.0.1.8\" is not a logical name"), "{error}");
    }
}
