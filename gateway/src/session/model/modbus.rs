//! Register models: which Modbus register holds which value, in which form.

use super::Flaw;
use super::number;
use crate::session::modbus::ReadRequest;
use serde::Deserialize;
use std::time::Duration;
use toml::Spanned;

/// A Modbus meter model, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModbusModel {
    /// What it describes, for people.
    pub description: String,
    /// Which edition of the file this is; its author counts up.
    pub version: u32,
    /// The most registers the meter gives in one answer (the protocol allows 125).
    pub registers_per_read: u16,
    /// Where that is from: document and place in it.
    pub source: Option<String>,
    /// Unused registers that may be read along to spare a request.
    pub gap_max: u16,
    /// Registers that must not be asked for, not even along with others.
    pub unreadable: Vec<ReadRequest>,
    /// How long to wait for an answer.
    pub response_timeout: Duration,
    /// The values, in file order; each role at most once.
    pub points: Vec<Point>,
}

/// One value of a meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// What it means to the gateway.
    pub role: Role,
    /// Which of the four tables it is in.
    pub table: Table,
    /// Address of its first register or bit, from 0 as on the wire.
    pub address: u16,
    /// How many registers it takes; 1 for bits.
    pub registers: u16,
    /// Its form.
    pub value_type: ValueType,
    /// Which word comes first.
    pub word_order: WordOrder,
    /// The value in the role's unit is the raw number times ten to this power.
    pub scale10: i8,
    /// Address of a signed 16-bit register with a further power of ten (SunSpec: sunssf), in the same table.
    pub scale_factor: Option<u16>,
    /// The raw number by which the meter says that it has no such value.
    pub absent: Option<u64>,
    /// Whether it is read, or how it is written.
    pub access: Access,
    /// What the raw numbers of a contact mean; contacts alone have it.
    pub contact: Option<Contact>,
}

/// Whether a value is read, or how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It is read.
    Read,
    /// It is written, with function 5 or 6.
    WriteSingle,
    /// It is written, with function 15 or 16.
    WriteMultiple,
}

/// Raw numbers of a contact, or of the command for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Which bits of the raw number are looked at.
    pub mask: u64,
    /// The raw number of a closed contact.
    pub closed: u64,
    /// The raw number of an open one.
    pub open: u64,
}

/// What a value means to the gateway. The unit is the name's ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Serial number, text.
    Serial,
    /// Active energy import.
    ImportWh,
    /// Active power.
    PowerW,
    /// Credit that the meter counts itself, negative when in debt.
    CreditWh,
    /// The relay's contact as sensed, true when closed.
    RelayClosed,
    /// What commands the relay: a coil, or a holding register.
    RelayCommand,
    /// Why the relay is open, by the codes of [`protocol::cosem::disconnect::RelayReason`].
    RelayReason,
    /// Voltage in millivolts.
    VoltageMv,
    /// Current in milliamperes.
    CurrentMa,
    /// Frequency in millihertz.
    FrequencyMhz,
}

/// The four Modbus tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Read/write bits, functions 1, 5 and 15.
    Coil,
    /// Read-only bits, function 2.
    Discrete,
    /// Read/write registers, functions 3, 6 and 16.
    Holding,
    /// Read-only registers, function 4.
    Input,
}

impl Table {
    /// Holds single bits.
    #[must_use]
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// One bit.
    Bool,
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, two's complement.
    I16,
    /// 32 bits, unsigned.
    U32,
    /// 32 bits, two's complement.
    I32,
    /// 64 bits, unsigned.
    U64,
    /// 64 bits, two's complement.
    I64,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// Two ASCII characters per register, padded with NUL or blanks.
    Text,
}

/// Which word of a wide value comes first. Within a word the high byte is first always (Modbus application protocol 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WordOrder {
    /// High word first.
    #[default]
    Big,
    /// Low word first.
    Little,
}

/// Modbus application protocol 6.3 and 6.4: the most registers one answer can carry.
const REGISTERS_PER_READ_MAX: u16 = 125;
/// Longest text value: a whole serial number with room to spare.
const TEXT_REGISTERS_MAX: u16 = 32;
/// The widest scale: beyond it no 64-bit value is left.
const SCALE10_MAX: i8 = 12;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(rename = "protocol")]
    _protocol: String,
    description: String,
    #[serde(default = "super::first_edition")]
    version: u32,
    source: Option<String>,
    #[serde(default = "all_registers")]
    registers_per_read: Spanned<u16>,
    #[serde(default = "small_gap")]
    gap_max: u16,
    #[serde(default = "one_second")]
    response_timeout_ms: u64,
    #[serde(default)]
    unreadable: Vec<Spanned<RawRange>>,
    #[serde(rename = "point", default)]
    points: Vec<Spanned<RawPoint>>,
}

