//! The meter's state as it stands in the journal: one record, so that no part of it can be newer than another.

use protocol::cosem::account::{AccountStatus, PaymentMode};
use protocol::cosem::disconnect::{ControlState, RelayReason};
use protocol::cosem::token_gateway::{DeliveryMethod, TokenStatusCode};
use protocol::sts::meter::{MeterTokenState, TokenResult};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ledger::{EnergyCount, Ledger};
use crate::personalisation::Personalisation;
use crate::profile::{Progress, SecondProfile};
use crate::protection::{Limits, Tripped};
use crate::relay::RelayLogic;
use crate::ring::Span;
use crate::settings::Settings;
use crate::tariff::{Rating, TARIFF_PLACE_BYTES, Tariffs};
use crate::terms::Terms;

/// The last token entered, and what became of it (class 115, attributes 2 to 6). `Debug` shows no digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastToken {
    /// As entered: 20 digits, or zeros where fewer came.
    pub digits: [u8; 20],
    /// When, UTC.
    pub utc_s: u32,
    /// How it came.
    pub delivery: DeliveryMethod,
    /// What became of it.
    pub result: TokenResult,
    /// Class and subclass, where it could be read.
    pub kind: Option<(u8, u8)>,
    /// Account units it added.
    pub units: i64,
}

impl LastToken {
    /// Class 115's code for the result.
    #[must_use]
    pub const fn status(&self) -> TokenStatusCode {
        protocol::cosem::token_gateway::status_of_sts_result(self.result.code())
    }
}

impl core::fmt::Debug for LastToken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LastToken")
            .field("utc_s", &self.utc_s)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

/// The largest average power of a profile period in the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Peak {
    /// Watts.
    pub watts: u32,
    /// End of the period, UTC; 0 when there was none.
    pub utc_s: u32,
}

/// Everything that must survive and must never come apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Energy taken from the network.
    pub import: EnergyCount,
    /// Energy given to it.
    pub export: EnergyCount,
    /// Where the credit went.
    pub ledger: Ledger,
    /// What rating remembers between watt-hours.
    pub rating: Rating,
    /// Part of a money token below one account unit, in 0.00001 of the currency.
    pub token_remainder: u32,
    /// How the customer pays.
    pub payment_mode: PaymentMode,
    /// Life of the account.
    pub account_status: AccountStatus,
    /// Warn below it, account units.
    pub low_credit: i64,
    /// The warning was given since the credit was last above.
    pub low_credit_warned: bool,
    /// Emergency credit, friendly hours, daily charge, debt.
    pub terms: Terms,
    /// Limiter, over-current and voltage protection.
    pub limits: Limits,
    /// What of it holds the relay open.
    pub tripped: Tripped,
    /// What the relay should do, and why.
    pub relay: RelayLogic,
    /// Decoder key and used token identifiers.
    pub tokens: MeterTokenState,
    /// The last token entered.
    pub last_token: Option<LastToken>,
    /// The last time known, UTC; 0 when the clock was never set.
    pub utc_s: u32,
    /// How far the first load profile is.
    pub profile: Progress,
    /// Rows of the event log.
    pub events: Span,
    /// Daily billing snapshots.
    pub daily: Span,
    /// Monthly billing snapshots.
    pub monthly: Span,
    /// Local day of the last snapshot (days since 1970); 0 before the first.
    pub snapshot_day: u32,
    /// Largest demand of the month.
    pub peak: Peak,
    /// How often the configuration was changed.
    pub configuration_changes: u32,
}

impl Record {
    /// A meter as it leaves the factory.
    #[must_use]
    pub fn new(who: &Personalisation) -> Self {
        Self {
            import: EnergyCount::default(),
            export: EnergyCount::default(),
            ledger: Ledger::new(who.account.initial_credit_wh),
            rating: Rating::default(),
            token_remainder: 0,
            payment_mode: who.account.payment_mode,
            account_status: AccountStatus::Active,
            low_credit: who.account.low_credit_wh,
            low_credit_warned: false,
            terms: who.options.terms,
            limits: who.options.limits,
            tripped: Tripped::default(),
            relay: RelayLogic {
                state: ControlState::Connected,
                mode: who.control_mode,
                reason: RelayReason::None,
                returns_automatically: who.return_automatically,
            },
            tokens: who.tokens.clone(),
            last_token: None,
            utc_s: 0,
            profile: Progress::default(),
            events: Span::default(),
            daily: Span::default(),
            monthly: Span::default(),
            snapshot_day: 0,
            peak: Peak::default(),
            configuration_changes: 0,
        }
    }

    /// What forbids a closed relay at this local time, if anything does.
    #[must_use]
    pub fn hold(&self, local_s: Option<u32>) -> Option<RelayReason> {
        if self.account_status != AccountStatus::Active {
            return Some(RelayReason::AccountClosed);
        }
        if self.tripped.reason.is_some() {
            return self.tripped.reason;
        }
        let empty = self.ledger.remaining() <= self.terms.floor(local_s);
        (self.payment_mode == PaymentMode::Prepayment && empty).then_some(RelayReason::NoCredit)
    }

    /// Fingerprint of everything that is configured: SHA-256 over the postcard form of the settings.
    #[must_use]
    pub fn configuration_digest(
        &self,
        who: &Personalisation,
        settings: &Settings,
        second: &SecondProfile,
        tariffs: &Tariffs,
    ) -> [u8; 32] {
        let terms = &self.terms;
        let account = (
            (self.payment_mode, self.account_status, self.low_credit),
            (terms.emergency.preset, terms.emergency.offered_at, terms.friendly),
            (terms.daily.active, terms.instalment.active, terms.debt_share),
            self.limits,
            (self.relay.mode, self.relay.returns_automatically),
            (who.profile_period_s, who.options.modbus_switches, second.capture),
        );
        // The numbers of the account take 130 bytes at most; settings and a tariff less than their journals' places.
        let mut bytes = [0; TARIFF_PLACE_BYTES];
        let mut digest = Sha256::new();
        let sealed = protocol::wire::seal(0, &account, &mut bytes).unwrap_or(0);
        digest.update(&bytes[..sealed]);
        let sealed = protocol::wire::seal(0, settings, &mut bytes).unwrap_or(0);
        digest.update(&bytes[..sealed]);
        let sealed = protocol::wire::seal(0, &tariffs.active, &mut bytes).unwrap_or(0);
        digest.update(&bytes[..sealed]);
        digest.finalize().into()
    }

    /// What the customer may use: credit left, and emergency credit once it is taken.
    #[must_use]
    pub fn available(&self) -> i64 {
        let left = self.ledger.remaining();
        if self.terms.emergency.taken { left + i64::from(self.terms.emergency.preset) } else { left }
    }
}

#[cfg(test)]
mod tests {
    use crate::journal::PLACE_BYTES;
    use crate::stories::full_record;

    #[test]
    fn the_longest_record_fits_its_place() {
        let mut place = [0; 4 * PLACE_BYTES];
        let length = protocol::wire::seal(u32::MAX, &full_record(), &mut place).unwrap();
        std::println!("longest record {length} of {PLACE_BYTES} bytes");
        assert!(length <= PLACE_BYTES, "{length}");
    }

    #[test]
    fn a_record_shows_no_key_and_no_digit() {
        let record = full_record();
        let text = std::format!("{record:?}");
        let digits = record.last_token.map(|t| t.digits).unwrap();
        assert!(!text.contains(core::str::from_utf8(&digits).unwrap()));
        assert!(!text.contains("digits"));
    }
}
