//! Finding the meters on a bus: every address is asked who is there, one after the other, whenever nothing else is to do. What is
//! found is proposed; nobody is entered by it.

use crate::clock::Clock;
use crate::commands::router::{NoPlace, Router};
use crate::session::directory::{Directory, Endpoint, Framing};
use crate::session::work::{Ending, Facts, Job, Priority, Serial, Work};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// A line with a full queue is asked again after this time.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Between two addresses the line is everybody else's.
const POLITE_PAUSE: Duration = Duration::from_millis(50);

/// What answered at an address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Found {
    /// The address on the line.
    pub address: u32,
    /// The models under which it gave a serial number; or the one that was asked for.
    pub models: Vec<String>,
    /// The serial number it gave under the first of them, if it gives that to strangers.
    pub serial: Option<String>,
    /// The logical device name it gave.
    pub device_name: Option<String>,
    /// The firmware identifier it gave.
    pub firmware: Option<String>,
    /// The meter of that address that is entered already; it was not asked.
    pub entered: Option<String>,
    /// Why it gave no serial number.
    pub note: Option<String>,
}

/// How far a search has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Progress {
    /// The line.
    pub line: String,
    /// How meters were spoken to.
    pub models: Vec<String>,
    /// The first address.
    pub from: u32,
    /// The last one.
    pub to: u32,
    /// Addresses asked so far.
    pub asked: u32,
    /// It goes on.
    pub running: bool,
    /// Why it could not go on.
    pub problem: Option<String>,
    /// What answered so far.
    pub found: Vec<Found>,
}

/// What to look for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The line.
    pub line: String,
    /// How to speak to what is there: each in turn, until nobody answers.
    pub models: Vec<String>,
    /// Addresses.
    pub addresses: RangeInclusive<u32>,
}

/// One search at a time on each line. Cloning shares them; they are forgotten with the gateway.
#[derive(Debug, Clone)]
pub struct Discoveries {
    lines: Arc<Mutex<BTreeMap<String, Run>>>,
    router: Router,
    directory: Directory,
    clock: Clock,
}

/// The last search of a line. A later one has a higher number.
#[derive(Debug)]
struct Run {
    number: u64,
    progress: Progress,
}

impl Discoveries {
    /// None yet.
    #[must_use]
    pub fn new(router: Router, directory: Directory, clock: Clock) -> Self {
        Self { lines: Arc::default(), router, directory, clock }
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Run>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the last search on a line has come.
    #[must_use]
    pub fn progress(&self, line: &str) -> Option<Progress> {
        self.lines().get(line).map(|run| run.progress.clone())
    }

    /// Ends a search after the address it is at. False when there is none.
    pub fn stop(&self, line: &str) -> bool {
        match self.lines().get_mut(line).filter(|run| run.progress.running) {
            Some(run) => {
                run.progress.running = false;
                true
            }
            None => false,
        }
    }

    /// Begins a search; gives nothing when one is under way on that line.
    #[must_use]
    pub fn start(&self, search: Search) -> Option<Progress> {
        let progress = Progress {
            line: search.line.clone(),
            models: search.models.clone(),
            from: *search.addresses.start(),
            to: *search.addresses.end(),
            asked: 0,
            running: true,
            problem: None,
            found: Vec::new(),
        };
        let number = {
            let mut lines = self.lines();
            let before = lines.get(&search.line);
            if before.is_some_and(|before| before.progress.running) {
                return None;
            }
            let number = before.map_or(0, |before| before.number + 1);
            lines.insert(search.line.clone(), Run { number, progress: progress.clone() });
            number
        };
        tokio::spawn(self.clone().run(search, number));
        Some(progress)
    }

    async fn run(self, search: Search, number: u64) {
        for address in search.addresses.clone() {
            let answered = match self.directory.on_line(&search.line, &address.to_string()) {
                Some(entered) => Ok(Some(Found { address, entered: Some(entered.0), ..Found::default() })),
                None => self.ask(&search, address).await,
            };
            if !self.note(&search.line, number, answered) {
                return;
            }
            tokio::time::sleep(POLITE_PAUSE).await;
        }
        if let Some(run) = self.lines().get_mut(&search.line).filter(|run| run.number == number) {
            run.progress.running = false;
        }
    }

    /// Takes down what came of an address. False when that was the last one.
    fn note(&self, line: &str, number: u64, answered: Result<Option<Found>, String>) -> bool {
        let mut lines = self.lines();
        let Some(run) = lines.get_mut(line).filter(|run| run.number == number) else { return false };
        match answered {
            Ok(found) => {
                run.progress.asked += 1;
                run.progress.found.extend(found);
            }
            Err(problem) => {
                run.progress.problem = Some(problem);
                run.progress.running = false;
            }
        }
        run.progress.running
    }

    /// Asks one address; nothing when nobody answers.
    async fn ask(&self, search: &Search, address: u32) -> Result<Option<Found>, String> {
        let mut found: Option<Found> = None;
        for model in &search.models {
            let (ending, facts) = self.identify(search, address, model).await?;
            let there = found.get_or_insert_with(|| Found { address, ..Found::default() });
            match ending {
                Ending::Done if facts.serial.is_some() || search.models.len() == 1 => {
                    there.models.push(model.clone());
                    if there.serial.is_none() {
                        there.serial = facts.serial;
                    }
                    there.device_name = there.device_name.take().or(facts.device_name);
                    there.firmware = there.firmware.take().or(facts.firmware);
                    there.note = None;
                }
                Ending::Done => {}
                Ending::Rejected { reason, .. } if there.models.is_empty() => there.note = Some(reason),
                Ending::Rejected { .. } => {}
                // Nobody is there, or nobody any more.
                Ending::NotSent { .. } | Ending::Unknown { .. } => {
                    let anybody = !there.models.is_empty() || there.note.is_some();
                    return Ok(found.filter(|_| anybody));
                }
            }
        }
        Ok(found)
    }

    /// Has whoever is there asked, as a meter of this model.
    async fn identify(&self, search: &Search, address: u32, model: &str) -> Result<(Ending, Facts), String> {
        // Nobody's serial number: it stands for whoever is there, as long as the question takes.
        let stranger = Serial(format!("?{}/{address}", search.line));
        self.directory.put(Endpoint {
            serial: stranger.clone(),
            line: search.line.clone(),
            address: address.to_string(),
            framing: Framing::default(),
            model: model.to_owned(),
        });
        let report = self.question(&stranger).await;
        self.directory.remove(&stranger);
        report
    }

    async fn question(&self, stranger: &Serial) -> Result<(Ending, Facts), String> {
        let place = loop {
            match self.router.reserve(stranger) {
                Ok(place) => break place,
                Err(NoPlace::Full) => tokio::time::sleep(FULL_PAUSE).await,
                Err(NoPlace::Nobody(reason)) => return Err(reason),
            }
        };
        let (report, answer) = oneshot::channel();
        place.send(Job {
            meter: stranger.clone(),
            work: Work::Identify,
            priority: Priority::Backfill,
            not_after: None,
            correlation: format!("discover-{}-{}", stranger.0, self.clock.now().as_second()),
            report,
            sending: None,
        });
        match answer.await {
            Ok(report) => Ok((report.ending, report.facts)),
            Err(_) => Err("the task of the line has ended".to_owned()),
        }
    }
}
