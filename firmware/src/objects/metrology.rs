//! Transformer ratios, meter constant and calibration: objects of class 1 that management writes while the calibration
//! jumper under the sealed cover is fitted, and never else.

use hardware::board::{Board, Calibration, CalibrationRefused, Correction, Health, Metering};
use protocol::codec::axdr::Data;
use protocol::codec::codec::Writer;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::values::{fields, put, put_structure};
use protocol::cosem::{FromData, obis};

use super::full;
use crate::meter::Meter;
use crate::metrology::Metrology;

/// Numbers of a calibration: gain and offset of five quantities, two phases.
const NUMBERS: usize = 12;

/// Whether an object is one of these.
pub(super) fn is_metrology(name: Obis) -> bool {
    matches!(
        name,
        obis::METER_CONSTANT
            | obis::CURRENT_RATIO_NUMERATOR
            | obis::CURRENT_RATIO_DENOMINATOR
            | obis::VOLTAGE_RATIO_NUMERATOR
            | obis::VOLTAGE_RATIO_DENOMINATOR
            | obis::CALIBRATION
    )
}

/// The calibration as it stands in the object.
fn numbers(calibration: &Calibration) -> [i32; NUMBERS] {
    let Calibration { voltage, current, neutral, active, reactive, phase_ns, neutral_phase_ns } =
        *calibration;
    let [v, i, n, p, q] = [voltage, current, neutral, active, reactive].map(|by| [by.gain_ppm, by.offset]);
    [v[0], v[1], i[0], i[1], n[0], n[1], p[0], p[1], q[0], q[1], phase_ns, neutral_phase_ns]
}

fn calibration(numbers: [i32; NUMBERS]) -> Calibration {
    let by = |n: usize| Correction { gain_ppm: numbers[2 * n], offset: numbers[2 * n + 1] };
    Calibration {
        voltage: by(0),
        current: by(1),
        neutral: by(2),
        active: by(3),
        reactive: by(4),
        phase_ns: numbers[10],
        neutral_phase_ns: numbers[11],
    }
}

impl<B: Board> Meter<B> {
    pub(super) fn get_metrology(&self, name: Obis, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let metrology = &self.settings.metrology;
        let number = match name {
            obis::METER_CONSTANT => metrology.pulses_per_kwh,
            obis::CURRENT_RATIO_NUMERATOR => metrology.current.numerator,
            obis::CURRENT_RATIO_DENOMINATOR => metrology.current.denominator,
            obis::VOLTAGE_RATIO_NUMERATOR => metrology.voltage.numerator,
            obis::VOLTAGE_RATIO_DENOMINATOR => metrology.voltage.denominator,
            _ => {
                put_structure(out, NUMBERS).map_err(full)?;
                return numbers(&metrology.calibration)
                    .iter()
                    .try_for_each(|number| put(out, Data::DoubleLong(*number)))
                    .map_err(full);
            }
        };
        put(out, Data::LongUnsigned(number)).map_err(full)
    }

    pub(super) fn set_metrology(&mut self, name: Obis, value: Data<'_>) -> Result<(), DataAccessResult> {
        if !self.board.health().calibration_jumper() {
            return Err(DataAccessResult::ReadWriteDenied);
        }
        let mut next = self.settings.metrology;
        let slot = match name {
            obis::METER_CONSTANT => &mut next.pulses_per_kwh,
            obis::CURRENT_RATIO_NUMERATOR => &mut next.current.numerator,
            obis::CURRENT_RATIO_DENOMINATOR => &mut next.current.denominator,
            obis::VOLTAGE_RATIO_NUMERATOR => &mut next.voltage.numerator,
            obis::VOLTAGE_RATIO_DENOMINATOR => &mut next.voltage.denominator,
            _ => {
                let wrong = |_| DataAccessResult::TypeUnmatched;
                let mut numbers = [0; NUMBERS];
                for (number, field) in numbers.iter_mut().zip(fields::<NUMBERS>(value).map_err(wrong)?) {
                    *number = i32::from_data(field).map_err(wrong)?;
                }
                next.calibration = calibration(numbers);
                return self.change_metrology(next);
            }
        };
        *slot = u16::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
        if *slot == 0 {
            return Err(DataAccessResult::OtherReason);
        }
        self.change_metrology(next)
    }

    /// The front end judges a calibration before it is stored; what could not be stored is taken back.
    fn change_metrology(&mut self, next: Metrology) -> Result<(), DataAccessResult> {
        let before = self.settings.metrology;
        if next.calibration != before.calibration {
            self.board.metering().calibrate(&next.calibration).map_err(|refused| match refused {
                CalibrationRefused::Unsupported => DataAccessResult::ObjectUnavailable,
                CalibrationRefused::OutOfRange => DataAccessResult::OtherReason,
            })?;
        }
        let mut settings = self.settings.clone();
        settings.metrology = next;
        let stored = self.change_settings(settings);
        if stored.is_err() {
            // It was in force before: the front end takes it.
            let _ = self.board.metering().calibrate(&before.calibration);
        }
        self.recount_pulses();
        stored
    }
}
