//! The jobs waiting for a line: most urgent first, first come first served among equals, except that a meter whose
//! association is open goes before its equals.

use super::work::{Job, Priority, Serial};
use jiff::Timestamp;
use std::collections::VecDeque;

/// The most jobs that may wait for one line. Whoever has more to do schedules it; a queue is no plan.
pub const QUEUE_MAX: usize = 4096;

/// How often a meter with an open association may go before an equal that waited longer.
const FAVOURS_MAX: u32 = 8;

/// Jobs by priority. Bounded by [`QUEUE_MAX`].
#[derive(Debug, Default)]
pub struct JobQueue {
    lanes: [VecDeque<Job>; 4],
    favours: u32,
}

const fn lane(priority: Priority) -> usize {
    match priority {
        Priority::Command => 0,
        Priority::OnDemand => 1,
        Priority::Billing => 2,
        Priority::Scheduled => 3,
    }
}

impl JobQueue {
    /// How many jobs wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// No job waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    /// Adds a job; gives it back when the queue is full.
    ///
    /// # Errors
    /// The job itself.
    pub fn push(&mut self, job: Job) -> Result<(), Box<Job>> {
        if self.len() >= QUEUE_MAX {
            return Err(Box::new(job));
        }
        self.lanes[lane(job.priority)].push_back(job);
        Ok(())
    }

    /// Takes the next job. `open` is the meter whose association is open, if any: its jobs go before equals, at most
    /// [`FAVOURS_MAX`] times in a row.
    pub fn pop(&mut self, open: Option<&Serial>) -> Option<Job> {
        let jobs = self.lanes.iter_mut().find(|jobs| !jobs.is_empty())?;
        let favoured = open.and_then(|meter| jobs.iter().position(|job| job.meter == *meter)).unwrap_or(0);
        if favoured == 0 || self.favours >= FAVOURS_MAX {
            self.favours = 0;
            return jobs.pop_front();
        }
        self.favours += 1;
        jobs.remove(favoured)
    }

    /// Takes out every job that must not be started any more.
    pub fn expired(&mut self, now: Timestamp) -> Vec<Job> {
        let mut gone = Vec::new();
        for jobs in &mut self.lanes {
            let mut at = 0;
            while at < jobs.len() {
                if jobs[at].not_after.is_some_and(|limit| limit < now) {
                    gone.extend(jobs.remove(at));
                } else {
                    at += 1;
                }
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::work::Work;
    use tokio::sync::oneshot;

    fn job(meter: &str, priority: Priority) -> Job {
        Job {
            meter: Serial(meter.into()),
            work: Work::Read,
            priority,
            not_after: None,
            correlation: String::new(),
            report: oneshot::channel().0,
            sending: None,
        }
    }

    fn order(queue: &mut JobQueue, open: Option<&str>) -> Vec<String> {
        let open = open.map(|meter| Serial(meter.into()));
        std::iter::from_fn(|| queue.pop(open.as_ref())).map(|job| job.meter.0).collect()
    }

    #[test]
    fn a_command_overtakes_everything_and_equals_keep_their_order() {
        let mut queue = JobQueue::default();
        for (meter, priority) in [
            ("a", Priority::Scheduled),
            ("b", Priority::Billing),
            ("c", Priority::Scheduled),
            ("d", Priority::Command),
            ("e", Priority::OnDemand),
        ] {
            queue.push(job(meter, priority)).expect("room");
        }
        assert_eq!(order(&mut queue, None), ["d", "e", "b", "a", "c"]);
    }

    #[test]
    fn an_open_association_is_used_before_equals_but_starves_nobody() {
        let mut queue = JobQueue::default();
        queue.push(job("other", Priority::Scheduled)).expect("room");
        for _ in 0..20 {
            queue.push(job("open", Priority::Scheduled)).expect("room");
        }
        let order = order(&mut queue, Some("open"));
        assert_eq!(order.iter().position(|meter| meter == "other"), Some(FAVOURS_MAX as usize));
    }

    #[test]
    fn a_job_past_its_time_is_taken_out_and_a_full_queue_gives_the_job_back() {
        let mut queue = JobQueue::default();
        let limit = Timestamp::from_second(1_000).expect("in range");
        queue.push(Job { not_after: Some(limit), ..job("late", Priority::Command) }).expect("room");
        queue.push(job("later", Priority::Command)).expect("room");
        assert!(queue.expired(limit).is_empty());
        let gone = queue.expired(Timestamp::from_second(1_001).expect("in range"));
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].meter.0, "late");
        for _ in 0..QUEUE_MAX - 1 {
            queue.push(job("x", Priority::Scheduled)).expect("room");
        }
        assert_eq!(queue.push(job("one more", Priority::Command)).expect_err("full").meter.0, "one more");
    }
}
