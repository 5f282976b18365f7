//! One running peer: its parts, proposals, and who leads. Reads stand in `reads`, what peers tell each other in `reports`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft::ServerState;
use prost::Message as _;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::codec::{self, proto};
use crate::command::{COMMAND_BYTES_MAX, Command, Outcome, Proposal, Proposer, Reply, Revision};
use crate::membership::{Acquaintances, Identity};
use crate::metrics::{Counters, Metrics};
use crate::raft::log::LogStore;
use crate::raft::state_machine::Shared;
use crate::raft::{Encoded, Peer, Raft};
use crate::reads::Rounds;
use crate::reports::Seen;
use crate::status::{Leadership, PeerReport, Role};
use crate::transport::client::{Failure, Link, Links, Purpose};
use crate::{Options, clock};

/// Wait before a proposal or a read is tried again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Memory that proposals on their way may hold, in units of [`UNIT`].
const UNITS: usize = 4096;
const UNIT: usize = 64 << 10;

/// A command that was carried out, or refused by the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The state machine's answer.
    pub reply: Reply,
    /// Where in the log it was given.
    pub revision: Revision,
    /// In which term.
    pub term: u64,
}

/// Why a command got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader with a quorum; nothing was changed.
    #[error("no quorum: too few peers are reachable to store anything")]
    NoQuorum {
        /// When to try again.
        retry_after: Duration,
    },
    /// It was sent, but no answer came in time. It may yet be carried out.
    #[error("no answer in time: the outcome is unknown")]
    Unknown,
    /// Larger than [`COMMAND_BYTES_MAX`].
    #[error("the command has {0} bytes, more than {COMMAND_BYTES_MAX}")]
    TooLarge(usize),
    /// This peer is shutting down, or its store has failed.
    #[error("this peer is shut down")]
    Shutdown,
}

/// What came of one try.
pub(crate) enum Attempt {
    Done(Outcome),
    NotLeader,
    NoQuorum,
    /// Sent, but what came of it is not known.
    Unknown,
}

pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) shared: Arc<Shared>,
    pub(crate) acquaintances: Arc<Acquaintances>,
    pub(crate) links: Arc<Links>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) report: watch::Sender<PeerReport>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) state: Progress,
}

/// What changes while the peer runs.
pub(crate) struct Progress {
    pub(crate) seen: Mutex<BTreeMap<u64, Seen>>,
    sequence: AtomicU64,
    stamp_ms: AtomicU64,
    units: Arc<Semaphore>,
    pub(crate) reads: Rounds,
    pub(crate) lead_reads: Rounds,
    /// Reports made.
    pub(crate) reports: AtomicU64,
    /// Changes with each report of another peer.
    pub(crate) heard: watch::Sender<()>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            sequence: AtomicU64::new(0),
            stamp_ms: AtomicU64::new(0),
            units: Arc::new(Semaphore::new(UNITS)),
            reads: Rounds::default(),
            lead_reads: Rounds::default(),
            reports: AtomicU64::new(0),
            heard: watch::Sender::default(),
        }
    }
}

