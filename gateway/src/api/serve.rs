//! The sockets of the HTTP service: how many at once, and how long a peer may take to say what it wants. Whoever holds a connection
//! without a request loses it when others need the place.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::{BODY_MAX, Problem};

/// Bounds on what peers may hold; the numbers are ours.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once: more than the clerks, channels and screens of a substation.
    pub connections: usize,
    /// How long the head of a request may take, from the connection or from the answer before.
    pub head: Duration,
    /// How long a stop waits for answers that are under way.
    pub end: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 512, head: Duration::from_secs(15), end: Duration::from_secs(10) }
    }
}

/// How long the body of a request may take: an import of ten thousand meters over a slow line.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after an accept that failed: the system is out of descriptors, and others have to finish first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One connection, as the one who accepts sees it.
#[derive(Debug, Default)]
struct Guest {
    /// Requests under way, streams of events included.
    busy: AtomicUsize,
    leave: Notify,
}

/// A request under way.
struct Busy(Arc<Guest>);

impl Busy {
    fn new(guest: &Arc<Guest>) -> Self {
        guest.busy.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(guest))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves until `stop` becomes true, then finishes what is under way.
pub async fn serve(listener: TcpListener, service: Router, limits: Limits, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut guests: VecDeque<Arc<Guest>> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            // An error means that nobody can tell us any more, which is a stop too.
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {
                guests.retain(|guest| Arc::strong_count(guest) > 1);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if guests.len() >= limits.connections && !make_room(&mut guests) {
                    // Every place is taken by a request under way; the peer sees its connection closed.
                    continue;
                }
                let guest = Arc::new(Guest::default());
                guests.push_back(Arc::clone(&guest));
                connections.spawn(converse(stream, service.clone(), guest, limits, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    while make_room(&mut guests) {}
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.end, all).await.is_err() {
        tracing::warn!("answers still under way were cut off");
    }
}

/// Sends away whoever has been here longest without a request under way. False when there is nobody like that.
fn make_room(guests: &mut VecDeque<Arc<Guest>>) -> bool {
    let idle = guests.iter().position(|guest| guest.busy.load(Ordering::SeqCst) == 0);
    let guest = idle.and_then(|place| guests.remove(place));
    guest.inspect(|guest| guest.leave.notify_one()).is_some()
}

async fn converse(
    stream: TcpStream,
    router: Router,
    guest: Arc<Guest>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let answering = Arc::clone(&guest);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (router, busy) = (router.clone(), Busy::new(&answering));
        async move { router.oneshot(request.map(Body::new)).await.map(|response| held(response, busy)) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut stopping = false;
    loop {
        tokio::select! {
            // A peer that breaks off or breaks the protocol is nothing to tell anybody about.
            _ = connection.as_mut() => return,
            () = guest.leave.notified() => return,
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A stream of events keeps its connection busy as long as it lasts.
fn held(response: Response, busy: Busy) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        return response;
    }
    response.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |part| {
            let _ = &busy;
            part
        }))
    })
}

/// Takes the whole body before anything is done with the request, within [`BODY_TIMEOUT`] and [`BODY_MAX`].
pub(super) async fn whole_body(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(patience, axum::body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(_)) => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            format!("the body did not arrive whole, or has more than {BODY_MAX} bytes"),
        )
        .into_response(),
        Err(_) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            format!("the body took more than {} s", patience.as_secs()),
        )
        .into_response(),
    }
}

/// The patience of [`whole_body`].
pub(super) const fn body_timeout() -> Duration {
    BODY_TIMEOUT
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const SOON: Duration = Duration::from_secs(20);

    async fn service(limits: Limits) -> (SocketAddr, watch::Sender<bool>) {
        let slow = axum::middleware::from_fn_with_state(Duration::from_millis(300), whole_body);
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/take", post(async |body: String| body))
            .layer(slow);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, stop) = watch::channel(false);
        tokio::spawn(serve(listener, router, limits, stop));
        (address, tell)
    }

    fn limits(connections: usize, head: Duration) -> Limits {
        Limits { connections, head, ..Limits::default() }
    }

    async fn said(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_string(&mut text)).await.expect("the end comes");
        text
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        said(&mut stream).await
    }

    #[tokio::test]
    async fn many_half_open_connections_do_not_keep_others_out() {
        // So patient with heads that only the bound on connections can help.
        let (address, _tell) = service(limits(8, Duration::from_secs(3600))).await;
        let mut strangers = Vec::new();
        for n in 0..40 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head: &[u8] = if n % 2 == 0 { b"" } else { b"GET / HTTP/1.1\r\nHost: " };
            stream.write_all(head).await.unwrap();
            strangers.push(stream);
        }
        for _ in 0..20 {
            let answer = ask(address).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        }
        assert_eq!(said(&mut strangers[0]).await, "", "the oldest was sent away");
    }

    #[tokio::test]
    async fn a_head_that_dribbles_in_is_cut_off() {
        let (address, _tell) = service(limits(8, Duration::from_millis(300))).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let dribble = async {
            while writer.write_all(b"X-A: b\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let end = async {
            let mut rest = Vec::new();
            let _ = reader.read_to_end(&mut rest).await;
        };
        let both = async {
            tokio::select! { () = dribble => (), () = end => () }
        };
        tokio::time::timeout(SOON, both).await.expect("the connection is cut off");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_refused() {
        let (address, _tell) = service(Limits::default()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
        let answer = said(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body-too-slow"), "{answer}");
    }

    #[tokio::test]
    async fn a_stop_ends_idle_connections() {
        let (address, tell) = service(limits(8, Duration::from_secs(3600))).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        ask(address).await;
        tell.send_replace(true);
        assert_eq!(said(&mut idle).await, "");
    }
}
