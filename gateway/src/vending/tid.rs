//! Token ids: minutes since the base date, never twice for one meter (IEC 62055-41 clause 6.3.5).

use crate::vault::{StsIdentity, Vault};
use jiff::Timestamp;
use protocol::sts::{BaseDate, Tid};

/// Why there is no token id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TidError {
    /// The base date is none of 1993, 2014, 2035, or lies in the future.
    #[error("token ids cannot be counted from base year {0} now")]
    Base(u16),
    /// The 24 bits are used up.
    #[error("token ids of base year {0} are used up: the meter needs a key change to the next base date")]
    UsedUp(u16),
    /// The key has expired: the id's upper 8 bits exceed the key expiry number.
    #[error(
        "the meter's key has expired: key expiry number {ken}, token id {tid}: the meter needs a key change to one that has not"
    )]
    KeyExpired {
        /// Key expiry number.
        ken: u8,
        /// The id that would have been next.
        tid: u32,
    },
}

/// The next token id of a meter: this minute's, or the one after the last reserved, and never a reserved minute. Minutes are
/// counted `utc_offset_minutes` east of UTC, all year round: a repeated hour would repeat ids.
///
/// # Errors
/// When there is none.
pub fn next(
    now: Timestamp,
    utc_offset_minutes: i16,
    base_year: u16,
    last: Option<u32>,
    ken: u8,
) -> Result<u32, TidError> {
    let base = BaseDate::from_year(base_year).ok_or(TidError::Base(base_year))?;
    let local_s = now.as_second() + i64::from(utc_offset_minutes) * 60;
    if local_s < base.unix_seconds() {
        return Err(TidError::Base(base_year));
    }
    let used_up = TidError::UsedUp(base_year);
    let minute = Tid::at(base, local_s).ok_or(used_up)?;
    let last = last.map(|last| Tid::from_minutes(last).ok_or(used_up)).transpose()?;
    let tid = Tid::next(minute, last).ok_or(used_up)?;
    if tid.expiry_period() > ken {
        return Err(TidError::KeyExpired { ken, tid: tid.minutes() });
    }
    Ok(tid.minutes())
}

