//! A-XDR data (Green Book, A-XDR; Blue Book, data types) as a tree, with dates in words, names for logical names and units
//! applied where a scaler_unit stands beside its value.

use super::names::{attribute_name, class_name, obis_text};
use super::octets::{Cursor, Step};
use super::tree::{Datum, NODES_MAX, Node, hex};
use protocol::codec::axdr::Unit;

/// How deep structures may nest.
pub const DEPTH_MAX: usize = 24;

/// Decodes one value under `label` and puts it in `parent`. What was decoded before an error stays in the tree.
pub(super) fn data(c: &mut Cursor<'_>, parent: &mut Node, label: &str, nodes: &mut usize) -> Step {
    data_at(c, parent, label, nodes, 0)
}

fn data_at(c: &mut Cursor<'_>, parent: &mut Node, label: &str, nodes: &mut usize, depth: usize) -> Step {
    let start = c.pos();
    let tag = c.u8("a data tag")?;
    *nodes += 1;
    if *nodes > NODES_MAX {
        return c.broken_at(start, format!("more than {NODES_MAX} values: not shown"));
    }
    match tag {
        1 | 2 => sequence(c, parent, label, (tag, start), nodes, depth),
        19 => compact_array(c, parent, label, start, nodes, depth),
        _ => {
            let (text, datum) = scalar(c, tag, start)?;
            let mut node = c.node(start, label, text);
            node.datum = datum;
            parent.children.push(node);
            Ok(())
        }
    }
}

fn sequence(
    c: &mut Cursor<'_>,
    parent: &mut Node,
    label: &str,
    (tag, start): (u8, usize),
    nodes: &mut usize,
    depth: usize,
) -> Step {
    if depth >= DEPTH_MAX {
        return c.broken_at(start, format!("structures nested more than {DEPTH_MAX} deep"));
    }
    let kind = if tag == 1 { "array" } else { "structure" };
    let count = c.length("the element count")?;
    let mut node = c.node(start, label, format!("{kind} of {count}"));
    let mut outcome = Ok(());
    for i in 0..count {
        let named = (i == 0 && (tag, count) == (2, 2)).then(|| bare_descriptor(c, &mut node)).flatten();
        if named.is_some() {
            continue;
        }
        outcome = data_at(c, &mut node, &format!("[{i}]"), nodes, depth + 1);
        if outcome.is_err() {
            break;
        }
    }
    node.length = c.pos() - start;
    describe(&mut node);
    parent.children.push(node);
    outcome
}

/// Some Central European meters push pairs of an attribute and its value where the attribute is written without tags:
/// class, logical name, index. Nothing else begins with a null, a known class and a logical name.
fn bare_descriptor(c: &mut Cursor<'_>, parent: &mut Node) -> Option<()> {
    let &[0, class, a, b, x, d, e, 255, index, ..] = c.rest() else { return None };
    if a > 1 || !(1..=30).contains(&index) || class_name(class.into()).is_none() {
        return None;
    }
    let start = c.pos();
    c.part_up_to(9);
    let text = attribute_text(class.into(), [a, b, x, d, e, 255], index.cast_signed());
    let mut node = c.node(start, "[0]", format!("{text} (written without tags)"));
    node.datum = Datum::Attribute;
    parent.children.push(node);
    Some(())
}