fn all_registers() -> Spanned<u16> {
    Spanned::new(0..0, REGISTERS_PER_READ_MAX)
}
const fn small_gap() -> u16 {
    // A request costs 8 bytes and an answer 5 more: up to 6 unused registers are cheaper than another request.
    6
}
const fn one_second() -> u64 {
    1_000
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPoint {
    role: Role,
    table: Table,
    address: u16,
    #[serde(rename = "type")]
    value_type: ValueType,
    registers: Option<u16>,
    #[serde(default)]
    word_order: WordOrder,
    #[serde(default)]
    scale10: i8,
    unit: Option<String>,
    scale_factor: Option<u16>,
    absent: Option<u64>,
    access: Option<Access>,
    closed: Option<u64>,
    open: Option<u64>,
    mask: Option<u64>,
}

/// Registers from one address to another, both included.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRange {
    table: Table,
    from: u16,
    to: u16,
}

impl RawRange {
    fn check(&self) -> Result<ReadRequest, String> {
        let Self { table, from, to } = *self;
        let count = to.checked_sub(from).and_then(|more| more.checked_add(1));
        let count =
            count.ok_or_else(|| format!("from {from} to {to} is not a range of at most 65535 registers"))?;
        Ok(ReadRequest { table, address: from, count })
    }
}

/// The power of ten from this unit to the role's own.
fn unit_scale(role: Role, unit: &str) -> Result<i8, String> {
    let units: &[(&str, i8)] = match role {
        Role::ImportWh | Role::CreditWh => &[("Wh", 0), ("kWh", 3), ("MWh", 6)],
        Role::PowerW => &[("W", 0), ("kW", 3), ("mW", -3)],
        Role::VoltageMv => &[("mV", 0), ("V", 3)],
        Role::CurrentMa => &[("mA", 0), ("A", 3)],
        Role::FrequencyMhz => &[("mHz", 0), ("Hz", 3)],
        Role::Serial | Role::RelayClosed | Role::RelayCommand | Role::RelayReason => &[],
    };
    units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale).ok_or_else(|| {
        let known: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        format!("unit {unit:?} is none of {role:?}'s ({})", known.join(", "))
    })
}

impl ModbusModel {
    pub(super) fn check(raw: Raw) -> Result<Self, Flaw> {
        let per_read = *raw.registers_per_read.get_ref();
        if !(4..=REGISTERS_PER_READ_MAX).contains(&per_read) {
            let message =
                format!("registers_per_read {per_read} is not within 4 to {REGISTERS_PER_READ_MAX}");
            return Err((raw.registers_per_read.span(), message));
        }
        let mut points: Vec<Point> = Vec::with_capacity(raw.points.len());
        for spanned in &raw.points {
            let point = spanned.get_ref().check().map_err(|message| (spanned.span(), message))?;
            if points.iter().any(|other| other.role == point.role) {
                return Err((spanned.span(), format!("role {:?} is given twice", point.role)));
            }
            if point.registers > per_read && !point.table.is_bits() {
                let message =
                    format!("{:?} has {} registers, and one answer {per_read}", point.role, point.registers);
                return Err((spanned.span(), message));
            }
            points.push(point);
        }
        let mut unreadable = Vec::with_capacity(raw.unreadable.len());
        for spanned in &raw.unreadable {
            let range = spanned.get_ref().check().map_err(|message| (spanned.span(), message))?;
            if let Some(point) = points.iter().find(|point| point.spans().any(|span| span.overlaps(range))) {
                return Err((
                    spanned.span(),
                    format!("{:?} lies in what is said to be unreadable", point.role),
                ));
            }
            unreadable.push(range);
        }
        if points.iter().all(|point| point.role != Role::ImportWh) {
            return Err((0..0, "no point has the role import_wh: a meter without energy is no meter".into()));
        }
        let has = |role| points.iter().any(|point| point.role == role);
        if has(Role::RelayCommand) != has(Role::RelayClosed) {
            return Err((
                0..0,
                "relay_command and relay_closed come together: a relay is commanded and sensed".into(),
            ));
        }
        Ok(Self {
            description: raw.description,
            version: raw.version,
            source: raw.source,
            registers_per_read: per_read,
            gap_max: raw.gap_max,
            unreadable,
            response_timeout: Duration::from_millis(raw.response_timeout_ms.clamp(20, 60_000)),
            points,
        })
    }

