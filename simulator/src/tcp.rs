//! DLMS over TCP: one listener for the whole street. Which meter is meant follows from the local address dialled.

use crate::clock::SimClock;
use crate::identity::index_of;
use crate::meter::SimMeter;
use crate::session::{Framing, Outcome, Session};
use protocol::time::Instant;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Duration;

/// Connections at once: a bound of ours, below the usual limit of a process's open files after it was raised.
const CONNECTIONS_MAX: usize = 16_384;
/// A connection on which nothing moves for so long is closed, so that strangers who connect and say nothing do not stay.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The meters that are reached over TCP, with the framing of each; the first is meter 1.
pub type Reachable = Arc<[(Arc<SimMeter>, Framing)]>;

/// Accepts connections until the task is dropped.
pub async fn serve(listener: TcpListener, meters: Reachable, clock: SimClock) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some((meter, framing)) = meant(&stream, peer, &meters) else { continue };
                let Some(connection) = meter.connect() else { continue };
                let clock = clock.clone();
                tokio::spawn(async move {
                    // A client that goes away in the middle is nothing to tell anybody about.
                    let _ = converse(stream, meter, framing, clock).await;
                    drop((place, connection));
                });
            }
            // Out of file descriptors, or the client is gone already: let the others finish.
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// The meter that was dialled, if a neighbour on this machine dialled one.
fn meant(stream: &TcpStream, peer: SocketAddr, meters: &Reachable) -> Option<(Arc<SimMeter>, Framing)> {
    let IpAddr::V4(dialled) = stream.local_addr().ok()?.ip() else { return None };
    if !peer.ip().is_loopback() || !dialled.is_loopback() {
        return None;
    }
    let index = usize::try_from(index_of(dialled)?).ok()?;
    let (meter, framing) = meters.get(index.checked_sub(1)?)?;
    Some((Arc::clone(meter), *framing))
}

async fn converse(
    mut stream: TcpStream,
    meter: Arc<SimMeter>,
    framing: Framing,
    clock: SimClock,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = Session::on_tcp(meter, framing, now(&clock));
    let mut buffer = [0; 2048];
    loop {
        let deadline = until(&session, &clock).min(IDLE_TIMEOUT);
        let outcome = match tokio::time::timeout(deadline, stream.read(&mut buffer)).await {
            Ok(taken) => {
                let taken = taken?;
                if taken == 0 {
                    return Ok(());
                }
                session.handle_bytes(now(&clock), &buffer[..taken])
            }
            Err(_) if deadline == IDLE_TIMEOUT => return Ok(()),
            Err(_) => session.handle_timeout(now(&clock)),
        };
        let Outcome { bytes, delay, close } = outcome;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if !bytes.is_empty() {
            stream.write_all(&bytes).await?;
        }
        if close {
            return stream.shutdown().await;
        }
    }
}

/// Real time, for links.
pub(crate) fn now(clock: &SimClock) -> Instant {
    Instant::from_millis(clock.real_ms())
}

/// How long until a session wants to be told of the time.
pub(crate) fn until(session: &Session, clock: &SimClock) -> Duration {
    // A millisecond more: the deadline has passed when the timer fires, whatever it rounds to.
    session.poll_timeout().map_or(Duration::MAX, |at| at.since(now(clock)) + Duration::from_millis(1))
}
