//! Calls to other peers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::tls::{PEER_NAME, Tls};
use super::{CONNECTION_WINDOW, MESSAGE_BYTES_MAX, STREAM_WINDOW};
use crate::codec::proto;
use crate::codec::proto::peers_client::PeersClient;
use crate::lock;
use crate::membership::{Acquaintances, Stranger};
use crate::raft::Peer;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Why a call to a peer failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// Not even connected: the peer has not seen the call.
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the peer refused: {}", .0.message())]
    Refused(Status),
    #[error(transparent)]
    Stranger(#[from] Stranger),
    #[error("no answer in time")]
    Timeout,
    #[error("answer without `{0}`")]
    Malformed(&'static str),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let mut source = std::error::Error::source(&status);
        while let Some(error) = source {
            if error.is::<tonic::ConnectError>() {
                return Self::Connect(error.to_string());
            }
            source = error.source();
        }
        Self::Refused(status)
    }
}

impl Failure {
    /// The peer says that this one was replaced, see [`Stranger::Replaced`].
    pub(crate) fn says_replaced(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::FailedPrecondition)
    }
}

/// Opens a TLS connection to one address.
#[derive(Clone)]
struct Connector {
    address: String,
    tls: TlsConnector,
}

type Connecting<T> = Pin<Box<dyn Future<Output = std::io::Result<T>> + Send>>;

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, tls } = self.clone();
        Box::pin(async move {
            let name = ServerName::try_from(PEER_NAME).map_err(std::io::Error::other)?;
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            tls.connect(name, stream).await.map(TokioIo::new)
        })
    }
}

/// What a way is kept for. Raft has its own, so that its heartbeats wait for no answer to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Raft,
    Calls,
}

/// Makes and keeps the ways to the other peers.
pub(crate) struct Links {
    tls: Tls,
    acquaintances: Arc<Acquaintances>,
    kept: Mutex<BTreeMap<(Purpose, u64), (String, Link)>>,
}

impl Links {
    pub(crate) fn new(tls: Tls, acquaintances: Arc<Acquaintances>) -> Self {
        Self { tls, acquaintances, kept: Mutex::default() }
    }

    /// A new way, with a connection of its own that is opened when it is first needed.
    fn connect(&self, target: u64, peer: &Peer) -> Link {
        let connector = Connector {
            address: peer.address.clone(),
            tls: TlsConnector::from(Arc::clone(&self.tls.client)),
        };
        // The address in the URI is not used: the connector knows where to go.
        let endpoint = Endpoint::from_static("http://peer.pontoon.internal")
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let channel = endpoint.connect_with_connector_lazy(connector);
        let client = PeersClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Link { client, target, acquaintances: Arc::clone(&self.acquaintances) }
    }

    /// The way to a peer, opened once.
    pub(crate) fn kept(&self, purpose: Purpose, target: u64, peer: &Peer) -> Link {
        let mut kept = lock(&self.kept);
        match kept.get(&(purpose, target)) {
            Some((address, link)) if *address == peer.address => link.clone(),
            _ => {
                let link = self.connect(target, peer);
                kept.insert((purpose, target), (peer.address.clone(), link.clone()));
                link
            }
        }
    }
}

/// The way to one peer.
#[derive(Clone)]
pub(crate) struct Link {
    client: PeersClient<Channel>,
    target: u64,
    acquaintances: Arc<Acquaintances>,
}

/// A call: say who calls, bound the wait, check who answers.
macro_rules! call {
    ($name:ident, $request:ty, $response:ty) => {
        pub(crate) async fn $name(
            &self,
            mut message: $request,
            timeout: Duration,
        ) -> Result<$response, Failure> {
            message.caller = Some(self.acquaintances.caller(self.target));
            let mut client = self.client.clone();
            let answer = tokio::time::timeout(timeout, client.$name(message)).await;
            let response =
                answer.map_err(|_elapsed| Failure::Timeout)?.map(Response::into_inner)?;
            self.acquaintances.check(response.caller.as_ref(), Some(self.target)).await?;
            Ok(response)
        }
    };
}

impl Link {
    call!(append, proto::AppendRequest, proto::AppendResponse);
    call!(elect, proto::ElectRequest, proto::ElectResponse);
    call!(install, proto::InstallRequest, proto::InstallResponse);
    call!(propose, proto::ProposeRequest, proto::ProposeResponse);
    call!(read_index, proto::ReadIndexRequest, proto::ReadIndexResponse);
    call!(exchange, proto::ExchangeRequest, proto::ExchangeResponse);
}