    /// The value that plays this role, if the model has it.
    #[must_use]
    pub fn point(&self, role: Role) -> Option<&Point> {
        self.points.iter().find(|point| point.role == role)
    }

    /// The meter counts its own credit: nobody else holds a balance for it.
    #[must_use]
    pub fn holds_credit(&self) -> bool {
        self.point(Role::CreditWh).is_some()
    }

    /// The meter has a relay.
    #[must_use]
    pub fn has_relay(&self) -> bool {
        self.point(Role::RelayCommand).is_some()
    }
}

impl RawPoint {
    fn check(&self) -> Result<Point, String> {
        let natural = match self.value_type {
            ValueType::Bool | ValueType::U16 | ValueType::I16 => 1,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 2,
            ValueType::U64 | ValueType::I64 | ValueType::F64 => 4,
            ValueType::Text => self.registers.ok_or("a text needs registers, its length in registers")?,
        };
        if self.table.is_bits() != (self.value_type == ValueType::Bool) {
            return Err("coils and discrete inputs are of type bool, registers never are".into());
        }
        if self.registers.is_some_and(|registers| registers != natural) {
            return Err(format!("type {:?} takes {natural} registers", self.value_type));
        }
        if natural == 0 || natural > TEXT_REGISTERS_MAX {
            return Err(format!("registers must be 1 to {TEXT_REGISTERS_MAX}"));
        }
        if self.address.checked_add(natural - 1).is_none() {
            return Err(format!("address {} with {natural} registers runs past 65535", self.address));
        }
        let unit = self.unit.as_deref().map_or(Ok(0), |unit| unit_scale(self.role, unit))?;
        let scale10 = self.scale10.saturating_add(unit);
        if scale10.unsigned_abs() > SCALE10_MAX.unsigned_abs() {
            return Err(format!("scale10 and unit together must be -{SCALE10_MAX} to {SCALE10_MAX}"));
        }
        if self.scale_factor.is_some() && (self.table.is_bits() || self.value_type == ValueType::Text) {
            return Err("only a number in registers has a scale_factor".into());
        }
        let text = matches!(self.role, Role::Serial) == matches!(self.value_type, ValueType::Text);
        let number_as_serial = self.role == Role::Serial && self.value_type != ValueType::Bool;
        if !text && !number_as_serial {
            return Err("only the serial may be text".into());
        }
        let contact = self.contact(natural)?;
        let access = self.access(natural)?;
        Ok(Point {
            role: self.role,
            table: self.table,
            address: self.address,
            registers: natural,
            value_type: self.value_type,
            word_order: self.word_order,
            scale10,
            scale_factor: self.scale_factor,
            absent: self.absent,
            access,
            contact,
        })
    }

    /// Only a relay is commanded, and what commands it is only written.
    fn access(&self, registers: u16) -> Result<Access, String> {
        if self.role != Role::RelayCommand {
            return match self.access.unwrap_or(Access::Read) {
                Access::Read => Ok(Access::Read),
                _ => Err(format!("{:?} is read: only relay_command is written", self.role)),
            };
        }
        if !matches!(self.table, Table::Coil | Table::Holding) {
            return Err("relay_command must be a coil or a holding register: inputs cannot be written".into());
        }
        match self.access.unwrap_or(Access::WriteSingle) {
            Access::Read => Err("relay_command is written: access is write-single or write-multiple".into()),
            Access::WriteSingle if registers > 1 => {
                Err(format!("{registers} registers are written with access = \"write-multiple\""))
            }
            access => Ok(access),
        }
    }

