//! Meters that dial in: their connections wait here, each under the name of its meter, until somebody speaks to it.
//!
//! How a caller says who it is, is not known here: whoever listens gives a [`Greet`]. What is bounded here is what callers may hold.

use super::OpenError;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 64;
/// How long a caller may take to say who it is.
const GREETING_TIME: Duration = Duration::from_secs(10);
/// Callers that have not said who they are, at once, and of these from one address. Meters behind one router share an address.
const STRANGERS_MAX: usize = 64;
const STRANGERS_OF_ONE_MAX: usize = 16;
/// The system refused to accept; a moment later it may not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// An address that is taken is tried again after this time.
const BIND_PAUSE: Duration = Duration::from_secs(5);
/// Who was hung up on is told at most so often, with how many there were: a log is no place to be filled from outside.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The connection of a caller. Clones are the same connection; it is closed with the last of them.
#[derive(Debug, Clone)]
pub struct CallerStream(Arc<TcpStream>);

impl CallerStream {
    /// Whether the peer has closed it, as far as can be seen without waiting.
    fn is_over(&self) -> bool {
        let mut byte = [0];
        let mut look = ReadBuf::new(&mut byte);
        match self.0.poll_peek(&mut Context::from_waker(Waker::noop()), &mut look) {
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => true,
            Poll::Ready(Ok(_)) | Poll::Pending => false,
        }
    }
}

impl AsyncRead for CallerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for CallerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// It is closed when it is dropped.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a caller said when it was greeted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeted {
    /// Its meter's name on this line.
    pub name: String,
    /// A notification that it introduced itself with.
    pub notification: Option<Vec<u8>>,
}

/// Finds out who calls.
pub trait Greet: Send + Sync + 'static {
    /// Asks, or listens; what follows on the connection is left unread.
    ///
    /// # Errors
    /// Why nobody knows, for the log.
    fn greet(
        &self,
        stream: CallerStream,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<Greeted, String>> + Send;

    /// Whether a meter has this name.
    fn knows(&self, name: &str) -> bool;

    /// One that is known has called.
    fn called(&self, greeted: Greeted, peer: SocketAddr);
}

/// The callers of one line. Cloning shares them.
#[derive(Clone)]
pub struct Callers(Arc<Inner>);

struct Inner {
    people: Mutex<People>,
    called: Notify,
    places: Arc<Semaphore>,
    idle: Duration,
}

#[derive(Default)]
struct People {
    waiting: HashMap<String, Call>,
    /// How many connections of a name are in use.
    held: HashMap<String, usize>,
    strangers: HashMap<IpAddr, usize>,
    told: Option<Instant>,
    untold: u32,
}

struct Call {
    stream: CallerStream,
    since: Instant,
    place: OwnedSemaphorePermit,
}

/// A connection that somebody uses. Its place is free again when it is dropped.
#[derive(Debug)]
pub struct Held {
    stream: CallerStream,
    name: String,
    callers: Callers,
    _place: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut people = self.callers.people();
        if let Some(count) = people.held.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                people.held.remove(&self.name);
            }
        }
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl std::fmt::Debug for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callers").field("waiting", &self.people().waiting.len()).finish_non_exhaustive()
    }
}

impl PartialEq for Callers {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Callers {}

impl Callers {
    /// Nobody yet, and never more than so many. A connection that nobody used for `idle` is hung up.
    #[must_use]
    pub fn new(places: usize, idle: Duration) -> Self {
        let places = Arc::new(Semaphore::new(places));
        Self(Arc::new(Inner { people: Mutex::default(), called: Notify::new(), places, idle }))
    }

    fn people(&self) -> MutexGuard<'_, People> {
        self.0.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a connection may be without use.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.0.idle
    }

    /// Whether there is a connection of this name, in use or not.
    #[must_use]
    pub fn is_here(&self, name: &str) -> bool {
        let mut people = self.people();
        if people.waiting.get(name).is_some_and(|call| call.stream.is_over()) {
            people.waiting.remove(name);
        }
        people.waiting.contains_key(name) || people.held.contains_key(name)
    }

    /// Until the next one calls; whoever calls after this was made is not missed.
    pub fn called(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.called.notified()
    }

    /// The connection of the meter of this name, if it called since the last one was taken.
    #[must_use]
    pub fn take(&self, name: &str) -> Option<Held> {
        let mut people = self.people();
        let Call { stream, place, .. } = people.waiting.remove(name)?;
        *people.held.entry(name.to_owned()).or_default() += 1;
        drop(people);
        Some(Held { stream, name: name.to_owned(), callers: self.clone(), _place: place })
    }

