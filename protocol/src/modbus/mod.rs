//! Modbus register maps: what stands where, and the published map of the reference meter. The gateway reads maps of the same
//! type from its model files.

mod map;
pub mod reference;

pub use map::PREPAID_METER;

/// The four tables of the Modbus data model (Modbus Application Protocol 1.1b3, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// One bit, read and write (functions 1, 5, 15).
    Coil,
    /// One bit, read (function 2).
    DiscreteInput,
    /// 16 bits, read (function 4).
    Input,
    /// 16 bits, read and write (functions 3, 6, 16).
    Holding,
}

/// How a value lies in registers. Bytes in a register are big-endian always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// One bit of a coil or discrete input.
    Bit,
    /// One register.
    U16,
    /// One register, two's complement.
    I16,
    /// Two registers.
    U32,
    /// Two registers, two's complement.
    I32,
    /// Four registers.
    U64,
    /// Four registers, two's complement.
    I64,
    /// IEEE 754 single precision in two registers. The value is rounded to an integer of the entry's scale when it is taken.
    F32,
    /// ASCII text, two characters a register, padded with zeros.
    Text {
        /// How many registers.
        registers: u16,
    },
}

impl Type {
    /// How many registers (or bits) it takes.
    #[must_use]
    pub const fn registers(self) -> u16 {
        match self {
            Self::Bit | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 => 4,
            Self::Text { registers } => registers,
        }
    }
}

/// Which register of a wider value comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordOrder {
    /// The most significant register first.
    #[default]
    HighFirst,
    /// The least significant register first.
    LowFirst,
}

/// Whether a master may write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read only.
    #[default]
    Read,
    /// Read and write.
    ReadWrite,
}

/// What a value of a map means to the rest of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Active energy import, watt-hours after scaling.
    ImportEnergy,
    /// Active energy export, watt-hours.
    ExportEnergy,
    /// Active power, watts.
    Power,
    /// Reactive power, volt-ampere reactive.
    ReactivePower,
    /// Voltage, volts.
    Voltage,
    /// Current, amperes.
    Current,
    /// Frequency, hertz.
    Frequency,
    /// Power factor.
    PowerFactor,
    /// Credit, watt-hours.
    Credit,
    /// Command of the relay: one is closed.
    RelayCommand,
    /// Sensed relay contact: one is closed.
    RelaySensed,
    /// Why the relay is open ([`crate::cosem::disconnect::RelayReason`]).
    RelayReason,
    /// Serial number of the meter, text.
    Serial,
    /// Clock, UTC seconds since 1970.
    ClockUtc,
}

/// One entry of a register map: where, how, and what. The value in the quantity's unit is `raw * 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub quantity: Quantity,
    /// Table.
    pub table: Table,
    /// Address as in the frame, from zero.
    pub address: u16,
    /// How it lies there.
    pub kind: Type,
    /// Which register comes first.
    pub word_order: WordOrder,
    /// Power of ten.
    pub scale: i8,
    /// Unit after scaling, as text.
    pub unit: &'static str,
    /// Whether it may be written.
    pub access: Access,
}

impl Entry {
    /// The part of the integer `raw` that register `index` of this entry holds (0 is the register at the address).
    #[must_use]
    pub fn register(&self, raw: i64, index: u16) -> u16 {
        let count = self.kind.registers();
        let from_top = match self.word_order {
            WordOrder::HighFirst => index,
            WordOrder::LowFirst => count.saturating_sub(1).saturating_sub(index),
        };
        let shift = 16 * u32::from(count.saturating_sub(1).saturating_sub(from_top));
        // The low 16 bits are meant.
        (raw >> shift.min(48)) as u16
    }

    /// The integer that `registers` (in address order) hold; `None` when their number is not the type's or the type is text
    /// or floating point.
    #[must_use]
    pub fn value(&self, registers: &[u16]) -> Option<i64> {
        if registers.len() != usize::from(self.kind.registers()) {
            return None;
        }
        let mut raw: u64 = 0;
        for index in 0..registers.len() {
            let at = match self.word_order {
                WordOrder::HighFirst => index,
                WordOrder::LowFirst => registers.len() - 1 - index,
            };
            raw = raw << 16 | u64::from(*registers.get(at)?);
        }
        // Truncation to the type's width is exact: that many registers were put in.
        Some(match self.kind {
            Type::Bit => i64::from(raw != 0),
            Type::U16 | Type::U32 => i64::try_from(raw).ok()?,
            Type::U64 => i64::try_from(raw).ok()?,
            Type::I16 => i64::from(raw as u16 as i16),
            Type::I32 => i64::from(raw as u32 as i32),
            Type::I64 => raw as i64,
            Type::F32 | Type::Text { .. } => return None,
        })
    }
}

/// Exception codes of the Modbus application protocol (7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// The function is not supported.
    IllegalFunction = 1,
    /// An address is not in the map.
    IllegalDataAddress = 2,
    /// The quantity or value is not allowed.
    IllegalDataValue = 3,
    /// The meter failed while it did it.
    ServerDeviceFailure = 4,
}

impl core::fmt::Display for Exception {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::IllegalFunction => "illegal function",
            Self::IllegalDataAddress => "illegal data address",
            Self::IllegalDataValue => "illegal data value",
            Self::ServerDeviceFailure => "server device failure",
        })
    }
}

impl core::error::Error for Exception {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_order_decides_which_register_comes_first() {
        let high = Entry { kind: Type::U32, word_order: WordOrder::HighFirst, ..PREPAID_METER[0] };
        let low = Entry { word_order: WordOrder::LowFirst, ..high };
        assert_eq!([high.register(0x0001_E240, 0), high.register(0x0001_E240, 1)], [0x0001, 0xE240]);
        assert_eq!([low.register(0x0001_E240, 0), low.register(0x0001_E240, 1)], [0xE240, 0x0001]);
        assert_eq!(high.value(&[0x0001, 0xE240]), Some(123_456));
        assert_eq!(low.value(&[0xE240, 0x0001]), Some(123_456));
        assert_eq!(low.value(&[1]), None);
    }

    #[test]
    fn negative_values_keep_their_sign_in_every_width() {
        for (kind, registers) in
            [(Type::I16, &[0xffff][..]), (Type::I32, &[0xffff, 0xffff]), (Type::I64, &[0xffff; 4])]
        {
            let entry = Entry { kind, ..PREPAID_METER[0] };
            assert_eq!(entry.value(registers), Some(-1));
            for (i, r) in (0..).zip(registers) {
                assert_eq!(entry.register(-1, i), *r);
            }
        }
    }

    #[test]
    fn no_two_entries_of_the_published_map_overlap() {
        for (i, a) in PREPAID_METER.iter().enumerate() {
            for b in &PREPAID_METER[i + 1..] {
                let apart = a.table != b.table
                    || a.address + a.kind.registers() <= b.address
                    || b.address + b.kind.registers() <= a.address;
                assert!(apart, "{:?} and {:?}", a.quantity, b.quantity);
            }
        }
    }
}
