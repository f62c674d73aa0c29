//! Names of OBIS codes (Blue Book part 1; IEC 62056-6-1) and of classes, attributes and methods.
//!
//! Electricity codes are named from their groups, so that every register of a meter gets a name, not only the listed ones.

use protocol::codec::cosem::registry;

/// Exact abstract and electricity codes whose groups alone do not say what they are; 255 in the table's B and E matches any.
const CODES: &[([u8; 5], &str)] = &[
    ([0, 255, 1, 0, 0], "clock"),
    ([0, 255, 1, 1, 0], "UNIX clock"),
    ([0, 255, 1, 0, 2], "time of last billing reset"),
    ([0, 255, 2, 0, 0], "modem setup"),
    ([0, 255, 2, 1, 0], "auto connect"),
    ([0, 255, 10, 0, 255], "script table"),
    ([0, 255, 10, 0, 106], "disconnect script table"),
    ([0, 255, 11, 0, 255], "special days"),
    ([0, 255, 12, 0, 255], "schedule"),
    ([0, 255, 13, 0, 255], "activity calendar"),
    ([0, 255, 14, 0, 255], "register activation"),
    ([0, 255, 15, 0, 255], "single action schedule"),
    ([0, 255, 16, 0, 255], "register monitor"),
    ([0, 255, 16, 1, 255], "alarm monitor"),
    ([0, 255, 17, 0, 255], "limiter"),
    ([0, 255, 19, 0, 255], "account"),
    ([0, 255, 19, 10, 255], "credit"),
    ([0, 255, 19, 20, 255], "charge"),
    ([0, 255, 19, 40, 255], "token gateway"),
    ([0, 255, 19, 50, 255], "payment metering: maximum limits"),
    ([0, 255, 20, 0, 255], "IEC local port setup"),
    ([0, 255, 21, 0, 255], "standard readout"),
    ([0, 255, 22, 0, 0], "HDLC setup"),
    ([0, 255, 23, 0, 0], "IEC twisted pair setup"),
    ([0, 255, 24, 1, 255], "M-Bus client"),
    ([0, 255, 24, 2, 255], "M-Bus value"),
    ([0, 255, 25, 0, 0], "TCP/UDP setup"),
    ([0, 255, 25, 1, 0], "IPv4 setup"),
    ([0, 255, 25, 2, 0], "MAC address setup"),
    ([0, 255, 25, 4, 0], "GPRS modem setup"),
    ([0, 255, 25, 7, 0], "IPv6 setup"),
    ([0, 255, 25, 9, 255], "push setup"),
    ([0, 255, 40, 0, 255], "association"),
    ([0, 255, 41, 0, 0], "SAP assignment"),
    ([0, 255, 42, 0, 0], "logical device name"),
    ([0, 255, 43, 0, 255], "security setup"),
    ([0, 255, 43, 1, 255], "invocation counter"),
    ([0, 255, 44, 0, 0], "image transfer"),
    ([0, 255, 94, 255, 255], "country-specific identifier"),
    ([0, 255, 96, 1, 0], "device identifier 1 (serial number)"),
    ([0, 255, 96, 1, 1], "device identifier 2 (meter type)"),
    ([0, 255, 96, 1, 255], "device identifier"),
    ([0, 255, 96, 2, 0], "number of configuration changes"),
    ([0, 255, 96, 3, 10], "disconnect control"),
    ([0, 255, 96, 4, 255], "state of inputs and outputs"),
    ([0, 255, 96, 5, 255], "operating status"),
    ([0, 255, 96, 7, 255], "number of power failures"),
    ([0, 255, 96, 8, 255], "operating time"),
    ([0, 255, 96, 9, 255], "temperature"),
    ([0, 255, 96, 10, 255], "profile status"),
    ([0, 255, 96, 11, 255], "event code"),
    ([0, 255, 96, 13, 0], "consumer message: code"),
    ([0, 255, 96, 13, 1], "consumer message: text"),
    ([0, 255, 96, 14, 255], "active tariff"),
    ([0, 255, 97, 97, 255], "error register"),
    ([0, 255, 97, 98, 255], "alarm register"),
    ([0, 255, 98, 1, 255], "billing profile"),
    ([0, 255, 99, 98, 255], "event log"),
    ([1, 255, 0, 0, 255], "electricity meter identifier"),
    ([1, 255, 0, 1, 0], "billing period counter"),
    ([1, 255, 0, 1, 2], "time of last billing period"),
    ([1, 255, 0, 2, 0], "firmware version"),
    ([1, 255, 0, 2, 8], "firmware signature"),
    ([1, 255, 0, 3, 255], "pulses per unit"),
    ([1, 255, 0, 4, 255], "transformer ratio"),
    ([1, 255, 0, 8, 255], "measurement period"),
    ([1, 255, 0, 9, 1], "local time"),
    ([1, 255, 0, 9, 2], "local date"),
    ([1, 255, 1, 1, 0], "list identifier"),
    ([1, 255, 98, 1, 255], "billing profile"),
    ([1, 255, 98, 2, 255], "billing profile 2"),
    ([1, 255, 99, 1, 255], "load profile 1"),
    ([1, 255, 99, 2, 255], "load profile 2"),
    ([1, 255, 99, 98, 255], "electricity event log"),
    ([1, 1, 0, 2, 129], "list version identifier"),
];