/// A value of a known tag without elements: its text and what it is.
fn scalar(c: &mut Cursor<'_>, tag: u8, start: usize) -> Step<(String, Datum)> {
    let signed = |c: &mut Cursor<'_>, n: usize, name: &str| -> Step<(String, Datum)> {
        let raw = c.number(n, name)?;
        let shift = 64 - 8 * n as u32;
        // The shift up and the arithmetic shift down extend the sign.
        let value = (raw << shift).cast_signed() >> shift;
        Ok((format!("{value} ({name})"), Datum::Number(value.into())))
    };
    let unsigned = |c: &mut Cursor<'_>, n: usize, name: &str| -> Step<(String, Datum)> {
        let value = c.number(n, name)?;
        Ok((format!("{value} ({name})"), Datum::Number(value.into())))
    };
    Ok(match tag {
        0 => ("null-data".into(), Datum::Other),
        255 => ("don't-care".into(), Datum::Other),
        3 => (format!("{} (boolean)", c.u8("boolean")? != 0), Datum::Other),
        4 => (bit_string(c)?, Datum::Other),
        5 => signed(c, 4, "double-long")?,
        6 => unsigned(c, 4, "double-long-unsigned")?,
        9 => octet_string(c)?,
        10 => (text(c, "visible-string")?, Datum::Other),
        12 => (text(c, "utf8-string")?, Datum::Other),
        13 => (format!("{:02X} (bcd)", c.u8("bcd")?), Datum::Other),
        15 => signed(c, 1, "integer")?,
        16 => signed(c, 2, "long")?,
        17 => unsigned(c, 1, "unsigned")?,
        18 => unsigned(c, 2, "long-unsigned")?,
        20 => signed(c, 8, "long64")?,
        21 => unsigned(c, 8, "long64-unsigned")?,
        22 => {
            let value = c.u8("enum")?;
            (format!("{value} (enum)"), Datum::Enum(value))
        }
        23 => (format!("{} (float32)", f32::from_bits(c.u32("float32")?)), Datum::Other),
        24 => (format!("{} (float64)", f64::from_bits(c.number(8, "float64")?)), Datum::Other),
        25 => (format!("{} (date-time)", date_time(c.take(12, "date-time")?)), Datum::Other),
        26 => (format!("{} (date)", date(c.take(5, "date")?)), Datum::Other),
        27 => (format!("{} (time)", time(c.take(4, "time")?)), Datum::Other),
        28 => signed(c, 1, "delta-integer")?,
        29 => signed(c, 2, "delta-long")?,
        30 => signed(c, 4, "delta-double-long")?,
        31 => unsigned(c, 1, "delta-unsigned")?,
        32 => unsigned(c, 2, "delta-long-unsigned")?,
        33 => unsigned(c, 4, "delta-double-long-unsigned")?,
        _ => return c.broken_at(start, format!("{tag:02X} is no data tag")),
    })
}

fn bit_string(c: &mut Cursor<'_>) -> Step<String> {
    let bits = c.length("the bit count")?;
    let bytes = c.take(bits.div_ceil(8), "bit-string")?;
    let digits: String = bytes.iter().map(|b| format!("{b:08b}")).collect();
    Ok(format!("{} (bit-string of {bits})", digits.get(..bits.min(256)).unwrap_or(&digits)))
}

fn text(c: &mut Cursor<'_>, kind: &str) -> Step<String> {
    let length = c.length("the string length")?;
    let bytes = c.take(length, kind)?;
    Ok(format!("{:?} ({kind})", String::from_utf8_lossy(bytes)))
}

/// Octet strings of 6 are logical names where they look like one, of 12 date-times where they can be one.
fn octet_string(c: &mut Cursor<'_>) -> Step<(String, Datum)> {
    let length = c.length("the octet-string length")?;
    let bytes = c.take(length, "octet-string")?;
    if let Ok(code) = <[u8; 6]>::try_from(bytes)
        && code[0] <= 16
        && (code[5] == 255 || super::names::obis_name(code).is_some())
    {
        return Ok((obis_text(code), Datum::LogicalName(code)));
    }
    if is_date_time(bytes) {
        return Ok((format!("{} (octet-string)", date_time(bytes)), Datum::Other));
    }
    let printable = !bytes.is_empty() && bytes.iter().all(|b| matches!(b, 0x20..=0x7E));
    let ascii = if printable { format!(" {:?}", String::from_utf8_lossy(bytes)) } else { String::new() };
    Ok((format!("{}{ascii} (octet-string of {length})", hex(bytes)), Datum::Other))
}

/// Whether twelve bytes can be a date-time: every field within its range or not specified.
pub(super) fn is_date_time(bytes: &[u8]) -> bool {
    let &[y0, y1, month, day, weekday, hour, minute, second, hundredths, d0, d1, _] = bytes else {
        return false;
    };
    let (year, deviation) = (u16::from_be_bytes([y0, y1]), i16::from_be_bytes([d0, d1]));
    (matches!(year, 1970..=2200) || year == 0xFFFF)
        && matches!(month, 1..=12 | 0xFD..=0xFF)
        && matches!(day, 1..=31 | 0xFD..=0xFF)
        && matches!(weekday, 0..=7 | 0xFF)
        && matches!(hour, 0..=24 | 0xFF)
        && matches!(minute, 0..=60 | 0xFF)
        && matches!(second, 0..=60 | 0xFF)
        && matches!(hundredths, 0..=99 | 0xFF)
        && (matches!(deviation, -840..=840) || deviation == i16::MIN || deviation == -1)
}

