//! What peers tell each other of themselves, who is reachable, and whoever waits for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use crate::codec::proto;
use crate::command::Revision;
use crate::lock;
use crate::peer::Core;
use crate::status::{PeerStatus, Status, in_force, report_to};
use crate::transport::client::{Link, Purpose};

/// A peer heard of this lately is reachable.
const REACHABLE: Duration = Duration::from_secs(3);
const EXCHANGE_INTERVAL: Duration = Duration::from_secs(1);
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest time between two exchanges, however often what this peer reports changes.
const EXCHANGE_PAUSE: Duration = Duration::from_millis(10);
/// How often whoever waits for all peers looks whether one has become unreachable.
const LOOK: Duration = Duration::from_millis(200);
/// A state snapshot is made when the commands since the last one have this size.
const UNSAVED_BYTES_MAX: u64 = 64 << 20;

/// What a peer has reported last.
pub(crate) struct Seen {
    report: proto::Report,
    at: Instant,
    reachable: bool,
}

impl Core {
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
}