/// Group C of electricity: the quantity. Per phase, 20 is added for each of L1, L2, L3.
fn quantity(c: u8) -> Option<String> {
    let (base, phase) = match c {
        21..=80 => ((c - 1) % 20 + 1, Some((c - 1) / 20)),
        _ => (c, None),
    };
    let name = match base {
        1 => "active import",
        2 => "active export",
        3 => "reactive import (Q1+Q2)",
        4 => "reactive export (Q3+Q4)",
        5 => "reactive Q1",
        6 => "reactive Q2",
        7 => "reactive Q3",
        8 => "reactive Q4",
        9 => "apparent import",
        10 => "apparent export",
        11 => "current",
        12 => "voltage",
        13 => "power factor",
        14 => "frequency",
        15 => "active |+A|+|-A|",
        16 => "active |+A|-|-A|",
        _ => {
            return match c {
                81 => Some("angle".into()),
                82 => Some("unitless quantity".into()),
                91 => Some("current in the neutral".into()),
                92 => Some("voltage of the neutral".into()),
                _ => None,
            };
        }
    };
    Some(match phase {
        Some(phase) => format!("{name} L{phase}"),
        None => name.to_owned(),
    })
}

/// Group D of electricity: what was done with the quantity. `energy` where the quantity is a power.
fn processing(c: u8, d: u8, quantity: &str) -> Option<String> {
    let is_power = matches!((c.saturating_sub(1)) % 20 + 1, 1..=10 | 15 | 16) && c <= 80;
    let power = if is_power { " power" } else { "" };
    Some(match d {
        7 => format!("{quantity}{power}, instantaneous"),
        8 if is_power => format!("{quantity} energy"),
        8 => format!("{quantity}, time integral"),
        9 if is_power => format!("{quantity} energy, this billing period"),
        29 if is_power => format!("{quantity} energy, load profile interval"),
        2 => format!("{quantity}{power}, cumulative maximum"),
        3 => format!("{quantity}{power}, minimum"),
        4 => format!("{quantity}{power}, current average"),
        5 => format!("{quantity}{power}, last average"),
        6 => format!("{quantity}{power}, maximum"),
        24 | 25 | 27 | 28 => format!("{quantity}{power}, average"),
        31 => format!("{quantity}{power}, threshold"),
        35 => format!("{quantity}{power}, limit"),
        _ => return None,
    })
}

fn electricity([_, _, c, d, e, _]: [u8; 6]) -> Option<String> {
    let quantity = quantity(c)?;
    if c == 81 && d == 7 {
        let phase =
            |n: u8| ["U L1", "U L2", "U L3", "", "I L1", "I L2", "I L3", "I N"].get(usize::from(n)).copied();
        return Some(format!("angle {} to {}", phase(e % 10)?, phase(e / 10)?));
    }
    let name = processing(c, d, &quantity)?;
    Some(match e {
        0 => name,
        _ if matches!(d, 8 | 9 | 29 | 6) => format!("{name}, rate {e}"),
        _ => format!("{name} ({e})"),
    })
}

fn listed([a, b, c, d, e, _]: [u8; 6]) -> Option<&'static str> {
    let any = |pattern: u8, value: u8| pattern == 255 || pattern == value;
    let matches = |code: &&([u8; 5], &str)| {
        let [ca, cb, cc, cd, ce] = code.0;
        ca == a && any(cb, b) && cc == c && any(cd, d) && any(ce, e)
    };
    // A code that names E wins over one that takes any.
    CODES
        .iter()
        .filter(|code| matches(code))
        .max_by_key(|code| code.0.iter().filter(|&&part| part != 255).count())
        .map(|code| code.1)
}

/// A name for a logical name, if it has one.
#[must_use]
pub fn obis_name(code: [u8; 6]) -> Option<String> {
    if let Some(name) = listed(code) {
        return Some(name.to_owned());
    }
    match code[0] {
        1 => electricity(code),
        6 => Some("heat".into()).filter(|_| code[2] == 1),
        7 => match (code[2], code[3]) {
            (3 | 13, _) => Some("gas volume".into()),
            _ => None,
        },
        8 | 9 if code[2] == 1 => Some("water volume".into()),
        _ => None,
    }
}

