//! Makes connections: name lookup, TCP, TLS.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::Configs;
use crate::http::ProxyError;

/// As in Traefik, not an option.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// As in Traefik, not an option.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long the first family of addresses is tried alone (RFC 6555; Go's value).
const FALLBACK_DELAY: Duration = Duration::from_millis(300);
/// The least time that one of several addresses gets (Go's value).
const ADDRESS_TIME_MIN: Duration = Duration::from_secs(2);
/// More addresses of one name than this are not tried.
const ADDRESSES_MAX: usize = 16;

/// Why there is no connection. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConnectError {
    Refused(String),
    Timeout,
    /// The server's certificate was not accepted.
    Certificate(String),
}

impl ConnectError {
    pub(super) fn into_proxy_error(self, server: &str) -> ProxyError {
        let server = server.to_owned();
        match self {
            Self::Refused(reason) => ProxyError::Connect { server, reason },
            Self::Timeout => ProxyError::ConnectTimeout { server },
            Self::Certificate(reason) => ProxyError::Certificate { server, reason },
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What to speak over a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Http,
    Https,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

/// Where a server is.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    /// Name or IP address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Present where `host` is an IP address.
    pub(super) address: Option<SocketAddr>,
    /// Present for `https`: for SNI and the check of the certificate.
    pub(super) server_name: Option<ServerName<'static>>,
}

impl Target {
    /// Connects within `dial` and, for `https`, shakes hands.
    pub(super) async fn connect(
        &self,
        dial: Option<Duration>,
        tls: &Configs,
        http1_only: bool,
    ) -> Result<(Stream, Protocol), ConnectError> {
        let tcp = match dial {
            Some(limit) => timeout(limit, self.dial(Some(Instant::now() + limit)))
                .await
                .map_err(|_elapsed| ConnectError::Timeout)?,
            None => self.dial(None).await,
        };
        let tcp = tcp.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => ConnectError::Timeout,
            _ => ConnectError::Refused(error.to_string()),
        })?;
        prepare(&tcp).map_err(|error| ConnectError::Refused(error.to_string()))?;
        let Some(name) = &self.server_name else {
            let protocol =
                if self.scheme == Scheme::H2c { Protocol::Http2 } else { Protocol::Http1 };
            return Ok((Stream::Plain(tcp), protocol));
        };
        let config = if http1_only { &tls.http1 } else { &tls.any };
        handshake(tcp, TlsConnector::from(config.clone()), name.clone()).await
    }

    /// The first address that answers before `deadline`.
    pub(super) async fn dial(&self, deadline: Option<Instant>) -> io::Result<TcpStream> {
        if let Some(address) = self.address {
            return TcpStream::connect(address).await;
        }
        // The system's resolver, on a thread of its own: it may block.
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let (first, second) = by_family(found.take(ADDRESSES_MAX).collect());
        if second.is_empty() {
            return in_turn(&first, deadline).await;
        }
        race(&first, &second, deadline).await
    }
}

/// The addresses of the family that the resolver put first, and the others.
fn by_family(addresses: Vec<SocketAddr>) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let v4_first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    addresses.into_iter().partition(|address| address.is_ipv4() == v4_first)
}

/// Tries one family; the other joins after a moment or once the first has failed.
async fn race(
    first: &[SocketAddr],
    second: &[SocketAddr],
    deadline: Option<Instant>,
) -> io::Result<TcpStream> {
    let primary = in_turn(first, deadline);
    tokio::pin!(primary);
    if let Ok(result) = timeout(FALLBACK_DELAY, &mut primary).await {
        return match result {
            Ok(stream) => Ok(stream),
            Err(error) => in_turn(second, deadline).await.map_err(|_second| error),
        };
    }
    let fallback = in_turn(second, deadline);
    tokio::pin!(fallback);
    tokio::select! {
        result = &mut primary => match result {
            Ok(stream) => Ok(stream),
            Err(error) => fallback.await.map_err(|_second| error),
        },
        result = &mut fallback => match result {
            Ok(stream) => Ok(stream),
            Err(_second) => primary.await,
        },
    }
}

/// Tries addresses one after the other, each with its share of the time that is left.
async fn in_turn(addresses: &[SocketAddr], deadline: Option<Instant>) -> io::Result<TcpStream> {
    let mut first_error = None;
    for (done, address) in addresses.iter().enumerate() {
        let attempt = TcpStream::connect(*address);
        let result = match deadline {
            Some(deadline) => {
                timeout_at(share(Instant::now(), deadline, addresses.len() - done), attempt)
                    .await
                    .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
            }
            None => attempt.await,
        };
        match result {
            Ok(stream) => return Ok(stream),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host")))
}

/// Until when one of `left` addresses may take.
fn share(now: Instant, deadline: Instant, left: usize) -> Instant {
    let time = deadline.saturating_duration_since(now);
    let left = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
    now + (time / left).max(ADDRESS_TIME_MIN).min(time)
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

async fn handshake(
    tcp: TcpStream,
    connector: TlsConnector,
    name: ServerName<'static>,
) -> Result<(Stream, Protocol), ConnectError> {
    let stream = timeout(TLS_HANDSHAKE_TIMEOUT, connector.connect(name, tcp))
        .await
        .map_err(|_elapsed| ConnectError::Timeout)?
        .map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(_)) => {
                    ConnectError::Certificate(error.to_string())
                }
                _ => ConnectError::Refused(format!("TLS handshake: {error}")),
            }
        })?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Ok((Stream::Tls(Box::new(stream)), protocol))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_keep_the_resolvers_order() {
        let addresses = ["[::1]:80", "127.0.0.1:80", "[::2]:80"].map(|a| a.parse().unwrap());
        let (first, second) = by_family(addresses.to_vec());
        assert_eq!(first, [addresses[0], addresses[2]]);
        assert_eq!(second, [addresses[1]]);
    }

    #[test]
    fn an_address_gets_its_share_but_not_too_little() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(share(now, after(30), 3), after(10));
        assert_eq!(share(now, after(30), 1), after(30));
        assert_eq!(share(now, after(3), 3), after(2));
        assert_eq!(share(now, after(1), 3), after(1));
    }
}
