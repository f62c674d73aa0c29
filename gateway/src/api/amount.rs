//! An amount of money in a request: a whole number of minor units, as a JSON integer or as text.

use super::Problem;
use crate::config::Price;
use crate::units::MinorUnits;
use serde_json::Value;

/// The amount, or what is wrong with it.
pub(super) fn parse(value: &Value, price: &Price) -> Result<MinorUnits, Problem> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        other => {
            let detail = format!("amount_minor must be a whole number of minor units, not {other}");
            return Err(Problem::refused("bad-amount", detail));
        }
    };
    whole(&text, price).map(MinorUnits).map_err(|detail| Problem::refused("bad-amount", detail))
}

fn whole(text: &str, price: &Price) -> Result<i64, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_whole {
        let unit = unit(price);
        let decimal = digits.contains('.') && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        return Err(if decimal {
            format!("amount {text} is a fraction of the smallest unit, {unit}")
        } else {
            format!("amount {text:?} is not a whole number of minor units (the smallest unit is {unit})")
        });
    }
    if digits.bytes().all(|byte| byte == b'0') {
        return Err("the amount must be above zero, it is zero".to_owned());
    }
    if text.starts_with('-') {
        return Err(format!("the amount must be above zero, it is {text}"));
    }
    text.parse().map_err(|_| format!("amount {text} is beyond a token's range"))
}

/// `0.01 EUR`.
fn unit(price: &Price) -> String {
    match price.minor_digits {
        0 => format!("1 {}", price.currency),
        digits => format!("0.{}1 {}", "0".repeat(usize::try_from(digits).unwrap_or(0) - 1), price.currency),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(value: Value) -> String {
        let price = Price::new("EUR", 2, "25").unwrap();
        match parse(&value, &price) {
            Ok(amount) => amount.0.to_string(),
            Err(problem) => problem.detail,
        }
    }

    #[test]
    fn an_amount_is_a_whole_number_or_an_exact_refusal() {
        assert_eq!(said(json!(500)), "500");
        assert_eq!(said(json!("500")), "500");
        assert_eq!(said(json!(0)), "the amount must be above zero, it is zero");
        assert_eq!(said(json!("-0")), "the amount must be above zero, it is zero");
        assert_eq!(said(json!(-5)), "the amount must be above zero, it is -5");
        assert_eq!(said(json!(12.5)), "amount 12.5 is a fraction of the smallest unit, 0.01 EUR");
        assert_eq!(said(json!("0.005")), "amount 0.005 is a fraction of the smallest unit, 0.01 EUR");
        assert_eq!(
            said(json!("ten")),
            "amount \"ten\" is not a whole number of minor units (the smallest unit is 0.01 EUR)"
        );
        assert_eq!(
            said(json!(1e30)),
            "amount \"1e+30\" is not a whole number of minor units (the smallest unit is 0.01 EUR)"
        );
        assert_eq!(
            said(json!("99999999999999999999")),
            "amount 99999999999999999999 is beyond a token's range"
        );
        assert_eq!(said(json!(null)), "amount_minor must be a whole number of minor units, not null");
    }
}
