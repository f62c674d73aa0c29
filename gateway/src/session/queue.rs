//! The jobs waiting for a line: most urgent first, first come first served among equals, except that a meter whose
//! association is open goes before its equals, and that whoever was passed over often enough has the next turn.

use super::work::{Job, Priority, Serial};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The most jobs that may wait for one line. Whoever has more to do schedules it; a queue is no plan.
pub const QUEUE_MAX: usize = 4096;

/// How often a meter with an open association may go before an equal that waited longer.
const FAVOURS_MAX: u32 = 8;

/// How often more urgent jobs may go before those of a priority. Its next turn comes then, but never right after another
/// such turn: so a command that finds a line at work waits for that work and at most one job less urgent than itself.
const PASSES_MAX: u32 = 8;

const LANES: usize = Priority::ALL.len();

/// Jobs by priority. Bounded by [`QUEUE_MAX`].
#[derive(Debug, Default)]
pub struct JobQueue {
    lanes: [VecDeque<Waiting>; LANES],
    favours: u32,
    /// How often each priority was passed over since its last turn.
    passes: [u32; LANES],
    /// The last turn was given to one that had been passed over.
    made_up: bool,
}

#[derive(Debug)]
struct Waiting {
    job: Box<Job>,
    since: Instant,
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

    /// There is room for another job.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.len() < QUEUE_MAX
    }

    /// Adds a job that came at `now`; gives it back when the queue is full.
    ///
    /// # Errors
    /// The job itself.
    pub fn push(&mut self, job: Box<Job>, now: Instant) -> Result<(), Box<Job>> {
        if !self.has_room() {
            return Err(job);
        }
        self.lanes[job.priority.index()].push_back(Waiting { job, since: now });
        Ok(())
    }

    /// Takes the next job, with the time that it waited. `open` is the meter whose association is open, if any: its jobs go
    /// before equals, at most [`FAVOURS_MAX`] times in a row.
    pub fn pop(&mut self, open: Option<&Serial>, now: Instant) -> Option<(Box<Job>, Duration)> {
        let lane = self.next_lane()?;
        let jobs = &mut self.lanes[lane];
        let favoured =
            open.and_then(|meter| jobs.iter().position(|waiting| waiting.job.meter == *meter)).unwrap_or(0);
        let waiting = if favoured == 0 || self.favours >= FAVOURS_MAX {
            self.favours = 0;
            jobs.pop_front()
        } else {
            self.favours += 1;
            jobs.remove(favoured)
        };
        waiting.map(|waiting| (waiting.job, now.saturating_duration_since(waiting.since)))
    }

    /// Whose turn it is.
    fn next_lane(&mut self) -> Option<usize> {
        let urgent = self.lanes.iter().position(|jobs| !jobs.is_empty())?;
        let waits = |lane: &usize| !self.lanes[*lane].is_empty();
        let passed = (urgent..LANES).filter(waits).max_by_key(|lane| self.passes[*lane]);
        let lane = passed.filter(|lane| !self.made_up && self.passes[*lane] >= PASSES_MAX).unwrap_or(urgent);
        self.made_up = lane != urgent;
        for (other, jobs) in self.lanes.iter().enumerate() {
            let passed_over = other != lane && !jobs.is_empty();
            self.passes[other] = if passed_over { self.passes[other].saturating_add(1) } else { 0 };
        }
        Some(lane)
    }

    /// Takes out every job that must not be started any more.
    pub fn expired(&mut self, now: Timestamp) -> Vec<Box<Job>> {
        self.take_out(|job| job.not_after.is_some_and(|limit| limit < now))
    }

    /// Takes out every job that is like this.
    pub fn take_out(&mut self, gone: impl Fn(&Job) -> bool) -> Vec<Box<Job>> {
        let mut out = Vec::new();
        for jobs in &mut self.lanes {
            let mut at = 0;
            while at < jobs.len() {
                if gone(&jobs[at].job) {
                    out.extend(jobs.remove(at).map(|waiting| waiting.job));
                } else {
                    at += 1;
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::work::Work;
    use tokio::sync::oneshot;

    fn job(meter: &str, priority: Priority) -> Box<Job> {
        Box::new(Job {
            meter: Serial(meter.into()),
            work: Work::Read,
            priority,
            not_after: None,
            correlation: String::new(),
            report: oneshot::channel().0,
            sending: None,
        })
    }

    fn order(queue: &mut JobQueue, open: Option<&str>) -> Vec<String> {
        let open = open.map(|meter| Serial(meter.into()));
        std::iter::from_fn(|| queue.pop(open.as_ref(), Instant::now())).map(|(job, _)| job.meter.0).collect()
    }

    #[test]
    fn a_command_overtakes_everything_and_equals_keep_their_order() {
        let mut queue = JobQueue::default();
        for (meter, priority) in [
            ("f", Priority::Backfill),
            ("a", Priority::Scheduled),
            ("b", Priority::Billing),
            ("c", Priority::Scheduled),
            ("d", Priority::Command),
            ("e", Priority::OnDemand),
        ] {
            queue.push(job(meter, priority), Instant::now()).expect("room");
        }
        assert_eq!(order(&mut queue, None), ["d", "e", "b", "a", "c", "f"]);
    }

    #[test]
    fn an_open_association_is_used_before_equals_but_starves_nobody() {
        let mut queue = JobQueue::default();
        queue.push(job("other", Priority::Scheduled), Instant::now()).expect("room");
        for _ in 0..20 {
            queue.push(job("open", Priority::Scheduled), Instant::now()).expect("room");
        }
        let order = order(&mut queue, Some("open"));
        assert_eq!(order.iter().position(|meter| meter == "other"), Some(FAVOURS_MAX as usize));
    }

    #[test]
    fn a_job_past_its_time_is_taken_out_and_a_full_queue_gives_the_job_back() {
        let mut queue = JobQueue::default();
        let limit = Timestamp::from_second(1_000).expect("in range");
        queue
            .push(Box::new(Job { not_after: Some(limit), ..*job("late", Priority::Command) }), Instant::now())
            .expect("room");
        queue.push(job("later", Priority::Command), Instant::now()).expect("room");
        assert!(queue.expired(limit).is_empty());
        let gone = queue.expired(Timestamp::from_second(1_001).expect("in range"));
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].meter.0, "late");
        for _ in 0..QUEUE_MAX - 1 {
            queue.push(job("x", Priority::Scheduled), Instant::now()).expect("room");
        }
        assert_eq!(
            queue.push(job("one more", Priority::Command), Instant::now()).expect_err("full").meter.0,
            "one more"
        );
    }

    /// A small random number generator (xorshift, 64 bits): a failing run is repeated by its seed.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % sides
        }
    }

    #[test]
    fn a_command_waits_for_the_work_under_way_and_at_most_one_job_less_urgent() {
        for seed in 1..=200 {
            let mut dice = Dice(seed);
            let mut queue = JobQueue::default();
            let mut waited = None;
            for slot in 0..2_000u32 {
                // Full load: no lane but the first is ever empty.
                for priority in &Priority::ALL[1..] {
                    while queue.lanes[priority.index()].len() < 3 {
                        queue.push(job("m", *priority), Instant::now()).expect("room");
                    }
                }
                if waited.is_none() && dice.roll(5) == 0 {
                    // It comes while a slot is taken by the work under way.
                    queue.push(job("command", Priority::Command), Instant::now()).expect("room");
                    waited = Some(1);
                    continue;
                }
                let (next, _) = queue.pop(None, Instant::now()).expect("full load");
                if next.priority == Priority::Command {
                    waited = None;
                } else if let Some(slots) = &mut waited {
                    *slots += 1;
                    assert!(*slots <= 2, "seed {seed}: in slot {slot} the command waits for its third slot");
                }
            }
        }
    }

    #[test]
    fn nobody_starves_however_many_go_before() {
        for seed in 1..=200 {
            let mut dice = Dice(seed);
            let mut queue = JobQueue::default();
            let mut waits = [0u32; LANES];
            for _ in 0..5_000 {
                let busy = dice.roll(3);
                for priority in Priority::ALL {
                    // One lane may run dry now and then, which must not reset the claims of those below it.
                    if queue.lanes[priority.index()].is_empty() && priority.index() as u64 != busy {
                        queue.push(job("m", priority), Instant::now()).expect("room");
                    }
                }
                let Some((next, _)) = queue.pop(None, Instant::now()) else { continue };
                for priority in Priority::ALL {
                    let lane = priority.index();
                    let waiting = priority != next.priority && !queue.lanes[lane].is_empty();
                    waits[lane] = if waiting { waits[lane] + 1 } else { 0 };
                    // The lanes below the first share every second turn once each was passed over eight times.
                    assert!(
                        waits[lane] <= PASSES_MAX + 2 * (LANES as u32 - 1),
                        "seed {seed}: {priority:?} waits {}",
                        waits[lane]
                    );
                }
            }
        }
    }

    #[test]
    fn the_time_a_job_waited_is_known() {
        let mut queue = JobQueue::default();
        let came = Instant::now();
        queue.push(job("a", Priority::Billing), came).expect("room");
        let (_, waited) = queue.pop(None, came + Duration::from_millis(1_500)).expect("one waits");
        assert_eq!(waited, Duration::from_millis(1_500));
    }
}
