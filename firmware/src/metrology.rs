//! From the front end's samples to what is billed: transformer ratios, the pulse output, and the bench's calibration.

use hardware::board::{Calibration, Sample};
use serde::{Deserialize, Serialize};

use crate::ledger::{EnergyCount, MWS_PER_WH};

/// A ratio of an external transformer: primary over secondary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio {
    /// Never 0.
    pub numerator: u16,
    /// Never 0.
    pub denominator: u16,
}

impl Ratio {
    /// No transformer.
    pub const NONE: Self = Self { numerator: 1, denominator: 1 };

    /// Whether it is one.
    #[must_use]
    pub const fn is_sound(self) -> bool {
        self.numerator != 0 && self.denominator != 0
    }

    /// A reading on the primary side, cut off; the end of the range where it does not fit.
    fn of(self, reading: u32) -> u32 {
        let primary = u64::from(reading) * u64::from(self.numerator) / u64::from(self.denominator.max(1));
        u32::try_from(primary).unwrap_or(u32::MAX)
    }
}

/// What management sets while the calibration jumper is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrology {
    /// Current transformer.
    pub current: Ratio,
    /// Voltage transformer.
    pub voltage: Ratio,
    /// Meter constant: pulses per kilowatt-hour of imported energy, on the primary side.
    pub pulses_per_kwh: u16,
    /// How this meter differs from its parts' nominal values.
    pub calibration: Calibration,
}

impl Default for Metrology {
    /// Connected directly, 1,000 pulses per kilowatt-hour, not calibrated.
    fn default() -> Self {
        Self {
            current: Ratio::NONE,
            voltage: Ratio::NONE,
            pulses_per_kwh: 1_000,
            calibration: Calibration::default(),
        }
    }
}

/// What dividing energy by ratios leaves over until the next sample: nothing is rounded away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rests {
    import: u64,
    export: u64,
}

impl Metrology {
    /// A sample on the primary side. Powers end at the range of their type: 2.1 MW. Energy does not.
    pub(crate) fn primary(&self, sample: Sample, rests: &mut Rests) -> Sample {
        if self.current == Ratio::NONE && self.voltage == Ratio::NONE {
            return sample;
        }
        let numerator = u64::from(self.current.numerator) * u64::from(self.voltage.numerator);
        let denominator = (u64::from(self.current.denominator) * u64::from(self.voltage.denominator)).max(1);
        let energy = |mws: u64, rest: &mut u64| {
            // 2^32 of a ratio times the energy of a sample, which is far below 2^32.
            let sum = mws.saturating_mul(numerator).saturating_add(*rest);
            *rest = sum % denominator;
            sum / denominator
        };
        let power = |secondary: i32| {
            // 31 bits times 32 bits.
            let primary =
                i64::from(secondary).saturating_mul(numerator.cast_signed()) / denominator.cast_signed();
            i32::try_from(primary).unwrap_or(if primary < 0 { i32::MIN } else { i32::MAX })
        };
        Sample {
            voltage_mv: self.voltage.of(sample.voltage_mv),
            current_ma: self.current.of(sample.current_ma),
            neutral_current_ma: self.current.of(sample.neutral_current_ma),
            active_power_mw: power(sample.active_power_mw),
            reactive_power_mvar: power(sample.reactive_power_mvar),
            frequency_mhz: sample.frequency_mhz,
            import_mws: energy(sample.import_mws, &mut rests.import),
            export_mws: energy(sample.export_mws, &mut rests.export),
        }
    }

    /// Pulses that belong to an energy register since the meter was made: whole ones.
    pub(crate) fn pulses_of(&self, energy: &EnergyCount) -> u64 {
        const PER_KWH: u64 = 1_000 * MWS_PER_WH;
        let constant = u64::from(self.pulses_per_kwh);
        // Whole kilowatt-hours give whole pulses; what is left is below one of them.
        let (kwh, wh) = (energy.wh / 1_000, energy.wh % 1_000);
        let rest_mws = wh * MWS_PER_WH + u64::from(energy.remainder_mws());
        kwh.saturating_mul(constant).saturating_add(rest_mws * constant / PER_KWH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(numerator: u16, denominator: u16) -> Ratio {
        Ratio { numerator, denominator }
    }

    #[test]
    fn readings_and_energy_are_those_of_the_primary_side_and_nothing_is_rounded_away() {
        let metrology =
            Metrology { current: ratio(200, 5), voltage: ratio(11_000, 110), ..Metrology::default() };
        let mut rests = Rests::default();
        let secondary = Sample {
            voltage_mv: 110_000,
            current_ma: 2_500,
            neutral_current_ma: 1,
            active_power_mw: -275_000,
            reactive_power_mvar: 100,
            frequency_mhz: 50_000,
            import_mws: 7,
            export_mws: 3,
        };
        let primary = metrology.primary(secondary, &mut rests);
        assert_eq!((primary.voltage_mv, primary.current_ma), (11_000_000, 100_000));
        assert_eq!((primary.active_power_mw, primary.reactive_power_mvar), (-1_100_000_000, 400_000));
        assert_eq!((primary.import_mws, primary.export_mws), (28_000, 12_000));
        assert_eq!(primary.frequency_mhz, 50_000);
        // A ratio that does not divide: a thousand samples of one unit are exactly a thousand units times 5 by 3.
        let odd = Metrology { current: ratio(5, 3), ..Metrology::default() };
        let one = Sample { import_mws: 1, ..Sample::default() };
        let mut rests = Rests::default();
        let sum: u64 = (0..3_000).map(|_| odd.primary(one, &mut rests).import_mws).sum();
        assert_eq!(sum, 5_000);
    }

    #[test]
    fn powers_beyond_their_type_stop_at_its_end_and_energy_goes_on() {
        let metrology =
            Metrology { current: ratio(u16::MAX, 1), voltage: ratio(u16::MAX, 1), ..Metrology::default() };
        let most = Sample {
            voltage_mv: u32::MAX,
            current_ma: u32::MAX,
            active_power_mw: i32::MIN,
            reactive_power_mvar: i32::MAX,
            import_mws: 1_000_000,
            ..Sample::default()
        };
        let primary = metrology.primary(most, &mut Rests::default());
        assert_eq!((primary.voltage_mv, primary.current_ma), (u32::MAX, u32::MAX));
        assert_eq!((primary.active_power_mw, primary.reactive_power_mvar), (i32::MIN, i32::MAX));
        assert_eq!(primary.import_mws, 1_000_000 * 65_535 * 65_535);
    }

    #[test]
    fn pulses_equal_energy_however_it_arrives() {
        // A linear congruential generator (Knuth, MMIX) makes the samples: the same ones in every run.
        let mut state = 1_u64;
        for pulses_per_kwh in [1, 7, 1_000, 3_200, u16::MAX] {
            let metrology = Metrology { pulses_per_kwh, ..Metrology::default() };
            let mut count = EnergyCount::default();
            let (mut emitted, mut before, mut sum_mws) = (0_u64, metrology.pulses_of(&count), 0_u128);
            for _ in 0..20_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mws = state >> 40;
                count.add(mws);
                sum_mws += u128::from(mws);
                let total = metrology.pulses_of(&count);
                emitted += total - before;
                before = total;
            }
            let expected = sum_mws * u128::from(pulses_per_kwh) / 3_600_000_000;
            assert_eq!(u128::from(emitted), expected, "{pulses_per_kwh} pulses per kWh");
        }
    }
}
