//! The gateway as systemd and an operator run it: told when it is ready, fed while it makes progress, its configuration and its log
//! levels changed while it runs, and stopped in order.

use serde_json::{Value, json};
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::{Folder, GatewayProcess};

const SOON: Duration = Duration::from_secs(60);

/// The other end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    _folder: Folder,
}

impl Manager {
    fn new() -> (Self, String) {
        let folder = Folder::new("notify");
        let path = folder.path().join("notify.socket");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let name = path.to_str().expect("a path of ours is text").to_owned();
        (Self { socket, _folder: folder }, name)
    }

    /// The next message that is not about the watchdog.
    fn next(&self) -> String {
        self.until(|message| message != "WATCHDOG=1\n")
    }

    fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + SOON;
        let mut buffer = [0; 512];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            let count = self.socket.recv(&mut buffer).expect("systemd is told in time");
            let message = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if wanted(&message) {
                return message;
            }
        }
    }
}

fn signal(gateway: &GatewayProcess, name: &str) {
    let id = gateway.process.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
    assert!(sent.success());
}

fn lines(gateway: &GatewayProcess) -> Vec<String> {
    let lines = gateway.get("/lines");
    let names = lines.as_array().expect("a list").iter();
    names.map(|line| line["line"].as_str().expect("a name").to_owned()).collect()
}

/// A meter's place that takes every connection and every byte, and never answers.
fn deaf_meter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut scratch = [0; 64];
                while matches!(stream.read(&mut scratch), Ok(1..)) {}
            });
        }
    });
    address
}

#[test]
fn systemd_is_told_and_a_new_configuration_is_taken_whole_or_refused_whole() {
    let (manager, name) = Manager::new();
    let environment =
        vec![("NOTIFY_SOCKET", PathBuf::from(name)), ("WATCHDOG_USEC", PathBuf::from("4000000"))];
    let gateway = GatewayProcess::start_in(Folder::new("systemd"), environment, |_| String::new());
    assert_eq!(manager.next(), "READY=1\n");
    for _ in 0..2 {
        manager.until(|message| message == "WATCHDOG=1\n");
    }

    let file = gateway.folder().path().join("gateway.toml");
    let old = std::fs::read_to_string(&file).expect("its configuration");
    let address = deaf_meter();
    let feeder = format!("[[line]]\nname = \"feeder\"\nkind = \"modbus-tcp\"\naddress = \"{address}\"\n");
    std::fs::write(&file, format!("{old}{feeder}")).expect("written");
    signal(&gateway, "HUP");
    let reloading = manager.next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.next(), "READY=1\n");
    assert_eq!(lines(&gateway), ["feeder", "street"]);

    // A mistake leaves all as it was, and says where it is.
    std::fs::write(&file, format!("{old}colour = \"red\"\n")).expect("written");
    signal(&gateway, "HUP");
    assert!(manager.next().starts_with("RELOADING=1\n"));
    assert_eq!(manager.next(), "READY=1\n");
    assert_eq!(lines(&gateway), ["feeder", "street"]);
    let line = old.lines().count() + 1;
    let status = gateway.get("/status");
    let problem = status["problems"][0].as_str().expect("a problem");
    assert!(problem.contains(&format!("gateway.toml:{line}: unknown field `colour`")), "{problem}");
    assert!(gateway.process.said().contains("the new configuration is refused"));

    // What cannot change while it runs is named, also on the command line.
    std::fs::write(&file, old.replace("store.db", "other.db")).expect("written");
    let (code, said) = gateway.run(&["reload"]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("[store] changed, which needs a restart"), "{said}");

    std::fs::write(&file, old.replace("\"30\"", "\"60\"")).expect("written");
    assert_eq!(gateway.must(&["reload"]).trim(), "[price]; line \"feeder\" removed");
    assert_eq!(lines(&gateway), ["street"]);
    assert_eq!(gateway.get("/status")["problems"], json!([]));

    signal(&gateway, "TERM");
    assert_eq!(manager.next(), "STOPPING=1\n");
    let (code, said) = gateway.process.finish(SOON);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopped"), "{said}");
}

#[test]
fn a_correlation_id_goes_from_the_api_down_to_the_bytes_when_the_log_is_turned_up() {
    let address = deaf_meter();
    let mut gateway = GatewayProcess::start_with(|_| {
        format!("[[line]]\nname = \"feeder\"\nkind = \"modbus-tcp\"\naddress = \"{address}\"\n")
    });
    let add =
        ["meter", "add", "--serial", "F1", "--line", "feeder", "--address", "1", "--model", "feeder-modbus"];
    gateway.must(&add);
    assert_eq!(gateway.must(&["log-level"]).trim(), "info");
    assert!(!gateway.process.said().contains("TRACE"), "{}", gateway.process.said());
    let levels = "info,gateway::driver=trace";
    assert_eq!(gateway.must(&["log-level", levels]).trim(), levels);

    let url = format!("http://{}/api/v1/commands", gateway.address());
    let mut answer = ureq::post(url)
        .header("Authorization", format!("Bearer {}", gateway.token()))
        .header("X-Correlation-Id", "story-17")
        .send_json(json!({"serial": "F1", "kind": "read"}))
        .expect("a read is recorded");
    let command: Value = answer.body_mut().read_json().expect("a command");
    assert!(command["id"].is_number(), "{command}");
    let what = "the bytes of the read, with its correlation id";
    let line = gateway.process.expect(what, SOON, |line| {
        (line.contains("TRACE") && line.contains("story-17")).then(|| line.to_owned())
    });
    for part in ["line=\"feeder\"", "meter=\"F1\"", "sent bytes=12"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    gateway.must(&["log-level", "info"]);
    let (code, said) = gateway.run(&["log-level", "gateway=deafening"]);
    assert_eq!(code, Some(65), "{said}");
}
