//! Published tokens, and what a device makes of them.

use super::*;
use crate::scheme::TokenScheme;
use proptest::prelude::*;
use serde_json::Value;
use std::vec::Vec;

fn vectors() -> Vec<Value> {
    include_str!("../../vectors/openpaygo/standard.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn key(text: &str) -> PaygoKey {
    PaygoKey::new(core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()))
}

fn vendor(v: &Value) -> (Vendor, Device) {
    let set = if v["restricted_digit_set"] == true { DigitSet::Restricted } else { DigitSet::Full };
    let start = v["starting_code"].as_u64().unwrap() as u32;
    let count = v["count"].as_u64().unwrap() as u16;
    let key = || key(v["key"].as_str().unwrap());
    (Vendor::new(key(), start, set, count), Device::new(key(), start, set, count))
}

#[test]
fn all_published_tokens_of_both_digit_sets_are_made_and_read() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 40);
    for v in vectors {
        let (mut vendor, mut device) = vendor(&v);
        let value = v["value_raw"].as_u64().unwrap_or(0) as u16;
        let count = v["new_count"].as_u64().unwrap() as u16;
        let (request, expected) = match v["token_type"].as_str().unwrap() {
            "ADD_TIME" => (Request::AddTime(value), Accepted::AddTime { value, count }),
            "SET_TIME" => (Request::SetTime(value), Accepted::SetTime { value, count }),
            "DISABLE_PAYG" => (Request::Disable, Accepted::Disable { count }),
            "COUNTER_SYNC" => (Request::Synchronise, Accepted::Synchronise { count }),
            other => panic!("{other}"),
        };
        let digits = OpenPaygo::issue(&mut vendor, &request).unwrap();
        assert_eq!((digits.as_str(), vendor.count()), (v["token"].as_str().unwrap(), count));
        let accepted = OpenPaygo::judge(&device, digits.as_ref(), 0).unwrap();
        assert_eq!(accepted, expected);
        OpenPaygo::apply(&mut device, &accepted);
        assert_eq!(device.judge(digits.as_ref()), Err(PaygoRefusal::Used));
    }
}

fn pair() -> (Vendor, Device) {
    let key = || key("bc41ec9530f6dac86b1a29ab82edc5fb");
    (Vendor::new(key(), 516_959_010, DigitSet::Full, 1), Device::new(key(), 516_959_010, DigitSet::Full, 1))
}

fn take(device: &mut Device, digits: &PaygoDigits) -> Result<Accepted, PaygoRefusal> {
    let accepted = device.judge(digits.as_ref())?;
    device.apply(accepted);
    Ok(accepted)
}

#[test]
fn tokens_that_add_time_work_out_of_order_within_sixteen_counts_and_once() {
    let (mut vendor, mut device) = pair();
    let tokens: Vec<PaygoDigits> =
        (0..10).map(|days| vendor.issue(Request::AddTime(days)).unwrap()).collect();
    // Counts 2, 4 ... 20.
    assert!(take(&mut device, &tokens[9]).is_ok());
    assert_eq!(take(&mut device, &tokens[0]), Err(PaygoRefusal::Used), "18 counts behind");
    assert!(take(&mut device, &tokens[1]).is_ok(), "16 counts behind");
    assert!(take(&mut device, &tokens[8]).is_ok());
    for token in [&tokens[1], &tokens[8], &tokens[9]] {
        assert_eq!(take(&mut device, token), Err(PaygoRefusal::Used));
    }
}

#[test]
fn setting_time_ends_every_token_before_it() {
    let (mut vendor, mut device) = pair();
    let older = vendor.issue(Request::AddTime(5)).unwrap();
    let set = vendor.issue(Request::SetTime(30)).unwrap();
    assert!(take(&mut device, &set).is_ok());
    assert_eq!(take(&mut device, &older), Err(PaygoRefusal::Used));
}

