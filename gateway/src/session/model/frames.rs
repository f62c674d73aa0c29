//! Sample frames beside a model file (`NAME.frames`): what a meter was asked and answered over Modbus RTU, and what that says by the
//! model. They are the model's test.

use super::modbus::{ModbusModel, Point, Role, Table};
use super::{Flaw, Model, ModelError};
use crate::session::modbus::ReadRequest;
use protocol::wire::crc16;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFrames {
    #[serde(rename = "frame", default)]
    frames: Vec<Spanned<RawFrame>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFrame {
    request: String,
    answer: String,
    /// Every value that the answer holds whole, by role.
    says: BTreeMap<String, toml::Value>,
}

/// Checks the frames beside a model file, if there are any.
///
/// # Errors
/// The first frame that says something else than the model makes of it, with its line.
pub(super) fn check_beside(directory: &Path, file: &str, model: &Model) -> Result<(), ModelError> {
    let path = directory.join(file).with_extension("frames");
    let name = Path::new(file).with_extension("frames").display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => check(&name, &text, model).map(drop),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ModelError { file: name, line: 1, message: format!("cannot be read: {error}") }),
    }
}

/// Checks frames against a model; gives the roles that they say something about.
fn check(file: &str, text: &str, model: &Model) -> Result<Vec<Role>, ModelError> {
    let Model::Modbus(model) = model else {
        return Err(ModelError::at(file, text, &(0..0), "sample frames are of Modbus models only"));
    };
    let raw: RawFrames = super::parse(file, text)?;
    let mut seen = Vec::new();
    for frame in &raw.frames {
        let of_frame =
            judge(frame, model).map_err(|(span, message)| ModelError::at(file, text, &span, message))?;
        seen.extend(of_frame);
    }
    Ok(seen)
}

/// What the frame says by the model has to be what it says it says.
fn judge(spanned: &Spanned<RawFrame>, model: &ModbusModel) -> Result<Vec<Role>, Flaw> {
    let (frame, flaw) = (spanned.get_ref(), |message: String| (spanned.span(), message));
    let (request, answer) = exchange(frame).map_err(flaw)?;
    let mut said = BTreeMap::new();
    let mut seen = Vec::new();
    for point in &model.points {
        let mut parts = point.spans().map(|span| request.part(span, &answer));
        let Some(own) = parts.next().flatten() else { continue };
        let factor = parts.next().flatten().and_then(|words| words.first().copied());
        if point.scale_factor.is_some() && factor.is_none() {
            continue;
        }
        seen.push(point.role);
        if let Some(value) = value(point, own, factor) {
            said.insert(name(point.role), value);
        }
    }
    if said == frame.says {
        return Ok(seen);
    }
    let show = |values: &BTreeMap<String, toml::Value>| {
        let each: Vec<String> = values.iter().map(|(role, value)| format!("{role} = {value}")).collect();
        if each.is_empty() { "nothing".to_owned() } else { each.join(", ") }
    };
    Err(flaw(format!("by the model this answer says {}, not {}", show(&said), show(&frame.says))))
}

fn value(point: &Point, words: &[u16], factor: Option<u16>) -> Option<toml::Value> {
    match point.role {
        Role::Serial => point.text(words).map(toml::Value::String),
        _ => point.integer(words, factor).map(toml::Value::Integer),
    }
}

