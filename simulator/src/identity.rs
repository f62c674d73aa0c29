//! Who the meters of a street are: everything about meter number i follows from i and the street's settings.

use crate::random::between;
use anyhow::Context;
use firmware::image::Trust;
use firmware::suite1::Suite1;
use firmware::{AccountSetup, Keys, Personalisation};
use protocol::cosem::account::PaymentMode;
use protocol::cosem::disconnect::ControlMode;
use protocol::sts::meter::MeterTokenState;
use protocol::sts::{Drn, EncryptionAlgorithm, MeterPan, VendingKey, derive};
use serde::Deserialize;
use std::net::Ipv4Addr;

/// Manufacturer code in the serial numbers of simulated meters.
const MANUFACTURER: u16 = 1;
/// Supply group of the street.
pub const SUPPLY_GROUP: u32 = 123_457;
/// Tariff index of the street.
pub const TARIFF_INDEX: u8 = 1;
/// Key revision of the street.
pub const KEY_REVISION: u8 = 1;
/// Most meters in one street: as many as a gateway of a substation could ever own. A bound of ours.
pub const METERS_MAX: u32 = 65_535;
/// Seconds between rows of the load profile.
pub const PROFILE_PERIOD_S: u32 = 900;
/// The model of meter that firmware images are for.
pub const IMAGE_MODEL: firmware::image::format::Model = *b"MGW-SIM\0";
/// Whose images the meters take, `x || y`: the P-256 key of RFC 6979, A.2.5. Its private part is published there and in
/// [`crate::vendor`].
const IMAGE_PUBLIC_KEY: [u8; 64] = *b"\x60\xfe\xd4\xba\x25\x5a\x9d\x31\xc9\x61\xeb\x74\xc6\x35\x6d\x68\
    \xc0\x49\xb8\x92\x3b\x61\xfa\x6c\xe6\x69\x62\x2e\x60\xf2\x9f\xb6\x79\x03\xfe\x10\x08\xb8\xbc\x99\xa4\x1a\xe9\xe9\
    \x56\x28\xbc\x64\xf2\xf1\xb2\x0c\x2d\x7e\x9f\x51\x77\xa3\xc2\x94\xd4\x46\x22\x99";
/// Password of the reader's association unless a key file says otherwise.
const READER_PASSWORD: &str = "Reader01";

/// The client that signs, on every meter of a street: the Green Book's example key pairs (tables C.1 and C.2). The client's private
/// keys are published there too, and `simulator/README.md` names them: nothing of value may be protected by them.
pub const SIGNING_CLIENT: Suite1 = Suite1 {
    client_title: *b"MMM\x00\x00\xBC\x61\x4E",
    client_signing: pair(
        0xBAAF_FDE0_6A8C_B1C9_DAE8_D940_23C6_01DB,
        0xBB24_9254_BA22_EDD8_27E8_20BC_A2BC_C643,
        0x62FB_B83D_86A8_2B87_BB8B_7161_D2AA_B552,
        0x1911_A946_B97A_284A_90F7_785C_D904_7D25,
    ),
    client_agreement: pair(
        0x07C5_6DE2_DCAF_0FD7_93EF_29F0_19C8_9B4A,
        0x0CC1_E001_CE94_F4FF_BE10_BC05_E7E6_6F76,
        0x71A1_3FBC_F9E6_62B9_826F_FF6A_6938_546D,
        0x524E_D6D3_405F_0202_96BD_E16B_04F7_A7C2,
    ),
    signing: number(0xAE55_414F_FE07_9F9F_C956_4953_6BD1_C2B5, 0x653D_2008_1372_7E07_D501_A8B5_50C6_9207),
    agreement: number(0xAAD3_FD07_32E9_91CF_52A7_4C66_C1F2_827D, 0xDC53_522A_2E0A_169D_7C4F_FCC0_FB5D_6A4D),
};

/// The private key that client signs with.
pub const SIGNING_CLIENT_KEY: [u8; 32] =
    number(0x4180_73C2_39FA_6125_011D_E4D6_CD2E_6457, 0x8028_9F76_1BB2_1BFB_0835_CB55_85E8_B373);

const fn number(high: u128, low: u128) -> [u8; 32] {
    let (high, low) = (high.to_be_bytes(), low.to_be_bytes());
    let mut bytes = [0; 32];
    let mut i = 0;
    while i < 16 {
        bytes[i] = high[i];
        bytes[16 + i] = low[i];
        i += 1;
    }
    bytes
}

const fn pair(a: u128, b: u128, c: u128, d: u128) -> [u8; 64] {
    let (x, y) = (number(a, b), number(c, d));
    let mut bytes = [0; 64];
    let mut i = 0;
    while i < 32 {
        bytes[i] = x[i];
        bytes[32 + i] = y[i];
        i += 1;
    }
    bytes
}

/// Keys of the whole street. The defaults are published test keys; nothing of value may be protected by them.
#[derive(Clone)]
pub struct StreetKeys {
    encryption: [u8; 16],
    authentication: [u8; 16],
    master: [u8; 16],
    vending: VendingKey,
    reader_password: String,
}

