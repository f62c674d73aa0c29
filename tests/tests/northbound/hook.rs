//! A webhook's endpoint that says no a few times first.

use gateway::api::signature::{Signed, sign};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One post, and what it was answered.
#[derive(Debug, Clone)]
pub struct Post {
    pub key: String,
    pub signed: bool,
    pub facts: Vec<Value>,
    pub answered: u16,
}

#[derive(Debug)]
pub struct Hook {
    port: u16,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Hook {
    pub const SECRET: &str = "the secret of the endpoint";
    const PATH: &str = "/facts";

    /// Answers the first posts with `first`, the others with 200.
    pub fn start(first: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let posts: Arc<Mutex<Vec<Post>>> = Arc::default();
        let (seen, first) = (Arc::clone(&posts), first.to_vec());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut posts = seen.lock().expect("nobody panics with it");
                let status = first.get(posts.len()).copied().unwrap_or(200);
                posts.push(answer(&stream, status));
            }
        });
        Self { port, posts }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, Self::PATH)
    }

    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().expect("nobody panics with it").clone()
    }
}

fn answer(mut stream: &TcpStream, status: u16) -> Post {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request begins");
    assert_eq!(line, format!("POST {} HTTP/1.1\r\n", Hook::PATH));
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).expect("headers follow");
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers["content-length"].parse().expect("a length");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body follows");
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .expect("it listens");
    let key = headers["idempotency-key"].clone();
    let signature = &headers["x-signature"];
    let time = signature.strip_prefix("t=").and_then(|rest| rest.split(',').next()?.parse().ok());
    let signed = Signed { method: "POST", path: Hook::PATH, key: &key, body: &body };
    let right = sign(Hook::SECRET.as_bytes(), time.expect("a signature has a time"), &signed);
    let body: Value = serde_json::from_slice(&body).expect("a post is JSON");
    let facts = body["facts"].as_array().expect("facts are an array").clone();
    Post { signed: *signature == right, key, facts, answered: status }
}
