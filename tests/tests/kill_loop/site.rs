//! A street, a gateway beside it, and the way to its API.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::power_loss::Disk;
use tests::{Folder, GatewayProcess, Street};

/// Meters that are topped up, and after them meters that are switched and read.
const CUSTOMERS: u32 = 6;
const SWITCHED: u32 = 3;
/// Nobody runs out of credit in the time of a test.
const CREDIT_WH: &str = "5000000";
/// How long a request may take, at a gateway that is killed in the middle of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway that answers nothing for so long does not come back.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(300);

/// The scene.
pub struct Site {
    pub street: Street,
    pub gateway: GatewayProcess,
    pub disk: Option<Disk>,
    pub door: Door,
    /// Serial numbers; the first is meter 1 of the street.
    pub customers: Vec<String>,
    pub switched: Vec<String>,
}

impl Site {
    /// Everything commissioned. With `power_is_cut` the gateway's disk forgets what was not synced.
    pub fn set_up(power_is_cut: bool) -> Self {
        let meters = CUSTOMERS + SWITCHED;
        let street = Street::start(meters, "wrapper", &["--balance-wh", CREDIT_WH]);
        let folder = Folder::new("kills");
        let disk = power_is_cut.then(|| Disk::below(folder.path()));
        let environment = disk.as_ref().map(Disk::environment).unwrap_or_default();
        let gateway = GatewayProcess::start_in(folder, environment, |_| {
            "[schedule]\nread_interval_s = 2\ncommand_expiry_s = 3600\n".to_owned()
        });
        let serial = |number| street.meter(number)["serial"].as_str().expect("a serial number").to_owned();
        let serials: Vec<String> = (1..=meters as usize).map(serial).collect();
        for (index, serial) in serials.iter().enumerate() {
            let address = format!("{}:{}", street.host(index + 1), street.port);
            gateway.add_meter(serial, &address, "wrapper");
        }
        for serial in &serials {
            gateway.until_commissioned(serial);
        }
        let door = Door::to(&gateway);
        let (customers, switched) = serials.split_at(CUSTOMERS as usize);
        let (customers, switched) = (customers.to_vec(), switched.to_vec());
        Self { street, gateway, disk, door, customers, switched }
    }
}

/// The API, as somebody sees it who does not know that the gateway is killed all the time.
#[derive(Clone)]
pub struct Door {
    agent: ureq::Agent,
    url: String,
    token: String,
}

/// What came back: a status and a body, or nothing.
pub type Answer = Option<(u16, Value)>;

impl Door {
    fn to(gateway: &GatewayProcess) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        Self {
            agent: config.build().new_agent(),
            url: format!("http://{}/api/v1", gateway.address()),
            token: gateway.token().to_owned(),
        }
    }

    /// Reads a path below `/api/v1`.
    pub fn get(&self, path: &str) -> Answer {
        let request = self.agent.get(format!("{}{path}", self.url));
        answer(request.header("Authorization", format!("Bearer {}", self.token)).call())
    }

    /// Posts as the administrator.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.agent.post(format!("{}{path}", self.url));
        answer(request.header("Authorization", format!("Bearer {}", self.token)).send_json(body))
    }

    /// Posts with these headers besides.
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url)).content_type("application/json");
        request = request.header("Authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body))
    }

    /// Reads a path that is there, as often as it takes.
    pub fn must_get(&self, path: &str) -> Value {
        let asked = Instant::now();
        loop {
            assert!(
                asked.elapsed() < ANSWERS_WITHIN,
                "no answer to GET {path}: the gateway is gone for good"
            );
            match self.get(path) {
                Some((200, body)) => return body,
                Some((status, body)) if status < 500 => panic!("GET {path}: {status} {body}"),
                _ => pause(),
            }
        }
    }
}

fn answer(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = sent.ok()?;
    // An answer that was cut short is none.
    let body = response.body_mut().read_json().ok()?;
    Some((response.status().as_u16(), body))
}

/// Between two attempts.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(30));
}

/// The body of a command.
pub fn command(serial: &str, kind: &str) -> Value {
    match kind {
        "disconnect" => json!({ "serial": serial, "kind": kind, "reason": "fault" }),
        _ => json!({ "serial": serial, "kind": kind }),
    }
}
