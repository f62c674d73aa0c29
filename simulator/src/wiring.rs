//! What surrounds a meter and what is wrong with it: relay mechanics, supply, the wires around the meter, its front end.

use crate::random::between;
use hardware::board::Sample;
use serde::{Deserialize, Serialize};

/// Voltage of a sound supply, in millivolts.
pub const NOMINAL_MV: u32 = 230_000;
const NOMINAL_MHZ: u32 = 50_000;
/// Without a neutral the voltage floats with what the neighbours on the other phases switch on: between these permille of
/// nominal, another value every [`FLOAT_MS`]. Orders of magnitude as reported from such faults; bounds of ours.
const FLOAT_PERMILLE: (u64, u64) = (650, 1_350);
const FLOAT_MS: u64 = 20_000;

/// What the relay's mechanics do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanics {
    /// The contact follows the coil.
    #[default]
    Sound,
    /// The coil gets its pulses, the contact stays where it is.
    Stuck,
    /// The contact never opens again.
    Welded,
}

impl Mechanics {
    /// Where a contact is after a pulse.
    #[must_use]
    pub fn after_pulse(self, closed: bool, close: bool) -> bool {
        match self {
            Self::Sound => close,
            Self::Stuck => closed,
            Self::Welded => closed || close,
        }
    }
}

/// The metering front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrontEnd {
    /// It measures.
    #[default]
    Sound,
    /// Current and power are shown, and its energy counter does not move.
    StuckRegister,
    /// The current transformer is the wrong way round: what flows in is counted as flowing out.
    ReversedCt,
}

/// Supply and wires around one meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wiring {
    /// Share of the household's load that is tapped before the meter, in permille. The meter cannot know.
    pub tapped_permille: u16,
    /// Share that a bridge leads around the phase element, in permille. It comes back through the meter's neutral.
    pub bypassed_permille: u16,
    /// Voltage without load, in millivolts.
    pub nominal_mv: u32,
    /// The neutral before the meter is broken.
    pub neutral_broken: bool,
}

impl Default for Wiring {
    /// Sound wires.
    fn default() -> Self {
        Self { tapped_permille: 0, bypassed_permille: 0, nominal_mv: NOMINAL_MV, neutral_broken: false }
    }
}

/// How a load divides at the meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Divided {
    /// What the phase element sees.
    pub metered: u64,
    /// What flows past it and comes back through its neutral.
    pub bypassed: u64,
    /// What never comes near it.
    pub tapped: u64,
}

impl Divided {
    /// All of it: what the feeder sees.
    #[must_use]
    pub fn drawn(self) -> u64 {
        self.metered + self.bypassed + self.tapped
    }
}

impl Wiring {
    /// Divides a load, power or energy; through an open contact nothing flows but what goes around it.
    #[must_use]
    pub fn divide(&self, load: u64, contact_closed: bool) -> Divided {
        let tapped = load * u64::from(self.tapped_permille.min(1000)) / 1000;
        let bypassed = (load - tapped) * u64::from(self.bypassed_permille.min(1000)) / 1000;
        let metered = if contact_closed { load - tapped - bypassed } else { 0 };
        Divided { metered, bypassed, tapped }
    }

    /// Voltage at a load, in millivolts. A loaded line sags: one volt for every 500 W, at most 23 V.
    fn voltage_mv(&self, seed: u64, utc_ms: u64, drawn_mw: u64) -> u64 {
        let nominal_mv = u64::from(self.nominal_mv);
        if self.neutral_broken {
            let (low, high) = FLOAT_PERMILLE;
            return nominal_mv * between(seed, utc_ms / FLOAT_MS, low, high) / 1000;
        }
        nominal_mv.saturating_sub((drawn_mw / 500).min(23_000)).max(1)
    }

