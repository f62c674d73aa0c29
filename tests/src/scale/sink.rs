//! The other end of the WAN: a webhook's endpoint that can be cut off, and what it was told.

use jiff::Timestamp;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a peer may take to say something.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks for a connection.
const LOOK: Duration = Duration::from_millis(5);

/// Of which profile a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Row {
    /// An interval of the load profile.
    Load,
    /// A daily snapshot, for the bill.
    Daily,
}

impl Row {
    /// When what this row is about ended: a snapshot is taken a moment after its day began.
    fn place(self, at: Timestamp) -> Timestamp {
        let day = || Timestamp::from_second(at.as_second() - at.as_second().rem_euclid(86_400));
        match self {
            Self::Load => at,
            Self::Daily => day().unwrap_or(at),
        }
    }
}

/// What was told so far.
#[derive(Debug, Default)]
pub struct Told {
    /// Posts that were taken.
    pub posts: u64,
    /// Facts by their number.
    ids: HashSet<u64>,
    /// Facts that came again.
    pub repeated: u64,
    /// Facts by kind.
    pub kinds: HashMap<String, u64>,
    /// Register readings by meter.
    pub readings: HashMap<String, u64>,
    /// How late rows of profiles came, in seconds after their time, by profile, meter and time.
    rows: HashMap<(Row, String, Timestamp), i64>,
    /// Rows that came twice.
    pub rows_again: u64,
}

impl Told {
    /// How many different facts.
    #[must_use]
    pub fn facts(&self) -> u64 {
        self.ids.len() as u64
    }

    /// The greatest number of a fact.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.ids.iter().copied().max().unwrap_or(0)
    }

    /// How long after its time the gateway had this row, in seconds; nothing when it was never told.
    #[must_use]
    pub fn lateness_s(&self, row: Row, serial: &str, at: Timestamp) -> Option<i64> {
        self.rows.get(&(row, serial.to_owned(), at)).copied()
    }

    fn take(&mut self, facts: &[Value]) {
        self.posts += 1;
        for fact in facts {
            if !self.ids.insert(fact["id"].as_u64().unwrap_or(0)) {
                self.repeated += 1;
                continue;
            }
            let (kind, serial) = (text(&fact["kind"]), text(&fact["serial"]));
            if kind == "reading" {
                *self.readings.entry(serial.clone()).or_default() += 1;
            }
            let row = [("load", Row::Load), ("daily", Row::Daily)];
            let row =
                row.into_iter().find(|(name, _)| kind == "profile" && fact["detail"]["profile"] == *name);
            for (at, (_, profile)) in
                fact["detail"]["rows"].as_array().into_iter().flatten().zip(row.iter().cycle())
            {
                let (told, at) = (time(&fact["at"]), profile.place(time(&at["at"])));
                let late = told.duration_since(at).as_secs();
                self.rows_again +=
                    u64::from(self.rows.insert((*profile, serial.clone(), at), late).is_some());
            }
            *self.kinds.entry(kind).or_default() += 1;
        }
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The endpoint.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    cut: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Endpoint {
    /// Listens on a port of its own.
    ///
    /// # Panics
    /// When the system has none left.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let endpoint = Self { address, told: Arc::default(), cut: Arc::default(), over: Arc::default() };
        let (told, cut, over) = (endpoint.told.clone(), endpoint.cut.clone(), endpoint.over.clone());
        std::thread::spawn(move || listen(listener, address, &told, &cut, &over));
        endpoint
    }

    /// The gateway's `[[sink]]` for it.
    #[must_use]
    pub fn settings(&self) -> String {
        format!(
            "[[sink]]\nname = \"wan\"\nurl = \"http://{}/facts\"\nsecret_file = \"hook.secret\"\n",
            self.address
        )
    }

    /// Cuts it off, or ends that: nobody answers at its address meanwhile.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// What it was told.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn listen(
    listener: TcpListener,
    address: SocketAddr,
    told: &Mutex<Told>,
    cut: &AtomicBool,
    over: &AtomicBool,
) {
    let mut open = Some(listener);
    while !over.load(Ordering::Relaxed) {
        match (&open, cut.load(Ordering::Relaxed)) {
            (Some(_), true) => open = None,
            // Somebody may have the port for a moment.
            (None, false) => open = TcpListener::bind(address).ok(),
            (None, true) => {}
            (Some(listener), false) => {
                listener.set_nonblocking(true).expect("a listener can be asked without waiting");
                while let Ok((stream, _)) = listener.accept() {
                    // A post that was broken off was not taken.
                    if let Some(facts) = post(&stream) {
                        told.lock().unwrap_or_else(PoisonError::into_inner).take(&facts);
                        let _ = (&stream)
                            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    }
                    if cut.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// The facts of a post that came whole.
fn post(stream: &TcpStream) -> Option<Vec<Value>> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(("content-length", value)) = line.trim().to_ascii_lowercase().split_once(": ") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    Some(body["facts"].as_array()?.clone())
}
