//! The text of a recording, written and read.

use crate::vault::unhex;
use protocol::dlms::security::Form;
use std::fmt::Write as _;

/// The format this program writes and reads.
pub(super) const FORMAT: u32 = 1;

/// One line that means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An association was opened.
    Open,
    /// The association was released.
    Release,
    /// A piece of work began.
    Work(String),
    /// It ended in this word.
    Ending(String),
    /// The gateway sent this.
    Sent(Form, Vec<u8>),
    /// The meter sent this.
    Received(Form, Vec<u8>),
}

/// A recording, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Name of the meter's model.
    pub model: String,
    /// The serial number that stands for the meter's.
    pub serial: String,
    /// What happened, with the number of its line.
    pub entries: Vec<(usize, Entry)>,
}

/// The protection's name in a recording.
pub(super) const fn form_name(form: Form) -> &'static str {
    match form {
        Form::Plain => "plain",
        Form::Glo => "glo",
        Form::Ded => "ded",
        Form::GeneralGlo => "general-glo",
        Form::GeneralDed => "general-ded",
        Form::General => "general",
    }
}

fn form_of(name: &str) -> Option<Form> {
    [Form::Plain, Form::Glo, Form::Ded, Form::GeneralGlo, Form::GeneralDed, Form::General]
        .into_iter()
        .find(|form| form_name(*form) == name)
}

/// Bytes in hex, in pairs.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{}{byte:02X}", if text.is_empty() { "" } else { " " });
    }
    text
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// `line N: …`, the first thing wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut model, mut serial, mut format) = (None, None, None);
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |why: &str| format!("line {number}: {why}");
            if let Some(directive) = line.strip_prefix("#: ") {
                let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
                match word {
                    "format" => format = rest.parse::<u32>().ok(),
                    "model" => model = Some(rest.to_owned()),
                    "serial" => serial = Some(rest.to_owned()),
                    "open" => entries.push((number, Entry::Open)),
                    "release" => entries.push((number, Entry::Release)),
                    "work" => entries.push((number, Entry::Work(rest.to_owned()))),
                    "ending" => entries.push((number, Entry::Ending(rest.to_owned()))),
                    _ => return Err(wrong(&format!("there is no directive {word:?}"))),
                }
            } else if !line.starts_with('#') && !line.trim().is_empty() {
                entries.push((
                    number,
                    apdu(line).ok_or_else(|| {
                        wrong("an APDU is written as: +seconds sent|received protection hex")
                    })?,
                ));
            }
        }
        if format != Some(FORMAT) {
            return Err(format!(
                "this is no recording of format {FORMAT}: the line `#: format {FORMAT}` is missing"
            ));
        }
        let missing = |what| format!("the line `#: {what} …` is missing");
        Ok(Self {
            model: model.ok_or_else(|| missing("model"))?,
            serial: serial.ok_or_else(|| missing("serial"))?,
            entries,
        })
    }
}

fn apdu(line: &str) -> Option<Entry> {
    let mut words = line.split_whitespace();
    let (time, way, form) = (words.next()?, words.next()?, form_of(words.next()?)?);
    if !time.starts_with('+') {
        return None;
    }
    let bytes = unhex(&words.collect::<String>())?.to_vec();
    match way {
        "sent" => Some(Entry::Sent(form, bytes)),
        "received" => Some(Entry::Received(form, bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_read_and_what_is_wrong_is_said_with_its_line() {
        let head = "# a remark\n#: format 1\n#: model m\n#: serial 000\n";
        let read =
            Recording::parse(&format!("{head}#: open\n+0.004 sent glo C0 01\n\n+0.1 received plain D8\n"))
                .expect("good");
        let entries = vec![
            (5, Entry::Open),
            (6, Entry::Sent(Form::Glo, vec![0xC0, 1])),
            (8, Entry::Received(Form::Plain, vec![0xD8])),
        ];
        assert_eq!(read, Recording { model: "m".into(), serial: "000".into(), entries });
        for (bad, says) in [
            ("+0.1 sent blue C0", "line 5: an APDU is written as"),
            ("+0.1 sent glo C", "line 5: an APDU is written as"),
            ("0.1 sent glo C0", "line 5: an APDU is written as"),
            ("#: close", "line 5: there is no directive \"close\""),
        ] {
            let error = Recording::parse(&format!("{head}{bad}\n")).expect_err(bad);
            assert!(error.starts_with(says), "{error}");
        }
        assert!(Recording::parse("7E A0").expect_err("hex").starts_with("line 1"));
        assert!(Recording::parse("# nothing\n").expect_err("nothing").contains("no recording of format 1"));
    }
}
