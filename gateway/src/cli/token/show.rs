//! A token as fields of a JSON object.

use super::fields::Object;
use protocol::sts::{BaseDate, KeySection, Management, Service, TestToken, Tid, Token, TokenNumber};
use serde_json::{Value, json};

/// The name of a kind of token.
#[must_use]
pub fn name(token: &Token) -> &'static str {
    match token {
        Token::Credit { service, .. } => service_name(*service),
        Token::CurrencyCredit { service, .. } => match service {
            Service::Electricity => "electricity currency",
            Service::Water => "water currency",
            Service::Gas => "gas currency",
            Service::Time => "time currency",
        },
        Token::Test(TestToken::TwoDigit { .. }) => "meter_test_display_1",
        Token::Test(TestToken::FourDigit { .. }) => "meter_test_display_2",
        Token::Test(TestToken::ExtendedRead { .. }) => "extended_read",
        Token::Management { action, .. } => match action {
            Management::MaximumPowerLimit(_) => "set_maximum_power_limit",
            Management::ClearCredit(_) => "clear_credit",
            Management::TariffRate(_) => "set_tariff_rate",
            Management::ClearTamper => "clear_tamper",
            Management::PhaseUnbalanceLimit(_) => "set_max_phase_power_unbalance",
            Management::WaterMeterFactor(_) => "set_water_meter_factor",
            Management::Extended { .. } => "extended_token_set",
        },
        Token::KeySection(KeySection::First { .. }) => "set_1st_section_decoder_key",
        Token::KeySection(KeySection::Second { .. }) => "set_2nd_section_decoder_key",
        Token::KeySection(KeySection::Third { .. }) => "set_3rd_section_decoder_key",
        Token::KeySection(KeySection::Fourth { .. }) => "set_4th_section_decoder_key",
    }
}

fn service_name(service: Service) -> &'static str {
    match service {
        Service::Electricity => "electricity",
        Service::Water => "water",
        Service::Gas => "gas",
        Service::Time => "time",
    }
}

/// All fields of a token. `base` adds the moment of its identifier.
#[must_use]
pub fn fields(token: &Token, number: TokenNumber, base: Option<BaseDate>) -> Object {
    let block = token.data_block();
    let mut object = Object::new();
    let mut put = |field: &str, value: Value| object.insert(field.to_owned(), value);
    put("token", json!(number.digits().as_str()));
    put("token66_hex", json!(format!("{:017x}", number.bits())));
    put("class", json!(token.class()));
    put("subclass", json!(token.subclass()));
    put("name", json!(name(token)));
    put("data_block_hex", json!(format!("{block:016x}")));
    put("content44_hex", json!(format!("{:011x}", (block >> 16) & ((1 << 44) - 1))));
    if token.class() != 1 {
        put("encrypted_block_hex", json!(format!("{:016x}", number.block())));
    }
    if let Some(tid) = token.tid() {
        put("tid", json!(tid.minutes()));
        put("field16", json!((block >> 16) & 0xFFFF));
        if let Some(base) = base {
            put(&format!("tid_time_if_base_{}", base.year()), json!(moment(tid, base)));
        }
    }
    match token {
        Token::Credit { amount, rnd, .. } => {
            put("rnd", json!(rnd.get()));
            put("amount_units_0_1", json!(amount.units()));
        }
        Token::CurrencyCredit { amount, .. } => {
            put("se_nibble", json!(amount.fields().0));
            // As text: it may be larger than a JSON number is read exactly.
            put("amount_units_1e_5", json!(amount.amount().to_string()));
            put("exponent", json!(amount.exponent()));
            put("mantissa", json!(amount.mantissa()));
            put("sign", json!(u8::from(amount.is_negative())));
        }
        Token::Test(
            TestToken::TwoDigit { control, manufacturer } | TestToken::ExtendedRead { control, manufacturer },
        ) => {
            put("control_hex", json!(format!("{control:09x}")));
            put("mfr_code", json!(manufacturer));
        }
        Token::Test(TestToken::FourDigit { control, manufacturer }) => {
            put("control_hex", json!(format!("{control:07x}")));
            put("mfr_code", json!(manufacturer));
        }
        Token::Management { action, rnd, .. } => {
            put("rnd", json!(rnd.get()));
            match action {
                Management::MaximumPowerLimit(limit) | Management::PhaseUnbalanceLimit(limit) => {
                    put("limit_W", json!(limit.units()));
                }
                Management::ClearCredit(register) => {
                    put("register", json!(register));
                }
                Management::Extended { index, value } => {
                    put("index", json!(index));
                    put("value", json!(value));
                }
                Management::TariffRate(_) | Management::ClearTamper | Management::WaterMeterFactor(_) => {}
            }
        }
        Token::KeySection(section) => section_fields(section, &mut put),
    }
    object
}

fn section_fields(section: &KeySection, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
    let word = |key: &protocol::sts::KeyWord| json!(format!("{:08x}", key.expose()));
    match section {
        KeySection::First { expiry_high, key_revision, rollover, third_follows, key_type, key } => {
            put("kenho", json!(expiry_high));
            put("new_krn", json!(key_revision.get()));
            put("ro", json!(u8::from(*rollover)));
            put("res_3kct", json!(u8::from(*third_follows)));
            put("new_kt", json!(key_type.code()));
            put("nkho", word(key));
        }
        KeySection::Second { expiry_low, tariff_index, key } => {
            put("kenlo", json!(expiry_low));
            put("new_ti", json!(format!("{:02}", tariff_index.get())));
            put("nklo", word(key));
        }
        KeySection::Third { group_low, key } => {
            put("sgclo", json!(format!("{group_low:03x}")));
            put("nkmo2", word(key));
        }
        KeySection::Fourth { group_high, key } => {
            put("sgcho", json!(format!("{group_high:03x}")));
            put("nkmo1", word(key));
        }
    }
}

/// The moment of an identifier, in the vending clock's own time: `2004-03-01T13:00:00`.
fn moment(tid: Tid, base: BaseDate) -> String {
    jiff::Timestamp::from_second(tid.unix_seconds(base))
        .map(|moment| moment.strftime("%Y-%m-%dT%H:%M:%S").to_string())
        .unwrap_or_default()
}
