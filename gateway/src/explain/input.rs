//! From what a person has (hex with blanks, a log, a binary file, a capture) to streams of bytes.

use super::capture;

/// Bytes that went one way, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Where they come from: `lines 3-7, received`, `127.0.0.1:4059 -> 127.0.0.1:51000`, or empty.
    pub title: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Each of these offsets begins a datagram; nothing reaches across. Empty for a stream.
    pub datagrams: Vec<usize>,
}

/// Reads an input of unknown kind: a capture (pcap, pcapng), a binary telegram, or text with hex in it.
///
/// # Errors
/// A sentence that says what is wrong and where.
pub fn read_input(bytes: &[u8]) -> Result<Vec<Stream>, String> {
    if let Some(streams) = capture::read(bytes) {
        return streams;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !looks_binary(bytes) => read_text(text),
        _ => Ok(vec![Stream { title: String::new(), bytes: bytes.to_vec(), datagrams: Vec::new() }]),
    }
}

/// Text never holds control characters other than blanks.
fn looks_binary(bytes: &[u8]) -> bool {
    bytes.iter().any(|b| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0C))
}

/// Which way the bytes of a line went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Unknown,
    Sent,
    Received,
}

struct Line {
    number: usize,
    way: Way,
    bytes: Vec<u8>,
}

/// Text: lines of hex, a hex dump, or a log whose lines hold hex somewhere. Comments begin with `# ` or `//`; a dash at
/// the end of a line joins the next to it.
fn read_text(text: &str) -> Result<Vec<Stream>, String> {
    let text = text.replace("-\r\n", "").replace("-\n", "");
    if let Some(bytes) = dump(&text) {
        return Ok(vec![Stream { title: String::new(), bytes, datagrams: Vec::new() }]);
    }
    let mut lines: Vec<Line> = Vec::new();
    let (mut heading, mut way) = ("", Way::Unknown);
    for (number, line) in (1..).zip(text.lines()) {
        let bytes = hex_of_line(line).map_err(|why| format!("line {number}: {why}"))?;
        if bytes.is_empty() {
            heading = if line.trim().is_empty() { heading } else { line };
            // `Sent frame:` above its bytes.
            if way_of(line) != Way::Unknown {
                way = way_of(line);
            }
        } else if matches!(bytes.len(), 16 | 32) && (names_key(heading) || names_key(line)) {
            // A key noted beside its capture is no part of it, and is not shown.
            heading = "";
        } else {
            heading = "";
            let own = way_of(line);
            lines.push(Line { number, way: if own == Way::Unknown { way } else { own }, bytes });
        }
    }
    if lines.is_empty() {
        return Err("no hex digits in the input".into());
    }
    Ok(group(lines))
}

/// Whether a line speaks of a key.
fn names_key(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|w| matches!(w, "key" | "guek" | "gak" | "gbek" | "ek" | "ak"))
}

/// The bytes of a hex dump: every line begins with the number of bytes before it.
fn dump(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        // hexdump ends with the total alone.
        if usize::from_str_radix(line.trim(), 16).is_ok_and(|total| total == bytes.len() && total > 0) {
            break;
        }
        bytes.extend(dump_line(line, bytes.len())?);
    }
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

/// Lines that follow each other and went the same way are one stream.
fn group(lines: Vec<Line>) -> Vec<Stream> {
    let mut streams: Vec<(Way, usize, usize, Vec<u8>)> = Vec::new();
    for line in lines {
        match streams.last_mut() {
            Some((way, _, last, bytes)) if *way == line.way => {
                *last = line.number;
                bytes.extend(line.bytes);
            }
            _ => streams.push((line.way, line.number, line.number, line.bytes)),
        }
    }
    let alone = streams.len() == 1;
    let stream = |(way, first, last, bytes)| {
        let way = match way {
            Way::Unknown => "",
            Way::Sent => ", sent",
            Way::Received => ", received",
        };
        let title = match (first, last) {
            _ if alone && way.is_empty() => String::new(),
            (first, last) if first == last => format!("line {first}{way}"),
            (first, last) => format!("lines {first}-{last}{way}"),
        };
        Stream { title, bytes, datagrams: Vec::new() }
    };
    streams.into_iter().map(stream).collect()
}

/// The direction a log line names in front of its bytes, if it does.
fn way_of(line: &str) -> Way {
    let lower = without_comment(line).to_ascii_lowercase();
    // Behind the first long run of digits a word is a remark.
    let front = lower.split(|c: char| c.is_whitespace()).take_while(|token| !is_bytes(token));
    for token in front {
        for word in token.split(|c: char| !c.is_ascii_alphabetic() && !matches!(c, '-' | '<' | '>')) {
            match word {
                "tx" | "send" | "sent" | "sending" | "request" | "-->" | "->" | ">>" => return Way::Sent,
                "rx" | "recv" | "received" | "receive" | "response" | "<--" | "<-" | "<<" => {
                    return Way::Received;
                }
                _ => {}
            }
        }
    }
    Way::Unknown
}

