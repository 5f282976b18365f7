//! What other peers call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{InstallSnapshotRequest, VoteRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, async_trait};

use super::tls::Tls;
use super::{CONNECTION_WINDOW, MESSAGE_BYTES_MAX, STREAM_WINDOW};
use crate::codec::proto::peers_server::{Peers, PeersServer};
use crate::codec::{self, proto};
use crate::membership::Stranger;
use crate::peer::{Attempt, Core};
use crate::raft::SnapshotMeta;
use crate::raft::network::{append_of, appended_to};

/// Handshakes at one time; strangers beyond it wait, they cannot use up memory.
const HANDSHAKES_MAX: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Wait after the system refused to accept: it is out of files, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection whose other end has shown that it knows the secret.
struct Secured(TlsStream<TcpStream>);

impl Connected for Secured {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Accepts until told to stop.
async fn accept(
    listener: TcpListener,
    tls: Tls,
    secured: mpsc::Sender<io::Result<Secured>>,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls.server);
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut running = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        while running.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of a peer");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, secured) = (acceptor.clone(), secured.clone());
        running.spawn(async move {
            let handshake = async {
                stream.set_nodelay(true)?;
                acceptor.accept(stream).await
            };
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => {
                    // The server has stopped: there is nobody to tell.
                    drop(secured.send(Ok(Secured(stream))).await);
                }
                Ok(Err(error)) => tracing::debug!(%error, "a connection is not of a peer"),
                Err(_elapsed) => tracing::debug!("a connection did not say who it is"),
            }
            drop(permit);
        });
    }
}

/// Serves until told to stop.
pub(crate) async fn serve(
    core: Arc<Core>,
    listener: TcpListener,
    tls: Tls,
    stop: CancellationToken,
) {
    let (secured, waiting) = mpsc::channel(HANDSHAKES_MAX);
    let incoming = futures_util::stream::unfold(waiting, |mut waiting| async {
        waiting.recv().await.map(|stream| (stream, waiting))
    });
    let service = PeersServer::new(Service(core))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_with_incoming(service, Box::pin(incoming));
    let accepting = accept(listener, tls, secured, stop.clone());
    tokio::select! {
        result = server => {
            if let Err(error) = result {
                tracing::error!(%error, "the peer port has failed");
            }
        }
        () = accepting => {}
    }
}

struct Service(Arc<Core>);

impl Service {
    /// Who calls, and whether we know them.
    async fn check(&self, caller: Option<&proto::Caller>) -> Result<Option<proto::Caller>, Status> {
        let acquaintances = self.0.acquaintances();
        match acquaintances.check(caller, None).await {
            Ok(peer) => Ok(Some(acquaintances.caller(peer))),
            Err(stranger @ Stranger::Replaced { .. }) => {
                Err(Status::failed_precondition(stranger.to_string()))
            }
            Err(stranger) => Err(Status::permission_denied(stranger.to_string())),
        }
    }
}

fn malformed(error: &codec::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn unavailable(error: &impl ToString) -> Status {
    Status::unavailable(error.to_string())
}

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl Peers for Service {
    async fn append(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Answer<proto::AppendResponse> {
        let message = request.into_inner();
        let caller = self.check(message.caller.as_ref()).await?;
        let request = append_of(message).map_err(|error| malformed(&error))?;
        let response = self.0.raft().append_entries(request).await;
        let mut message = appended_to(&response.map_err(|error| unavailable(&error))?);
        message.caller = caller;
        Ok(Response::new(message))
    }

    async fn elect(&self, request: Request<proto::ElectRequest>) -> Answer<proto::ElectResponse> {
        let message = request.into_inner();
        let caller = self.check(message.caller.as_ref()).await?;
        let vote = message.vote.ok_or_else(|| malformed(&codec::Error::Missing("vote")))?;
        let last = message.last.as_ref().map(codec::log_id_of);
        let response = self.0.raft().vote(VoteRequest::new(codec::vote_of(&vote), last)).await;
        let response = response.map_err(|error| unavailable(&error))?;
        Ok(Response::new(proto::ElectResponse {
            caller,
            vote: Some(codec::vote_to(&response.vote)),
            granted: response.vote_granted,
            last: response.last_log_id.as_ref().map(codec::log_id_to),
        }))
    }

    async fn install(
        &self,
        request: Request<proto::InstallRequest>,
    ) -> Answer<proto::InstallResponse> {
        let message = request.into_inner();
        let caller = self.check(message.caller.as_ref()).await?;
        let missing = |what| malformed(&codec::Error::Missing(what));
        let membership = message.membership.ok_or_else(|| missing("membership"))?;
        let request = InstallSnapshotRequest {
            vote: codec::vote_of(&message.vote.ok_or_else(|| missing("vote"))?),
            meta: SnapshotMeta {
                last_log_id: message.last.as_ref().map(codec::log_id_of),
                last_membership: codec::stored_membership_of(membership),
                snapshot_id: message.id,
            },
            offset: message.offset,
            data: message.data.into(),
            done: message.done,
        };
        let mut answer = proto::InstallResponse { caller, ..Default::default() };
        match self.0.raft().install_snapshot(request).await {
            Ok(response) => answer.vote = Some(codec::vote_to(&response.vote)),
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                let (expected, got) = (mismatch.expect, mismatch.got);
                answer.expected = Some(proto::Segment { id: expected.id, offset: expected.offset });
                answer.got = Some(proto::Segment { id: got.id, offset: got.offset });
            }
            Err(RaftError::Fatal(error)) => return Err(unavailable(&error)),
        }
        Ok(Response::new(answer))
    }

    async fn propose(
        &self,
        request: Request<proto::ProposeRequest>,
    ) -> Answer<proto::ProposeResponse> {
        let message = request.into_inner();
        let caller = self.check(message.caller.as_ref()).await?;
        let missing = || malformed(&codec::Error::Missing("proposal"));
        let proposal = message.proposal.ok_or_else(missing)?;
        let timeout = Duration::from_millis(message.timeout_ms);
        let mut answer = proto::ProposeResponse { caller, ..Default::default() };
        let result = match self.0.lead(proposal, timeout).await {
            Attempt::Done(outcome) => {
                answer.outcome = Some(codec::outcome_to(&outcome));
                proto::propose_response::Result::Done
            }
            Attempt::NotLeader => proto::propose_response::Result::NotLeader,
            Attempt::NoQuorum => proto::propose_response::Result::NoQuorum,
            Attempt::Unknown => proto::propose_response::Result::Unknown,
        };
        answer.set_result(result);
        Ok(Response::new(answer))
    }

    async fn read_index(
        &self,
        request: Request<proto::ReadIndexRequest>,
    ) -> Answer<proto::ReadIndexResponse> {
        let caller = self.check(request.into_inner().caller.as_ref()).await?;
        let index = self.0.lead_read().await;
        Ok(Response::new(proto::ReadIndexResponse { caller, index }))
    }

    async fn exchange(
        &self,
        request: Request<proto::ExchangeRequest>,
    ) -> Answer<proto::ExchangeResponse> {
        let message = request.into_inner();
        let caller = self.check(message.caller.as_ref()).await?;
        if let (Some(caller), Some(report)) = (message.caller, message.report) {
            self.0.saw(caller.peer, report);
        }
        Ok(Response::new(proto::ExchangeResponse { caller, report: Some(self.0.own_report()) }))
    }
}
