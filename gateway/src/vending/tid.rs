//! Token ids: minutes since the base date, never twice for one meter (IEC 62055-41 clause 6.3.5).

use jiff::Timestamp;
use jiff::civil::date;
use jiff::tz::TimeZone;

/// The largest token id: 24 bits.
pub const TID_MAX: u32 = 0xFF_FFFF;

/// Minutes in a day.
const DAY: u32 = 24 * 60;

/// 00:01 of each day is reserved for special tokens (IEC 62055-41 clause 6.3.5.2).
const RESERVED_MINUTE: u32 = 1;

/// Why there is no token id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TidError {
    /// The base date is none of 1993, 2014, 2035, or lies in the future.
    #[error("token ids cannot be counted from base year {0} now")]
    Base(u16),
    /// The 24 bits are used up.
    #[error("token ids of base year {0} are used up; the meter needs a key change to the next base date")]
    UsedUp(u16),
    /// The key has expired: the id's upper 8 bits exceed the key expiry number.
    #[error("the vending key has expired: key expiry number {ken}, token id {tid}")]
    KeyExpired {
        /// Key expiry number.
        ken: u8,
        /// The id that would have been next.
        tid: u32,
    },
}

/// The next token id of a meter: this minute's, or the one after the last reserved, and never a reserved minute. The base
/// date is taken at midnight UTC.
///
/// # Errors
/// When there is none.
pub fn next(now: Timestamp, base_year: u16, last: Option<u32>, ken: u8) -> Result<u32, TidError> {
    let base = match base_year {
        1993 | 2014 | 2035 => date(i16::try_from(base_year).unwrap_or(0), 1, 1),
        _ => return Err(TidError::Base(base_year)),
    };
    let base = base.to_zoned(TimeZone::UTC).map_err(|_| TidError::Base(base_year))?.timestamp();
    let minutes = now.duration_since(base).as_mins();
    let minutes = u64::try_from(minutes).map_err(|_| TidError::Base(base_year))?;
    let free = last.map_or(0, |last| u64::from(last) + 1);
    let candidate = u32::try_from(minutes.max(free)).map_err(|_| TidError::UsedUp(base_year))?;
    let tid = if candidate % DAY == RESERVED_MINUTE { candidate + 1 } else { candidate };
    if tid > TID_MAX {
        return Err(TidError::UsedUp(base_year));
    }
    if tid >> 16 > u32::from(ken) {
        return Err(TidError::KeyExpired { ken, tid });
    }
    Ok(tid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_id_is_the_minute_since_the_base_date() {
        assert_eq!(next(at("2014-01-01T00:00:59Z"), 2014, None, 255), Ok(0));
        assert_eq!(next(at("2014-01-02T00:05:00Z"), 2014, None, 255), Ok(1445));
    }

    #[test]
    fn ids_are_those_of_the_compliance_set() {
        // STS 531-1 compliance set, CTSA09: 2004-03-29 00:00 is 5911200, and a token of 00:01 carries the id of 00:02.
        assert_eq!(next(at("2004-03-29T00:00:00Z"), 1993, None, 255), Ok(5_911_200));
        assert_eq!(next(at("2004-03-29T00:01:00Z"), 1993, Some(5_911_200), 255), Ok(5_911_202));
        assert_eq!(next(at("2004-03-29T00:03:00Z"), 1993, Some(5_911_203), 255), Ok(5_911_204));
    }

    #[test]
    fn two_vends_in_one_minute_take_successive_minutes() {
        let now = at("2014-01-02T00:05:00Z");
        assert_eq!(next(now, 2014, Some(1445), 255), Ok(1446));
        assert_eq!(next(now, 2014, Some(9000), 255), Ok(9001));
    }

    #[test]
    fn a_clock_set_back_never_reuses_an_id() {
        assert_eq!(next(at("2014-01-01T10:00:00Z"), 2014, Some(5000), 255), Ok(5001));
    }

    #[test]
    fn the_minute_after_midnight_is_reserved() {
        assert_eq!(next(at("2014-01-02T00:01:30Z"), 2014, None, 255), Ok(1442));
        assert_eq!(next(at("2014-01-02T00:00:30Z"), 2014, Some(1440), 255), Ok(1442));
    }

    #[test]
    fn ids_end_with_their_base_date_and_with_their_key() {
        // The 1993 base ended on 2024-11-24.
        assert!(next(at("2024-11-24T20:00:00Z"), 1993, None, 255).is_ok());
        assert_eq!(next(at("2024-11-24T21:00:00Z"), 1993, None, 255), Err(TidError::UsedUp(1993)));
        assert_eq!(next(at("2013-12-31T23:59:00Z"), 2014, None, 255), Err(TidError::Base(2014)));
        assert_eq!(next(at("2020-01-01T00:00:00Z"), 2000, None, 255), Err(TidError::Base(2000)));
        assert!(matches!(
            next(at("2014-04-01T00:00:00Z"), 2014, None, 0),
            Err(TidError::KeyExpired { ken: 0, .. })
        ));
    }
}
