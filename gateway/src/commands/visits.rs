//! The reader and the collector tell each other which meter they are about to read, so that one association does for both.

use crate::session::work::Serial;
use tokio::sync::mpsc;

/// One end of two.
#[derive(Debug)]
pub struct Visits {
    other: mpsc::UnboundedSender<Serial>,
    heard: mpsc::UnboundedReceiver<Serial>,
}

impl Visits {
    /// Both ends: what is told at one is heard at the other.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let (to_first, first) = mpsc::unbounded_channel();
        let (to_second, second) = mpsc::unbounded_channel();
        (Self { other: to_second, heard: first }, Self { other: to_first, heard: second })
    }

    /// This meter is about to be read.
    pub fn tell(&self, meter: &Serial) {
        // Who does not listen any more has stopped.
        let _ = self.other.send(meter.clone());
    }

    /// The next meter that the other end reads; never, when there is no other end any more.
    pub async fn heard(&mut self) -> Serial {
        match self.heard.recv().await {
            Some(meter) => meter,
            None => std::future::pending().await,
        }
    }
}
