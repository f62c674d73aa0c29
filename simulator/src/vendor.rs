//! A vending clerk for the street: tokens for its meters, made with the street's vending key. And its meters' manufacturer: signed
//! firmware images.

use crate::identity::{IMAGE_MODEL, KEY_REVISION, SUPPLY_GROUP, StreetKeys, TARIFF_INDEX, drn};
use anyhow::Context;
use firmware::image::format::{Header, Version};
use protocol::dlms::security::ecdsa::{Curve, PrivateKey};
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

/// The private key that images are signed with: of RFC 6979, A.2.5. Nothing of value may be protected by it.
const IMAGE_SIGNER: [u8; 32] = *b"\xc9\xaf\xa9\xd8\x45\xba\x75\x16\x6b\x5c\x21\x57\x67\xb1\xd6\x93\
    \x4e\x50\xc3\xdb\x36\xe8\x9b\x12\x7b\x8a\x62\x2b\x12\x0f\x67\x21";

/// A firmware image that the street's meters take: a signed header, and a program that the virtual board does not execute.
///
/// # Errors
/// The program is longer than any bank.
pub fn firmware_image(version: Version, program: &[u8]) -> anyhow::Result<Vec<u8>> {
    let signer = PrivateKey::from_bytes(Curve::P256, &IMAGE_SIGNER).context("the published key")?;
    let header = Header::signed(IMAGE_MODEL, version, program, &signer).context("the program is too long")?;
    Ok([&header.to_bytes()[..], program].concat())
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
