//! Numbers and times as a person reads them, in integers.

use crate::config::Price;
use crate::units::{MinorUnits, WattHours};
use jiff::Timestamp;

/// HTML text.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// `-0.04 kWh`, to ten watt-hours, towards zero.
pub(super) fn kwh(energy: WattHours) -> String {
    let tens = energy.0.unsigned_abs() / 10;
    let sign = if energy.0 < 0 && tens > 0 { "-" } else { "" };
    format!("{sign}{}.{:02} kWh", tens / 100, tens % 100)
}

/// `12.34 EUR`.
pub(super) fn money(amount: MinorUnits, price: &Price) -> String {
    let sign = if amount.0 < 0 { "-" } else { "" };
    let minor = amount.0.unsigned_abs();
    let scale = 10u64.pow(price.minor_digits);
    match price.minor_digits {
        0 => format!("{sign}{minor} {}", price.currency),
        digits => {
            let width = usize::try_from(digits).unwrap_or(0);
            format!("{sign}{}.{:0width$} {}", minor / scale, minor % scale, price.currency)
        }
    }
}

/// `3.21 %` from hundredths of a percent.
pub(super) fn percent(per_10000: i64) -> String {
    let sign = if per_10000 < 0 { "-" } else { "" };
    let hundredths = per_10000.unsigned_abs();
    format!("{sign}{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// `2026-11-21 22:10:04` in UTC, inside a `time` element.
pub(super) fn time(at: Timestamp) -> String {
    let shown = at.strftime("%Y-%m-%d %H:%M:%S");
    format!("<time datetime=\"{at:.0}\">{shown}</time>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_and_money_are_shown_exactly() {
        assert_eq!(kwh(WattHours(12_345)), "12.34 kWh");
        assert_eq!(kwh(WattHours(-45)), "-0.04 kWh");
        assert_eq!(kwh(WattHours(-9)), "0.00 kWh");
        assert_eq!(kwh(WattHours(i64::MIN)), "-9223372036854775.80 kWh");
        assert_eq!((percent(321), percent(-5)), ("3.21 %".to_owned(), "-0.05 %".to_owned()));
        let euro = Price::new("EUR", 2, "30").unwrap();
        assert_eq!(money(MinorUnits(-1_205), &euro), "-12.05 EUR");
        assert_eq!(money(MinorUnits(7), &Price::new("JPY", 0, "30").unwrap()), "7 JPY");
    }

    #[test]
    fn text_of_others_cannot_become_markup() {
        assert_eq!(escape("<b a='1'>&\"x\"</b>"), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;x&quot;&lt;/b&gt;");
    }

    #[test]
    fn times_are_utc_to_the_second() {
        let at: Timestamp = "2026-11-21T22:10:04.123Z".parse().unwrap();
        assert_eq!(time(at), "<time datetime=\"2026-11-21T22:10:04Z\">2026-11-21 22:10:04</time>");
    }
}
