//! What the factory gives this meter. The keys are published test keys: an image that protects anything of value takes its
//! own from a provisioning sector instead.

use crate::identity::{KEY_REVISION, MANUFACTURER, SERIAL, SUPPLY_GROUP, TARIFF_INDEX};
use firmware::image::Trust;
use firmware::{AccountSetup, Keys, Options, Personalisation};
use protocol::cosem::account::PaymentMode;
use protocol::cosem::disconnect::ControlMode;
use protocol::sts::meter::{MeterKeyAttributes, MeterTokenState};
use protocol::sts::{BaseDate, DecoderKey, Drn, KeyRevision, KeyType, MeterPan, SupplyGroup, TariffIndex};

const DECODER_KEY: [u8; 16] = include!(concat!(env!("OUT_DIR"), "/decoder_key.rs"));
const SIGNING_KEY: [u8; 64] = include!(concat!(env!("OUT_DIR"), "/signing_key.rs"));
const ENCRYPTION_KEY: [u8; 16] = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F";
const AUTHENTICATION_KEY: [u8; 16] = *b"\xD0\xD1\xD2\xD3\xD4\xD5\xD6\xD7\xD8\xD9\xDA\xDB\xDC\xDD\xDE\xDF";
const MASTER_KEY: [u8; 16] = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xAA\xBB\xCC\xDD\xEE\xFF";
const READER_PASSWORD: &[u8] = b"Reader01";

/// The meter as it leaves the factory; `None` if a constant above is out of its range.
pub fn personalisation() -> Option<Personalisation> {
    let drn = Drn::from_parts(MANUFACTURER, SERIAL).ok()?;
    let attributes = MeterKeyAttributes {
        supply_group: Some(SupplyGroup::try_from(SUPPLY_GROUP).ok()?),
        tariff_index: TariffIndex::try_from(TARIFF_INDEX).ok()?,
        key_revision: KeyRevision::try_from(KEY_REVISION).ok()?,
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
        expiry: u8::MAX,
    };
    let [a, b, c, d] = SERIAL.to_be_bytes();
    let mut name = heapless::String::new();
    core::fmt::Write::write_fmt(&mut name, format_args!("MGW{SERIAL:013}")).ok()?;
    Some(Personalisation {
        tokens: MeterTokenState::new(
            MeterPan::from_drn(&drn),
            DecoderKey::Ea11(DECODER_KEY),
            attributes,
            None,
        ),
        system_title: [b'M', b'G', b'W', 0, a, b, c, d],
        logical_device_name: name,
        keys: Keys {
            encryption: ENCRYPTION_KEY,
            authentication: AUTHENTICATION_KEY,
            master: MASTER_KEY,
            reader_password: heapless::Vec::from_slice(READER_PASSWORD).ok()?,
        },
        account: AccountSetup {
            payment_mode: PaymentMode::Prepayment,
            initial_credit_wh: 5_000,
            low_credit_wh: 300,
        },
        control_mode: ControlMode::ARM_AND_CLOSE_LOCALLY,
        return_automatically: true,
        utc_offset_minutes: 0,
        profile_period_s: 900,
        sample_period_ms: 1_000,
        options: Options {
            // Nobody but tests is on its line.
            modbus_switches: true,
            images: Some(Trust { signing_key: SIGNING_KEY, model: *b"AN386\0\0\0" }),
            ..Options::default()
        },
    })
}
