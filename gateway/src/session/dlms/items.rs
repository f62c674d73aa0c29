//! The values a session reads from a prepaid meter: where each is and what it is called.

use crate::session::model::Objects;
use protocol::cosem::{account, charge, clock, credit, data, disconnect, register, token_gateway};
use protocol::dlms::model::Attribute;

/// One value of a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Serial,
    AccountMode,
    Currency,
    Credit,
    Available,
    /// What a charge has taken: its place among the model's charges.
    Charged(u8),
    Import,
    ImportScaler,
    Power,
    PowerScaler,
    Output,
    ControlState,
    ControlMode,
    RelayReason,
    Clock,
    Token,
    TokenTime,
    TokenStatus,
}

impl Item {
    /// Where it is; `None` when the model does not have it.
    pub(super) fn attribute(self, objects: &Objects) -> Option<Attribute> {
        Some(match self {
            Self::Serial => data::VALUE.of(objects.serial),
            Self::AccountMode => account::MODE_AND_STATUS.of(objects.account?),
            Self::Currency => account::CURRENCY.of(objects.account?),
            Self::Credit => credit::CURRENT_CREDIT_AMOUNT.of(objects.credit?),
            Self::Available => account::AVAILABLE_CREDIT.of(objects.account?),
            Self::Charged(at) => charge::TOTAL_AMOUNT_PAID.of((*objects.charges.get(usize::from(at))?)?),
            Self::Import => register::VALUE.of(objects.import),
            Self::ImportScaler => register::SCALER_UNIT.of(objects.import),
            Self::Power => register::VALUE.of(objects.power?),
            Self::PowerScaler => register::SCALER_UNIT.of(objects.power?),
            Self::Output => disconnect::OUTPUT_STATE.of(objects.disconnect_control?),
            Self::ControlState => disconnect::CONTROL_STATE.of(objects.disconnect_control?),
            Self::ControlMode => disconnect::CONTROL_MODE.of(objects.disconnect_control?),
            Self::RelayReason => data::VALUE.of(objects.relay_reason?),
            Self::Clock => clock::TIME.of(objects.clock),
            Self::Token => token_gateway::TOKEN.of(objects.token_gateway?),
            Self::TokenTime => token_gateway::TOKEN_TIME.of(objects.token_gateway?),
            Self::TokenStatus => token_gateway::TOKEN_STATUS.of(objects.token_gateway?),
        })
    }

    /// What it is called in evidence and errors.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Serial => "serial number",
            Self::AccountMode => "account mode",
            Self::Currency => "account currency",
            Self::Credit => "credit",
            Self::Available => "available credit",
            Self::Charged(_) => "what a charge has taken",
            Self::Import => "energy import",
            Self::ImportScaler => "energy scaler",
            Self::Power => "power",
            Self::PowerScaler => "power scaler",
            Self::Output => "relay contact",
            Self::ControlState => "relay control state",
            Self::ControlMode => "relay control mode",
            Self::RelayReason => "relay reason",
            Self::Clock => "clock",
            Self::Token => "last token",
            Self::TokenTime => "time of the last token",
            Self::TokenStatus => "status of the last token",
        }
    }

    /// A meter may lack it without being less of a prepaid meter.
    pub(super) const fn is_optional(self) -> bool {
        matches!(self, Self::RelayReason | Self::Available | Self::Charged(_))
    }
}
