//! One pair of wires with several stations on it. Each station answers when it is ready, whatever goes on: RS-485 has nobody who
//! listens first. So a station that takes its time keeps nobody else from answering, and what two say at the same time is
//! received by nobody as it was sent.
//!
//! Stations do not hear each other's answers: those are for the client alone.

use crate::paced::{BURST, Paced};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, timeout_at};

/// Most answers of one station that wait: what comes on top of that finds its memory full and is lost. A bound of ours.
const WAITING_MAX: usize = 8;
/// Longest wait for anything at all, so that times stay small.
const PATIENCE_MAX: Duration = Duration::from_secs(3_600);

/// The stations' end of the wires.
#[derive(Debug)]
pub struct Bus<T> {
    wire: Paced<T>,
    /// Answers that are not due, or whose station is speaking, in the order in which they were made.
    waiting: Vec<Answer>,
    /// What goes on the wires now: one answer, or several that spoil each other.
    speaking: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    station: usize,
    at: Instant,
    bytes: Vec<u8>,
    said: usize,
}

enum Step {
    Heard(usize),
    Said(usize),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Bus<T> {
    /// Wires of this rate. Must be made inside a tokio runtime.
    pub fn new(inner: T, baud: u32) -> Self {
        Self { wire: Paced::new(inner, baud), waiting: Vec::new(), speaking: Vec::new() }
    }

    /// A station has an answer, which leaves after this delay. Answers of one station leave one after the other.
    pub fn say(&mut self, station: usize, delay: Duration, bytes: Vec<u8>) {
        let same = self.waiting.iter().filter(|answer| answer.station == station);
        if bytes.is_empty() || same.clone().count() >= WAITING_MAX {
            return;
        }
        let ready = Instant::now() + delay;
        let at = same.map(|answer| answer.at).fold(ready, Instant::max);
        self.waiting.push(Answer { station, at, bytes, said: 0 });
    }

    /// Waits until something is heard, and says meanwhile what is due: the number of bytes, or `None` when this time has passed.
    ///
    /// # Errors
    /// The wires failed or ended.
    pub async fn hear(&mut self, within: Duration, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let end = Instant::now() + within.min(PATIENCE_MAX);
        loop {
            self.begin_what_is_due();
            let wake = self.waiting.iter().map(|answer| answer.at).filter(|at| *at > Instant::now());
            let wake = wake.fold(end, Instant::min);
            match timeout_at(wake, self.step(buffer)).await {
                Ok(Ok(Step::Heard(0))) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(Step::Heard(bytes))) => return Ok(Some(bytes)),
                Ok(Ok(Step::Said(bytes))) => self.went_out(bytes),
                Ok(Err(error)) => return Err(error),
                Err(_) if Instant::now() >= end => return Ok(None),
                Err(_) => {}
            }
        }
    }

    fn begin_what_is_due(&mut self) {
        let now = Instant::now();
        let mut place = 0;
        while let Some(answer) = self.waiting.get(place) {
            let speaks = self.speaking.iter().any(|other| other.station == answer.station);
            if answer.at > now || speaks {
                place += 1;
            } else {
                let answer = self.waiting.remove(place);
                self.speaking.push(answer);
            }
        }
    }

    async fn step(&mut self, buffer: &mut [u8]) -> io::Result<Step> {
        let Self { wire, speaking, .. } = self;
        poll_fn(|context| {
            let mut heard = ReadBuf::new(buffer);
            if let Poll::Ready(end) = Pin::new(&mut *wire).poll_read(context, &mut heard) {
                return Poll::Ready(end.map(|()| Step::Heard(heard.filled().len())));
            }
            if speaking.is_empty() {
                return Poll::Pending;
            }
            Pin::new(&mut *wire).poll_write(context, &burst(speaking)).map_ok(Step::Said)
        })
        .await
    }

    fn went_out(&mut self, bytes: usize) {
        for answer in &mut self.speaking {
            answer.said += bytes;
        }
        self.speaking.retain(|answer| answer.said < answer.bytes.len());
    }
}