    /// Bits are 1 when closed; a register says what its numbers mean.
    fn contact(&self, registers: u16) -> Result<Option<Contact>, String> {
        let is_contact = matches!(self.role, Role::RelayClosed | Role::RelayCommand);
        if !is_contact {
            let none = self.closed.is_none() && self.open.is_none() && self.mask.is_none();
            return if none { Ok(None) } else { Err("closed, open and mask are a relay's".into()) };
        }
        if !matches!(self.value_type, ValueType::Bool | ValueType::U16 | ValueType::U32) {
            return Err("relay_closed and relay_command are of type bool, u16 or u32".into());
        }
        let bit = self.value_type == ValueType::Bool;
        let (closed, open) = match (self.closed, self.open) {
            (Some(closed), Some(open)) => (closed, open),
            (None, None) if bit => (1, 0),
            _ => return Err("closed and open, the numbers of a contact, come together".into()),
        };
        if self.role == Role::RelayCommand && self.mask.is_some() {
            return Err("relay_command has no mask: the whole number is written".into());
        }
        let all = if bit { 1 } else { u64::MAX >> (64 - 16 * u32::from(registers)) };
        let mask = self.mask.unwrap_or(all);
        if closed == open || closed & !mask != 0 || open & !mask != 0 || mask & !all != 0 {
            return Err(format!(
                "closed {closed:#x} and open {open:#x} must differ and lie within {:#x}",
                mask & all
            ));
        }
        Ok(Some(Contact { mask, closed, open }))
    }
}

impl Point {
    /// What has to be read for it: itself, and its scale factor.
    pub fn spans(&self) -> impl Iterator<Item = ReadRequest> + use<> {
        let own = ReadRequest { table: self.table, address: self.address, count: self.registers };
        let table = self.table;
        let factor = self.scale_factor.map(|address| ReadRequest { table, address, count: 1 });
        std::iter::once(own).chain(factor)
    }

    /// The number that these registers hold, as it is on the wire.
    fn raw(&self, registers: &[u16]) -> Option<u64> {
        let words = registers.get(..usize::from(self.registers))?;
        let join = |words: &mut dyn Iterator<Item = &u16>| {
            words.fold(0u64, |value, word| value << 16 | u64::from(*word))
        };
        Some(match self.word_order {
            WordOrder::Big => join(&mut words.iter()),
            WordOrder::Little => join(&mut words.iter().rev()),
        })
    }

    /// Whether a contact is closed; nothing when the number is neither that of a closed one nor that of an open one.
    #[must_use]
    pub fn closed(&self, registers: &[u16]) -> Option<bool> {
        let contact = self.contact?;
        let raw = self.raw(registers)? & contact.mask;
        if raw == contact.closed { Some(true) } else { (raw == contact.open).then_some(false) }
    }

    /// The registers that command a contact to close or to open.
    #[must_use]
    pub fn command(&self, close: bool) -> Vec<u16> {
        let raw = self.contact.map_or(0, |contact| if close { contact.closed } else { contact.open });
        let mut words: Vec<u16> = (0..self.registers).rev().map(|word| (raw >> (16 * word)) as u16).collect();
        if self.word_order == WordOrder::Little {
            words.reverse();
        }
        words
    }

    /// The integer that these registers hold, in the role's unit; `factor` is what its scale factor's register holds. `None` when
    /// the registers are too few, the point is a text, the meter says that it has no such value, or it does not fit 64 bits with
    /// its sign. Floating-point values are converted exactly from their bits, and rounded once, to the nearest.
    #[must_use]
    pub fn integer(&self, registers: &[u16], factor: Option<u16>) -> Option<i64> {
        let raw = self.raw(registers)?;
        if self.absent == Some(raw) {
            return None;
        }
        let scale10 = match self.scale_factor {
            Some(_) => self.scale10.checked_add(number::scale_factor(factor?)?)?,
            None => self.scale10,
        };
        let value = match self.value_type {
            ValueType::Text => return None,
            ValueType::F32 => return number::from_f32(raw as u32, scale10),
            ValueType::F64 => return number::from_f64(raw, scale10),
            // Each cast narrows to the width that was joined above, then widens with the sign.
            ValueType::I16 => i64::from(raw as u16 as i16),
            ValueType::I32 => i64::from(raw as u32 as i32),
            ValueType::I64 => raw as i64,
            ValueType::Bool | ValueType::U16 | ValueType::U32 | ValueType::U64 => i64::try_from(raw).ok()?,
        };
        let factor = 10i64.checked_pow(u32::from(scale10.unsigned_abs()))?;
        if scale10 >= 0 { value.checked_mul(factor) } else { Some(value / factor) }
    }

