//! Raft's messages to the other peers.

use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotSegmentId;
use openraft::error::{
    InstallSnapshotError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use tokio::task::JoinHandle;

use super::{Encoded, LogId, Peer, RaftEntry, Types, Vote};
use crate::codec::{self, proto};
use crate::transport::client::{Failure, Link, Links, Purpose};

/// Wait before a peer that could not be reached is tried again.
const BACKOFF: Duration = Duration::from_millis(200);
/// Larger messages may take longer than a heartbeat, see [`Connection::append_large`].
const LARGE_BYTES: usize = 128 << 10;
/// Longest wait for a peer to take a large message.
const LARGE_TIMEOUT: Duration = Duration::from_mins(1);

type Rpc<E = openraft::error::Infallible> = RPCError<u64, Peer, RaftError<u64, E>>;

pub(crate) struct Network {
    pub(crate) links: Arc<Links>,
    pub(crate) heartbeat: Duration,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, peer: &Peer) -> Connection {
        // openraft asks for a client at each election and each linearizable read.
        let link = self.links.kept(Purpose::Raft, target, peer);
        Connection { link, target, heartbeat: self.heartbeat, large: None }
    }
}

/// What tells one append from another.
type Key = (Vote, Option<LogId>, Option<LogId>);

type Appended = Result<AppendEntriesResponse<u64>, Failure>;

struct Large {
    key: Key,
    task: JoinHandle<Appended>,
}

impl Drop for Large {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The way to one peer.
pub(crate) struct Connection {
    link: Link,
    target: u64,
    heartbeat: Duration,
    large: Option<Large>,
}

fn unreachable<E: std::error::Error>(failure: &Failure) -> Rpc<E> {
    RPCError::Unreachable(Unreachable::new(failure))
}

fn weight(entry: &RaftEntry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(Encoded(bytes)) => bytes.len(),
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => 0,
    }
}

async fn send(link: &Link, request: &AppendEntriesRequest<Types>) -> Appended {
    let message = proto::AppendRequest {
        caller: None,
        vote: Some(codec::vote_to(&request.vote)),
        previous: request.prev_log_id.as_ref().map(codec::log_id_to),
        entries: request.entries.iter().map(codec::entry_to).collect(),
        committed: request.leader_commit.as_ref().map(codec::log_id_to),
    };
    let response = link.append(message, LARGE_TIMEOUT).await?;
    match response.result() {
        proto::append_response::Result::Success => Ok(AppendEntriesResponse::Success),
        proto::append_response::Result::Partial => {
            let matching = response.matching.as_ref().map(codec::log_id_of);
            Ok(AppendEntriesResponse::PartialSuccess(matching))
        }
        proto::append_response::Result::Conflict => Ok(AppendEntriesResponse::Conflict),
        proto::append_response::Result::HigherVote => {
            let vote = response.vote.as_ref().ok_or(Failure::Malformed("vote"))?;
            Ok(AppendEntriesResponse::HigherVote(codec::vote_of(vote)))
        }
        proto::append_response::Result::Unspecified => Err(Failure::Malformed("result")),
    }
}

impl Connection {
    /// openraft gives up on an append after one heartbeat and sends it again. A large one would
    /// never get through, so it goes on in a task of its own, which the next try waits for;
    /// heartbeats beside it keep the follower from calling an election meanwhile.
    async fn append_large(&mut self, request: AppendEntriesRequest<Types>) -> Appended {
        let last = request.entries.last().map(|entry| entry.log_id);
        let key = (request.vote, request.prev_log_id, last);
        let running = self.large.take().filter(|large| large.key == key);
        let large = running.unwrap_or_else(|| {
            let (link, heartbeat) = (self.link.clone(), self.heartbeat);
            let run = async move {
                let beat = AppendEntriesRequest {
                    vote: request.vote,
                    prev_log_id: None,
                    entries: Vec::new(),
                    leader_commit: None,
                };
                let sent = send(&link, &request);
                tokio::pin!(sent);
                loop {
                    tokio::select! {
                        result = &mut sent => return result,
                        () = tokio::time::sleep(heartbeat) => {
                            if let Err(error) = send(&link, &beat).await {
                                tracing::debug!(%error, "heartbeat failed");
                            }
                        }
                    }
                }
            };
            Large { key, task: tokio::runtime::Handle::current().spawn(run) }
        });
        let large = self.large.insert(large);
        let result = (&mut large.task).await;
        self.large = None;
        result.map_err(|_ended| Failure::Timeout)?
    }
}

