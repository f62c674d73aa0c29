//! What a household takes: a daily curve by kind of household, scaled and shaken by seed. Integers throughout, and a pure
//! function of the time, so that a street behaves the same at every speed and after every restart.

use crate::random::{between, hash};

/// Length of a slot in which the power stays the same.
const SLOT_MS: u64 = 60_000;
const SLOTS_PER_DAY: u64 = 24 * 60;
/// Longest interval that is added up slot by slot; a longer one takes its mean from this many slots.
const SLOTS_MAX: u64 = 2 * SLOTS_PER_DAY;

/// Kinds of household, with the daily curve each follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Lights, a phone, a radio: little by day, a peak in the evening.
    Small,
    /// Refrigerator, television, cooking in the morning and in the evening.
    Family,
    /// A shop or workshop: working hours.
    Business,
}

/// Mean power by hour of the day, in permille of the household's scale. Written for this simulator after the usual shape of
/// such curves (one morning peak, one higher evening peak; working hours for a business); no measurement stands behind them.
const SMALL: [u32; 24] = [
    300, 250, 220, 220, 250, 500, 800, 700, 500, 450, 450, 500, 600, 550, 500, 550, 700, 1200, 2200, 2600,
    2400, 1800, 1000, 500,
];
const FAMILY: [u32; 24] = [
    500, 450, 420, 420, 500, 900, 1500, 1300, 900, 800, 750, 900, 1100, 950, 850, 850, 1100, 1600, 2100,
    2200, 1900, 1500, 1000, 650,
];
const BUSINESS: [u32; 24] = [
    250, 250, 250, 250, 250, 300, 600, 1200, 1800, 2000, 2000, 1900, 1700, 1900, 2000, 1900, 1800, 1500,
    1100, 700, 500, 350, 300, 250,
];

/// How the kinds of household divide in a street: shares of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Of [`Kind::Small`].
    #[serde(default)]
    pub small: u16,
    /// Of [`Kind::Family`].
    #[serde(default)]
    pub family: u16,
    /// Of [`Kind::Business`].
    #[serde(default)]
    pub business: u16,
}

impl Default for Mix {
    /// Five small ones and four families for a business.
    fn default() -> Self {
        Self { small: 5, family: 4, business: 1 }
    }
}

impl Mix {
    /// All shares together; without any there is no household.
    #[must_use]
    pub fn total(&self) -> u32 {
        u32::from(self.small) + u32::from(self.family) + u32::from(self.business)
    }

    fn kind(&self, draw: u64) -> Kind {
        let place = draw % u64::from(self.total().max(1));
        if place < u64::from(self.small) {
            Kind::Small
        } else if place < u64::from(self.small) + u64::from(self.family) {
            Kind::Family
        } else {
            Kind::Business
        }
    }
}

/// One household.
#[derive(Debug, Clone, Copy)]
pub struct Household {
    seed: u64,
    kind: Kind,
    /// Mean power over a day, roughly, in watts.
    scale_w: u32,
}

impl Household {
    /// The household behind meter `index` of the street with this seed and the usual mix.
    #[must_use]
    pub fn of(street_seed: u64, index: u32) -> Self {
        Self::in_street(street_seed, index, &Mix::default())
    }