    /// The text that these registers hold, without padding. A number serves as text too.
    #[must_use]
    pub fn text(&self, registers: &[u16]) -> Option<String> {
        if self.value_type != ValueType::Text {
            return self.integer(registers, None).map(|number| number.to_string());
        }
        let words = registers.get(..usize::from(self.registers))?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let text = std::str::from_utf8(&bytes).ok()?.trim_matches(['\0', ' ']);
        text.chars().all(|c| c.is_ascii_graphic() || c == ' ').then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::model::Model;

    fn parse(points: &str) -> Result<ModbusModel, String> {
        let head = "protocol = \"modbus\"\ndescription = \"a meter\"\n";
        let energy = "[[point]]\nrole = \"import_wh\"\ntable = \"input\"\naddress = 0\ntype = \"u32\"\n";
        match Model::parse("m.toml", &format!("{head}{energy}{points}")) {
            Ok(Model::Modbus(model)) => Ok(model),
            Ok(Model::Dlms(_)) => Err("not DLMS".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn number(value_type: ValueType, registers: u16, word_order: WordOrder, scale10: i8) -> Point {
        let role = Role::ImportWh;
        Point {
            role,
            table: Table::Input,
            address: 0,
            registers,
            value_type,
            word_order,
            scale10,
            scale_factor: None,
            absent: None,
            access: Access::Read,
            contact: None,
        }
    }

    #[test]
    fn words_signs_and_scales_come_out_as_integers() {
        let big = number(ValueType::U32, 2, WordOrder::Big, 0);
        assert_eq!(big.integer(&[0x0001, 0x0002], None), Some(65_538));
        let little = number(ValueType::U32, 2, WordOrder::Little, 3);
        assert_eq!(little.integer(&[0x0002, 0x0001], None), Some(65_538_000));
        let signed = number(ValueType::I32, 2, WordOrder::Big, -1);
        assert_eq!(signed.integer(&[0xFFFF, 0xFF9C], None), Some(-10));
        let wide = number(ValueType::U64, 4, WordOrder::Big, 0);
        assert_eq!(wide.integer(&[0x8000, 0, 0, 0], None), None, "beyond 63 bits is refused, not wrapped");
        assert_eq!(wide.integer(&[0, 0, 1], None), None, "too few registers");
        let scaled = number(ValueType::U64, 4, WordOrder::Big, 12);
        assert_eq!(
            scaled.integer(&[0x7FFF, 0, 0, 0], None),
            None,
            "a scaled value beyond 64 bits is refused"
        );
    }

    #[test]
    fn text_loses_its_padding_and_nothing_else() {
        let text = Point { role: Role::Serial, ..number(ValueType::Text, 3, WordOrder::Big, 0) };
        assert_eq!(text.text(&[0x4142, 0x4320, 0x0000]).as_deref(), Some("ABC"));
        assert_eq!(text.text(&[0x4101, 0x4320, 0x0000]), None, "control characters are not a serial number");
    }

    #[test]
    fn a_model_that_contradicts_itself_is_refused_with_the_line() {
        let twice =
            parse("[[point]]\nrole = \"import_wh\"\ntable = \"input\"\naddress = 9\ntype = \"u32\"\n");
        assert_eq!(twice.expect_err("twice"), "m.toml:8: role ImportWh is given twice");
        let bit = parse("[[point]]\nrole = \"power_w\"\ntable = \"coil\"\naddress = 9\ntype = \"u16\"\n");
        assert!(bit.expect_err("bit").starts_with("m.toml:8: coils and discrete inputs"));
        let past =
            parse("[[point]]\nrole = \"power_w\"\ntable = \"input\"\naddress = 65535\ntype = \"i32\"\n");
        assert!(past.expect_err("past").contains("runs past 65535"));
        let blind =
            parse("[[point]]\nrole = \"relay_command\"\ntable = \"coil\"\naddress = 0\ntype = \"bool\"\n");
        assert!(blind.expect_err("unsensed").contains("commanded and sensed"));
        let unknown = parse("[[point]]\nrole = \"colour\"\ntable = \"coil\"\naddress = 0\ntype = \"bool\"\n");
        assert!(unknown.expect_err("role").starts_with("m.toml:9: unknown variant `colour`"));
    }

    #[test]
    fn a_unit_a_scale_factor_and_a_mark_for_no_value_say_what_a_number_means() {
        let more = "[[point]]\nrole = \"power_w\"\ntable = \"input\"\naddress = 9\ntype = \"i16\"\nunit = \"kW\"\n\
                    scale_factor = 12\nabsent = 0x8000\n";
        let model = parse(more).expect("a good model");
        let power = model.point(Role::PowerW).expect("power");
        assert_eq!(
            power.spans().map(|span| (span.address, span.count)).collect::<Vec<_>>(),
            [(9, 1), (12, 1)]
        );
        assert_eq!(power.integer(&[25], Some(0xFFFE)), Some(250), "25 hundredths of a kilowatt");
        assert_eq!(power.integer(&[0xFFFF], Some(1)), Some(-10_000));
        assert_eq!(power.integer(&[0x8000], Some(0)), None, "the meter has no such value");
        assert_eq!(power.integer(&[25], Some(0x8000)), None, "nor a factor");
        assert_eq!(power.integer(&[25], Some(11)), None, "no factor of SunSpec's");
        assert_eq!(power.integer(&[25], None), None, "nobody read the factor");
        let wrong = parse(&more.replace("kW", "kWh")).expect_err("a unit of energy");
        assert_eq!(wrong, "m.toml:8: unit \"kWh\" is none of PowerW's (W, kW, mW)");
    }

    #[test]
    fn a_relay_in_registers_says_which_numbers_mean_closed_and_open() {
        let sensed = "[[point]]\nrole = \"relay_closed\"\ntable = \"input\"\naddress = 8\ntype = \"u16\"\n\
                      mask = 0x0030\nclosed = 0x0010\nopen = 0x0020\n";
        let command = "[[point]]\nrole = \"relay_command\"\ntable = \"holding\"\naddress = 9\ntype = \"u32\"\n\
                       word_order = \"little\"\naccess = \"write-multiple\"\nclosed = 0x0000AAAA\nopen = 0x5555BBBB\n";
        let model = parse(&format!("{sensed}{command}")).expect("a good model");
        let point = model.point(Role::RelayClosed).expect("sensed");
        let sensed_as = [0xFF9F, 0xFFAF, 0x0030, 0x0000].map(|word| point.closed(&[word]));
        assert_eq!(sensed_as, [Some(true), Some(false), None, None]);
        let point = model.point(Role::RelayCommand).expect("commanded");
        assert_eq!((point.command(true), point.command(false)), (vec![0xAAAA, 0], vec![0xBBBB, 0x5555]));
        assert_eq!(point.access, Access::WriteMultiple);
        for (good, bad, says) in [
            ("closed = 0x0010\n", "", "come together"),
            ("open = 0x0020\n", "open = 0x0010\n", "must differ"),
            ("open = 0x0020\n", "open = 0x0040\n", "lie within 0x30"),
            ("\"u16\"", "\"i16\"", "of type bool, u16 or u32"),
            ("\"write-multiple\"", "\"write-single\"", "2 registers are written with"),
            ("\"write-multiple\"", "\"read\"", "relay_command is written"),
            ("\"holding\"", "\"input\"", "inputs cannot be written"),
            ("word_order = \"little\"", "mask = 1", "has no mask"),
            ("role = \"relay_closed\"", "role = \"power_w\"", "closed, open and mask are a relay's"),
        ] {
            let error = parse(&format!("{sensed}{command}").replace(good, bad)).expect_err(bad);
            assert!(error.contains(says), "{bad}: {error}");
        }
        let error = parse(
            "[[point]]\nrole = \"power_w\"\ntable = \"holding\"\naddress = 9\ntype = \"u16\"\naccess = \"write-single\"\n",
        );
        assert_eq!(
            error.expect_err("a power to write"),
            "m.toml:8: PowerW is read: only relay_command is written"
        );
    }

    #[test]
    fn what_must_not_be_read_cannot_be_a_point_and_a_point_has_to_fit_an_answer() {
        let none =
            parse("[[unreadable]]\ntable = \"input\"\nfrom = 1\nto = 3\n").expect_err("the energy is there");
        assert_eq!(none, "m.toml:8: ImportWh lies in what is said to be unreadable");
        let none = parse("[[unreadable]]\ntable = \"input\"\nfrom = 9\nto = 3\n").expect_err("backwards");
        assert!(none.starts_with("m.toml:8: from 9 to 3 is not a range"), "{none}");
        let text =
            "[[point]]\nrole = \"serial\"\ntable = \"input\"\naddress = 9\ntype = \"text\"\nregisters = 20\n";
        let head = "protocol = \"modbus\"\ndescription = \"a\"\nregisters_per_read = 16\n";
        let error = Model::parse("m.toml", &format!("{head}{text}")).expect_err("too long");
        assert_eq!(error.to_string(), "m.toml:4: Serial has 20 registers, and one answer 16");
    }
}
