//! The decoder keys a JSON object gives: directly, and derived from a vending key.

use super::fields::{Object, get, hex_bytes, need, number, of, text};
use crate::cli::Failure;
use protocol::sts::{
    BaseDate, DecoderKey, Derivation, Drn, EncryptionAlgorithm, KeyAttributes, KeyRevision, KeyType,
    MeterPan, SAMPLE, SupplyGroup, TariffIndex, TokenCipher, VendingKey, derive,
};

/// The keys an object gives; each way that is present was taken.
pub struct Keys {
    /// From `decoder_key_hex`.
    pub given: Option<DecoderKey>,
    /// From `vending_key_hex` and the meter's attributes.
    pub derived: Option<DecoderKey>,
}

impl Keys {
    /// Reads them.
    ///
    /// # Errors
    /// A malformed or missing field, an algorithm that is not offered, or two keys that are not the same.
    pub fn of(object: &Object) -> Result<Self, Failure> {
        let algorithm = algorithm(object)?;
        let given = match hex_bytes(object, "decoder_key_hex")? {
            None => None,
            Some(bytes) => Some(of("decoder_key_hex", DecoderKey::from_bytes(&bytes))?),
        };
        if let (Some(key), Some(algorithm)) = (&given, algorithm)
            && key.algorithm() != algorithm
        {
            return Err(Failure::Data(format!(
                "field `decoder_key_hex`: EA{:02} takes a key of {} bits",
                algorithm.code(),
                algorithm.key_bits()
            )));
        }
        let derived = match hex_bytes(object, "vending_key_hex")? {
            None => None,
            Some(bytes) => {
                let key = of("vending_key_hex", VendingKey::from_bytes(&bytes))?;
                Some(derived(object, &key, need(algorithm, "ea")?)?)
            }
        };
        if let (Some(given), Some(derived)) = (&given, &derived)
            && given != derived
        {
            return Err(Failure::Data("the vending key does not give the decoder key".into()));
        }
        Ok(Self { given, derived })
    }

    /// The keys to run with, one for each way that is present.
    pub fn all(&self) -> impl Iterator<Item = &DecoderKey> {
        self.given.iter().chain(&self.derived)
    }

    /// The cipher, or an error that says what is missing.
    ///
    /// # Errors
    /// No key.
    pub fn cipher(&self) -> Result<TokenCipher<'static>, Failure> {
        let key = self.all().next().ok_or_else(|| {
            Failure::Data(
                "a key is missing: give `decoder_key_hex`, or `vending_key_hex` and the meter's attributes"
                    .into(),
            )
        })?;
        Ok(TokenCipher::new(key, &SAMPLE))
    }
}

fn algorithm(object: &Object) -> Result<Option<EncryptionAlgorithm>, Failure> {
    let Some(code) = number(object, "ea", 99)? else { return Ok(None) };
    let algorithm = of("ea", EncryptionAlgorithm::from_code(code as u8))?;
    if algorithm == EncryptionAlgorithm::Ea07
        && let Some(tables) = text(object, "tables")?
        && tables != "SAMPLE"
    {
        return Err(Failure::Data(format!(
            "field `tables`: {tables:?} is not loaded, only the SAMPLE set is"
        )));
    }
    Ok(Some(algorithm))
}

/// The meter's account number from `pan`, or from `iain` (and `iin`).
pub fn pan(object: &Object) -> Result<Option<MeterPan>, Failure> {
    let from_drn = match text(object, "iain")? {
        None => None,
        Some(drn) => Some(MeterPan::from_drn(&of("iain", Drn::parse(drn.as_bytes()))?)),
    };
    if let (Some(pan), Some(issuer)) = (&from_drn, text(object, "iin")?)
        && pan.issuer() != issuer
    {
        return Err(Failure::Data(format!("field `iin`: this meter number has the issuer {}", pan.issuer())));
    }
    let given = match text(object, "pan")? {
        None => None,
        Some(pan) => Some(of("pan", MeterPan::parse(pan.as_bytes()))?),
    };
    if given.is_some() && from_drn.is_some() && given != from_drn {
        return Err(Failure::Data("fields `pan` and `iain` are not of the same meter".into()));
    }
    Ok(given.or(from_drn))
}

/// The base date, where the object gives one.
pub fn base_date(object: &Object) -> Result<Option<BaseDate>, Failure> {
    let Some(year) = number(object, "base_date", 9_999)? else { return Ok(None) };
    match BaseDate::from_year(year as u16) {
        Some(base) => Ok(Some(base)),
        None => Err(Failure::Data(format!("field `base_date`: {year} is none of 1993, 2014, 2035"))),
    }
}

fn derived(object: &Object, key: &VendingKey, algorithm: EncryptionAlgorithm) -> Result<DecoderKey, Failure> {
    let by_key = match key {
        VendingKey::Des(_) => Derivation::Dkga02,
        VendingKey::Hmac(_) => Derivation::Dkga04,
    };
    if let Some(code) = number(object, "dkga", 99)?
        && of("dkga", Derivation::from_code(code as u8))? != by_key
    {
        return Err(Failure::Data(format!(
            "field `dkga`: a vending key of this length is for DKGA{:02}",
            by_key.code()
        )));
    }
    let base_date = match (base_date(object)?, by_key) {
        (Some(base), _) => base,
        // DKGA02 does not use it.
        (None, Derivation::Dkga02) => BaseDate::Year1993,
        (None, Derivation::Dkga04) => return need(None, "base_date"),
    };
    let attributes = KeyAttributes {
        supply_group: of(
            "sgc",
            SupplyGroup::try_from(need(number(object, "sgc", u64::from(u32::MAX))?, "sgc")? as u32),
        )?,
        tariff_index: of("ti", TariffIndex::try_from(need(number(object, "ti", 255)?, "ti")? as u32))?,
        key_revision: of("krn", KeyRevision::try_from(need(number(object, "krn", 255)?, "krn")? as u32))?,
        key_type: match number(object, "kt", 3)? {
            Some(code) => KeyType::from_code(code as u8).unwrap_or(KeyType::Dutk),
            None => KeyType::Dutk,
        },
        base_date,
    };
    let pan = need(pan(object)?, "pan")?;
    derive(key, algorithm, &pan, &attributes).map_err(|error| Failure::Data(error.to_string()))
}

/// Whether an object gives a key at all.
pub fn any(object: &Object) -> bool {
    get(object, "decoder_key_hex").is_some() || get(object, "vending_key_hex").is_some()
}