/// The next token id of a meter with this record, in its supply group's time.
///
/// # Errors
/// When there is none.
pub fn of_meter(
    now: Timestamp,
    vault: &dyn Vault,
    sts: &StsIdentity,
    last: Option<u32>,
) -> Result<u32, TidError> {
    next(now, vault.utc_offset_minutes(sts.sgc), sts.base_year, last, sts.ken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_id_is_the_minute_since_the_base_date() {
        assert_eq!(next(at("2014-01-01T00:00:59Z"), 0, 2014, None, 255), Ok(0));
        assert_eq!(next(at("2014-01-02T00:05:00Z"), 0, 2014, None, 255), Ok(1445));
    }

    #[test]
    fn ids_are_those_of_the_compliance_set() {
        // STS 531-1 compliance set, CTSA09: 2004-03-29 00:00 is 5911200, and a token of 00:01 carries the id of 00:02.
        assert_eq!(next(at("2004-03-29T00:00:00Z"), 0, 1993, None, 255), Ok(5_911_200));
        assert_eq!(next(at("2004-03-29T00:01:00Z"), 0, 1993, Some(5_911_200), 255), Ok(5_911_202));
        assert_eq!(next(at("2004-03-29T00:03:00Z"), 0, 1993, Some(5_911_203), 255), Ok(5_911_204));
    }

    #[test]
    fn two_vends_in_one_minute_take_successive_minutes() {
        let now = at("2014-01-02T00:05:00Z");
        assert_eq!(next(now, 0, 2014, Some(1445), 255), Ok(1446));
        assert_eq!(next(now, 0, 2014, Some(9000), 255), Ok(9001));
    }

    #[test]
    fn a_clock_set_back_never_reuses_an_id() {
        assert_eq!(next(at("2014-01-01T10:00:00Z"), 0, 2014, Some(5000), 255), Ok(5001));
    }

    #[test]
    fn the_minute_after_midnight_is_reserved() {
        assert_eq!(next(at("2014-01-02T00:01:30Z"), 0, 2014, None, 255), Ok(1442));
        assert_eq!(next(at("2014-01-02T00:00:30Z"), 0, 2014, Some(1440), 255), Ok(1442));
    }

    #[test]
    fn ids_end_with_their_base_date_and_with_their_key() {
        // The 1993 base ended on 2024-11-24.
        assert!(next(at("2024-11-24T20:00:00Z"), 0, 1993, None, 255).is_ok());
        assert_eq!(next(at("2024-11-24T21:00:00Z"), 0, 1993, None, 255), Err(TidError::UsedUp(1993)));
        assert_eq!(next(at("2013-12-31T23:59:00Z"), 0, 2014, None, 255), Err(TidError::Base(2014)));
        assert_eq!(next(at("2020-01-01T00:00:00Z"), 0, 2000, None, 255), Err(TidError::Base(2000)));
        assert!(matches!(
            next(at("2014-04-01T00:00:00Z"), 0, 2014, None, 0),
            Err(TidError::KeyExpired { ken: 0, .. })
        ));
    }

    #[test]
    fn a_supply_group_counts_in_its_own_time_all_year_round() {
        // Two hours east: 22:00 UTC is midnight there, 22:01 its reserved minute, summer or winter.
        for day in ["2026-01-10", "2026-07-10"] {
            let utc = |time: &str| at(&format!("{day}T{time}Z"));
            let midnight = next(utc("22:00:00"), 120, 2014, None, 255).unwrap();
            assert_eq!(midnight % 1440, 0);
            assert_eq!(next(utc("22:01:59"), 120, 2014, None, 255), Ok(midnight + 2));
            assert_eq!(next(utc("22:00:00"), 120, 2014, Some(midnight), 255), Ok(midnight + 2));
            assert_eq!(next(utc("22:02:00"), 120, 2014, None, 255), Ok(midnight + 2));
            assert_eq!(
                next(utc("00:01:00"), 120, 2014, None, 255),
                Ok(midnight - 1440 + 121),
                "no reserved minute there"
            );
        }
        // Three and a half hours west.
        assert_eq!(next(at("2026-01-10T03:31:00Z"), -210, 2014, None, 255).unwrap() % 1440, 2);
    }

    #[test]
    fn a_base_date_begins_and_ends_in_the_supply_groups_time() {
        // The 1993 base has 2^24 minutes: 2024-11-24 20:15 is its last, in the group's time.
        let last = Ok(0xFF_FFFF);
        assert_eq!(next(at("2024-11-24T20:15:59Z"), 0, 1993, None, 255), last);
        assert_eq!(next(at("2024-11-24T20:16:00Z"), 0, 1993, None, 255), Err(TidError::UsedUp(1993)));
        assert_eq!(next(at("2024-11-24T18:15:59Z"), 120, 1993, None, 255), last);
        assert_eq!(next(at("2024-11-24T18:16:00Z"), 120, 1993, None, 255), Err(TidError::UsedUp(1993)));
        assert_eq!(next(at("2024-11-24T23:45:59Z"), -210, 1993, None, 255), last);
        assert_eq!(next(at("2013-12-31T21:59:59Z"), 120, 2014, None, 255), Err(TidError::Base(2014)));
        assert_eq!(next(at("2013-12-31T22:00:00Z"), 120, 2014, None, 255), Ok(0));
        assert_eq!(next(at("2014-01-01T03:29:59Z"), -210, 2014, None, 255), Err(TidError::Base(2014)));
        // The last minute was given out: nothing follows it.
        assert_eq!(
            next(at("2024-11-24T10:00:00Z"), 120, 1993, Some(0xFF_FFFF), 255),
            Err(TidError::UsedUp(1993))
        );
    }
}