/// A logical name as people write it, with its name: `1-0:1.8.0*255 (active import energy)`.
pub(super) fn obis_text(code: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = code;
    let digits = format!("{a}-{b}:{c}.{d}.{e}*{f}");
    match obis_name(code) {
        Some(name) => format!("{digits} ({name})"),
        None => digits,
    }
}

/// The name of an interface class.
#[must_use]
pub fn class_name(class_id: u16) -> Option<&'static str> {
    registry::class_name(class_id)
}

/// Attributes of the payment classes (Blue Book 4.6.2 to 4.6.5), which the codec knows by class name alone.
fn payment_attribute(class_id: u16, index: i8) -> Option<&'static str> {
    let names: &[&str] = match class_id {
        111 => &[
            "logical_name",
            "account_mode_and_status",
            "current_credit_in_use",
            "current_credit_status",
            "available_credit",
            "amount_to_clear",
            "clearance_threshold",
            "aggregated_debt",
            "credit_reference_list",
            "charge_reference_list",
            "credit_charge_configuration",
            "token_gateway_configuration",
            "account_activation_time",
            "account_closure_time",
            "currency",
            "low_credit_threshold",
            "next_credit_available_threshold",
            "max_provision",
            "max_provision_period",
        ],
        112 => &[
            "logical_name",
            "current_credit_amount",
            "credit_type",
            "priority",
            "warning_threshold",
            "limit",
            "credit_configuration",
            "credit_status",
            "preset_credit_amount",
            "credit_available_threshold",
            "period",
        ],
        113 => &[
            "logical_name",
            "total_amount_paid",
            "charge_type",
            "priority",
            "unit_charge_active",
            "unit_charge_passive",
            "unit_charge_activation_time",
            "period",
            "charge_configuration",
            "last_collection_time",
            "last_collection_amount",
            "total_amount_remaining",
            "proportion",
        ],
        115 => &[
            "logical_name",
            "token",
            "token_time",
            "token_description",
            "token_delivery_method",
            "token_status",
        ],
        _ => return None,
    };
    names.get(usize::try_from(index).ok()?.checked_sub(1)?).copied()
}

/// The name of an attribute.
#[must_use]
pub fn attribute_name(class_id: u16, index: i8) -> Option<&'static str> {
    payment_attribute(class_id, index).or_else(|| registry::attribute_name(class_id, 0, index))
}

/// The name of a method.
#[must_use]
pub fn method_name(class_id: u16, index: i8) -> Option<&'static str> {
    if (class_id, index) == (115, 1) {
        return Some("enter");
    }
    registry::method_name(class_id, 0, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_the_blue_book_gives_them() {
        for (code, name) in [
            ([1, 0, 1, 8, 0, 255], "active import energy"),
            ([1, 0, 2, 8, 2, 255], "active export energy, rate 2"),
            ([1, 0, 1, 7, 0, 255], "active import power, instantaneous"),
            ([1, 0, 32, 7, 0, 255], "voltage L1, instantaneous"),
            ([1, 0, 51, 7, 0, 255], "current L2, instantaneous"),
            ([1, 0, 71, 7, 0, 255], "current L3, instantaneous"),
            ([1, 0, 13, 7, 0, 255], "power factor, instantaneous"),
            ([1, 0, 41, 7, 0, 255], "active import L2 power, instantaneous"),
            ([1, 0, 81, 7, 40, 255], "angle U L1 to I L1"),
            ([0, 0, 1, 0, 0, 255], "clock"),
            ([0, 0, 96, 1, 0, 255], "device identifier 1 (serial number)"),
            ([0, 0, 96, 1, 7, 255], "device identifier"),
            ([0, 0, 96, 3, 10, 255], "disconnect control"),
            ([0, 0, 19, 40, 0, 255], "token gateway"),
            ([1, 0, 99, 1, 0, 255], "load profile 1"),
            ([0, 0, 43, 1, 8, 255], "invocation counter"),
        ] {
            assert_eq!(obis_name(code).as_deref(), Some(name), "{code:?}");
        }
        assert_eq!(obis_name([1, 0, 200, 8, 0, 255]), None);
    }

    #[test]
    fn attributes_and_methods_have_names() {
        assert_eq!(class_name(3), Some("Register"));
        assert_eq!(attribute_name(3, 3), Some("scaler_unit"));
        assert_eq!(attribute_name(112, 2), Some("current_credit_amount"));
        assert_eq!(method_name(115, 1), Some("enter"));
        assert_eq!(method_name(70, 1), Some("remote_disconnect"));
    }
}
