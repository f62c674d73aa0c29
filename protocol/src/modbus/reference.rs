//! Register map of the reference Modbus meter: what the simulated check meter and the simulated RTU meters answer, and what
//! a gateway's model file for them says.
//!
//! Measured values are input registers (function 4). Values of more than one register are big-endian, most significant
//! register first. The relay is commanded by a coil (functions 1, 5, 15) and its contact is sensed by a discrete input
//! (function 2): the coil says what was asked for, the input what the contact does.

/// How a value is laid out in 16-bit registers, most significant first (MODBUS Application Protocol V1.1b3, 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Two registers, unsigned.
    U32,
    /// Two registers, two's complement.
    I32,
    /// Four registers, unsigned.
    U64,
    /// Two characters a register, the first in the high byte, padded with zero bytes.
    Text {
        /// How many registers.
        registers: u16,
    },
}

impl Layout {
    /// How many registers the value takes.
    #[must_use]
    pub const fn registers(self) -> u16 {
        match self {
            Self::U32 | Self::I32 => 2,
            Self::U64 => 4,
            Self::Text { registers } => registers,
        }
    }
}

/// One value in the input registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputValue {
    /// Name; the unit stands last.
    pub name: &'static str,
    /// Address of its first register as it stands in the request (0-based).
    pub address: u16,
    /// How it is laid out.
    pub layout: Layout,
}

/// Serial number.
pub const SERIAL: InputValue =
    InputValue { name: "serial", address: 0, layout: Layout::Text { registers: 8 } };
/// RMS voltage in millivolts.
pub const VOLTAGE_MV: InputValue = InputValue { name: "voltage_mv", address: 8, layout: Layout::U32 };
/// RMS current in milliamperes.
pub const CURRENT_MA: InputValue = InputValue { name: "current_ma", address: 10, layout: Layout::U32 };
/// Frequency in millihertz.
pub const FREQUENCY_MHZ: InputValue = InputValue { name: "frequency_mhz", address: 12, layout: Layout::U32 };
/// Reactive power in volt-amperes reactive, positive for import.
pub const REACTIVE_POWER_VAR: InputValue =
    InputValue { name: "reactive_power_var", address: 14, layout: Layout::I32 };
/// Active energy imported since manufacture, in watt-hours.
pub const IMPORT_WH: InputValue = InputValue { name: "import_wh", address: 16, layout: Layout::U64 };
/// Active energy exported since manufacture, in watt-hours.
pub const EXPORT_WH: InputValue = InputValue { name: "export_wh", address: 20, layout: Layout::U64 };
/// Active power in watts, positive for import.
pub const POWER_W: InputValue = InputValue { name: "power_w", address: 24, layout: Layout::I32 };

/// All of them, in order of address, without gaps.
pub const INPUT_VALUES: [InputValue; 8] =
    [SERIAL, VOLTAGE_MV, CURRENT_MA, FREQUENCY_MHZ, REACTIVE_POWER_VAR, IMPORT_WH, EXPORT_WH, POWER_W];

/// Number of input registers.
pub const INPUT_REGISTERS: u16 = 26;

/// Coil: writing 1 closes the relay, 0 opens it; reading gives what was last asked for.
pub const RELAY_COIL: u16 = 0;
/// Discrete input: 1 when the contact is sensed closed.
pub const CONTACT_INPUT: u16 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_no_gap_and_no_overlap() {
        let mut next = 0;
        for value in INPUT_VALUES {
            assert_eq!(value.address, next, "{}", value.name);
            next += value.layout.registers();
        }
        assert_eq!(next, INPUT_REGISTERS);
    }
}
