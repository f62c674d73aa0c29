//! TCP out.

use super::OpenError;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// A TCP peer that we call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpEndpoint {
    /// Its address.
    pub address: SocketAddr,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// The address of ours to call from, where a substation has several networks and only one may carry meter traffic.
    pub source: Option<IpAddr>,
}

impl TcpEndpoint {
    /// Connects, without Nagle's delay: a request is one small segment and its answer is waited for.
    pub(super) async fn connect(&self) -> Result<TcpStream, OpenError> {
        match tokio::time::timeout(self.connect_timeout, self.dial()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(OpenError::Connect { address: self.address.to_string(), error }),
            Err(_elapsed) => Err(OpenError::ConnectTimeout {
                address: self.address.to_string(),
                waited: self.connect_timeout,
            }),
        }
    }

    async fn dial(&self) -> std::io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{ByteCounters, Endpoint, open};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn endpoint(address: SocketAddr) -> TcpEndpoint {
        TcpEndpoint { address, connect_timeout: Duration::from_secs(2), source: None }
    }

    #[tokio::test]
    async fn bytes_are_counted_in_both_directions() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await.expect("one caller");
            let mut request = [0; 5];
            peer.read_exact(&mut request).await.expect("five bytes");
            peer.write_all(b"world!!").await.expect("answer");
            request
        });
        let counters = Arc::new(ByteCounters::default());
        let mut pipe = open(&Endpoint::Tcp(endpoint(address)), counters.clone()).await.expect("connected");
        pipe.write_all(b"hello").await.expect("sent");
        let mut answer = [0; 7];
        pipe.read_exact(&mut answer).await.expect("answered");
        assert_eq!(&answer, b"world!!");
        assert_eq!(&server.await.expect("served"), b"hello");
        assert_eq!((counters.traffic().sent_bytes, counters.traffic().received_bytes), (5, 7));
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_by_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let error =
            open(&Endpoint::Tcp(endpoint(address)), Arc::default()).await.expect_err("nobody listens");
        assert!(error.to_string().starts_with(&format!("{address}: ")), "{error}");
        assert!(matches!(error, OpenError::Connect { .. }));
    }

    #[tokio::test]
    async fn the_source_address_is_the_one_configured() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let source = Some("127.0.0.9".parse().expect("an address"));
        let _pipe = open(&Endpoint::Tcp(TcpEndpoint { source, ..endpoint(address) }), Arc::default())
            .await
            .expect("connected");
        let (_, caller) = listener.accept().await.expect("one caller");
        assert_eq!(caller.ip().to_string(), "127.0.0.9");
    }
}
