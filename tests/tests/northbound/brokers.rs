//! Mosquitto and nats-server from Debian, each with a directory and a port of its own.

use serde_json::Value;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::process::START_TIMEOUT;
use tests::{Folder, Process, free_port};

fn until_listening(port: u16, process: &mut Process) {
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(process.is_running() && Instant::now() < deadline, "it said:\n{}", process.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(process.is_running(), "somebody else has port {port}; it said:\n{}", process.said());
}

/// Ends a program as its service manager would, so that it keeps what it has acknowledged.
fn terminate(process: &mut Process) {
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill is there").success());
    let deadline = Instant::now() + START_TIMEOUT;
    while process.is_running() {
        assert!(Instant::now() < deadline, "it does not end; it said:\n{}", process.said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where a server's certificate, its key, and the authority's certificate are.
#[derive(Debug)]
pub struct Certificates {
    pub authority: String,
    server: String,
    key: String,
}

/// An authority, and a certificate of it for `localhost`.
pub fn certificates(folder: &Folder, name: &str) -> Certificates {
    let at = |what: &str| folder.path().join(format!("{name}.{what}")).to_str().expect("text").to_owned();
    let (ca, ca_key, server, key, request) = (at("ca"), at("ca.key"), at("crt"), at("key"), at("csr"));
    let extensions = folder.file("extensions", "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n");
    let extensions = extensions.to_str().expect("text");
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).output().expect("openssl is there");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority = format!("/CN=authority {name}");
    openssl(
        &[
            &["req", "-x509"][..],
            &new,
            &["-keyout", &ca_key, "-out", &ca, "-days", "30", "-subj", &authority],
        ]
        .concat(),
    );
    openssl(&[&["req"][..], &new, &["-keyout", &key, "-out", &request, "-subj", "/CN=localhost"]].concat());
    let sign =
        ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-set_serial", "1", "-days", "30"];
    openssl(&[&sign[..], &["-extfile", extensions, "-out", &server]].concat());
    Certificates { authority: ca, server, key }
}

/// An MQTT broker.
#[derive(Debug)]
pub struct Mosquitto {
    process: Process,
    port: u16,
    folder: Folder,
}

impl Mosquitto {
    /// Anybody may do what the access rules say; without rules, everything.
    pub fn start(rules: Option<&str>) -> Self {
        let folder = Folder::new("mosquitto");
        let rules = rules.map_or_else(String::new, |rules| {
            format!("acl_file {}\n", folder.file("acl", &format!("{rules}\n")).display())
        });
        Self::start_in(folder, &rules)
    }

    /// Over TLS only.
    pub fn start_tls(certificates: &Certificates) -> Self {
        let more = format!("certfile {}\nkeyfile {}\n", certificates.server, certificates.key);
        Self::start_in(Folder::new("mosquitto"), &more)
    }

    fn start_in(folder: Folder, more: &str) -> Self {
        let port = free_port();
        let directory = folder.path().display();
        // It runs as the user it was started by, who owns the directory.
        folder.file(
            "mosquitto.conf",
            &format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n\
                 persistence_location {directory}/\nmax_queued_messages 100000\nlog_type all\n{more}"
            ),
        );
        let process = Self::run(&folder, port);
        Self { process, port, folder }
    }

    fn run(folder: &Folder, port: u16) -> Process {
        let mut command = Command::new("mosquitto");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        let mut process = Process::start(command.arg("-c").arg(folder.path().join("mosquitto.conf")));
        until_listening(port, &mut process);
        process
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn said(&self) -> String {
        self.process.said()
    }

    pub fn stop(&mut self) {
        terminate(&mut self.process);
    }

    pub fn start_again(&mut self) {
        self.process = Self::run(&self.folder, self.port);
    }

    /// Somebody who reads everything and is remembered by the broker while away.
    pub fn subscribe(&self) -> Reader {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-i", "reader", "-c", "-q", "1"]);
        command.args(["-V", "mqttv5", "-x", "3600", "-t", "#", "-F", "%t %p"]);
        let reader = Reader { process: Process::start(&mut command) };
        // It says nothing when it has subscribed; a message of our own comes back then.
        let deadline = Instant::now() + START_TIMEOUT;
        while !reader.process.said().contains("hello") {
            let mut hello = Command::new("mosquitto_pub");
            hello.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-t", "hello", "-m", "hello"]);
            assert!(hello.status().expect("mosquitto_pub is there").success());
            assert!(Instant::now() < deadline, "nobody listens");
            std::thread::sleep(Duration::from_millis(50));
        }
        reader
    }
}

/// What arrives at a subscriber.
#[derive(Debug)]
pub struct Reader {
    process: Process,
}

impl Reader {
    fn messages(&self) -> Vec<(String, Value)> {
        let said = self.process.said();
        let messages = said.lines().filter_map(|line| line.split_once(' '));
        messages
            .filter_map(|(topic, payload)| Some((topic.to_owned(), serde_json::from_str(payload).ok()?)))
            .collect()
    }

    pub fn topics(&self) -> Vec<String> {
        self.messages().into_iter().map(|(topic, _)| topic).collect()
    }

    /// The facts that came, as soon as they are enough.
    pub fn until(&self, timeout: Duration, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + timeout;
        loop {
            let facts: Vec<Value> = self.messages().into_iter().map(|(_, fact)| fact).collect();
            if enough(&facts) {
                return facts;
            }
            assert!(Instant::now() < deadline, "only these came: {facts:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A NATS server with JetStream.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    port: u16,
    folder: Folder,
}

impl NatsServer {
    pub fn start() -> Self {
        let (folder, port) = (Folder::new("nats"), free_port());
        let process = Self::run(&folder, port);
        Self { process, port, folder }
    }

    fn run(folder: &Folder, port: u16) -> Process {
        let mut command = Command::new("nats-server");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.path());
        let mut process = Process::start(&mut command);
        until_listening(port, &mut process);
        process
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn stop(&mut self) {
        terminate(&mut self.process);
    }

    pub fn start_again(&mut self) {
        self.process = Self::run(&self.folder, self.port);
    }
}
