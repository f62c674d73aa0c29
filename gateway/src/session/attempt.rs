//! One piece of work under way: what was read so far, the evidence, and whether the meter may already have acted.

use super::trouble::Trouble;
use super::work::{Ending, Facts, Heard, Report};
use crate::clock::Clock;
use jiff::Timestamp;
use tokio::sync::oneshot;

/// The most evidence lines kept; a command needs about ten.
const EVIDENCE_MAX: usize = 64;

/// One piece of work under way. Lives outside the future that does the work, so that what was learnt survives when that
/// future is given up.
#[derive(Debug)]
pub struct Attempt {
    /// What was read so far.
    pub facts: Facts,
    /// The highest counter heard, for whoever stores the facts.
    pub heard: Option<Heard>,
    /// Associations opened for it.
    pub associations: u32,
    clock: Clock,
    started: Timestamp,
    evidence: Vec<String>,
    sending: Option<oneshot::Sender<()>>,
    sent: bool,
}

impl Attempt {
    /// Begins now.
    #[must_use]
    pub fn begin(clock: Clock, sending: Option<oneshot::Sender<()>>) -> Self {
        Self {
            facts: Facts::default(),
            heard: None,
            associations: 0,
            clock,
            started: clock.now(),
            evidence: Vec::new(),
            sending,
            sent: false,
        }
    }

    /// Civil time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Adds a line of evidence with the time. Never keys, never token digits.
    pub fn note(&mut self, line: impl AsRef<str>) {
        if self.evidence.len() < EVIDENCE_MAX {
            let time = self.clock.now().strftime("%H:%M:%S%.3f");
            self.evidence.push(format!("{time} {}", line.as_ref()));
        }
    }

    /// A state-changing request is about to leave: from here on a missing answer means that nobody knows.
    pub fn about_to_send(&mut self) {
        self.sent = true;
        if let Some(sending) = self.sending.take() {
            // Nobody waiting for this is fine.
            let _ = sending.send(());
        }
    }

    /// A state-changing request has left, or may have.
    #[must_use]
    pub const fn may_have_acted(&self) -> bool {
        self.sent
    }

    /// Ends with what the work says, or with what its trouble means: trouble before a state-changing request left means
    /// that nothing was sent, any trouble after it that nobody knows. That a meter refused what was asked of it is for the
    /// work itself to say; a refused reading on the way there is trouble.
    #[must_use]
    pub fn end(mut self, outcome: Result<Ending, Trouble>) -> Report {
        let ending = match outcome {
            Ok(ending) => ending,
            Err(trouble) => {
                self.note(trouble.to_string());
                let reason = trouble.to_string();
                if self.sent { Ending::Unknown { reason } } else { Ending::NotSent { reason } }
            }
        };
        Report {
            ending,
            facts: self.facts,
            heard: self.heard,
            started: self.started,
            ended: self.clock.now(),
            evidence: self.evidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn silence() -> Trouble {
        Trouble::Silent { waited_for: "the answer".into(), waited: Duration::from_secs(3) }
    }

    #[test]
    fn the_same_silence_means_not_sent_before_the_request_left_and_unknown_after() {
        let before = Attempt::begin(Clock::real(), None).end(Err(silence()));
        assert!(matches!(before.ending, Ending::NotSent { .. }));
        let (sender, mut receiver) = oneshot::channel();
        let mut attempt = Attempt::begin(Clock::real(), Some(sender));
        assert!(receiver.try_recv().is_err());
        attempt.about_to_send();
        assert!(receiver.try_recv().is_ok());
        let after = attempt.end(Err(silence()));
        assert_eq!(after.ending, Ending::Unknown { reason: "no answer to the answer within 3000 ms".into() });
    }

    #[test]
    fn a_refused_reading_is_no_refusal_of_the_command() {
        let refused = || Trouble::Refused { reason: "read-write denied".into(), code: Some(3) };
        let before = Attempt::begin(Clock::real(), None).end(Err(refused()));
        assert_eq!(before.ending, Ending::NotSent { reason: "read-write denied".into() });
        let mut attempt = Attempt::begin(Clock::real(), None);
        attempt.about_to_send();
        assert!(matches!(attempt.end(Err(refused())).ending, Ending::Unknown { .. }));
    }
}
