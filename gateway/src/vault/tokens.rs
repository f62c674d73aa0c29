//! From a request to a token: what a meter's record says in the types of the token codec, and the checks of the vending side.

use super::contents::VendingEntry;
use super::{StsIdentity, VaultError};
use jiff::Timestamp;
use protocol::sts::{
    AmountCode, BaseDate, CurrencyCode, Drn, EncryptionAlgorithm, KeyAttributes, KeyRevision, KeyType,
    Management, MeterPan, Rnd, Service, SupplyGroup, TariffIndex, Tid, Token,
};

/// What a token shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAction {
    /// Credit in 0.1 kWh, 0.1 m³ or 0.1 min; must be exactly what the token's amount field can carry.
    Credit {
        /// What for.
        service: Service,
        /// How much.
        units: u32,
    },
    /// Credit in 0.00001 of the base currency; must be exactly what the token's amount field can carry.
    Currency {
        /// What for.
        service: Service,
        /// How much; negative takes credit away.
        amount: i128,
    },
    /// Limits, clear credit, clear tamper and the other management tokens of class 2.
    Management(Management),
}

/// A token to be made. Its identifier was durably reserved before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// For which meter.
    pub meter: StsIdentity,
    /// Token id: minutes since the base date.
    pub tid: u32,
    /// What it does.
    pub action: TokenAction,
}

/// A key change to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChangeRequest {
    /// The meter as it is now: the tokens are made under this key.
    pub from: StsIdentity,
    /// The meter as it shall be.
    pub to: StsIdentity,
    /// RO: the meter forgets its token ids. Needed when the base date changes, and only then.
    pub rollover: bool,
    /// A 64-bit key change in three tokens, so that the meter learns its supply group.
    pub with_supply_group: bool,
}

/// A meter's record, checked and in the codec's types.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub pan: MeterPan,
    pub attributes: KeyAttributes,
    pub algorithm: EncryptionAlgorithm,
    pub expiry: u8,
}

fn request(error: impl std::fmt::Display) -> VaultError {
    VaultError::Request(error.to_string())
}

impl Identity {
    pub(super) fn of(meter: &StsIdentity) -> Result<Self, VaultError> {
        let drn = Drn::parse(meter.drn.as_bytes())
            .map_err(|error| request(format!("meter number {}: {error}", meter.drn)))?;
        let pan = MeterPan::from_drn(&drn);
        if pan.issuer() != meter.iin {
            return Err(request(format!(
                "a meter number with {} digits has the issuer number {}, not {}",
                meter.drn.len(),
                pan.issuer(),
                meter.iin
            )));
        }
        let attributes = KeyAttributes {
            supply_group: SupplyGroup::try_from(meter.sgc).map_err(request)?,
            tariff_index: TariffIndex::try_from(u32::from(meter.ti)).map_err(request)?,
            key_revision: KeyRevision::try_from(u32::from(meter.krn)).map_err(request)?,
            key_type: KeyType::from_code(meter.kt)
                .ok_or_else(|| request(format!("key type {} does not exist", meter.kt)))?,
            base_date: BaseDate::from_year(meter.base_year).ok_or_else(|| {
                request(format!("base date {} is none of 1993, 2014, 2035", meter.base_year))
            })?,
        };
        let algorithm = EncryptionAlgorithm::from_code(meter.ea).map_err(request)?;
        Ok(Self { pan, attributes, algorithm, expiry: meter.ken })
    }

    /// The key this meter needs, in words.
    pub(super) fn key_name(&self) -> String {
        let KeyAttributes { supply_group, key_revision, key_type, .. } = &self.attributes;
        format!(
            "supply group {:06}, key revision {}, type {}",
            supply_group.get(),
            key_revision.get(),
            key_type.name()
        )
    }

    /// Whether a token of that kind may be made under this meter's key type.
    pub(super) fn check_key_type(&self, credit: bool) -> Result<(), VaultError> {
        match self.attributes.key_type {
            KeyType::Dctk => {
                Err(request("key type DCTK is for erasable magnetic cards only: no token is made under it"))
            }
            KeyType::Ddtk if credit => Err(request(
                "the meter has a default key (DDTK) and refuses credit: a key change to its supply group comes first",
            )),
            KeyType::Ditk if credit => Err(request(
                "the meter still has its factory key (DITK): a key change to its supply group comes first",
            )),
            _ => Ok(()),
        }
    }

    /// Whether the key may still be used for this identifier, which its supply group counts so many minutes east of UTC.
    pub(super) fn check_expiry(
        &self,
        entry: &VendingEntry,
        tid: Tid,
        utc_offset_minutes: i16,
    ) -> Result<(), VaultError> {
        let expiry = self.expiry.min(entry.expiry);
        if tid.expiry_period() > expiry {
            return Err(request(format!(
                "the vending key has expired: its expiry number is {expiry}, this token's period is {}: change the meter's key to one that has not",
                tid.expiry_period()
            )));
        }
        let local_s = tid.unix_seconds(self.attributes.base_date);
        let moment = Timestamp::from_second(local_s - i64::from(utc_offset_minutes) * 60).map_err(request)?;
        match entry.expires_at {
            Some(end) if moment >= end => Err(request(format!(
                "the vending key for {} is not to be used from {end} on: import a newer revision and change the meter's key to it",
                self.key_name()
            ))),
            _ => Ok(()),
        }
    }
}

/// Checks the identifier: 24 bits and never the reserved minute.
pub(super) fn tid(minutes: u32) -> Result<Tid, VaultError> {
    let tid = Tid::from_minutes(minutes).ok_or_else(|| request(protocol::sts::TidRange))?;
    if tid.is_reserved() {
        return Err(request("the token id of 00:01 is reserved and never issued"));
    }
    Ok(tid)
}

/// The token of a request; amounts must be exact.
pub(super) fn token(action: TokenAction, rnd: Rnd, tid: Tid) -> Result<Token, VaultError> {
    match action {
        TokenAction::Credit { service, units } => {
            let amount = AmountCode::largest_at_most(units);
            if units == 0 {
                return Err(request("a credit token of nothing is not made"));
            }
            if amount.units() != units {
                return Err(request(format!(
                    "a token cannot carry exactly {units} units; the largest amount below is {}",
                    amount.units()
                )));
            }
            Ok(Token::Credit { service, amount, rnd, tid })
        }
        TokenAction::Currency { service, amount } => {
            let code = CurrencyCode::round_for_customer(amount)
                .ok_or_else(|| request("the amount is beyond the range of a currency token"))?;
            if amount == 0 {
                return Err(request("a credit token of nothing is not made"));
            }
            if code.amount() != amount {
                return Err(request(format!(
                    "a token cannot carry exactly {amount} (1e-5 units of currency); the nearest in the customer's favour is {}",
                    code.amount()
                )));
            }
            Ok(Token::CurrencyCredit { service, amount: code, tid })
        }
        TokenAction::Management(action) => Ok(Token::Management { action, rnd, tid }),
    }
}