    /// What a front end measures of this power (milliwatts) and energy (milliwatt-seconds).
    #[must_use]
    pub fn sample(
        &self,
        front_end: FrontEnd,
        seed: u64,
        utc_ms: u64,
        power_mw: Divided,
        energy_mws: u64,
    ) -> Sample {
        let voltage_mv = self.voltage_mv(seed, utc_ms, power_mw.drawn());
        let current_ma = |mw: u64| u32::try_from(mw * 1000 / voltage_mv).unwrap_or(u32::MAX);
        let active_power_mw = i32::try_from(power_mw.metered).unwrap_or(i32::MAX);
        let back_mw = power_mw.metered + power_mw.bypassed;
        let (active_power_mw, import_mws, export_mws) = match front_end {
            FrontEnd::Sound => (active_power_mw, energy_mws, 0),
            FrontEnd::StuckRegister => (active_power_mw, 0, 0),
            FrontEnd::ReversedCt => (-active_power_mw, 0, energy_mws),
        };
        Sample {
            voltage_mv: u32::try_from(voltage_mv).unwrap_or(u32::MAX),
            current_ma: current_ma(power_mw.metered),
            neutral_current_ma: if self.neutral_broken { 0 } else { current_ma(back_mw) },
            active_power_mw,
            reactive_power_mvar: active_power_mw / 10,
            frequency_mhz: NOMINAL_MHZ,
            import_mws,
            export_mws,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(wiring: Wiring, front_end: FrontEnd) -> Sample {
        wiring.sample(front_end, 1, 1_767_636_000_000, wiring.divide(1_000_000, true), 1_000_000)
    }

    #[test]
    fn what_is_tapped_is_seen_by_nobody_and_what_is_bypassed_by_the_neutral() {
        let tapped = sample(Wiring { tapped_permille: 400, ..Wiring::default() }, FrontEnd::Sound);
        assert_eq!(tapped.active_power_mw, 600_000);
        assert_eq!(tapped.current_ma, tapped.neutral_current_ma);
        let wiring = Wiring { bypassed_permille: 400, ..Wiring::default() };
        let bypassed = sample(wiring, FrontEnd::Sound);
        assert_eq!(bypassed.active_power_mw, 600_000);
        assert!(bypassed.neutral_current_ma > bypassed.current_ma * 3 / 2);
        assert_eq!(wiring.divide(1_000, false), Divided { metered: 0, bypassed: 400, tapped: 0 });
        assert_eq!(wiring.divide(1_000, true).drawn(), 1_000);
    }

    #[test]
    fn a_stuck_register_shows_power_and_a_reversed_transformer_counts_it_as_export() {
        let stuck = sample(Wiring::default(), FrontEnd::StuckRegister);
        assert_eq!((stuck.active_power_mw, stuck.import_mws), (1_000_000, 0));
        let reversed = sample(Wiring::default(), FrontEnd::ReversedCt);
        assert_eq!(
            (reversed.active_power_mw, reversed.import_mws, reversed.export_mws),
            (-1_000_000, 0, 1_000_000)
        );
    }

    #[test]
    fn without_a_neutral_the_voltage_floats_and_no_current_comes_back() {
        let wiring = Wiring { neutral_broken: true, ..Wiring::default() };
        let at = |minute: u64| {
            wiring.sample(FrontEnd::Sound, 1, minute * 60_000, wiring.divide(1_000_000, true), 0)
        };
        let volts: Vec<u32> = (0..60).map(|minute| at(minute).voltage_mv / 1000).collect();
        assert!(volts.iter().any(|v| *v < 180) && volts.iter().any(|v| *v > 280), "{volts:?}");
        assert_eq!(at(1).neutral_current_ma, 0);
    }

    #[test]
    fn a_welded_contact_does_not_open_and_a_stuck_one_does_not_move() {
        assert!(Mechanics::Welded.after_pulse(true, false));
        assert!(Mechanics::Welded.after_pulse(false, true));
        assert!(!Mechanics::Stuck.after_pulse(false, true));
        assert!(!Mechanics::Sound.after_pulse(true, false));
    }
}