impl std::fmt::Debug for StreetKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreetKeys(..)")
    }
}

impl Default for StreetKeys {
    /// EK and AK of the Green Book's examples, 00112233 to EEFF as the master key, the vending key of the published STS vectors.
    fn default() -> Self {
        let vending = *b"\xab\xab\xab\xab\xab\xab\xab\xab\x94\x94\x94\x94\x94\x94\x94\x94\x01\x23\x45\x67";
        Self {
            encryption: std::array::from_fn(|i| i as u8), // 00 to 0F
            authentication: std::array::from_fn(|i| 0xD0 + i as u8), // D0 to DF
            master: std::array::from_fn(|i| 0x11 * i as u8),
            vending: VendingKey::Hmac(vending),
            reader_password: READER_PASSWORD.into(),
        }
    }
}

/// A key file as it is written: a JSON object of hexadecimal strings. What is missing keeps its default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    encryption_key_hex: Option<String>,
    authentication_key_hex: Option<String>,
    master_key_hex: Option<String>,
    vending_key_hex: Option<String>,
    reader_password: Option<String>,
}

impl StreetKeys {
    /// Reads a key file.
    ///
    /// # Errors
    /// What is wrong with which entry; never what it said.
    pub fn from_json(text: &str) -> anyhow::Result<Self> {
        let file: KeyFile = serde_json::from_str(text).context("key file")?;
        let mut keys = Self::default();
        if let Some(hex) = file.encryption_key_hex {
            keys.encryption = sixteen(&hex).context("encryption_key_hex")?;
        }
        if let Some(hex) = file.authentication_key_hex {
            keys.authentication = sixteen(&hex).context("authentication_key_hex")?;
        }
        if let Some(hex) = file.master_key_hex {
            keys.master = sixteen(&hex).context("master_key_hex")?;
        }
        if let Some(hex) = file.vending_key_hex {
            let bytes = from_hex(&hex).context("vending_key_hex")?;
            keys.vending = VendingKey::from_bytes(&bytes).context("vending_key_hex")?;
        }
        if let Some(password) = file.reader_password {
            anyhow::ensure!(password.len() <= firmware::PASSWORD_MAX, "reader_password is too long");
            keys.reader_password = password;
        }
        Ok(keys)
    }

    /// The encryption and authentication keys.
    #[must_use]
    pub fn exposed(&self) -> ([u8; 16], [u8; 16]) {
        (self.encryption, self.authentication)
    }

    /// The vending key.
    #[must_use]
    pub fn vending(&self) -> &VendingKey {
        &self.vending
    }

    /// The encryption and authentication keys in hexadecimal, for a list that a gateway imports meters from.
    #[must_use]
    pub fn exposed_hex(&self) -> (String, String) {
        (to_hex(&self.encryption), to_hex(&self.authentication))
    }
}

fn sixteen(hex: &str) -> anyhow::Result<[u8; 16]> {
    let bytes = from_hex(hex)?;
    <[u8; 16]>::try_from(bytes).map_err(|bytes| anyhow::anyhow!("16 bytes wanted, {} found", bytes.len()))
}

fn from_hex(hex: &str) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(
        hex.len().is_multiple_of(2) && hex.is_ascii(),
        "an even number of hexadecimal digits wanted"
    );
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16);
    (0..hex.len()).step_by(2).map(byte).collect::<Result<_, _>>().context("not hexadecimal")
}

/// Upper-case hexadecimal.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The serial number (DRN) of meter `index`, from 1.
///
/// # Errors
/// Not with an index below 100,000,000.
pub fn drn(index: u32) -> anyhow::Result<Drn> {
    Drn::from_parts(MANUFACTURER, index).context("serial number")
}

/// The system title of meter `index`: `MGW` and the index in five bytes.
#[must_use]
pub fn system_title(index: u32) -> [u8; 8] {
    let [a, b, c, d] = index.to_be_bytes();
    [b'M', b'G', b'W', 0, a, b, c, d]
}

/// Where meter `index` answers: 127.1.0.1 is meter 1, 127.1.1.0 meter 256.
#[must_use]
pub fn address(index: u32) -> Ipv4Addr {
    let [_, b, c, d] = index.to_be_bytes();
    Ipv4Addr::new(127, 1_u8.wrapping_add(b), c, d)
}

/// Which meter a dialled address belongs to; the inverse of [`address`].
#[must_use]
pub fn index_of(address: Ipv4Addr) -> Option<u32> {
    let [first, b, c, d] = address.octets();
    (first == 127 && b >= 1).then(|| u32::from_be_bytes([0, b - 1, c, d])).filter(|index| *index > 0)
}

/// The credit meter `index` starts with unless the street says otherwise: a few hundred watt-hours to a few thousand.
#[must_use]
pub fn initial_credit_wh(street_seed: u64, index: u32) -> i64 {
    i64::try_from(between(street_seed ^ 0x4352_4544, u64::from(index), 5, 60)).unwrap_or(0) * 100
}

/// The number in the serial number of a feeder's check meter.
pub const FEEDER: u32 = 99_000_001;

