//! Recordings under way, and what is being written into them.

use super::canon::Keyring;
use super::file::{FORMAT, form_name, hex};
use super::redact::Redactor;
use crate::session::work::{Ending, Serial, Work};
use jiff::Timestamp;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The longest text of a recording, in bytes: a session has about ten kilobytes.
const TEXT_MAX: usize = 4 << 20;
/// Recordings kept at a time.
const RECORDINGS_MAX: usize = 16;
/// The longest time a meter may be recorded.
pub const FOR_MAX: Duration = Duration::from_secs(3_600);

/// Why a recording was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartRefused {
    /// Nobody reads for longer than that.
    #[error("a recording lasts from 1 s to {} s", FOR_MAX.as_secs())]
    Duration,
    /// There are enough.
    #[error("{RECORDINGS_MAX} meters are being recorded already")]
    TooMany,
}

/// All recordings, by meter. Cloning shares them. They are in memory alone.
#[derive(Debug, Clone, Default)]
pub struct Recordings(Arc<Mutex<HashMap<Serial, Tape>>>);

impl Recordings {
    /// Begins to record a meter of this model; an older recording of it is dropped.
    ///
    /// # Errors
    /// [`StartRefused`].
    pub fn start(
        &self,
        meter: &Serial,
        model: &str,
        now: Timestamp,
        time: Duration,
    ) -> Result<(), StartRefused> {
        if time.is_zero() || time > FOR_MAX {
            return Err(StartRefused::Duration);
        }
        let mut all = self.all();
        if all.len() >= RECORDINGS_MAX && !all.contains_key(meter) {
            all.retain(|_, tape| tape.is_running());
            if all.len() >= RECORDINGS_MAX {
                return Err(StartRefused::TooMany);
            }
        }
        all.insert(meter.clone(), Tape::new(meter, model, now, time));
        Ok(())
    }

    /// The recording of this meter, if it is running.
    #[must_use]
    pub fn running(&self, meter: &Serial) -> Option<Tape> {
        self.all().get(meter).filter(|tape| tape.is_running()).cloned()
    }

    /// What was recorded of this meter so far, and whether more may come.
    #[must_use]
    pub fn text(&self, meter: &Serial) -> Option<(String, bool)> {
        let tape = self.all().get(meter).cloned()?;
        let text = tape.inner().text.clone();
        Some((text, tape.is_running()))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Serial, Tape>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One recording. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Tape(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    text: String,
    redactor: Redactor,
    began: Instant,
    until: Instant,
    /// A piece of work has begun: what was said before it is not in the recording.
    has_work: bool,
    working: bool,
    closed: bool,
}

impl Inner {
    fn line(&mut self, line: &str) {
        self.closed |= self.text.len() + line.len() >= TEXT_MAX;
        if self.has_work && !self.closed {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// A recording ends with a whole piece of work.
    fn end_of_work(&mut self) {
        self.working = false;
        self.closed |= Instant::now() >= self.until;
    }

    fn seconds(&self) -> String {
        let passed = self.began.elapsed();
        format!("+{}.{:03}", passed.as_secs(), passed.subsec_millis())
    }
}

impl Tape {
    fn new(meter: &Serial, model: &str, now: Timestamp, time: Duration) -> Self {
        let redactor = Redactor::new(&meter.0);
        let mut text = format!("# meter-gateway recording of {}\n", now.strftime("%Y-%m-%d"));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# APDUs as they were before protection; identity, tokens, challenges and keys are replaced.\n\
             #: format {FORMAT}\n#: model {model}\n#: serial {}",
            redactor.stand_in()
        );
        let began = Instant::now();
        let until = began + time;
        let (has_work, working, closed) = (false, false, false);
        Self(Arc::new(Mutex::new(Inner { text, redactor, began, until, has_work, working, closed })))
    }

    fn is_running(&self) -> bool {
        let inner = self.inner();
        !inner.closed && (inner.working || Instant::now() < inner.until)
    }

    /// The first piece of work has begun.
    pub(crate) fn has_work(&self) -> bool {
        self.inner().has_work
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An association is about to be opened, in this way.
    pub(crate) fn open(&self, how: &str) {
        let mut inner = self.inner();
        let remark = format!("# {how}");
        inner.line("#: open");
        inner.line(&remark);
    }

    /// The association is about to be released.
    pub(crate) fn release(&self) {
        self.inner().line("#: release");
    }

    /// A piece of work begins.
    pub(crate) fn work(&self, work: &Work) {
        let mut inner = self.inner();
        let word = match work {
            Work::DeliverToken(token) => format!("deliver-token {}", inner.redactor.token(token.reveal())),
            Work::ClearTamper(token) => format!("clear-tamper {}", inner.redactor.token(token.reveal())),
            Work::AskToken(token) => format!("ask-token {}", inner.redactor.token(token.reveal())),
            Work::ReadProfile(wanted) => {
                format!("read-profile {} {} {}", wanted.profile, wanted.from, wanted.to)
            }
            work => work.name().to_owned(),
        };
        inner.has_work = true;
        inner.working = true;
        inner.line(&format!("#: work {word}"));
    }

    /// The association is dropped without a word.
    pub(crate) fn abandon(&self) {
        let mut inner = self.inner();
        inner.line("# the association was given up");
        inner.end_of_work();
    }

    /// It ended, in the gateway's judgement.
    pub(crate) fn ending(&self, word: &str) {
        let mut inner = self.inner();
        inner.line(&format!("#: ending {word}"));
        inner.end_of_work();
    }

    /// The gateway sends this APDU.
    pub(crate) fn sent(&self, keys: &mut Keyring, apdu: &[u8]) {
        let plain = keys.sent(apdu);
        let mut inner = self.inner();
        let (client, server) = keys.titles();
        inner.redactor.titles(client, server);
        let line = match plain {
            Some(mut plain) => {
                inner.redactor.sent(&mut plain.bytes);
                format!("{} sent {} {}", inner.seconds(), form_name(plain.form), hex(&plain.bytes))
            }
            None => format!("# {} sent {} bytes that are not shown", inner.seconds(), apdu.len()),
        };
        inner.line(&line);
    }

    /// The meter sent this APDU.
    pub(crate) fn received(&self, keys: &mut Keyring, apdu: &[u8]) {
        let plain = keys.received(apdu);
        let mut inner = self.inner();
        let (client, server) = keys.titles();
        inner.redactor.titles(client, server);
        let line = match plain {
            Some(mut plain) => {
                inner.redactor.received(&mut plain.bytes);
                format!("{} received {} {}", inner.seconds(), form_name(plain.form), hex(&plain.bytes))
            }
            None => format!("# {} received {} bytes that do not open", inner.seconds(), apdu.len()),
        };
        inner.line(&line);
    }
}

/// An ending in one word.
pub(crate) const fn ending_word(ending: &Ending) -> &'static str {
    match ending {
        Ending::Done => "done",
        Ending::Rejected { .. } => "rejected",
        Ending::NotSent { .. } => "not-sent",
        Ending::Unknown { .. } => "unknown",
    }
}
