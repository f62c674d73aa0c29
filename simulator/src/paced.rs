//! A byte pipe that takes the time a serial line takes, and has one pair of wires for both directions.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, Sleep, sleep_until};

/// Bits of a character: start, eight data, stop.
const BITS_PER_BYTE: u64 = 10;
/// Most bytes that leave at once. Small enough that a reader sees them trickle, large enough that timers keep up.
pub(crate) const BURST: usize = 16;
/// How late a timer may fire: bytes that a UART would have sent without a pause have none here either.
const TIMER_SLACK: Duration = Duration::from_millis(4);
/// How late they may be between bytes that were given together, on a machine that does much else.
const HELD_UP: Duration = Duration::from_millis(200);
/// Bits that are wrong in bytes which somebody else talked over. Which ones they are on real wires, nobody can say.
const TALKED_OVER: u8 = 0xA5;

/// `inner`, slowed down to a baud rate in both directions: bytes given to `write` arrive, and bytes that arrived are handed out,
/// only when a line of that rate would have carried them. What both sides send at the same time is spoiled.
#[derive(Debug)]
pub struct Paced<T> {
    inner: T,
    byte_time: Duration,
    /// Bytes that are on their way out.
    leaving: Option<Leaving>,
    /// More bytes were given together with those.
    continuing: bool,
    write_free_at: Instant,
    write_sleep: Pin<Box<Sleep>>,
    read_free_at: Instant,
    read_sleep: Pin<Box<Sleep>>,
    /// Bytes that are on their way in.
    held: Vec<u8>,
    /// Something was written while they were.
    held_spoiled: bool,
}

#[derive(Debug, Clone, Copy)]
struct Leaving {
    bytes: usize,
    spoiled: bool,
}

impl<T> Paced<T> {
    /// A line of 8N1 characters at `baud`. Must be called inside a tokio runtime.
    pub fn new(inner: T, baud: u32) -> Self {
        let byte_time = Duration::from_nanos(BITS_PER_BYTE * 1_000_000_000 / u64::from(baud.max(1)));
        let now = Instant::now();
        Self {
            inner,
            byte_time,
            leaving: None,
            continuing: false,
            write_free_at: now,
            write_sleep: Box::pin(sleep_until(now)),
            read_free_at: now,
            read_sleep: Box::pin(sleep_until(now)),
            held: Vec::with_capacity(BURST),
            held_spoiled: false,
        }
    }

    /// Bytes of both directions are on the wires.
    fn collide(&mut self) {
        if let Some(leaving) = self.leaving.as_mut().filter(|_| !self.held.is_empty()) {
            leaving.spoiled = true;
            self.held_spoiled = true;
        }
    }

    fn time_of(&self, bytes: usize) -> Duration {
        self.byte_time * u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// When the next bytes of a direction begin, which was busy until `free_at`: now, or right behind those before them when only our own
/// timer was late.
fn begun(free_at: Instant, slack: Duration) -> Instant {
    let now = Instant::now();
    if now.saturating_duration_since(free_at) <= slack { free_at } else { now }
}

/// Waits until `at`; re-arms the timer only when it has to.
fn poll_until(sleep: &mut Pin<Box<Sleep>>, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if at <= Instant::now() {
        return Poll::Ready(());
    }
    if sleep.deadline() != at {
        sleep.as_mut().reset(at);
    }
    sleep.as_mut().poll(cx)
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_empty() {
            let mut chunk = [0_u8; BURST];
            let mut arrived = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut arrived))?;
            if arrived.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(arrived.filled());
            this.read_free_at = begun(this.read_free_at, TIMER_SLACK) + this.time_of(this.held.len());
            this.held_spoiled = false;
            this.collide();
        }
        ready!(poll_until(&mut this.read_sleep, this.read_free_at, cx));
        if std::mem::take(&mut this.held_spoiled) {
            this.held.iter_mut().for_each(|byte| *byte ^= TALKED_OVER);
        }
        let taken = this.held.len().min(buf.remaining());
        buf.put_slice(&this.held[..taken]);
        this.held.drain(..taken);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    /// Returns when the bytes have been carried; until then the same ones have to be given, or others in their place.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let leaving = match this.leaving {
            Some(leaving) => leaving,
            None => {
                let leaving = Leaving { bytes: bytes.len().min(BURST), spoiled: false };
                // What was given together leaves without a pause, however late our own timers are.
                let slack = if this.continuing { HELD_UP } else { TIMER_SLACK };
                this.write_free_at = begun(this.write_free_at, slack) + this.time_of(leaving.bytes);
                this.continuing = bytes.len() > leaving.bytes;
                this.leaving = Some(leaving);
                this.collide();
                this.leaving.unwrap_or(leaving)
            }
        };
        ready!(poll_until(&mut this.write_sleep, this.write_free_at, cx));
        let mut burst = [0; BURST];
        let length = leaving.bytes.min(bytes.len());
        for (place, byte) in burst.iter_mut().zip(&bytes[..length]) {
            *place = if leaving.spoiled { byte ^ TALKED_OVER } else { *byte };
        }
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, &burst[..length]))?;
        this.leaving = None;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_frame_of_96_bytes_takes_a_tenth_of_a_second_at_9600_baud() {
        let (near, mut far) = duplex(4096);
        let mut line = Paced::new(near, 9600);
        let start = Instant::now();
        line.write_all(&[0x55; 96]).await.unwrap();
        line.flush().await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(99), "{:?}", start.elapsed());
        assert!(start.elapsed() <= Duration::from_millis(112), "{:?}", start.elapsed());
        let mut got = [0; 96];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [0x55; 96]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_is_handed_out_no_sooner_than_the_line_carries_it() {
        let (near, mut far) = duplex(4096);
        let mut line = Paced::new(near, 9600);
        let start = Instant::now();
        far.write_all(&[0xAA; 48]).await.unwrap();
        let mut got = [0; 48];
        line.read_exact(&mut got).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(49), "{:?}", start.elapsed());
        assert!(start.elapsed() <= Duration::from_millis(56), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_stream_is_seen_at_once() {
        let (near, far) = duplex(64);
        let mut line = Paced::new(near, 9600);
        drop(far);
        assert_eq!(line.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