/// Whether a word of a line is bytes of a telegram: four digits or more, or one byte that is no number of the log.
fn is_bytes(token: &str) -> bool {
    hex_token(token).is_some_and(|bytes| matches!(bytes.first(), Some(0x7E | 0x68)) || bytes.len() > 4)
}

/// A line without what stands behind `//` or `# `; a line that begins with `#` is all comment.
fn without_comment(line: &str) -> &str {
    let line = line.split("//").next().unwrap_or(line);
    match line.trim_start() {
        // `#1` in a log is a number, `# text` a comment.
        comment if comment.starts_with('#') => "",
        _ => line.split("# ").next().unwrap_or(line),
    }
}

/// A line of a hex dump: its offset (which must be the bytes so far), the bytes, perhaps their characters.
fn dump_line(line: &str, expected: usize) -> Option<Vec<u8>> {
    let (offset, rest) = line.trim_start().split_once(|c: char| c.is_whitespace() || c == ':')?;
    if !(4..=8).contains(&offset.len()) || usize::from_str_radix(offset, 16).ok()? != expected {
        return None;
    }
    let rest = rest.strip_prefix(':').unwrap_or(rest).trim_start();
    // Two blanks before the characters (xxd), or a bar around them (hexdump -C).
    let rest = rest.split('|').next().unwrap_or(rest);
    let mut bytes = Vec::new();
    let mut gap = 0;
    for token in rest.split(' ') {
        if token.is_empty() {
            gap += 1;
            continue;
        }
        // hexdump -C leaves two blanks after eight bytes as well.
        if gap > 0 && bytes.len() != 8 || bytes.len() >= 32 {
            break;
        }
        gap = 0;
        bytes.extend(hex_token(token)?);
    }
    Some(bytes)
}

/// A bytes literal as Python programs log it: `b'~\xa0\x08 #\x03'`. Up to its quote, or to the end of a line that was cut.
fn python_bytes(line: &str) -> Option<Vec<u8>> {
    let start = line.find("b'").or_else(|| line.find("b\""))?;
    let quote = char::from(*line.as_bytes().get(start + 1)?);
    let mut rest = line.get(start + 2..)?.chars();
    let mut bytes = Vec::new();
    while let Some(c) = rest.next().filter(|c| *c != quote) {
        let escaped = if c == '\\' { rest.next() } else { None };
        bytes.push(match (c, escaped) {
            (_, Some('x')) => byte(rest.by_ref().take(2).collect::<String>().as_bytes())?,
            (_, Some('n')) => b'\n',
            (_, Some('r')) => b'\r',
            (_, Some('t')) => b'\t',
            (_, Some(other)) | (other, None) => u8::try_from(other).ok()?,
        });
    }
    // A word in quotes is no telegram.
    (bytes.len() >= 4 && line.contains("\\x")).then_some(bytes)
}

/// The longest run of hex words in a line.
fn hex_of_line(line: &str) -> Result<Vec<u8>, String> {
    if let Some(bytes) = python_bytes(line) {
        return Ok(bytes);
    }
    let line = without_comment(line);
    let (mut best, mut run) = (Vec::new(), Vec::new());
    let (mut strange, mut before) = (None, "");
    for token in line.split(|c: char| {
        c.is_whitespace() || matches!(c, ',' | ';' | '|' | '"' | '\'' | '[' | ']' | '(' | ')')
    }) {
        match hex_token(token) {
            Some(bytes) => run.extend(bytes),
            None => {
                strange = strange.or(Some(token));
                before = if token.is_empty() { before } else { token };
                if run.len() > best.len() {
                    best = std::mem::take(&mut run);
                }
                run.clear();
            }
        }
    }
    let at_end = !run.is_empty() && run.len() >= best.len();
    if run.len() > best.len() {
        best = run;
    }
    match strange {
        // A line of digits with one wrong among them is a mistake, not a log.
        Some(token) if looks_like_hex(token) => Err(format!("{token:?} is no hex: an odd or wrong digit")),
        // In a log, a few hex digits are a year or a count, not a telegram, unless `RX:` stands right before them.
        Some(_) if best.len() < 4 && !(at_end && way_of(before) != Way::Unknown) => Ok(Vec::new()),
        _ => Ok(best),
    }
}

/// A long word of hex digits but for one or its odd length.
fn looks_like_hex(token: &str) -> bool {
    let wrong = token.chars().filter(|c| !c.is_ascii_hexdigit()).count();
    token.len() > 16 && wrong <= 1
}