impl RaftNetwork<Types> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Rpc> {
        let result = if request.entries.iter().map(weight).sum::<usize>() > LARGE_BYTES {
            self.append_large(request).await
        } else {
            send(&self.link, &request).await
        };
        result.map_err(|failure| unreachable(&failure))
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Rpc<InstallSnapshotError>> {
        let message = proto::InstallRequest {
            caller: None,
            vote: Some(codec::vote_to(&request.vote)),
            last: request.meta.last_log_id.as_ref().map(codec::log_id_to),
            membership: Some(codec::stored_membership_to(&request.meta.last_membership)),
            id: request.meta.snapshot_id,
            offset: request.offset,
            data: request.data.into(),
            done: request.done,
        };
        let response = self.link.install(message, option.hard_ttl()).await;
        let response = response.map_err(|failure| unreachable(&failure))?;
        let segment =
            |segment: proto::Segment| SnapshotSegmentId { id: segment.id, offset: segment.offset };
        if let (Some(expect), Some(got)) = (response.expected, response.got) {
            let mismatch = SnapshotMismatch { expect: segment(expect), got: segment(got) };
            let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
            return Err(RPCError::RemoteError(RemoteError::new(self.target, error)));
        }
        let vote = response.vote.as_ref().ok_or(Failure::Malformed("vote"));
        let vote = codec::vote_of(vote.map_err(|failure| unreachable(&failure))?);
        Ok(InstallSnapshotResponse { vote })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Rpc> {
        let message = proto::ElectRequest {
            caller: None,
            vote: Some(codec::vote_to(&request.vote)),
            last: request.last_log_id.as_ref().map(codec::log_id_to),
        };
        let response = self.link.elect(message, option.hard_ttl()).await;
        let response = response.map_err(|failure| unreachable(&failure))?;
        let vote = response.vote.as_ref().ok_or(Failure::Malformed("vote"));
        let vote = codec::vote_of(vote.map_err(|failure| unreachable(&failure))?);
        let last = response.last.as_ref().map(codec::log_id_of);
        Ok(VoteResponse::new(vote, last, response.granted))
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}

/// A request as openraft takes it.
pub(crate) fn append_of(
    message: proto::AppendRequest,
) -> Result<AppendEntriesRequest<Types>, codec::Error> {
    Ok(AppendEntriesRequest {
        vote: codec::vote_of(&message.vote.ok_or(codec::Error::Missing("vote"))?),
        prev_log_id: message.previous.as_ref().map(codec::log_id_of),
        entries: message.entries.into_iter().map(codec::entry_of).collect::<Result<_, _>>()?,
        leader_commit: message.committed.as_ref().map(codec::log_id_of),
    })
}

/// An answer as it goes over the wire.
pub(crate) fn appended_to(response: &AppendEntriesResponse<u64>) -> proto::AppendResponse {
    let mut message = proto::AppendResponse::default();
    let result = match response {
        AppendEntriesResponse::Success => proto::append_response::Result::Success,
        AppendEntriesResponse::PartialSuccess(matching) => {
            message.matching = matching.as_ref().map(codec::log_id_to);
            proto::append_response::Result::Partial
        }
        AppendEntriesResponse::Conflict => proto::append_response::Result::Conflict,
        AppendEntriesResponse::HigherVote(vote) => {
            message.vote = Some(codec::vote_to(vote));
            proto::append_response::Result::HigherVote
        }
    };
    message.set_result(result);
    message
}