/// A field in two digits, `**` when not specified.
fn two(field: u8) -> String {
    match field {
        0xFF => "**".into(),
        0xFE => "last".into(),
        0xFD => "2nd last".into(),
        _ => format!("{field:02}"),
    }
}

fn date(bytes: &[u8]) -> String {
    let &[y0, y1, month, day, weekday, ..] = bytes else { return hex(bytes) };
    let year = u16::from_be_bytes([y0, y1]);
    let year = if year == 0xFFFF { "****".into() } else { format!("{year:04}") };
    let names = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let weekday = usize::from(weekday).checked_sub(1).and_then(|i| names.get(i));
    let weekday = weekday.map_or(String::new(), |name| format!(" {name}"));
    format!("{year}-{}-{}{weekday}", two(month), two(day))
}

fn time(bytes: &[u8]) -> String {
    let &[hour, minute, second, hundredths, ..] = bytes else { return hex(bytes) };
    let fraction =
        if hundredths == 0xFF || hundredths == 0 { String::new() } else { format!(".{hundredths:02}") };
    format!("{}:{}:{}{fraction}", two(hour), two(minute), two(second))
}

/// Twelve bytes in words: date, weekday, time, offset from UTC, what the clock says of itself.
pub(super) fn date_time(bytes: &[u8]) -> String {
    let (Some(day), Some(clock), Some(&[d0, d1, status])) =
        (bytes.get(..5), bytes.get(5..9), bytes.get(9..12))
    else {
        return hex(bytes);
    };
    // Blue Book, date-time: the deviation is what has to be added to local time to get UTC.
    let offset = match i32::from(i16::from_be_bytes([d0, d1])) {
        -32768 => String::new(),
        deviation => {
            let sign = if deviation > 0 { '-' } else { '+' };
            format!(" UTC{sign}{:02}:{:02}", deviation.abs() / 60, deviation.abs() % 60)
        }
    };
    let bits = [
        (0x01, "invalid"),
        (0x02, "doubtful"),
        (0x04, "other clock base"),
        (0x08, "bad status"),
        (0x80, "DST"),
    ];
    let flags: Vec<_> =
        bits.iter().filter(|(bit, _)| status != 0xFF && status & bit != 0).map(|(_, name)| *name).collect();
    let flags = if flags.is_empty() { String::new() } else { format!(" [{}]", flags.join(", ")) };
    format!("{} {}{offset}{flags}", date(day), time(clock))
}

/// `value * 10^scaler` with its unit, exactly.
pub(super) fn scaled(value: i128, scaler: i8, unit: u8) -> String {
    let digits = value.unsigned_abs().to_string();
    let sign = if value < 0 { "-" } else { "" };
    let number = match usize::from(scaler.unsigned_abs()) {
        places if scaler < 0 => {
            let padded = format!("{digits:0>width$}", width = places + 1);
            let (whole, fraction) = padded.split_at(padded.len() - places);
            format!("{whole}.{fraction}")
        }
        places if value == 0 || places == 0 => digits,
        places => format!("{digits}{}", "0".repeat(places)),
    };
    match unit {
        255 => format!("{sign}{number}"),
        _ => match Unit(unit).symbol() {
            Some(symbol) => format!("{sign}{number} {symbol}"),
            None => format!("{sign}{number} (unit {unit})"),
        },
    }
}

/// A `scaler_unit` structure: integer and enum.
pub(super) fn scaler_unit(node: &Node) -> Option<(i8, u8)> {
    match (node.children.len(), node.children.first()?.datum, node.children.get(1)?.datum) {
        (2, Datum::Number(scaler), Datum::Enum(unit)) => Some((i8::try_from(scaler).ok()?, unit)),
        _ => None,
    }
}

/// Gives the elements of a sequence their meaning for each other: a logical name names the value behind it, a scaler_unit
/// scales the value before it, a list of objects names the values that follow it.
fn describe(node: &mut Node) {
    if let Some((scaler, unit)) = scaler_unit(node) {
        let unit = Unit(unit).symbol().filter(|s| !s.is_empty()).unwrap_or("no unit");
        node.value = format!("{}: x 10^{scaler} {unit}", node.value);
    }
    if let Some(object) = object_definition(node) {
        node.value = format!("{}: {object}", node.value);
        return;
    }
    for i in 1..node.children.len() {
        let Some((before, [this, ..])) = node.children.split_at_mut_checked(i) else { continue };
        let Some(previous) = before.last_mut() else { continue };
        if let (Datum::Number(value), Some((scaler, unit))) = (previous.datum, scaler_unit(this)) {
            previous.value = format!("{} = {}", previous.value, scaled(value, scaler, unit));
        }
        if previous.datum == Datum::Attribute {
            let name = previous.value.trim_end_matches(" (written without tags)");
            this.label = format!("{} {name}", this.label);
        }
        // The push setup that begins a telegram is where it comes from, not the name of its first value.
        if let Datum::LogicalName(code) = previous.datum
            && !matches!(code, [0, _, 25, 9, ..])
            && !matches!(this.datum, Datum::LogicalName(_))
            && scaler_unit(this).is_none()
        {
            this.label = format!("{} {}", this.label, obis_text(code));
        }
    }
    name_from_list(node);
}