/// What the factory gives a meter that is read and switched over Modbus and holds no balance of its own.
///
/// # Errors
/// See [`personalisation`].
pub fn modbus_personalisation(
    index: u32,
    keys: &StreetKeys,
    switches: bool,
) -> anyhow::Result<Personalisation> {
    let mut who = personalisation(index, keys)?;
    who.account.payment_mode = PaymentMode::Credit;
    who.control_mode = ControlMode::CLOSE_REMOTELY;
    who.options.modbus_switches = switches;
    Ok(who)
}

/// Serial numbers of meters that replaced others are this much higher.
const EXCHANGED: u32 = 50_000_000;
/// Credit of a meter that replaced another, in watt-hours.
const EXCHANGED_CREDIT_WH: i64 = 1_000;

/// What the factory gives the meter that replaces meter `index`, which had `old`: the same kind of meter with the same keys, a
/// serial number of its own and a little credit.
///
/// # Errors
/// See [`personalisation`].
pub fn exchanged(index: u32, old: &Personalisation, keys: &StreetKeys) -> anyhow::Result<Personalisation> {
    let mut who = personalisation(EXCHANGED + index, keys)?;
    who.account.payment_mode = old.account.payment_mode;
    who.account.initial_credit_wh = EXCHANGED_CREDIT_WH;
    who.control_mode = old.control_mode;
    who.return_automatically = old.return_automatically;
    who.options = old.options;
    Ok(who)
}

/// What the factory gives meter `index`; credit comes later.
///
/// # Errors
/// Not with the built-in settings; a key file may hold a vending key that makes no keys for EA11.
pub fn personalisation(index: u32, keys: &StreetKeys) -> anyhow::Result<Personalisation> {
    let pan = MeterPan::from_drn(&drn(index)?);
    let attributes = crate::vendor::attributes()?;
    let key = derive(&keys.vending, EncryptionAlgorithm::Ea11, &pan, &attributes)?;
    let name = format!("MGW{index:013}");
    Ok(Personalisation {
        tokens: MeterTokenState::new(pan, key, attributes.into(), None),
        system_title: system_title(index),
        logical_device_name: name.as_str().try_into().context("logical device name")?,
        keys: Keys {
            encryption: keys.encryption,
            authentication: keys.authentication,
            master: keys.master,
            reader_password: keys.reader_password.bytes().collect(),
        },
        account: AccountSetup {
            payment_mode: PaymentMode::Prepayment,
            initial_credit_wh: 0,
            low_credit_wh: 300,
        },
        control_mode: ControlMode::ARM_AND_CLOSE_LOCALLY,
        return_automatically: true,
        utc_offset_minutes: 0,
        profile_period_s: PROFILE_PERIOD_S,
        sample_period_ms: 1_000,
        options: firmware::Options {
            images: Some(Trust { signing_key: IMAGE_PUBLIC_KEY, model: IMAGE_MODEL }),
            suite1: Some(SIGNING_CLIENT),
            ..firmware::Options::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_are_where_the_street_says() {
        assert_eq!(address(1), Ipv4Addr::new(127, 1, 0, 1));
        assert_eq!(address(256), Ipv4Addr::new(127, 1, 1, 0));
        assert_eq!(address(65_536), Ipv4Addr::new(127, 2, 0, 0));
        for index in [1, 2, 255, 256, 65_535, 65_536] {
            assert_eq!(index_of(address(index)), Some(index));
        }
        assert_eq!(index_of(Ipv4Addr::LOCALHOST), None);
        assert_eq!(index_of(Ipv4Addr::new(10, 1, 0, 1)), None);
    }

    #[test]
    fn serial_numbers_carry_their_check_digit() {
        let text = drn(1).unwrap();
        assert_eq!(&text.as_str()[..10], "0100000001");
        assert_eq!(Drn::parse(text.as_str().as_bytes()), Ok(text));
        assert_eq!(system_title(258), *b"MGW\0\0\0\x01\x02");
    }

    #[test]
    fn a_key_file_replaces_what_it_names_and_shows_nothing() {
        let keys =
            StreetKeys::from_json(r#"{"encryption_key_hex":"FF0102030405060708090a0b0c0d0e0f"}"#).unwrap();
        let (encryption, authentication) = keys.exposed_hex();
        assert_eq!(encryption, "FF0102030405060708090A0B0C0D0E0F");
        assert_eq!(authentication, "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF");
        assert_eq!(format!("{keys:?}"), "StreetKeys(..)");
        for wrong in [r#"{"encryption_key_hex":"00"}"#, r#"{"ek":"00"}"#, r#"{"vending_key_hex":"zz"}"#, "["]
        {
            assert!(StreetKeys::from_json(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_meter_has_a_decoder_key_of_its_own() {
        let keys = StreetKeys::default();
        let one = personalisation(1, &keys).unwrap();
        let two = personalisation(2, &keys).unwrap();
        assert_ne!(one.tokens.key.expose(), two.tokens.key.expose());
        assert_eq!(one.logical_device_name.len(), 16);
    }
}
