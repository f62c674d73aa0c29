//! A vending clerk for the street: tokens for its meters, made with the street's vending key.

use crate::identity::{KEY_REVISION, SUPPLY_GROUP, StreetKeys, TARIFF_INDEX, drn};
use anyhow::Context;
use protocol::sts::{
    AmountCode, BaseDate, EncryptionAlgorithm, KeyAttributes, KeyRevision, KeyType, MeterPan, Rnd, SAMPLE,
    Service, SupplyGroup, TariffIndex, Tid, Token, TokenCipher, derive,
};

/// Twenty digits for meter `index`, worth `units` of 0.1 kWh, as a clerk issues them at `utc_s`: in another minute it is
/// another token.
///
/// # Errors
/// A key file may hold a vending key that makes no keys for EA11; an amount or a time may be out of range.
pub fn credit_token(keys: &StreetKeys, index: u32, units: u16, utc_s: i64) -> anyhow::Result<String> {
    let attributes = attributes()?;
    let pan = MeterPan::from_drn(&drn(index)?);
    let key = derive(keys.vending(), EncryptionAlgorithm::Ea11, &pan, &attributes)?;
    let token = Token::Credit {
        service: Service::Electricity,
        amount: AmountCode::from_field(units),
        rnd: Rnd::new(5),
        tid: Tid::at(BaseDate::Year2014, utc_s).context("a token is of a time from 2014 on")?,
    };
    let digits = token.encode(&TokenCipher::new(&key, &SAMPLE)).digits();
    Ok(digits.as_bytes().iter().map(|digit| char::from(*digit)).collect())
}

/// Attributes of the keys of all meters of a street.
///
/// # Errors
/// Not with the street's constants.
pub fn attributes() -> anyhow::Result<KeyAttributes> {
    Ok(KeyAttributes {
        supply_group: SupplyGroup::try_from(SUPPLY_GROUP)?,
        tariff_index: TariffIndex::try_from(u32::from(TARIFF_INDEX))?,
        key_revision: KeyRevision::try_from(u32::from(KEY_REVISION))?,
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
    })
}
