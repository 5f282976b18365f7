//! One running peer: proposals, reads, and what it hears of the others.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
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
use crate::status::{Leadership, PeerReport, PeerStatus, Role, Status, in_force, report_to};
use crate::transport::client::{Failure, Link, Links, Purpose};
use crate::{Options, clock, lock};

/// A peer heard of this lately is reachable.
const REACHABLE: Duration = Duration::from_secs(3);
const EXCHANGE_INTERVAL: Duration = Duration::from_secs(1);
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest time between two exchanges, however often what this peer reports changes.
const EXCHANGE_PAUSE: Duration = Duration::from_millis(10);
/// How often whoever waits for all peers looks whether one has become unreachable.
const LOOK: Duration = Duration::from_millis(200);
/// Wait before a proposal is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// A state snapshot is made when the commands since the last one have this size.
const UNSAVED_BYTES_MAX: u64 = 64 << 20;
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

/// Why a linearizable read is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader with a quorum.
    #[error("no quorum: too few peers are reachable to say what is newest")]
    NoQuorum {
        /// When to try again.
        retry_after: Duration,
    },
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

struct Seen {
    report: proto::Report,
    at: Instant,
    reachable: bool,
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
    state: Progress,
}

/// Rounds of questions to a quorum: one at a time, and all who came before a round began share it.
#[derive(Default)]
struct Rounds {
    begun: AtomicU64,
    /// Number and result of the last one that ended.
    last: tokio::sync::Mutex<(u64, Option<u64>)>,
}

impl Rounds {
    /// The result of a round that began after this call did: this one, or that of somebody who waited, too.
    async fn join(&self, round: impl Future<Output = Option<u64>>) -> Option<u64> {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.0 <= begun {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            *last = (number, round.await);
        }
        last.1
    }
}

/// What changes while the peer runs.
struct Progress {
    seen: Mutex<BTreeMap<u64, Seen>>,
    sequence: AtomicU64,
    stamp_ms: AtomicU64,
    units: Arc<Semaphore>,
    reads: Rounds,
    lead_reads: Rounds,
    /// Reports made.
    reports: AtomicU64,
    /// Changes with each report of another peer.
    heard: watch::Sender<()>,
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

    fn failed(&self) -> bool {
        self.raft.metrics().borrow().running_state.is_err()
    }

    /// The peers of the newest membership that this one knows.
    fn members(&self) -> BTreeMap<u64, (Peer, Role)> {
        let metrics = self.raft.metrics();
        let membership = Arc::clone(&metrics.borrow().membership_config);
        let voters: Vec<u64> = membership.voter_ids().collect();
        let role = |id| if voters.contains(id) { Role::Voter } else { Role::Learner };
        membership.nodes().map(|(id, peer)| (*id, (peer.clone(), role(id)))).collect()
    }