/// The parts of a peer, made by [`crate::start`].
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) shared: Arc<Shared>,
    pub(crate) acquaintances: Arc<Acquaintances>,
    pub(crate) links: Arc<Links>,
    pub(crate) counters: Arc<Counters>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { options, identity, raft, log, shared, acquaintances, links, counters } = parts;
        let (report, leadership) = (watch::Sender::default(), watch::Sender::default());
        let state = Progress::default();
        Self {
            options,
            identity,
            raft,
            log,
            shared,
            acquaintances,
            links,
            counters,
            report,
            leadership,
            state,
        }
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn acquaintances(&self) -> &Acquaintances {
        &self.acquaintances
    }

    pub(crate) fn failed(&self) -> bool {
        self.raft.metrics().borrow().running_state.is_err()
    }

    /// The peers of the newest membership that this one knows.
    pub(crate) fn members(&self) -> BTreeMap<u64, (Peer, Role)> {
        let metrics = self.raft.metrics();
        let membership = Arc::clone(&metrics.borrow().membership_config);
        let voters: Vec<u64> = membership.voter_ids().collect();
        let role = |id| if voters.contains(id) { Role::Voter } else { Role::Learner };
        membership.nodes().map(|(id, peer)| (*id, (peer.clone(), role(id)))).collect()
    }

    pub(crate) fn link(&self, id: u64) -> Option<Link> {
        let metrics = self.raft.metrics();
        let membership = Arc::clone(&metrics.borrow().membership_config);
        let peer = membership.membership().get_node(&id)?;
        Some(self.links.kept(Purpose::Calls, id, peer))
    }

    /// This peer leads, and a quorum has confirmed it lately.
    fn leads(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let limit = 2 * self.options.election_timeout;
        let alone = metrics.membership_config.voter_ids().count() == 1;
        let confirmed =
            metrics.millis_since_quorum_ack.is_some_and(|ms| u128::from(ms) <= limit.as_millis());
        metrics.state == ServerState::Leader && (alone || confirmed)
    }

    /// How long a peer looks for a leader before it says that there is none.
    pub(crate) fn patience(&self) -> Duration {
        (6 * self.options.election_timeout).min(self.options.request_timeout)
    }

    /// Carries a command to the leader, and waits until it is applied here.
    pub(crate) async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        let start = Instant::now();
        let sequence = self.state.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let (peer, boot) = (self.identity.id, self.identity.boot);
        let proposer = Proposer { peer, boot, sequence };
        let message = codec::proposal_to(&Proposal { command, stamp_ms: 0, proposer });
        let bytes = message.encoded_len();
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge(bytes));
        }
        let deadline = start + self.options.request_timeout;
        let units = u32::try_from(bytes / UNIT + 1).unwrap_or(u32::MAX);
        let retry_after = 2 * self.options.election_timeout;
        let permit = timeout_at(deadline, self.state.units.acquire_many(units)).await;
        let Ok(Ok(_permit)) = permit else { return Err(ProposeError::NoQuorum { retry_after }) };
        self.counters.proposals.fetch_add(1, Ordering::Relaxed);
        let outcome = self.send(message, deadline).await?;
        self.wait_applied(outcome.revision.0, deadline).await;
        self.counters.proposal.record(start.elapsed());
        let Outcome { reply, revision, term } = outcome;
        Ok(Applied { reply, revision, term })
    }

    /// Tries until there is an answer. The proposer's sequence makes that safe.
    async fn send(
        &self,
        message: proto::Proposal,
        deadline: Instant,
    ) -> Result<Outcome, ProposeError> {
        let mut changes = self.raft.metrics();
        let mut sent = false;
        let mut leaderless = Instant::now();
        loop {
            let now = Instant::now();
            let hopeless = !sent && now >= leaderless + self.patience();
            if now >= deadline || hopeless {
                let retry_after = 2 * self.options.election_timeout;
                let nothing_sent = ProposeError::NoQuorum { retry_after };
                return Err(if sent { ProposeError::Unknown } else { nothing_sent });
            }
            if self.failed() {
                return Err(if sent { ProposeError::Unknown } else { ProposeError::Shutdown });
            }
            changes.mark_unchanged();
            let leader = changes.borrow().current_leader;
            match self.attempt(leader, &message, deadline).await {
                Attempt::Done(outcome) => return Ok(outcome),
                Attempt::NotLeader | Attempt::NoQuorum => {}
                Attempt::Unknown => {
                    sent = true;
                    leaderless = Instant::now();
                }
            }
            let pause = (Instant::now() + RETRY_PAUSE).min(deadline);
            // Either there is news of the leader, or it is time to try again.
            drop(timeout_at(pause, changes.changed()).await);
        }
    }

    async fn attempt(
        &self,
        leader: Option<u64>,
        message: &proto::Proposal,
        deadline: Instant,
    ) -> Attempt {
        let Some(leader) = leader else { return Attempt::NotLeader };
        let left = deadline.saturating_duration_since(Instant::now());
        if leader == self.identity.id {
            return self.lead(message.clone(), left).await;
        }
        let Some(link) = self.link(leader) else { return Attempt::NotLeader };
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let request =
            proto::ProposeRequest { caller: None, proposal: Some(message.clone()), timeout_ms };
        let response = match link.propose(request, left).await {
            Ok(response) => response,
            Err(Failure::Connect(_) | Failure::Stranger(_)) => return Attempt::NotLeader,
            Err(Failure::Refused(_) | Failure::Timeout | Failure::Malformed(_)) => {
                return Attempt::Unknown;
            }
        };
        match response.result() {
            proto::propose_response::Result::NotLeader => Attempt::NotLeader,
            proto::propose_response::Result::NoQuorum => Attempt::NoQuorum,
            proto::propose_response::Result::Done => {
                let outcome = response.outcome.map(codec::outcome_of);
                outcome.and_then(Result::ok).map_or(Attempt::Unknown, Attempt::Done)
            }
            proto::propose_response::Result::Unknown
            | proto::propose_response::Result::Unspecified => Attempt::Unknown,
        }
    }

    /// Puts a proposal into the log, if this peer leads.
    pub(crate) async fn lead(&self, mut message: proto::Proposal, limit: Duration) -> Attempt {
        if self.raft.metrics().borrow().state != ServerState::Leader {
            return Attempt::NotLeader;
        }
        // What is appended without a quorum would stay in the log, with an unknown outcome.
        if !self.leads() {
            return Attempt::NoQuorum;
        }
        message.stamp_ms = self.stamp();
        let proposal = Encoded(Bytes::from(message.encode_to_vec()));
        match timeout(limit, self.raft.client_write(proposal)).await {
            Ok(Ok(response)) => response.data.map_or(Attempt::Unknown, Attempt::Done),
            Ok(Err(_)) | Err(_) => Attempt::Unknown,
        }
    }

    /// The leader's clock, made to rise with every command.
    fn stamp(&self) -> u64 {
        let now = clock::now_ms().max(self.shared.read().state.stamp_ms);
        let next = |last: u64| now.max(last.saturating_add(1));
        let update =
            self.state
                .stamp_ms
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        update.map_or(now, next)
    }

    pub(crate) async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut applied = self.shared.applied();
        let waited = timeout_at(deadline, applied.wait_for(|revision| revision.0 >= index)).await;
        matches!(waited, Ok(Ok(_)))
    }

    pub(crate) fn name(&self, id: u64) -> String {
        let known = self.members().remove(&id).map(|(peer, _)| peer);
        let known = known.or_else(|| self.identity.initial.get(&id).cloned());
        known.map_or_else(|| format!("{id:x}"), |peer| peer.name)
    }

    /// Tells who leads, whenever that changes.
    pub(crate) async fn run_leadership(self: Arc<Self>) {
        let mut changes = self.raft.metrics();
        loop {
            let leader = changes.borrow_and_update().current_leader;
            let leader = leader.map(|id| self.name(id));
            let term = changes.borrow().current_term;
            let now = Leadership { leader, term, me: self.leads() };
            self.leadership.send_if_modified(|last| {
                let changed = *last != now;
                if last.leader != now.leader || last.me != now.me {
                    let leader = now.leader.as_deref().unwrap_or("none");
                    tracing::info!(leader, term, "leadership changed");
                }
                *last = now;
                changed
            });
            let ended = timeout(self.options.election_timeout, changes.changed()).await;
            if let Ok(Err(_)) = ended {
                return;
            }
        }
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let raft = self.raft.metrics().borrow().clone();
        let applied_index = self.shared.applied().borrow().0;
        let mut metrics = Metrics {
            leader: self.leads(),
            term: raft.current_term,
            peers: raft.membership_config.nodes().count(),
            commit_index: self.log.committed().max(applied_index),
            applied_index,
            ..Metrics::default()
        };
        self.counters.fill(&mut metrics);
        metrics
    }
}
