//! Layer 4 over TCP: middlewares and services. Rules are in `router::tcp`, the choice of a route in
//! `entrypoint::dispatch`.
//!
//! Traefik v3: TCP (tcp-udp-tls.md §2 to §4).

mod copy;
pub(crate) mod middleware;
pub(crate) mod options;
mod proxy_protocol;
pub(crate) mod service;
mod transport;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::tls::Acceptance;

pub(crate) use middleware::{Admission, Middleware};
pub(crate) use service::Service;
pub(crate) use transport::Transport;

/// What a `PostgreSQL` client sends first when it wants TLS.
pub(crate) const POSTGRES_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
/// The answer of a server that speaks TLS.
pub(crate) const POSTGRES_ANSWER: u8 = b'S';

/// A stream of bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Stream for IO {}

/// A client's connection on its way to a server.
pub(crate) struct Connection {
    pub(crate) client: Box<dyn Stream>,
    /// The client: the socket's peer, or what a PROXY header said.
    pub(crate) remote: SocketAddr,
    /// Where it has connected to.
    pub(crate) local: SocketAddr,
    /// The client has been told that TLS begins, as `PostgreSQL` does it, and the server has not been asked yet.
    pub(crate) starttls: bool,
}

/// Why a client has got no server, or no longer has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no server that could take the connection")]
    NoServer,
    #[error("connecting to server `{server}`: {source}")]
    Connect { server: Arc<str>, source: io::Error },
    #[error("server `{server}` does not begin TLS as PostgreSQL does")]
    StartTls { server: Arc<str> },
}

/// Takes connections.
#[async_trait]
pub(crate) trait Handler: Send + Sync {
    /// Holds on to the connection until both sides have ended.
    async fn serve(&self, connection: Connection) -> Result<(), Error>;
}

/// What a TCP router does with TLS.
#[derive(Clone)]
pub(crate) enum Ending {
    /// It takes connections without TLS.
    Plain,
    /// The server ends TLS.
    PassedThrough,
    /// We do. Without a configuration the connection is closed: the options cannot be used.
    Ended(Arc<Acceptance>),
}

/// A TCP router that works.
pub(crate) struct Route {
    /// `name@provider`
    pub(crate) name: Arc<str>,
    pub(crate) ending: Ending,
    pub(crate) middlewares: Box<[Arc<dyn Middleware>]>,
    /// Absent where only the refusal of its names is left, since its TLS options cannot be used.
    pub(crate) service: Option<Arc<dyn Service>>,
}
