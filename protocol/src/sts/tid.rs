//! Token identifiers: minutes since a base date, and the rule for the next one.

/// The 24-bit token identifier: minutes since the base date (IEC 62055-41 6.3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Tid(u32);

/// Minutes in a day.
const DAY: u32 = 1_440;

/// A number of 2^24 or more is not a token identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TidRange;

impl core::fmt::Display for TidRange {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a token identifier is below 16777216")
    }
}

impl core::error::Error for TidRange {}

impl TryFrom<u32> for Tid {
    type Error = TidRange;
    fn try_from(minutes: u32) -> Result<Self, TidRange> {
        Self::from_minutes(minutes).ok_or(TidRange)
    }
}

impl From<Tid> for u32 {
    fn from(tid: Tid) -> Self {
        tid.0
    }
}

impl Tid {
    /// The last identifier of a base date.
    pub const MAX: Self = Self(0x00FF_FFFF);

    /// From minutes since the base date; `None` from 2^24 on.
    #[must_use]
    pub const fn from_minutes(minutes: u32) -> Option<Self> {
        if minutes <= Self::MAX.0 { Some(Self(minutes)) } else { None }
    }

    /// Minutes since the base date.
    #[must_use]
    pub const fn minutes(self) -> u32 {
        self.0
    }

    /// The identifier of a moment: `unix_seconds` of the vending clock, already moved to the supply group's fixed
    /// offset (no daylight saving: a repeated hour would repeat identifiers). `None` outside the base date's 31.9 years.
    #[must_use]
    pub fn at(base: BaseDate, unix_seconds: i64) -> Option<Self> {
        let minutes = unix_seconds.checked_sub(base.unix_seconds())?.div_euclid(60);
        Self::from_minutes(u32::try_from(minutes).ok()?)
    }

    /// The moment an identifier stands for, in seconds since 1970 of the same clock as [`Self::at`].
    #[must_use]
    pub const fn unix_seconds(self, base: BaseDate) -> i64 {
        base.unix_seconds() + self.0 as i64 * 60
    }

    /// 00:01 of each day is reserved for special tokens: an ordinary token never carries it.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 % DAY == 1
    }

    /// The identifier of the next token for a meter: not before `now`, above the `last` one given to the same meter, and
    /// never the reserved minute. `None` when the base date is used up. The caller keeps `last` durably, and stores the
    /// answer before the token exists.
    ///
    /// ```
    /// use protocol::sts::Tid;
    /// let midnight = Tid::from_minutes(1_440 * 3).unwrap();
    /// let first = Tid::next(midnight, None).unwrap();
    /// let second = Tid::next(midnight, Some(first)).unwrap();
    /// assert_eq!((first.minutes(), second.minutes()), (4_320, 4_322)); // 00:01 is reserved
    /// ```
    #[must_use]
    pub fn next(now: Self, last: Option<Self>) -> Option<Self> {
        let earliest = last.map_or(now.0, |last| now.0.max(last.0 + 1));
        let earliest = if Self(earliest).is_reserved() { earliest + 1 } else { earliest };
        Self::from_minutes(earliest)
    }

    /// The top eight bits, which a key's expiry number is compared with (IEC 62055-41 6.1.10).
    #[must_use]
    pub const fn expiry_period(self) -> u8 {
        (self.0 >> 16) as u8
    }
}

/// The day identifiers are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum BaseDate {
    /// 1993-01-01, used up on 24 November 2024.
    Year1993,
    /// 2014-01-01, until November 2045.
    Year2014,
    /// 2035-01-01.
    Year2035,
}

impl BaseDate {
    /// Every base date, oldest first.
    pub const ALL: [Self; 3] = [Self::Year1993, Self::Year2014, Self::Year2035];

    /// From the year: 1993, 2014 or 2035.
    #[must_use]
    pub const fn from_year(year: u16) -> Option<Self> {
        match year {
            1993 => Some(Self::Year1993),
            2014 => Some(Self::Year2014),
            2035 => Some(Self::Year2035),
            _ => None,
        }
    }

    /// The year.
    #[must_use]
    pub const fn year(self) -> u16 {
        match self {
            Self::Year1993 => 1993,
            Self::Year2014 => 2014,
            Self::Year2035 => 2035,
        }
    }

    /// The two digits DKGA04 derives from.
    #[must_use]
    pub const fn code(self) -> &'static [u8; 2] {
        match self {
            Self::Year1993 => b"93",
            Self::Year2014 => b"14",
            Self::Year2035 => b"35",
        }
    }

    /// Midnight of the base date in seconds since 1970.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        match self {
            Self::Year1993 => 725_846_400,
            Self::Year2014 => 1_388_534_400,
            Self::Year2035 => 2_051_222_400,
        }
    }

    /// The base date a rollover leads to; `None` after the last one.
    #[must_use]
    pub const fn following(self) -> Option<Self> {
        match self {
            Self::Year1993 => Some(Self::Year2014),
            Self::Year2014 => Some(Self::Year2035),
            Self::Year2035 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_minute_after_midnight_is_never_issued() {
        // Compliance vectors CTSA09: 00:01 becomes 00:02; three tokens at 00:03 become 00:03, 00:04, 00:05.
        let day = 5_911_200; // 2004-03-29 of the 1993 base
        let at = |minute| Tid::from_minutes(day + minute).unwrap();
        assert_eq!(day % DAY, 0);
        assert_eq!(Tid::next(at(1), None), Some(at(2)));
        let first = Tid::next(at(3), None).unwrap();
        let second = Tid::next(at(3), Some(first)).unwrap();
        let third = Tid::next(at(3), Some(second)).unwrap();
        assert_eq!([first, second, third], [at(3), at(4), at(5)]);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_repeat_an_identifier() {
        let last = Tid::from_minutes(5_000).unwrap();
        assert_eq!(Tid::next(Tid::from_minutes(10).unwrap(), Some(last)), Tid::from_minutes(5_001));
    }

    #[test]
    fn the_base_date_ends_instead_of_wrapping() {
        assert_eq!(Tid::next(Tid::MAX, None), Some(Tid::MAX));
        assert_eq!(Tid::next(Tid::MAX, Some(Tid::MAX)), None);
        assert_eq!(Tid::at(BaseDate::Year1993, 725_846_400 + (1 << 24) * 60), None);
        assert_eq!(Tid::at(BaseDate::Year2014, 0), None);
        assert_eq!(Tid::at(BaseDate::Year2014, i64::MIN), None);
    }

    #[test]
    fn a_published_moment_has_its_published_identifier() {
        // 2004-03-01T13:00:00 on the 1993 base: 5871660; 2024-04-01T00:30 on the 2014 base: 5389950.
        assert_eq!(Tid::at(BaseDate::Year1993, 1_078_146_000).map(Tid::minutes), Some(5_871_660));
        assert_eq!(Tid::at(BaseDate::Year2014, 1_711_931_400).map(Tid::minutes), Some(5_389_950));
    }
}
