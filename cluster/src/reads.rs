//! Linearizable reads: the index that the leader has confirmed with a quorum, and the wait until it is applied here.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::codec::proto;
use crate::command::Revision;
use crate::peer::{Core, RETRY_PAUSE};

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

/// Rounds of questions to a quorum: one at a time, and all who came before a round began share it.
#[derive(Default)]
pub(crate) struct Rounds {
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

impl Core {
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