#[test]
fn a_device_looks_ahead_64_counts_and_100_to_synchronise() {
    let (mut vendor, mut device) = pair();
    for _ in 0..33 {
        vendor.issue(Request::AddTime(1)).unwrap();
    }
    assert_eq!(vendor.count(), 66);
    let far = vendor.issue(Request::AddTime(1)).unwrap();
    assert_eq!(device.judge(far.as_ref()), Err(PaygoRefusal::Invalid), "67 counts ahead");
    let synchronise = vendor.issue(Request::Synchronise).unwrap();
    assert_eq!(take(&mut device, &synchronise), Ok(Accepted::Synchronise { count: 69 }));
    assert_eq!(take(&mut device, &synchronise), Err(PaygoRefusal::Used), "a synchronisation works once");
    let next = vendor.issue(Request::AddTime(1)).unwrap();
    assert!(take(&mut device, &next).is_ok());
}

#[test]
fn what_is_no_token_is_refused_as_such() {
    let (mut vendor, device) = pair();
    for text in ["", "12345678", "1234567890", "12345678x"] {
        assert_eq!(device.judge(text.as_bytes()), Err(PaygoRefusal::Format));
    }
    let key = key("bc41ec9530f6dac86b1a29ab82edc5fb");
    let four_keys = Device::new(key, 516_959_010, DigitSet::Restricted, 1);
    assert_eq!(four_keys.judge(b"511111111111111"), Err(PaygoRefusal::Format));
    assert_eq!(four_keys.judge(b"444444444444444"), Err(PaygoRefusal::Format), "above nine digits");
    assert_eq!(vendor.issue(Request::AddTime(996)), Err(VendorError::Value));
    assert_eq!(vendor.count(), 1);
    let mut last = Vendor::new(PaygoKey::new([0; 16]), 0, DigitSet::Full, COUNT_MAX);
    assert_eq!(last.issue(Request::Disable), Err(VendorError::Count));
}

#[test]
fn values_without_a_meaning_are_never_accepted() {
    let (_, device) = pair();
    for value in [996u32, 997] {
        let base = (10 + value) % 1_000;
        let mut link = super::chain::with_base(516_959_010, base);
        for _ in 0..=65 {
            let digits = PaygoDigits::of(super::chain::with_base(link, base), DigitSet::Full);
            assert_eq!(device.judge(digits.as_ref()), Err(PaygoRefusal::Invalid));
            link = super::chain::following(&key("bc41ec9530f6dac86b1a29ab82edc5fb"), link);
        }
    }
}

/// The digits of the token that a device took these for.
fn digits_of(accepted: Accepted, vendor_at: impl Fn(u16) -> Vendor) -> PaygoDigits {
    let (request, count) = match accepted {
        Accepted::AddTime { value, count } => (Request::AddTime(value), count),
        Accepted::SetTime { value, count } => (Request::SetTime(value), count),
        Accepted::Disable { count } => (Request::Disable, count),
        Accepted::Synchronise { count } => (Request::Synchronise, count),
    };
    vendor_at(count - 2).issue(request).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_issued_in_order_is_accepted_once(
        bytes in any::<[u8; 16]>(), start in 0..1_000_000_000u32, restricted in any::<bool>(),
        requests in proptest::collection::vec((0..4u8, 0..=VALUE_MAX), 1..20),
    ) {
        let set = if restricted { DigitSet::Restricted } else { DigitSet::Full };
        let mut vendor = Vendor::new(PaygoKey::new(bytes), start, set, 0);
        let mut device = Device::new(PaygoKey::new(bytes), start, set, 0);
        for (kind, value) in requests {
            let request = match kind {
                0 => Request::AddTime(value),
                1 => Request::SetTime(value),
                2 => Request::Disable,
                _ => Request::Synchronise,
            };
            let digits = vendor.issue(request).unwrap();
            prop_assert!(take(&mut device, &digits).is_ok());
            prop_assert_eq!(device.count(), vendor.count());
            // Six of the nine digits tell counts apart: about one in 15,000 used tokens has the digits of one of the 64 to come.
            match device.judge(digits.as_ref()) {
                Err(refusal) => prop_assert_eq!(refusal, PaygoRefusal::Used),
                Ok(other) => {
                    let at = |count| Vendor::new(PaygoKey::new(bytes), start, set, count);
                    let others = digits_of(other, at);
                    prop_assert_eq!(others.as_str(), digits.as_str());
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_a_device_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20), count in any::<u16>()) {
        let device = Device::new(PaygoKey::new([1; 16]), u32::MAX, DigitSet::Full, count);
        let _ = device.judge(&bytes);
        let _ = device.judge(b"123456789");
    }
}