/// A structure that names an attribute of an object: class, logical name, attribute, and perhaps a data index.
fn object_definition(node: &Node) -> Option<String> {
    match node.children.as_slice() {
        [class, name, attribute, ..] if matches!(node.children.len(), 3..=6) => {
            match (class.datum, name.datum, attribute.datum) {
                (Datum::Number(class), Datum::LogicalName(code), Datum::Number(attribute)) => {
                    let (class, attribute) = (u16::try_from(class).ok()?, i8::try_from(attribute).ok()?);
                    Some(attribute_text(class, code, attribute))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// `1-0:1.8.0*255 (active import energy) Register.value`.
pub(super) fn attribute_text(class: u16, code: [u8; 6], attribute: i8) -> String {
    let class_text = class_name(class).map_or_else(|| format!("class {class}"), str::to_owned);
    match attribute_name(class, attribute) {
        Some(name) => format!("{} {class_text}.{name} [{attribute}]", obis_text(code)),
        None => format!("{} {class_text}, attribute {attribute}", obis_text(code)),
    }
}

/// A push telegram may begin with its own list of objects: the values that follow stand in the same order.
fn name_from_list(node: &mut Node) {
    let Some((list, values)) = node.children.split_first_mut() else { return };
    let names: Option<Vec<String>> = list.children.iter().map(object_definition).collect();
    let Some(names) = names.filter(|names| !names.is_empty()) else { return };
    // The list may count itself as its first object.
    let skip = match names.len().checked_sub(values.len()) {
        Some(skip @ 0..=1) => skip,
        _ => return,
    };
    for (value, name) in values.iter_mut().zip(names.iter().skip(skip)) {
        value.label = format!("{} {name}", value.label);
    }
}

/// The type of a compact array's elements.
enum Kind {
    Simple(u8),
    Array(usize, Box<Self>),
    Structure(Vec<Self>),
}

fn kind(c: &mut Cursor<'_>, depth: usize) -> Step<Kind> {
    let start = c.pos();
    if depth >= DEPTH_MAX {
        return c.broken_at(start, format!("types nested more than {DEPTH_MAX} deep"));
    }
    Ok(match c.u8("a type description")? {
        1 => {
            let count = usize::from(c.u16("the element count of a type")?);
            Kind::Array(count, Box::new(kind(c, depth + 1)?))
        }
        2 => {
            let count = c.length("the element count of a type")?;
            let mut parts = Vec::new();
            for _ in 0..count {
                parts.push(kind(c, depth + 1)?);
            }
            Kind::Structure(parts)
        }
        tag => Kind::Simple(tag),
    })
}

fn compact_array(
    c: &mut Cursor<'_>,
    parent: &mut Node,
    label: &str,
    start: usize,
    nodes: &mut usize,
    depth: usize,
) -> Step {
    let element = kind(c, depth)?;
    let length = c.length("the length of a compact array")?;
    let mut contents = c.part(length, "compact array")?;
    let mut node = c.node(start, label, format!("compact-array, {length} bytes of contents"));
    let mut outcome = Ok(());
    let mut row = 0;
    while contents.left() > 0 && outcome.is_ok() {
        let before = contents.left();
        outcome = typed(&mut contents, &mut node, &format!("[{row}]"), &element, nodes);
        row += 1;
        if contents.left() == before {
            // An element of no bytes: their number cannot be known.
            break;
        }
    }
    describe(&mut node);
    parent.children.push(node);
    outcome
}

fn typed(c: &mut Cursor<'_>, parent: &mut Node, label: &str, kind: &Kind, nodes: &mut usize) -> Step {
    let start = c.pos();
    *nodes += 1;
    if *nodes > NODES_MAX {
        return c.broken(format!("more than {NODES_MAX} values: not shown"));
    }
    let parts: Vec<&Kind> = match kind {
        Kind::Simple(tag) => {
            let (text, datum) = scalar(c, *tag, start)?;
            let mut node = c.node(start, label, text);
            node.datum = datum;
            parent.children.push(node);
            return Ok(());
        }
        Kind::Array(count, element) => std::iter::repeat_n(element.as_ref(), *count).collect(),
        Kind::Structure(parts) => parts.iter().collect(),
    };
    let mut node = c.node(start, label, format!("{} elements", parts.len()));
    let mut outcome = Ok(());
    for (i, part) in parts.iter().enumerate() {
        outcome = typed(c, &mut node, &format!("[{i}]"), part, nodes);
        if outcome.is_err() {
            break;
        }
    }
    node.length = c.pos() - start;
    describe(&mut node);
    parent.children.push(node);
    outcome
}

#[cfg(test)]
mod tests {
    use super::super::octets::Octets;
    use super::*;

    fn tree(bytes: &[u8]) -> (Node, bool) {
        let octets = Octets::input(bytes, 0);
        let mut c = octets.cursor();
        let mut root = c.node(0, "", "");
        let whole = data(&mut c, &mut root, "value", &mut 0).is_ok() && c.left() == 0;
        (root, whole)
    }

    #[test]
    fn numbers_are_scaled_exactly() {
        for (value, scaler, unit, text) in [
            (1317, -2, 33, "13.17 A"),
            (-5, -3, 35, "-0.005 V"),
            (12, 3, 27, "12000 W"),
            (0, 3, 30, "0 Wh"),
            (2345, -1, 255, "234.5"),
            (7, 0, 99, "7 (unit 99)"),
        ] {
            assert_eq!(scaled(value, scaler, unit), text);
        }
    }

    #[test]
    fn dates_are_words_and_wildcards_stay() {
        let bytes = [0x07, 0xE5, 9, 27, 1, 9, 47, 15, 0, 0xFF, 0x88, 0x80];
        assert_eq!(date_time(&bytes), "2021-09-27 Monday 09:47:15 UTC+02:00 [DST]");
        assert!(is_date_time(&bytes));
        let open = [0xFF, 0xFF, 0xFF, 1, 0xFF, 0, 0, 0, 0, 0x80, 0, 0];
        assert_eq!(date_time(&open), "****-**-01 00:00:00");
    }

    #[test]
    fn a_value_beside_its_scaler_unit_carries_its_unit() {
        let (root, whole) = tree(&[2, 3, 9, 6, 1, 0, 32, 7, 0, 255, 18, 9, 0x2B, 2, 2, 15, 0xFF, 22, 35]);
        assert!(whole);
        let value = &root.children[0].children[1];
        assert_eq!(value.label, "[1] 1-0:32.7.0*255 (voltage L1, instantaneous)");
        assert_eq!(value.value, "2347 (long-unsigned) = 234.7 V");
        assert_eq!((value.offset, value.length), (10, 3));
    }

    #[test]
    fn a_list_of_objects_names_the_values_behind_it() {
        let object = [2, 4, 18, 0, 3, 9, 6, 1, 0, 1, 8, 0, 255, 15, 2, 18, 0, 0];
        let bytes = [&[2, 2, 1, 1][..], &object, &[6, 0, 0, 0, 9]].concat();
        let (root, whole) = tree(&bytes);
        assert!(whole);
        let value = &root.children[0].children[1];
        assert_eq!(value.label, "[1] 1-0:1.8.0*255 (active import energy) Register.value [2]");
    }

    #[test]
    fn compact_arrays_are_spread_out() {
        let (root, whole) = tree(&[19, 2, 2, 17, 18, 6, 1, 0, 2, 3, 0, 4]);
        assert!(whole);
        let rows = &root.children[0].children;
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].children[1].value, "4 (long-unsigned)");
    }

    #[test]
    fn hostile_nesting_and_counts_end_in_time() {
        assert!(!tree(&[2, 1].repeat(100)).1);
        assert!(!tree(&[1, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 0]).1);
        assert!(!tree(&[9, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 0]).1);
        // An array of 65,535 arrays of 65,535 structures of nothing costs no more than the node limit.
        let (root, _) = tree(&[19, 1, 0xFF, 0xFF, 1, 0xFF, 0xFF, 0, 1, 7]);
        assert!(!root.children.is_empty());
    }
}
