//! Registers of what is measured now, and the energy registers.

use hardware::board::Board;
use protocol::codec::axdr::{Data, Unit};
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::obis;
use protocol::cosem::register::ScalerUnit;

use super::full;
use crate::meter::Meter;
use crate::profile::decivolts;

impl<B: Board> Meter<B> {
    pub(super) fn get_register(
        &mut self,
        name: Obis,
        index: i8,
        out: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        let energy_register = name == obis::IMPORT_ENERGY || name == obis::EXPORT_ENERGY;
        if index == 2 && !energy_register && !self.conditions.measured {
            // No reading is not a reading of zero.
            return Err(DataAccessResult::HardwareFault);
        }
        let sample = &self.sample;
        // A household meter needs centuries for 2^32 watt-hours; the wire wraps there, the meter's own register does not.
        let energy = |wh: u64| Data::DoubleLongUnsigned(wh as u32);
        let watts = |mw: i32| Data::DoubleLongUnsigned(mw.max(0).unsigned_abs() / 1000);
        let (value, scaler, unit) = match name {
            obis::IMPORT_ENERGY => (energy(self.record.import.wh), 0, Unit::WATT_HOUR),
            obis::EXPORT_ENERGY => (energy(self.record.export.wh), 0, Unit::WATT_HOUR),
            obis::IMPORT_POWER => (watts(sample.active_power_mw), 0, Unit::WATT),
            obis::EXPORT_POWER => (watts(sample.active_power_mw.saturating_neg()), 0, Unit::WATT),
            obis::REACTIVE_POWER => (Data::DoubleLong(sample.reactive_power_mvar / 1000), 0, Unit::VAR),
            obis::VOLTAGE => (Data::LongUnsigned(decivolts(sample.voltage_mv)), -1, Unit::VOLT),
            obis::CURRENT => (Data::DoubleLongUnsigned(sample.current_ma), -3, Unit::AMPERE),
            obis::NEUTRAL_CURRENT => (Data::DoubleLongUnsigned(sample.neutral_current_ma), -3, Unit::AMPERE),
            obis::POWER_FACTOR => (Data::Long(power_factor(sample)), -3, Unit::NO_UNIT),
            obis::FREQUENCY => (
                Data::LongUnsigned(u16::try_from(sample.frequency_mhz / 10).unwrap_or(u16::MAX)),
                -2,
                Unit::HERTZ,
            ),
            _ => return Err(DataAccessResult::ObjectUndefined),
        };
        match index {
            2 => value.encode(out),
            _ => ScalerUnit { scaler, unit }.encode(out),
        }
        .map_err(full)
    }
}

/// Thousandths: active over apparent power, with the sign of the active power; 1000 without load.
pub(crate) fn power_factor(sample: &hardware::board::Sample) -> i16 {
    // A millivolt times a milliampere is a microvolt-ampere; a thousand of them are a millivolt-ampere.
    let apparent_mva = u64::from(sample.voltage_mv) * u64::from(sample.current_ma) / 1000;
    if apparent_mva == 0 {
        return 1000;
    }
    let active = i64::from(sample.active_power_mw) * 1000;
    let factor = active / i64::try_from(apparent_mva).unwrap_or(i64::MAX);
    // Clamped to the range of a power factor.
    factor.clamp(-1000, 1000) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use hardware::board::Sample;

    #[test]
    fn power_factor_is_active_over_apparent_power() {
        let sample = Sample {
            voltage_mv: 230_000,
            current_ma: 10_000,
            active_power_mw: 1_840_000,
            ..Sample::default()
        };
        assert_eq!(power_factor(&sample), 800);
        assert_eq!(power_factor(&Sample { active_power_mw: -1_840_000, ..sample }), -800);
        assert_eq!(power_factor(&Sample::default()), 1000);
    }
}