/// The next bytes on the wires: where several speak, nobody's.
fn burst(speaking: &[Answer]) -> Vec<u8> {
    let mut burst = Vec::with_capacity(BURST);
    for answer in speaking {
        let left = answer.bytes.get(answer.said..).unwrap_or(&[]);
        for (place, byte) in left.iter().take(BURST).enumerate() {
            match burst.get_mut(place) {
                Some(mixed) => *mixed ^= byte,
                None => burst.push(*byte),
            }
        }
    }
    burst
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const BAUD: u32 = 9_600;

    fn line() -> (Bus<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(4_096);
        (Bus::new(near, BAUD), far)
    }

    /// What the client receives within this time, while the stations only speak.
    async fn received(bus: &mut Bus<DuplexStream>, far: &mut DuplexStream, within: Duration) -> Vec<u8> {
        let end = Instant::now() + within;
        assert_eq!(bus.hear(within, &mut [0; 64]).await.unwrap(), None);
        assert_eq!(Instant::now(), end);
        let mut all = vec![0; 4_096];
        let taken = far.read(&mut all).await.unwrap();
        all.truncate(taken);
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_keeps_no_other_station_from_answering() {
        let (mut bus, mut far) = line();
        bus.say(0, Duration::from_secs(2), b"late".to_vec());
        far.write_all(b"a request to another").await.unwrap();
        let mut buffer = [0; 64];
        let mut heard = Vec::new();
        while heard.len() < 20 {
            let taken = bus.hear(Duration::from_secs(1), &mut buffer).await.unwrap().unwrap();
            heard.extend_from_slice(&buffer[..taken]);
        }
        assert_eq!(heard, b"a request to another");
        bus.say(1, Duration::ZERO, b"its answer".to_vec());
        assert_eq!(received(&mut bus, &mut far, Duration::from_secs(1)).await, b"its answer");
        assert_eq!(received(&mut bus, &mut far, Duration::from_secs(1)).await, b"late");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_while_the_client_talks_spoils_both() {
        let (mut bus, mut far) = line();
        let request: Vec<u8> = (0..96).collect();
        let answer = vec![0x55; 32];
        bus.say(0, Duration::from_millis(40), answer.clone());
        far.write_all(&request).await.unwrap();
        let (mut heard, mut buffer) = (Vec::new(), [0; 64]);
        while let Some(taken) = bus.hear(Duration::from_millis(200), &mut buffer).await.unwrap() {
            heard.extend_from_slice(&buffer[..taken]);
        }
        assert_eq!(heard.len(), request.len());
        // Before and after, the client has the wires for itself.
        assert_eq!((&heard[..32], &heard[80..]), (&request[..32], &request[80..]));
        assert_ne!(heard[32..80], request[32..80]);
        let mut got = vec![0; 32];
        far.read_exact(&mut got).await.unwrap();
        assert!(got.iter().zip(&answer).all(|(got, said)| got != said), "{got:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn two_answers_at_once_reach_nobody_and_one_after_the_other_do() {
        let (mut bus, mut far) = line();
        bus.say(0, Duration::ZERO, b"one station's".to_vec());
        bus.say(1, Duration::ZERO, b"another's".to_vec());
        let mixed = received(&mut bus, &mut far, Duration::from_secs(1)).await;
        assert_eq!(mixed.len(), b"one station's".len());
        assert!(!mixed.starts_with(b"one") && !mixed.starts_with(b"another"), "{mixed:?}");
        bus.say(0, Duration::from_millis(300), b"first".to_vec());
        bus.say(0, Duration::ZERO, b"second".to_vec());
        assert_eq!(received(&mut bus, &mut far, Duration::from_secs(1)).await, b"firstsecond");
    }

    #[tokio::test(start_paused = true)]
    async fn a_station_that_is_asked_on_and_on_does_not_keep_every_answer() {
        let (mut bus, mut far) = line();
        for number in 0..100 {
            bus.say(0, Duration::from_secs(5), vec![number]);
        }
        let kept = received(&mut bus, &mut far, Duration::from_secs(6)).await;
        assert_eq!(kept, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_wires_is_an_error() {
        let (mut bus, far) = line();
        drop(far);
        assert!(bus.hear(Duration::from_secs(1), &mut [0; 8]).await.is_err());
    }
}