    /// The same, where there has to be one.
    ///
    /// # Errors
    /// The meter has not called.
    pub fn open(&self, name: &str) -> Result<Held, OpenError> {
        self.take(name).ok_or_else(|| OpenError::NotCalled { name: name.to_owned() })
    }

    /// Takes a caller in. An older connection of the same name that waits is over: a meter calls once at a time.
    fn take_in(&self, name: String, stream: CallerStream) -> Result<(), String> {
        let now = Instant::now();
        let mut people = self.people();
        people.waiting.remove(&name);
        let place = match self.0.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let idle = self.0.idle;
                people
                    .waiting
                    .retain(|_, call| !call.stream.is_over() && now.duration_since(call.since) < idle);
                self.0.places.clone().try_acquire_owned().map_err(|_| {
                    format!("meter {name:?} is one more than connections_max of this line: raise it")
                })?
            }
        };
        people.waiting.insert(name, Call { stream, since: now, place });
        drop(people);
        self.0.called.notify_waiters();
        Ok(())
    }

    /// Takes callers in until the task is dropped.
    pub async fn listen(self, address: SocketAddr, greeter: impl Greet) {
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => {
                    tracing::error!(%address, %error, "nobody can call here; tried again");
                    tokio::time::sleep(BIND_PAUSE).await;
                }
            }
        };
        self.serve(listener, greeter).await;
    }

    /// The same on a socket that is bound.
    pub async fn serve(self, listener: TcpListener, greeter: impl Greet) {
        let greeter = Arc::new(greeter);
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        // What is being greeted ends with the line.
        let mut greetings = tokio::task::JoinSet::new();
        loop {
            while greetings.try_join_next().is_some() {}
            let Ok(place) = strangers.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = tokio::time::sleep(self.0.idle) => {
                    self.hang_up_idle();
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(stranger) = self.stranger(peer) else { continue };
                    let (callers, greeter) = (self.clone(), greeter.clone());
                    greetings.spawn(async move {
                        callers.greet(stream, peer, &*greeter).await;
                        drop((stranger, place));
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a caller was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn hang_up_idle(&self) {
        let now = Instant::now();
        self.people().waiting.retain(|_, call| now.duration_since(call.since) < self.0.idle);
    }

    /// A stranger's place among those from its address.
    fn stranger(&self, peer: SocketAddr) -> Option<Stranger> {
        let mut people = self.people();
        let here = people.strangers.entry(peer.ip()).or_default();
        if *here >= STRANGERS_OF_ONE_MAX {
            drop(people);
            self.tell(peer, "too many callers of this address do not say who they are");
            return None;
        }
        *here += 1;
        Some(Stranger { callers: self.clone(), from: peer.ip() })
    }

    async fn greet(&self, stream: TcpStream, peer: SocketAddr, greeter: &impl Greet) {
        // Requests are small and waited for.
        let _ = stream.set_nodelay(true);
        let stream = CallerStream(Arc::new(stream));
        let greeting = tokio::time::timeout(GREETING_TIME, greeter.greet(stream.clone(), peer));
        let greeted = match greeting.await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(why)) => return self.tell(peer, &why),
            Err(_) => return self.tell(peer, "it did not say who it is in time"),
        };
        let name = greeted.name.clone();
        if !greeter.knows(&name) {
            return self.tell(
                peer,
                &format!(
                    "no meter of this line has address {name:?}: enter it, or correct the meter's destination"
                ),
            );
        }
        match self.take_in(name, stream) {
            Ok(()) => greeter.called(greeted, peer),
            Err(why) => self.tell(peer, &why),
        }
    }

    /// Says in the log who was hung up on, not too often.
    fn tell(&self, peer: SocketAddr, why: &str) {
        let untold = {
            let mut people = self.people();
            if people.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
                people.untold = people.untold.saturating_add(1);
                return;
            }
            people.told = Some(Instant::now());
            std::mem::take(&mut people.untold)
        };
        tracing::warn!(%peer, why, others_since = untold, "a caller was hung up on");
    }
}

struct Stranger {
    callers: Callers,
    from: IpAddr,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut people = self.callers.people();
        if let Some(here) = people.strangers.get_mut(&self.from) {
            *here -= 1;
            if *here == 0 {
                people.strangers.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Names are three bytes long; those that begin with `m` are known.
    struct ThreeBytes;

    impl Greet for ThreeBytes {
        async fn greet(&self, mut stream: CallerStream, _: SocketAddr) -> Result<Greeted, String> {
            let mut name = [0; 3];
            stream.read_exact(&mut name).await.map_err(|error| error.to_string())?;
            Ok(Greeted { name: String::from_utf8_lossy(&name).into_owned(), notification: None })
        }

        fn knows(&self, name: &str) -> bool {
            name.starts_with('m')
        }

        fn called(&self, _: Greeted, _: SocketAddr) {}
    }

    async fn listening(places: usize, idle: Duration) -> (Callers, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let callers = Callers::new(places, idle);
        tokio::spawn(callers.clone().serve(listener, ThreeBytes));
        (callers, address)
    }

    async fn call(address: SocketAddr, says: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(says.as_bytes()).await.expect("said");
        stream
    }

    async fn until_here(callers: &Callers, name: &str, here: bool) {
        for _ in 0..2_000 {
            if callers.is_here(name) == here {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} is here: {}", !here);
    }

    /// The end of a connection, whether it was closed or reset.
    async fn is_hung_up(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn a_meter_is_taken_in_under_its_name_and_what_follows_is_not_touched() {
        let (callers, address) = listening(2, HOUR).await;
        let mut meter = call(address, "m-1and more").await;
        until_here(&callers, "m-1", true).await;
        let mut ours = callers.take("m-1").expect("it called");
        assert!(callers.is_here("m-1"), "it is in use");
        assert!(callers.take("m-1").is_none(), "one connection each");
        let mut rest = [0; 8];
        ours.read_exact(&mut rest).await.expect("the rest");
        assert_eq!(&rest, b"and more");
        ours.write_all(b"hello").await.expect("sent");
        let mut heard = [0; 5];
        meter.read_exact(&mut heard).await.expect("heard");
        assert_eq!(&heard, b"hello");
        drop(ours);
        assert!(!callers.is_here("m-1"));
        assert!(is_hung_up(&mut meter).await);
        assert_eq!(
            callers.open("m-1").err().map(|e| e.to_string()).as_deref(),
            Some("the meter \"m-1\" has not called")
        );
    }

    #[tokio::test]
    async fn the_newest_call_of_a_meter_replaces_the_one_that_waits() {
        let (callers, address) = listening(1, HOUR).await;
        let mut first = call(address, "m-1").await;
        until_here(&callers, "m-1", true).await;
        let second = call(address, "m-1").await;
        assert!(is_hung_up(&mut first).await, "the older one is over, and its place is the newer one's");
        until_here(&callers, "m-1", true).await;
        let ours = callers.take("m-1").expect("it called");
        assert_eq!(ours.stream.0.peer_addr().expect("connected"), second.local_addr().expect("connected"));
    }

    #[tokio::test]
    async fn strangers_are_hung_up_on_and_one_address_cannot_take_all_places_of_those_who_say_nothing() {
        let (callers, address) = listening(1, HOUR).await;
        let mut stranger = call(address, "who").await;
        assert!(is_hung_up(&mut stranger).await);
        let mut silent = Vec::new();
        for _ in 0..STRANGERS_OF_ONE_MAX {
            silent.push(call(address, "").await);
        }
        let mut one_more = call(address, "m-1").await;
        assert!(is_hung_up(&mut one_more).await);
        let there: usize = callers.people().strangers.values().sum();
        assert_eq!(
            there, STRANGERS_OF_ONE_MAX,
            "the silent ones wait for their time to be over, and no others"
        );
        drop(silent);
        for _ in 0..2_000 {
            if callers.people().strangers.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _meter = call(address, "m-1").await;
        until_here(&callers, "m-1", true).await;
    }

    #[tokio::test]
    async fn a_full_line_takes_nobody_in_until_somebody_has_gone() {
        let (callers, address) = listening(1, HOUR).await;
        let first = call(address, "m-1").await;
        until_here(&callers, "m-1", true).await;
        let mut second = call(address, "m-2").await;
        assert!(is_hung_up(&mut second).await);
        drop(first);
        until_here(&callers, "m-1", false).await;
        let _third = call(address, "m-3").await;
        until_here(&callers, "m-3", true).await;
    }

    #[tokio::test]
    async fn a_connection_without_use_is_hung_up_after_its_time() {
        let (callers, address) = listening(1, Duration::from_millis(100)).await;
        let mut meter = call(address, "m-1").await;
        assert!(is_hung_up(&mut meter).await);
        assert!(!callers.is_here("m-1"));
    }
}