    fn link(&self, id: u64) -> Option<Link> {
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
    fn patience(&self) -> Duration {
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

    async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut applied = self.shared.applied();
        let waited = timeout_at(deadline, applied.wait_for(|revision| revision.0 >= index)).await;
        matches!(waited, Ok(Ok(_)))
    }

    /// Waits until this peer has applied all that was committed when the call began.
    pub(crate) async fn linearizable(&self) -> Result<Revision, ReadError> {
        let deadline = Instant::now() + self.options.request_timeout;
        let hopeless = Instant::now() + self.patience();
        let retry_after = 2 * self.options.election_timeout;
        let mut changes = self.raft.metrics();
        loop {
            if self.failed() {
                return Err(ReadError::Shutdown);
            }
            changes.mark_unchanged();
            let leader = changes.borrow().current_leader;
            let index = self.state.reads.join(self.read_index(leader)).await;
            if let Some(index) = index
                && self.wait_applied(index, deadline).await
            {
                return Ok(*self.shared.applied().borrow());
            }
            if Instant::now() >= hopeless {
                return Err(ReadError::NoQuorum { retry_after });
            }
            let pause = (Instant::now() + RETRY_PAUSE).min(hopeless);
            drop(timeout_at(pause, changes.changed()).await);
        }
    }

    /// The index that a linearizable read must see, as the leader says.
    async fn read_index(&self, leader: Option<u64>) -> Option<u64> {
        let leader = leader?;
        if leader == self.identity.id {
            return self.lead_read().await;
        }
        let link = self.link(leader)?;
        let limit = self.options.election_timeout * 2;
        link.read_index(proto::ReadIndexRequest::default(), limit).await.ok()?.index
    }

    /// The index that a linearizable read must see, confirmed by a quorum, if this peer leads.
    pub(crate) async fn lead_read(&self) -> Option<u64> {
        let limit = 2 * self.options.election_timeout;
        let round = async {
            let read = timeout(limit, self.raft.get_read_log_id()).await.ok()?.ok()?;
            Some(read.0.map_or(0, |id| id.index))
        };
        self.state.lead_reads.join(round).await
    }

    pub(crate) fn own_report(&self) -> proto::Report {
        // The number is taken first: what has a higher one is at least as new.
        let number = self.state.reports.fetch_add(1, Ordering::Relaxed) + 1;
        let revision = *self.shared.applied().borrow();
        let report = report_to(&self.report.borrow(), &self.options.release, revision);
        proto::Report { boot: self.identity.boot, number, ..report }
    }

    /// Notes what another peer reports. Requests and answers may overtake each other.
    pub(crate) fn saw(&self, peer: u64, mut report: proto::Report) {
        let at = Instant::now();
        let mut seen = lock(&self.state.seen);
        let before = seen.remove(&peer);
        let back = before.as_ref().is_some_and(|before| !before.reachable);
        if let Some(Seen { report: before, .. }) = before
            && (before.boot, before.number) > (report.boot, report.number)
        {
            report = before;
        }
        seen.insert(peer, Seen { report, at, reachable: true });
        drop(seen);
        self.state.heard.send_replace(());
        if back {
            tracing::info!(peer = %self.name(peer), "peer is back");
        }
    }

    fn name(&self, id: u64) -> String {
        let known = self.members().remove(&id).map(|(peer, _)| peer);
        let known = known.or_else(|| self.identity.initial.get(&id).cloned());
        known.map_or_else(|| format!("{id:x}"), |peer| peer.name)
    }

    /// Tells one peer, and hears from it; gives its id back.
    async fn exchange(&self, id: u64, link: Link) -> u64 {
        let report = Some(self.own_report());
        let request = proto::ExchangeRequest { caller: None, report };
        match link.exchange(request, EXCHANGE_TIMEOUT).await {
            Ok(response) => {
                if let Some(report) = response.report {
                    self.saw(id, report);
                }
            }
            Err(error) => tracing::debug!(peer = %self.name(id), %error, "peer does not answer"),
        }
        id
    }

    /// Tells the others how this peer is, at each change and each second, and hears how they are. Each peer has one
    /// exchange at a time, and none waits for that of another.
    pub(crate) async fn run_exchanges(self: Arc<Self>) {
        let mut report = self.report.subscribe();
        let mut running = FuturesUnordered::new();
        // Peers with an exchange on its way, and whether there has been news since.
        let mut busy: BTreeMap<u64, bool> = BTreeMap::new();
        loop {
            report.mark_unchanged();
            let round = Instant::now();
            for (id, (peer, _)) in self.members() {
                if id == self.identity.id {
                    continue;
                }
                if let Some(news) = busy.get_mut(&id) {
                    *news = true;
                } else {
                    busy.insert(id, false);
                    running.push(self.exchange(id, self.links.kept(Purpose::Calls, id, &peer)));
                }
            }
            // The sender lives as long as this: either there is news, or a second has gone by.
            let next = async {
                tokio::time::sleep(EXCHANGE_PAUSE).await;
                drop(timeout_at(round + EXCHANGE_INTERVAL, report.changed()).await);
            };
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    Some(id) = running.next() => {
                        if busy.remove(&id) == Some(true) && let Some(link) = self.link(id) {
                            busy.insert(id, false);
                            running.push(self.exchange(id, link));
                        }
                    }
                }
            }
            self.note_lost();
            if self.shared.unsaved_bytes.load(Ordering::Relaxed) > UNSAVED_BYTES_MAX
                && let Err(error) = self.raft.trigger().snapshot().await
            {
                tracing::debug!(%error, "cannot make a state snapshot");
            }
        }
    }

    fn note_lost(&self) {
        let mut lost = Vec::new();
        for (id, seen) in lock(&self.state.seen).iter_mut() {
            if seen.reachable && seen.at.elapsed() > REACHABLE {
                seen.reachable = false;
                lost.push(*id);
            }
        }
        for id in lost {
            tracing::warn!(peer = %self.name(id), "peer is lost");
        }
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

    /// Waits until every reachable peer has applied a revision.
    pub(crate) async fn wait_all(
        &self,
        revision: Revision,
        limit: Duration,
    ) -> Vec<(String, bool)> {
        let deadline = Instant::now() + limit;
        let (mut heard, mut report) = (self.state.heard.subscribe(), self.report.subscribe());
        loop {
            let own = in_force(&self.own_report()) >= revision;
            let mut peers = vec![(self.identity.name.clone(), own)];
            for (id, (peer, _)) in self.members() {
                if id == self.identity.id {
                    continue;
                }
                if let Some(seen) = lock(&self.state.seen).get(&id)
                    && seen.at.elapsed() <= REACHABLE
                {
                    peers.push((peer.name, in_force(&seen.report) >= revision));
                }
            }
            let done = peers.iter().all(|(_, applied)| *applied);
            if done || Instant::now() >= deadline {
                return peers;
            }
            // Each peer tells at once; whether one has become unreachable is looked at from time to time.
            let look = (Instant::now() + LOOK).min(deadline);
            tokio::select! {
                _ = heard.changed() => {}
                _ = report.changed() => {}
                () = tokio::time::sleep_until(look) => {}
            }
        }
    }

    pub(crate) fn status(&self) -> Status {
        let metrics = self.raft.metrics().borrow().clone();
        let own = self.own_report();
        let leader = metrics.current_leader;
        let mut peers = Vec::new();
        for (id, (peer, role)) in self.members() {
            let seen = lock(&self.state.seen).get(&id).map(|seen| (seen.report.clone(), seen.at));
            let seen =
                if id == self.identity.id { Some((own.clone(), Instant::now())) } else { seen };
            let since = seen.as_ref().map(|(_, at)| at.elapsed());
            let report = seen.map(|(report, _)| report).unwrap_or_default();
            let revision = in_force(&report);
            let files = report.files.into_iter().map(|file| (file.name, file.digest));
            peers.push(PeerStatus {
                name: peer.name,
                address: peer.address,
                role,
                leader: leader == Some(id),
                reachable: since.is_some_and(|since| since <= REACHABLE),
                last_contact_ms: since.and_then(|since| u64::try_from(since.as_millis()).ok()),
                revision,
                plan_digest: report.plan_digest,
                release: report.release,
                ready: report.ready,
                files: files.collect(),
            });
        }
        peers.sort_by(|one, other| one.name.cmp(&other.name));
        Status {
            name: self.identity.name.clone(),
            leader: leader.map(|id| self.name(id)),
            term: metrics.current_term,
            revision: in_force(&own),
            committed: Revision(self.log.committed().max(own.revision)),
            plan_digest: own.plan_digest,
            ready: own.ready,
            peers,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_shares_a_round_that_began_after_him() {
        let rounds = Rounds::default();
        let asked = AtomicU64::new(0);
        let ask = || async {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            // All others arrive while the first round runs.
            tokio::task::yield_now().await;
            Some(number)
        };
        let all = (0..8).map(|_| rounds.join(ask()));
        let answers = futures_util::future::join_all(all).await;
        let first = answers.first().copied().unwrap();
        assert_eq!(first, Some(0));
        assert!(answers.iter().skip(1).all(|answer| *answer == Some(1)), "{answers:?}");
        assert_eq!(rounds.join(ask()).await, Some(2));
    }
}
