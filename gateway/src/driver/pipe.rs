//! A byte pipe whose bytes are counted and, on a half-duplex wire, paced.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that crossed a line since the gateway started. Shared by every pipe that the line opens.
#[derive(Debug, Default)]
pub struct ByteCounters {
    sent: AtomicU64,
    received: AtomicU64,
}

/// One look at [`ByteCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, utoipa::ToSchema)]
pub struct Traffic {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

impl ByteCounters {
    /// What was counted so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            sent_bytes: self.sent.load(Ordering::Relaxed),
            received_bytes: self.received.load(Ordering::Relaxed),
        }
    }
}

/// The timing of a half-duplex wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// How long one character takes on the wire.
    pub byte_time: Duration,
    /// How long the wire must be quiet after the last byte heard before we speak: the peer's driver has to let go of it.
    pub turnaround: Duration,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open byte pipe. Reading zero bytes means that the peer closed it.
pub struct Pipe {
    stream: Box<dyn Stream>,
    counters: Arc<ByteCounters>,
    pacing: Option<Pacing>,
    heard: Option<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
    sent_until: Option<Instant>,
}

impl Pipe {
    /// A pipe over any stream; tests use in-memory ones.
    pub fn new<S>(stream: S, counters: Arc<ByteCounters>, pacing: Option<Pacing>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self { stream: Box::new(stream), counters, pacing, heard: None, pause: None, sent_until: None }
    }

    /// What was counted so far in the counters this pipe was opened with.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.counters.traffic()
    }

    /// When the last byte written will have left a paced wire: the time to start waiting for an answer. Writing returns
    /// as soon as the operating system has the bytes, long before that.
    #[must_use]
    pub fn sent_until(&self) -> Instant {
        self.sent_until.unwrap_or_else(Instant::now)
    }

    fn wrote(&mut self, bytes: usize) {
        self.counters.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        tracing::trace!(bytes, "sent");
        if let Some(pacing) = self.pacing {
            let from = self.sent_until.unwrap_or_else(Instant::now).max(Instant::now());
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.sent_until = Some(from + pacing.byte_time.saturating_mul(bytes));
        }
    }

    /// Ready when the wire has been quiet for the turnaround time.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let (Some(pacing), Some(heard)) = (self.pacing, self.heard.take()) {
            self.pause = Some(Box::pin(tokio::time::sleep_until(heard + pacing.turnaround)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field("pacing", &self.pacing)
            .field("traffic", &self.counters.traffic())
            .finish()
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let heard = buf.filled().len() - before;
        if heard > 0 {
            self.counters.received.fetch_add(heard as u64, Ordering::Relaxed);
            tracing::trace!(bytes = heard, "heard");
            self.heard = Some(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Flushing a serial port drains it, which blocks the thread for as long as the bytes take. Nothing is buffered here.
        if self.pacing.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn the_line_turns_around_before_the_next_request() {
        let pacing = Pacing { byte_time: Duration::from_millis(1), turnaround: Duration::from_millis(40) };
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut pipe = Pipe::new(ours, Arc::default(), Some(pacing));
        theirs.write_all(&[1, 2, 3]).await.expect("answered");
        let mut answer = [0; 3];
        pipe.read_exact(&mut answer).await.expect("heard");
        let heard = Instant::now();
        pipe.write_all(&[9; 10]).await.expect("sent");
        assert_eq!(heard.elapsed(), Duration::from_millis(40));
        assert_eq!(
            pipe.sent_until() - Instant::now(),
            Duration::from_millis(10),
            "ten characters are still on their way"
        );
        pipe.write_all(&[9; 5]).await.expect("sent");
        assert_eq!(heard.elapsed(), Duration::from_millis(40), "no second pause while nobody answered");
        assert_eq!(pipe.sent_until() - Instant::now(), Duration::from_millis(15));
    }
}
