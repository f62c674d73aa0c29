//! Just enough of the NATS protocol to look into a stream from outside: text lines over TCP.

use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct NatsWire {
    stream: BufReader<TcpStream>,
    replies: VecDeque<Reply>,
}

/// A message with headers that was subscribed to.
#[derive(Debug, Clone)]
pub struct Reply {
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl NatsWire {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        let mut wire = Self { stream: BufReader::new(stream), replies: VecDeque::new() };
        assert!(wire.line().starts_with("INFO "));
        wire.send("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\nSUB inbox 1\r\n");
        wire
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("the server takes it");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the server says something");
        line
    }

    /// Asks the server something; its answer has to be no error.
    pub fn request(&mut self, subject: &str, body: &str) -> Value {
        self.try_request(subject, body).unwrap_or_else(|answer| panic!("{subject}: {answer}"))
    }

    /// Asks the server something; its answer may be an error. Meanwhile replies are kept.
    pub fn try_request(&mut self, subject: &str, body: &str) -> Result<Value, Value> {
        self.send(&format!("PUB {subject} inbox {}\r\n{body}\r\n", body.len()));
        loop {
            let line = self.line();
            if let Some(answer) = self.heard(&line) {
                return if answer["error"].is_null() { Ok(answer) } else { Err(answer) };
            }
        }
    }

    /// Takes one line of the server; gives the answer to a request, if it is one.
    fn heard(&mut self, line: &str) -> Option<Value> {
        if line.starts_with("PING") {
            self.send("PONG\r\n");
            return None;
        }
        assert!(!line.starts_with("-ERR"), "{line}");
        let (answers, replies) = (line.starts_with("MSG inbox "), line.starts_with("HMSG "));
        if !answers && !replies {
            return None;
        }
        let mut words = line.trim().rsplit(' ').map(|word| word.parse::<usize>());
        let length = words.next().and_then(Result::ok).expect("a message ends with its length");
        let mut payload = vec![0; length + 2];
        self.stream.read_exact(&mut payload).expect("the payload follows");
        if answers {
            return Some(serde_json::from_slice(&payload).expect("the server answers in JSON"));
        }
        let head = words.next().and_then(Result::ok).expect("and that of its headers");
        let headers = String::from_utf8_lossy(&payload[..head]);
        let headers = headers.lines().filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let body = serde_json::from_slice(&payload[head..length]).expect("a reply is JSON");
        self.replies.push_back(Reply { headers, body });
        None
    }

    /// Listens to a subject whose messages have headers.
    pub fn subscribe(&mut self, subject: &str) {
        self.send(&format!("SUB {subject} 2\r\n"));
    }

    /// Publishes a message with these headers.
    pub fn publish(&mut self, subject: &str, headers: &[(&str, &str)], body: &str) {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("NATS/1.0\r\n{headers}\r\n");
        self.send(&format!("HPUB {subject} {} {}\r\n{head}{body}\r\n", head.len(), head.len() + body.len()));
    }

    /// The next reply, if one comes in time.
    pub fn try_reply(&mut self, within: Duration) -> Option<Reply> {
        let deadline = Instant::now() + within;
        while self.replies.is_empty() {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.stream.get_ref().set_read_timeout(Some(left)).expect("a time");
            let nothing = self.stream.fill_buf().map(<[u8]>::is_empty);
            self.stream.get_ref().set_read_timeout(None).expect("no time");
            match nothing {
                Ok(false) => {
                    let line = self.line();
                    let _ = self.heard(&line);
                }
                Ok(true) => panic!("the server hung up"),
                Err(_) => return None,
            }
        }
        self.replies.pop_front()
    }

    /// The next reply.
    pub fn reply(&mut self, within: Duration) -> Reply {
        self.try_reply(within).expect("a reply in time")
    }

    /// Every message of a stream, as the JSON it is.
    pub fn stored(&mut self, stream: &str) -> Vec<Value> {
        let info = self.request(&format!("$JS.API.STREAM.INFO.{stream}"), "");
        let last = info["state"]["last_seq"].as_u64().expect("a stream has a last sequence number");
        (1..=last)
            .map(|sequence| {
                let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
                let answer = self.request(&subject, &format!("{{\"seq\":{sequence}}}"));
                let data = answer["message"]["data"].as_str().expect("a message has data");
                serde_json::from_slice(&unbase64(data)).expect("a fact is JSON")
            })
            .collect()
    }
}

/// RFC 4648 clause 4.
fn unbase64(text: &str) -> Vec<u8> {
    let value = |symbol: u8| match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let symbols: Vec<u8> = text.bytes().filter(|symbol| *symbol != b'=').map(value).collect();
    symbols
        .chunks(4)
        .flat_map(|group| {
            let bits = group
                .iter()
                .enumerate()
                .fold(0u32, |bits, (place, six)| bits | u32::from(*six) << (18 - 6 * place));
            bits.to_be_bytes()[1..group.len()].to_vec()
        })
        .collect()
}
