//! Class 3, register (version 0): a value with its scaler and unit.

use super::class::{Any, Nothing, class};
use super::values::{fields, put_structure};
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, Unit};
use crate::codec::codec::{Encode, Result, Writer};

class! {
    /// Register.
    Register = 3, version 0;
    attributes {
        /// The value: an integer of any width on the reference meter.
        2 VALUE: (Any), value;
        /// What one count of it means.
        3 SCALER_UNIT: (ScalerUnit), scaler_unit;
    }
    methods {
        /// Sets the value back to its default.
        1 RESET: (Nothing), reset;
    }
}

/// `value * 10^scaler unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalerUnit {
    /// Power of ten.
    pub scaler: i8,
    /// Blue Book unit code.
    pub unit: Unit,
}

impl Encode for ScalerUnit {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        put_structure(w, 2)?;
        w.write_bytes(&[15, self.scaler.to_be_bytes()[0], 22, self.unit.0])
    }
}

impl FromData<'_> for ScalerUnit {
    fn from_data(d: Data<'_>) -> Result<Self> {
        let [scaler, unit] = fields(d)?;
        let Data::Enum(unit) = unit else { return Err(bad_value()) };
        Ok(Self { scaler: i8::from_data(scaler)?, unit: Unit(unit) })
    }
}

super::class::encoded!(ScalerUnit);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watt_hours_as_the_blue_book_example_writes_them() {
        // Blue Book, scal_unit_type example: 02 02 0F 00 16 1E is 10^0 Wh.
        let value = SCALER_UNIT.decode_bytes(&[2, 2, 15, 0, 22, 30]).unwrap();
        assert_eq!(value, ScalerUnit { scaler: 0, unit: Unit::WATT_HOUR });
        let value = SCALER_UNIT.decode_bytes(&[2, 2, 15, 0xfd, 22, 35]).unwrap();
        assert_eq!(value, ScalerUnit { scaler: -3, unit: Unit::VOLT });
    }
}
