//! What an accepted token does.

use super::super::key_section::{KeySection, NewKey};
use super::super::tid::Tid;
use super::super::token::{CreditRegister, Service, TestToken};

/// The change an accepted token makes. It goes into the journal in the same record as the credit it changes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Effect {
    /// Add credit.
    Credit {
        /// Which register.
        service: Service,
        /// In 0.1 kWh, 0.1 m³ or 0.1 min: for electricity 100 Wh each.
        units: u32,
        /// To remember.
        tid: Tid,
    },
    /// Add currency credit, or take it when negative.
    CurrencyCredit {
        /// Which register.
        service: Service,
        /// In 0.00001 of the base currency.
        amount: i128,
        /// To remember.
        tid: Tid,
    },
    /// Set a credit register, or all of them, to zero.
    ClearCredit {
        /// Which.
        register: CreditRegister,
        /// To remember.
        tid: Tid,
    },
    /// Limit the power.
    MaximumPowerLimit {
        /// In watts.
        watts: u32,
        /// To remember.
        tid: Tid,
    },
    /// Limit the difference between phases.
    PhaseUnbalanceLimit {
        /// In watts.
        watts: u32,
        /// To remember.
        tid: Tid,
    },
    /// Set the tariff rate register.
    TariffRate {
        /// The raw content; reserved by the standard.
        rate: u16,
        /// To remember.
        tid: Tid,
    },
    /// Clear the tamper condition.
    ClearTamper {
        /// To remember.
        tid: Tid,
    },
    /// Set the water meter factor.
    WaterMeterFactor {
        /// The raw content; reserved by the standard.
        factor: u16,
        /// To remember.
        tid: Tid,
    },
    /// Extended token set.
    Extended {
        /// 0 to 63.
        index: u8,
        /// Ten bits.
        value: u16,
        /// To remember.
        tid: Tid,
    },
    /// Test or display; changes nothing that lasts.
    Test(TestToken),
    /// Hold a section of a key change.
    KeySection {
        /// The section.
        section: KeySection,
        /// When, on the clock given to `evaluate`.
        at_ms: u64,
    },
    /// The last section arrived: use this key.
    NewKey(NewKey),
}

impl Effect {
    /// The identifier to remember.
    #[must_use]
    pub const fn tid(&self) -> Option<Tid> {
        match self {
            Self::Credit { tid, .. }
            | Self::CurrencyCredit { tid, .. }
            | Self::ClearCredit { tid, .. }
            | Self::MaximumPowerLimit { tid, .. }
            | Self::PhaseUnbalanceLimit { tid, .. }
            | Self::TariffRate { tid, .. }
            | Self::ClearTamper { tid }
            | Self::WaterMeterFactor { tid, .. }
            | Self::Extended { tid, .. } => Some(*tid),
            Self::Test(_) | Self::KeySection { .. } | Self::NewKey(_) => None,
        }
    }
}