    /// The household behind meter `index` of the street with this seed and mix.
    #[must_use]
    pub fn in_street(street_seed: u64, index: u32, mix: &Mix) -> Self {
        let seed = hash(street_seed, 0x4C4F_4144 ^ u64::from(index) << 32);
        let kind = mix.kind(hash(seed, 1));
        let (low, high) = match kind {
            Kind::Small => (60, 250),
            Kind::Family => (250, 900),
            Kind::Business => (400, 1500),
        };
        let scale_w = u32::try_from(between(seed, 2, low, high)).unwrap_or(250);
        Self { seed, kind, scale_w }
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Power in milliwatts at a time, in milliseconds since 1970.
    #[must_use]
    pub fn power_mw(&self, utc_ms: u64) -> u32 {
        let slot = utc_ms / SLOT_MS;
        let curve = match self.kind {
            Kind::Small => &SMALL,
            Kind::Family => &FAMILY,
            Kind::Business => &BUSINESS,
        };
        let minute = slot % SLOTS_PER_DAY;
        let (hour, in_hour) = ((minute / 60) as usize, minute % 60); // below 24
        let (from, to) = (u64::from(curve[hour]), u64::from(curve[(hour + 1) % 24]));
        let permille = (from * (60 - in_hour) + to * in_hour) / 60;
        // Appliances come and go in blocks of five minutes; the refrigerator never rests for long.
        let shaken = permille * between(self.seed, slot / 5, 700, 1300) / 1000;
        u32::try_from(u64::from(self.scale_w) * shaken).unwrap_or(u32::MAX)
    }

    /// Energy in milliwatt-seconds from an origin (milliseconds since 1970) through these later moments (milliseconds since the
    /// origin), added up interval by interval like a meter that wakes up at each of them.
    #[must_use]
    pub fn energy_over(&self, origin_ms: u64, moments: impl Iterator<Item = u64>) -> u64 {
        let mut from_ms = 0;
        let interval = |at_ms| {
            let energy_mws = self.energy_mws(origin_ms + from_ms, origin_ms + at_ms);
            from_ms = at_ms;
            energy_mws
        };
        moments.map(interval).sum()
    }

    /// Energy in milliwatt-seconds between two times, in milliseconds since 1970.
    #[must_use]
    pub fn energy_mws(&self, from_ms: u64, to_ms: u64) -> u64 {
        if to_ms.saturating_sub(from_ms) > SLOTS_MAX * SLOT_MS {
            let sampled = self.energy_mws(to_ms - SLOTS_MAX * SLOT_MS, to_ms);
            let stretched =
                u128::from(sampled) * u128::from(to_ms - from_ms) / u128::from(SLOTS_MAX * SLOT_MS);
            return u64::try_from(stretched).unwrap_or(u64::MAX);
        }
        let mut energy_uws = 0_u64;
        let mut at_ms = from_ms;
        while at_ms < to_ms {
            let until_ms = to_ms.min((at_ms / SLOT_MS + 1) * SLOT_MS);
            energy_uws += u64::from(self.power_mw(at_ms)) * (until_ms - at_ms);
            at_ms = until_ms;
        }
        energy_uws / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-05T00:00:00Z, a Monday.
    const DAY_MS: u64 = 1_767_571_200_000;
    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn the_same_seed_gives_the_same_household_and_another_seed_another() {
        let same = |i| Household::of(1, i).power_mw(DAY_MS) == Household::of(1, i).power_mw(DAY_MS);
        assert!((1..100).all(same));
        let differ = (1..100)
            .filter(|i| Household::of(1, *i).power_mw(DAY_MS) != Household::of(2, *i).power_mw(DAY_MS));
        assert!(differ.count() > 90);
    }

    #[test]
    fn a_home_takes_more_in_the_evening_than_at_night() {
        for index in 1..200 {
            let home = Household::of(7, index);
            let night = home.energy_mws(DAY_MS + HOUR_MS, DAY_MS + 4 * HOUR_MS);
            let evening = home.energy_mws(DAY_MS + 18 * HOUR_MS, DAY_MS + 21 * HOUR_MS);
            assert!(home.kind() == Kind::Business || evening > 2 * night, "household {index}");
        }
    }

    #[test]
    fn a_day_of_a_household_is_between_one_and_fifty_kilowatt_hours() {
        for index in 1..200 {
            let day_wh = Household::of(3, index).energy_mws(DAY_MS, DAY_MS + 24 * HOUR_MS) / 3_600_000;
            assert!((1_000..50_000).contains(&day_wh), "household {index}: {day_wh} Wh");
        }
    }

    #[test]
    fn energy_does_not_depend_on_how_often_it_is_asked_for() {
        let home = Household::of(1, 1);
        let whole = home.energy_mws(DAY_MS, DAY_MS + 6 * HOUR_MS);
        let pieces: u64 =
            (0..6 * 60).map(|m| home.energy_mws(DAY_MS + m * 60_000, DAY_MS + (m + 1) * 60_000)).sum();
        assert!(whole.abs_diff(pieces) <= 6 * 60, "{whole} and {pieces}: at most a unit lost in each piece");
    }

    #[test]
    fn a_street_of_businesses_has_no_homes() {
        let mix = Mix { small: 0, family: 0, business: 3 };
        assert!((1..50).all(|index| Household::in_street(1, index, &mix).kind() == Kind::Business));
        let usual: Vec<Kind> = (1..1000).map(|index| Household::of(1, index).kind()).collect();
        let small = usual.iter().filter(|kind| **kind == Kind::Small).count();
        assert!((430..570).contains(&small), "{small} of 999");
    }

    #[test]
    fn a_gap_of_a_year_is_bounded_work() {
        let home = Household::of(1, 1);
        let year_wh = home.energy_mws(DAY_MS, DAY_MS + 365 * 24 * HOUR_MS) / 3_600_000;
        assert!(year_wh > 300_000);
    }
}