/// `7EA0`, `0x7e`, `7E:A0:0A:...`; empty words are no bytes.
fn hex_token(token: &str) -> Option<Vec<u8>> {
    let token = token.strip_prefix("0x").or_else(|| token.strip_prefix("0X")).unwrap_or(token);
    let token = token.trim_end_matches([':', '.']);
    let separated = token.contains([':', '-', '.']);
    if separated {
        let parts: Vec<_> = token.split([':', '-', '.']).collect();
        // 12:01:22 is a time, 2019-02-10 a date.
        if parts.len() < 6 || parts.iter().any(|part| part.len() != 2) {
            return None;
        }
        return parts.iter().map(|part| u8::from_str_radix(part, 16).ok()).collect();
    }
    if !token.len().is_multiple_of(2) || !token.is_ascii() {
        return None;
    }
    token.as_bytes().chunks(2).map(byte).collect()
}

fn byte(pair: &[u8]) -> Option<u8> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let (high, low) = (digit(pair.first()?)?, digit(pair.get(1)?)?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Vec<u8> {
        let streams = read_input(text.as_bytes()).unwrap();
        assert_eq!(streams.len(), 1, "{streams:?}");
        streams[0].bytes.clone()
    }

    #[test]
    fn hex_may_be_written_in_many_ways() {
        let bytes = [0x7E, 0xA0, 0x0A, 0x00, 0x02, 0x7E];
        for text in [
            "7EA00A00027E",
            "7e a0 0a 00 02 7e",
            "7E A0 0A\n00 02 7E\n",
            "0x7E, 0xA0, 0x0A, 0x00, 0x02, 0x7E",
            "7E:A0:0A:00:02:7E",
            "# a comment\n7EA00A // flag\n00027E",
            "[2019-02-10 8:45:23.936 #1 debug] data 7ea0 0a00 027e",
            "00000000: 7ea0 0a00 027e  ~....~",
            "00000000  7e a0 0a 00 02 7e                                |~....~|\n00000006",
            "0000   7e a0 0a\n0003   00 02 7e",
        ] {
            assert_eq!(one(text), bytes, "{text:?}");
        }
        assert_eq!(one("\u{7e}\u{1}"), [0x7E, 1], "control characters: not text");
    }

    #[test]
    fn the_directions_of_a_log_are_kept_apart() {
        let text =
            "12:01:22 TX: 7E A0 07 03 21 93 0F 01 7E\n12:01:23 RX: 7E A0 07\n12:01:23 RX: 21 03 73 43 82 7E";
        let streams = read_input(text.as_bytes()).unwrap();
        assert_eq!(streams.len(), 2);
        assert_eq!((streams[0].title.as_str(), streams[0].bytes.len()), ("line 1, sent", 9));
        assert_eq!((streams[1].title.as_str(), streams[1].bytes.len()), ("lines 2-3, received", 9));
    }

    #[test]
    fn headings_tell_the_direction_and_remarks_do_not() {
        let text = "Sent frame:\n7EA00A00020023219318717E\n\nReceived frame:\n7EA0\n23 // length in the frame received\n21000200";
        let streams = read_input(text.as_bytes()).unwrap();
        assert_eq!(streams.len(), 2, "{streams:?}");
        assert_eq!((streams[1].title.as_str(), streams[1].bytes.len()), ("lines 5-7, received", 7));
        let remarks = "7E // flag sent\nA08B // length received\nCEFF03 # in response";
        assert_eq!(read_input(remarks.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn bytes_as_python_logs_them_are_read() {
        let text = r"Sending data  data=bytearray(b'~\xa0\x08 #\x03\x93\x1b\xc2~') transport=HdlcTransport(timeout=10)";
        assert_eq!(one(text), [0x7E, 0xA0, 8, 0x20, 0x23, 3, 0x93, 0x1B, 0xC2, 0x7E]);
        assert_eq!(one(r#"Received data data=b"\x00\x01\t'\\""#), [0, 1, 9, 0x27, 0x5C]);
    }

    #[test]
    fn numbers_in_the_prose_of_a_log_are_no_bytes() {
        let text = "(V) 0F 00 03 D7  8B 0C\n(D) Received valid DLMS at 46\n(E) wrong tag BD";
        assert_eq!(one(text), [0x0F, 0, 3, 0xD7, 0x8B, 0x0C]);
        assert_eq!(one("RX: 06"), [6]);
    }

    #[test]
    fn a_key_beside_a_capture_is_no_part_of_it() {
        let text = "Data\n7EA00A0002002321-\n9318717E\nKey\n36C66639E48A8CA4D6BC8B282A793BBB";
        assert_eq!(one(text).len(), 12);
    }

    #[test]
    fn a_wrong_digit_is_named_with_its_line() {
        let why = read_input(b"7EA0\n7EA00A000200232193187G7E").unwrap_err();
        assert!(why.starts_with("line 2: "), "{why}");
        assert!(read_input(b"").is_err());
        assert!(read_input(b"nothing here").is_err());
    }
}
