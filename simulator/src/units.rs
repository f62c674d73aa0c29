//! Durations and shares as people write them, in integers.

use serde::Deserialize;
use serde::de::Error;
use std::borrow::Cow;

/// A length of time: `90s`, `5m`, `2h`, `3d`, several of them (`1h30m`), or hours and minutes as `00:10` or `00:10:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// Milliseconds.
    pub ms: u64,
}

/// A share: `2%`, `0.5 %`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// In permille, up to 1,000.
    pub permille: u16,
}

/// Longest span: a hundred years.
const MS_MAX: u64 = 100 * 366 * 86_400_000;

impl Span {
    /// Reads one; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let seconds = if text.contains(':') { clock_seconds(text)? } else { unit_seconds(text)? };
        let ms = seconds.checked_mul(1000).filter(|ms| *ms <= MS_MAX)?;
        Some(Self { ms })
    }
}

fn clock_seconds(text: &str) -> Option<u64> {
    let mut parts = text.split(':').map(|part| number(part).filter(|_| part.len() >= 2));
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = match parts.next() {
        Some(seconds) => seconds?,
        None => 0,
    };
    let whole = parts.next().is_none() && minutes < 60 && seconds < 60;
    whole.then(|| hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)).flatten()
}

fn unit_seconds(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count = number(&rest[..digits])?;
        let unit = match rest[digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(count.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

impl Share {
    /// Reads one; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let percent = text.strip_suffix('%')?.trim_end();
        let (whole, tenth) = percent.split_once('.').unwrap_or((percent, "0"));
        let tenth = number(tenth).filter(|tenth| *tenth < 10)?;
        let permille = number(whole)?.checked_mul(10)?.checked_add(tenth)?;
        u16::try_from(permille).ok().filter(|permille| *permille <= 1000).map(|permille| Self { permille })
    }

    /// How many of `of` that is, at least one unless it is nothing.
    #[must_use]
    pub fn count(self, of: usize) -> usize {
        (of * usize::from(self.permille)).div_ceil(1000)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let wanted = || format!("`{text}` is no length of time: 90s, 5m, 2h, 3d, 1h30m, 00:10 or 00:10:30");
        Self::parse(&text).ok_or_else(|| D::Error::custom(wanted()))
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let wanted = || format!("`{text}` is no share: 2%, 0.5%, at most 100%");
        Self::parse(&text).ok_or_else(|| D::Error::custom(wanted()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        let seconds = |text| Span::parse(text).map(|span| span.ms / 1000);
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("1h30m"), Some(5_400));
        assert_eq!(seconds("2d"), Some(172_800));
        assert_eq!(seconds("00:10"), Some(600));
        assert_eq!(seconds("36:00:05"), Some(129_605));
        let no_spans =
            ["", "5", "m", "5 m", "5w", "-5m", "00:60", "1:2:3:4", ":", "99999999999999999999s", "5m\u{e9}"];
        for wrong in no_spans {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shares_are_of_at_least_one_meter() {
        let permille = |text| Share::parse(text).map(|share| share.permille);
        assert_eq!((permille("2%"), permille("0.5 %"), permille("100%")), (Some(20), Some(5), Some(1000)));
        for wrong in ["2", "%", "101%", "0.55%", "-1%", "two%"] {
            assert_eq!(permille(wrong), None, "{wrong}");
        }
        assert_eq!(Share { permille: 20 }.count(40), 1);
        assert_eq!(Share { permille: 20 }.count(1000), 20);
        assert_eq!(Share { permille: 0 }.count(1000), 0);
    }
}
