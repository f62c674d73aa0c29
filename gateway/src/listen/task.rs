//! The tasks that receive: one per configured listener, bounded in peers, bytes and time.

use super::alarm::{Change, change};
use super::judge::{APDU_MAX, Judge, Refused, Taken};
use crate::clock::Clock;
use crate::config::{ListenConfig, ListenKind};
use crate::session::{self, Arrival};
use crate::store::{Store, StoreError, alarm, push};
use anyhow::Context as _;
use protocol::link::wrapper::{Config, HEADER_LEN, Wrapper};
use protocol::link::{Event, Link};
use protocol::time;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::Instant;

/// How long a peer may hold a connection. A notification is one segment, and its confirmation another.
const PEER_TIME: Duration = Duration::from_secs(30);
/// The most bytes taken of one connection: some thirty notifications.
const PEER_BYTES: usize = 64 * 1_024;
/// What was refused is told at most so often, in real time, with how much it was.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// The system refused to accept; a moment later it may not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What listeners count.
#[derive(Debug, Default)]
pub struct Counts {
    /// Notifications that were believed and stored.
    pub taken: AtomicU64,
    /// From nobody known.
    pub unknown: AtomicU64,
    /// In the clear, under other keys, repeated, or no notification.
    pub refused: AtomicU64,
    /// Bytes that were no frame.
    pub noise: AtomicU64,
}

/// One listener; [`Listener::run`] is its task.
#[derive(Debug, Clone)]
pub struct Listener {
    name: Arc<str>,
    judge: Judge,
    store: Store,
    clock: Clock,
    counts: Arc<Counts>,
    told: Arc<std::sync::Mutex<Option<Instant>>>,
}

impl Listener {
    /// Over these.
    #[must_use]
    pub fn new(config: &ListenConfig, judge: Judge, store: Store, clock: Clock) -> Self {
        Self {
            name: config.name.as_str().into(),
            judge,
            store,
            clock,
            counts: Arc::default(),
            told: Arc::default(),
        }
    }

    /// For what meters introduce themselves with when they dial in.
    #[must_use]
    pub fn of_calls(judge: Judge, store: Store, clock: Clock) -> Self {
        Self { name: "calls".into(), judge, store, clock, counts: Arc::default(), told: Arc::default() }
    }

    /// Takes what meters introduce themselves with, until `stop` becomes true. None of it is confirmed.
    ///
    /// # Errors
    /// None.
    pub async fn run_calls(
        self,
        mut arrivals: broadcast::Receiver<Arrival>,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        while !*stop.borrow() {
            let arrival = tokio::select! {
                arrival = session::arrival(&mut arrivals) => arrival,
                _ = stop.changed() => break,
            };
            let Some(apdu) = arrival.notification else { continue };
            let _ = self.take(arrival.peer.ip(), &apdu).await;
        }
        Ok(())
    }

    /// What it counted so far.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Receives until `stop` becomes true.
    ///
    /// # Errors
    /// The address is taken.
    pub async fn run(self, config: ListenConfig, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let place = || format!("listener {}: cannot listen on {}", config.name, config.address);
        match config.kind {
            ListenKind::Tcp => {
                let listener = TcpListener::bind(config.address).await.with_context(place)?;
                self.serve(listener, config.peers_max, stop).await;
            }
            ListenKind::Udp => {
                let socket = UdpSocket::bind(config.address).await.with_context(place)?;
                self.receive(socket, stop).await;
            }
        }
        Ok(())
    }

