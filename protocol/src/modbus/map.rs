//! The published Modbus map of the prepaid meter: the reference map with credit and relay reason after it.

use super::reference::{self, InputValue, Layout};
use super::{Access, Entry, Quantity, Table, Type, WordOrder};

const fn input(value: InputValue, quantity: Quantity, scale: i8, unit: &'static str) -> Entry {
    let kind = match value.layout {
        Layout::U32 => Type::U32,
        Layout::I32 => Type::I32,
        Layout::U64 => Type::U64,
        Layout::Text { registers } => Type::Text { registers },
    };
    Entry {
        quantity,
        table: Table::Input,
        address: value.address,
        kind,
        word_order: WordOrder::HighFirst,
        scale,
        unit,
        access: Access::Read,
    }
}

const fn bit(table: Table, address: u16, quantity: Quantity, access: Access) -> Entry {
    let kind = Type::Bit;
    Entry { quantity, table, address, kind, word_order: WordOrder::HighFirst, scale: 0, unit: "", access }
}

/// Credit left in watt-hours: behind the reference map, for meters that hold their own balance.
pub const CREDIT_WH: InputValue = InputValue { name: "credit_wh", address: 32, layout: Layout::I32 };
/// Why the relay is open ([`crate::cosem::disconnect::RelayReason`]).
pub const RELAY_REASON: InputValue = InputValue { name: "relay_reason", address: 34, layout: Layout::U32 };

/// Addresses are those of the frame, counted from zero. Values of several registers have the high register first.
///
/// | table | address | what | type | unit |
/// |---|---|---|---|---|
/// | input | 0 | serial number (DRN) | text of 8 registers | |
/// | input | 8 | voltage | u32 | mV |
/// | input | 10 | current | u32 | mA |
/// | input | 12 | frequency | u32 | mHz |
/// | input | 14 | reactive power | i32 | var |
/// | input | 16 | active energy import | u64 | Wh |
/// | input | 20 | active energy export | u64 | Wh |
/// | input | 24 | active power | i32 | W |
/// | input | 32 | credit | i32 | Wh |
/// | input | 34 | relay reason | u32 | code |
/// | coil | 0 | relay command, read and write | bit | |
/// | discrete input | 0 | sensed relay contact | bit | |
pub const PREPAID_METER: [Entry; 12] = [
    input(reference::IMPORT_WH, Quantity::ImportEnergy, 0, "Wh"),
    input(reference::EXPORT_WH, Quantity::ExportEnergy, 0, "Wh"),
    input(reference::VOLTAGE_MV, Quantity::Voltage, -3, "V"),
    input(reference::CURRENT_MA, Quantity::Current, -3, "A"),
    input(reference::POWER_W, Quantity::Power, 0, "W"),
    input(reference::REACTIVE_POWER_VAR, Quantity::ReactivePower, 0, "var"),
    input(reference::FREQUENCY_MHZ, Quantity::Frequency, -3, "Hz"),
    input(reference::SERIAL, Quantity::Serial, 0, ""),
    input(CREDIT_WH, Quantity::Credit, 0, "Wh"),
    input(RELAY_REASON, Quantity::RelayReason, 0, ""),
    bit(Table::Coil, reference::RELAY_COIL, Quantity::RelayCommand, Access::ReadWrite),
    bit(Table::DiscreteInput, reference::CONTACT_INPUT, Quantity::RelaySensed, Access::Read),
];
