//! Datagrams as a pipe: each write is one datagram, and each read brings one.

use super::OpenError;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UdpSocket;

/// Room for the largest datagram taken: an APDU and the wrapper's header. What is longer is cut off, and no APDU any more.
pub const DATAGRAM_MAX: usize = 2_112;

/// A socket that hears one peer alone.
#[derive(Debug)]
pub struct Datagrams(UdpSocket);

impl Datagrams {
    /// To and from this peer, from any free port.
    ///
    /// # Errors
    /// The system gives no socket, or knows no way there.
    pub async fn to(peer: SocketAddr) -> Result<Self, OpenError> {
        let refused = |error| OpenError::Connect { address: peer.to_string(), error };
        let any = match peer {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any).await.map_err(refused)?;
        socket.connect(peer).await.map_err(refused)?;
        Ok(Self(socket))
    }

    /// On a socket that is bound and connected.
    #[must_use]
    pub const fn on(socket: UdpSocket) -> Self {
        Self(socket)
    }
}

impl AsyncRead for Datagrams {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_recv(cx, buf)
    }
}

impl AsyncWrite for Datagrams {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