    /// Serves TCP peers on a socket that is bound.
    pub async fn serve(self, listener: TcpListener, peers_max: usize, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(peers_max));
        while !*stop.borrow() {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let listener = self.clone();
                    tokio::spawn(async move {
                        // A peer that is slow, or goes away, loses what it had not said.
                        let _ = tokio::time::timeout(PEER_TIME, listener.converse(stream, peer)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(listener = &*self.name, %error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn converse(&self, mut stream: TcpStream, peer: SocketAddr) -> std::io::Result<()> {
        let mut link = Wrapper::new(Config::server(None), vec![0; APDU_MAX], vec![0; APDU_MAX]);
        link.open(time::Instant::ZERO);
        let mut buffer = [0; APDU_MAX + HEADER_LEN];
        let mut taken_bytes = 0;
        while taken_bytes < PEER_BYTES {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            taken_bytes += read;
            let answers = self.feed(&mut link, &buffer[..read], peer.ip()).await;
            stream.write_all(&answers).await?;
            if !link.is_up() {
                return stream.shutdown().await;
            }
        }
        Ok(())
    }

    /// Receives datagrams on a socket that is bound, one after the other.
    pub async fn receive(self, socket: UdpSocket, mut stop: watch::Receiver<bool>) {
        let mut buffer = [0; APDU_MAX + HEADER_LEN];
        while !*stop.borrow() {
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                _ = stop.changed() => return,
            };
            match received {
                Ok((read, peer)) => {
                    let config = Config { datagrams: true, ..Config::server(None) };
                    let mut link = Wrapper::new(config, vec![0; APDU_MAX], vec![0; APDU_MAX]);
                    link.open(time::Instant::ZERO);
                    let answers = self.feed(&mut link, &buffer[..read], peer.ip()).await;
                    if !answers.is_empty() {
                        // Lost on the way, it is asked for again.
                        let _ = socket.send_to(&answers, peer).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(listener = &*self.name, %error, "a datagram was not received");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Takes received bytes; gives what is to be sent.
    async fn feed(&self, link: &mut Wrapper<Vec<u8>>, mut bytes: &[u8], from: IpAddr) -> Vec<u8> {
        let mut answers = Vec::new();
        loop {
            let taken = link.handle_bytes(time::Instant::ZERO, bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
            let mut any = false;
            while let Some(event) = link.poll_event() {
                // While it has something to tell, a link takes no bytes.
                any = true;
                let apdu = match event {
                    Event::Apdu(apdu) => apdu.to_vec(),
                    Event::Noise { bytes } => {
                        self.counts.noise.fetch_add(bytes as u64, Ordering::Relaxed);
                        continue;
                    }
                    _ => continue,
                };
                if let Some(answer) = self.take(from, &apdu).await
                    && link.send(time::Instant::ZERO, &answer).is_ok()
                {
                    let mut out = [0; APDU_MAX + HEADER_LEN];
                    while let Some(n) = link.poll_transmit(time::Instant::ZERO, &mut out) {
                        answers.extend_from_slice(&out[..n]);
                    }
                }
            }
            if bytes.is_empty() || (taken == 0 && !any) {
                return answers;
            }
        }
    }

    /// Judges one APDU and keeps what it says; the answer, if one is wanted.
    async fn take(&self, from: IpAddr, apdu: &[u8]) -> Option<Vec<u8>> {
        match self.judge.judge(from, apdu).await {
            Ok(taken) => match self.keep(from, taken.clone()).await {
                Ok(true) => {
                    self.counts.taken.fetch_add(1, Ordering::Relaxed);
                    taken.answer
                }
                // The same one came twice at the same time.
                Ok(false) => {
                    let why = "it was heard before".to_owned();
                    self.refuse(from, &Refused::NotAuthentic { serial: taken.serial.0, why }).await;
                    None
                }
                Err(error) => {
                    // Not confirmed: the meter says it again.
                    tracing::error!(meter = taken.serial.0, %error, "a notification could not be stored");
                    None
                }
            },
            Err(refused) => {
                self.refuse(from, &refused).await;
                None
            }
        }
    }

    async fn keep(&self, from: IpAddr, taken: Taken) -> Result<bool, StoreError> {
        let (listener, at) = (self.name.to_string(), self.clock.now());
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    let (serial, by) = (&taken.serial, (&*listener, from));
                    if !push::keep(&mut *conn, serial, &taken.detail, taken.counter, by, at).await? {
                        return Ok(false);
                    }
                    let Some(event) = taken.event else { return Ok(true) };
                    match change(event) {
                        Some(Change::Opens(kind)) => {
                            alarm::raise(conn, serial, kind, event.text(), at).await?
                        }
                        Some(Change::Closes(kind)) => {
                            alarm::clear(conn, serial, kind, event.text(), (at, at)).await?;
                        }
                        None => {}
                    }
                    Ok(true)
                })
            })
            .await
    }

    async fn refuse(&self, from: IpAddr, refused: &Refused) {
        let count = match refused {
            Refused::Unknown => &self.counts.unknown,
            _ => &self.counts.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(listener = &*self.name, %from, why = %refused, "a notification was refused");
        {
            let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
                return;
            }
            *told = Some(Instant::now());
        }
        let counts =
            (self.counts.unknown.load(Ordering::Relaxed), self.counts.refused.load(Ordering::Relaxed));
        let (listener, why, at) = (self.name.to_string(), refused.to_string(), self.clock.now());
        let told = self
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { push::refused(conn, (&listener, from), &why, counts, at).await })
            })
            .await;
        if let Err(error) = told {
            tracing::error!(%error, "that a notification was refused could not be stored");
        }
    }
}
