//! Registers of what is measured now, and the energy registers.

use hardware::board::Board;
use protocol::codec::axdr::{Data, Unit};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::class::Access;
use protocol::cosem::obis;
use protocol::cosem::register::{Register, ScalerUnit};

use crate::meter::Meter;
use crate::profile::decivolts;

/// The meter as the register of that name.
pub(super) struct RegisterObject<'m, B: Board> {
    pub meter: &'m mut Meter<B>,
    pub name: Obis,
}

/// The registers, with the unit of one count and its power of ten.
const REGISTERS: [(Obis, i8, Unit); 10] = [
    (obis::IMPORT_ENERGY, 0, Unit::WATT_HOUR),
    (obis::EXPORT_ENERGY, 0, Unit::WATT_HOUR),
    (obis::IMPORT_POWER, 0, Unit::WATT),
    (obis::EXPORT_POWER, 0, Unit::WATT),
    (obis::REACTIVE_POWER, 0, Unit::VAR),
    (obis::VOLTAGE, -1, Unit::VOLT),
    (obis::CURRENT, -3, Unit::AMPERE),
    (obis::NEUTRAL_CURRENT, -3, Unit::AMPERE),
    (obis::POWER_FACTOR, -3, Unit::NO_UNIT),
    (obis::FREQUENCY, -2, Unit::HERTZ),
];

impl<B: Board> RegisterObject<'_, B> {
    fn place(&self) -> Access<usize> {
        let place = REGISTERS.iter().position(|(name, ..)| *name == self.name);
        place.ok_or(DataAccessResult::ObjectUndefined)
    }
}

impl<B: Board> Register for RegisterObject<'_, B> {
    fn value(&mut self) -> Access<Data<'_>> {
        let place = self.place()?;
        if place > 1 && !self.meter.conditions.measured {
            // No reading is not a reading of zero.
            return Err(DataAccessResult::HardwareFault);
        }
        let (sample, record) = (&self.meter.sample, &self.meter.record);
        // A household meter needs centuries for 2^32 watt-hours; the wire wraps there, the meter's own register does not.
        let energy = |wh: u64| Data::DoubleLongUnsigned(wh as u32);
        let watts = |mw: i32| Data::DoubleLongUnsigned(mw.max(0).unsigned_abs() / 1000);
        Ok(match place {
            0 => energy(record.import.wh),
            1 => energy(record.export.wh),
            2 => watts(sample.active_power_mw),
            3 => watts(sample.active_power_mw.saturating_neg()),
            4 => Data::DoubleLong(sample.reactive_power_mvar / 1000),
            5 => Data::LongUnsigned(decivolts(sample.voltage_mv)),
            6 => Data::DoubleLongUnsigned(sample.current_ma),
            7 => Data::DoubleLongUnsigned(sample.neutral_current_ma),
            8 => Data::Long(power_factor(sample)),
            _ => Data::LongUnsigned(u16::try_from(sample.frequency_mhz / 10).unwrap_or(u16::MAX)),
        })
    }

    fn scaler_unit(&mut self) -> Access<ScalerUnit> {
        let (_, scaler, unit) = REGISTERS[self.place()?];
        Ok(ScalerUnit { scaler, unit })
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
