//! Just enough of the NATS protocol to look into a stream from outside: text lines over TCP.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

#[derive(Debug)]
pub struct NatsWire {
    stream: BufReader<TcpStream>,
}

impl NatsWire {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        let mut wire = Self { stream: BufReader::new(stream) };
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
        self.send(&format!("PUB {subject} inbox {}\r\n{body}\r\n", body.len()));
        loop {
            let line = self.line();
            if line.starts_with("PING") {
                self.send("PONG\r\n");
            } else if line.starts_with("MSG inbox ") {
                let length = line.trim().rsplit(' ').next().and_then(|text| text.parse::<usize>().ok());
                let mut payload = vec![0; length.expect("MSG ends with a length") + 2];
                self.stream.read_exact(&mut payload).expect("the payload follows");
                let answer: Value = serde_json::from_slice(&payload).expect("the server answers in JSON");
                assert!(answer["error"].is_null(), "{subject}: {answer}");
                return answer;
            } else {
                assert!(!line.starts_with("-ERR"), "{line}");
            }
        }
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