/// A role's name in files.
fn name(role: Role) -> String {
    let debug = format!("{role:?}");
    let mut name = String::new();
    for c in debug.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// Both frames: what was asked for, and the registers or bits that came.
fn exchange(frame: &RawFrame) -> Result<(ReadRequest, Vec<u16>), String> {
    let request = body("request", &frame.request)?;
    let [unit, function, high, low, count_high, count_low] = request[..] else {
        return Err(
            "a read request has a unit, a function, an address, a count and a check code: 8 bytes".into()
        );
    };
    let table = match function {
        1 => Table::Coil,
        2 => Table::Discrete,
        3 => Table::Holding,
        4 => Table::Input,
        other => return Err(format!("function {other} reads nothing; 1 to 4 do")),
    };
    let (address, count) = (u16::from_be_bytes([high, low]), u16::from_be_bytes([count_high, count_low]));
    let answer = body("answer", &frame.answer)?;
    let [by, what, bytes, values @ ..] = &answer[..] else {
        return Err("an answer has a unit, a function and a count of bytes".into());
    };
    let wanted = if table.is_bits() { count.div_ceil(8) } else { count.saturating_mul(2) };
    if (*by, *what) != (unit, function)
        || usize::from(*bytes) != values.len()
        || values.len() != usize::from(wanted)
    {
        return Err("the answer is of another unit, function or length than the request".into());
    }
    let words = if table.is_bits() {
        (0..usize::from(count)).map(|bit| u16::from(values[bit / 8] >> (bit % 8) & 1)).collect()
    } else {
        values.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    };
    Ok((ReadRequest { table, address, count }, words))
}

/// The bytes of a frame, without its check code, which has to be right.
fn body(what: &str, text: &str) -> Result<Vec<u8>, String> {
    let bytes: Option<Vec<u8>> = text
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
        .collect();
    let bytes =
        bytes.ok_or_else(|| format!("the {what} is not bytes in hexadecimal, like \"01 04 00 48\""))?;
    let Some((body, check)) = bytes.split_last_chunk::<2>() else {
        return Err(format!("the {what} has no check code"));
    };
    let wanted = crc16(body).to_le_bytes();
    if *check != wanted {
        let [low, high] = wanted;
        return Err(format!("the {what}'s check code is wrong; {low:02X} {high:02X} would be right"));
    }
    Ok(body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of the built-in models, by the name of the model.
    const SAMPLES: [(&str, &str); 9] = [
        ("abb-b23", include_str!("../../../models/abb-b23.frames")),
        ("carlo-gavazzi-em340", include_str!("../../../models/carlo-gavazzi-em340.frames")),
        ("chint-dtsu666", include_str!("../../../models/chint-dtsu666.frames")),
        ("eastron-sdm120", include_str!("../../../models/eastron-sdm120.frames")),
        ("eastron-sdm630", include_str!("../../../models/eastron-sdm630.frames")),
        ("janitza-umg96rm", include_str!("../../../models/janitza-umg96rm.frames")),
        ("schneider-iem3155", include_str!("../../../models/schneider-iem3155.frames")),
        ("siemens-pac3200", include_str!("../../../models/siemens-pac3200.frames")),
        ("sunspec-meter", include_str!("../../../models/sunspec-meter.frames")),
    ];

    #[test]
    fn every_value_of_every_commercial_model_has_a_sample_frame_and_a_source() {
        let models = super::super::Models::load(None).unwrap_or_else(|error| panic!("{error}"));
        for (name, text) in SAMPLES {
            let model = models.find(name).expect("a built-in model");
            let seen = check(name, text, &model).unwrap_or_else(|error| panic!("{error}"));
            let Model::Modbus(model) = &*model else { panic!("{name} is not Modbus") };
            assert!(
                model.source.as_ref().is_some_and(|source| !source.is_empty()),
                "{name}: where is that from?"
            );
            for point in &model.points {
                assert!(seen.contains(&point.role), "{name}: no frame shows {:?}", point.role);
            }
        }
    }

    #[test]
    fn a_frame_that_says_something_else_is_named_with_its_line() {
        let models = super::super::Models::load(None).unwrap_or_else(|error| panic!("{error}"));
        let model = models.find("eastron-sdm120").expect("built in");
        let frame = |request: &str, answer: &str, says: &str| {
            format!("# one\n[[frame]]\nrequest = \"{request}\"\nanswer = \"{answer}\"\nsays = {{ {says} }}\n")
        };
        let (asked, answered) = ("01 04 00 00 00 02 71 CB", "01 04 04 43 66 33 34 1B 38");
        let wrong = |text: String| check("m.frames", &text, &model).expect_err("wrong").to_string();
        let other = wrong(frame(asked, answered, "voltage_mv = 1"));
        assert_eq!(
            other,
            "m.frames:2: by the model this answer says voltage_mv = 230200, not voltage_mv = 1"
        );
        let damaged = wrong(frame(asked, &answered.replace("1B 38", "1B 39"), "voltage_mv = 230200"));
        assert_eq!(damaged, "m.frames:2: the answer's check code is wrong; 1B 38 would be right");
        let short = wrong(frame("01 04 00 00 00 04 F1 C9", answered, ""));
        assert_eq!(short, "m.frames:2: the answer is of another unit, function or length than the request");
    }
}
