//! Raft, storage, peers and the replicated state of Pontoon.
//!
//! A [`Cluster`] keeps one document for each provider, the same on all peers. Documents are
//! ordered maps of entries; what the entries mean is not known here. Reads are local and cheap;
//! writes go through the leader's log and are answered when a majority has them on disk.

mod backup;
mod clock;
mod codec;
mod command;
mod map;
mod membership;
mod metrics;
mod peer;
mod raft;
mod reads;
mod reports;
mod secret;
mod start;
mod state;
mod status;
mod store;
mod transport;
mod value;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::backup::Error as BackupError;
use self::command::Outcome;
pub use self::command::{
    COMMAND_BYTES_MAX, Command, Expected, Idempotency, Operation, PatchDocument, PutDocument,
    Reply, Restore, Revision,
};
pub use self::map::{Difference, Iter, Map};
pub use self::membership::Error as MembershipError;
pub use self::metrics::{Histogram, Metrics};
use self::peer::Core;
pub use self::peer::{Applied, ProposeError};
pub use self::reads::ReadError;
use self::secret::Keyring;
pub use self::secret::{Error as SecretError, check_secrets, new_secret};
pub use self::start::Error;
pub use self::state::{Change, ChangeKind, Compacted, Document, Documents, Entry, KeyChange};
pub use self::status::{Leadership, PeerReport, PeerStatus, Role, Status};
use self::store::Backend;
pub use self::store::Error as StoreError;
pub use self::transport::tls::Error as TlsError;
pub use self::value::Value;

/// Longest wait for the peer port to close and the files to be let go.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What a peer needs to start.
#[derive(Clone)]
pub struct Options {
    /// Unique in the cluster, and the same after every restart.
    pub name: String,
    /// Where the peer port listens.
    pub address: SocketAddr,
    /// How the others reach it, `host:port`. What `initial_peers` says when the cluster forms
    /// counts; a warning tells when this differs.
    pub advertise: String,
    /// Log, state and identity. Created with mode 0700.
    pub data_dir: PathBuf,
    /// The first seals and signs, all are accepted. See [`check_secrets`].
    pub secrets: Vec<String>,
    /// Name and address of the peers that form the cluster. The same on all of them. Used once,
    /// when the data directory is new.
    pub initial_peers: BTreeMap<String, String>,
    /// How often the leader says that it is there. Usual: 100 ms.
    pub heartbeat_interval: Duration,
    /// A follower that hears nothing for this to twice this long calls an election. Usual: 500 ms.
    pub election_timeout: Duration,
    /// Longest wait of a write. Usual: 5 s.
    pub request_timeout: Duration,
    /// Entries of the log between two state snapshots. Usual: 10,000.
    pub snapshot_threshold: u64,
    /// Shown to the other peers.
    pub release: String,
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The cluster did not take it.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The state machine refused it.
    #[error("not restored: {0}")]
    Refused(String),
}

struct Inner {
    core: Arc<Core>,
    backend: Arc<dyn Backend>,
    keyring: Arc<Keyring>,
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    stop: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

/// A running peer. Clones are the same peer; when the last one is dropped, it stops at once.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

impl Cluster {
    /// Starts a peer. It does not wait for the others.
    pub async fn start(options: Options) -> Result<Self, Error> {
        start::start(options).await.map(|inner| Self(Arc::new(inner)))
    }

    /// Runs on the peer's own threads, so that a busy caller stalls no election.
    async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        if self.0.stop.is_cancelled() {
            return None;
        }
        self.0.handle.spawn(call).await.ok()
    }

    /// Writes. Answered when a majority has it on disk and this peer has applied it.
    pub async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        let core = Arc::clone(&self.0.core);
        let result = self.run(async move { core.propose(command).await }).await;
        result.unwrap_or(Err(ProposeError::Shutdown))
    }

    /// Waits until [`Self::documents`] holds all that was written before this call, anywhere.
    pub async fn linearizable(&self) -> Result<Revision, ReadError> {
        let core = Arc::clone(&self.0.core);
        let result = self.run(async move { core.linearizable().await }).await;
        result.unwrap_or(Err(ReadError::Shutdown))
    }

    /// What a request with this key was answered, as far as this peer has applied; `Refused` where the key belongs to
    /// another request.
    pub fn answered(&self, author: &str, idempotency: &Idempotency) -> Option<Applied> {
        let before = self.0.core.shared.read().state.answered(author, idempotency)?;
        let Outcome { reply, revision, term } = before;
        Some(Applied { reply, revision, term })
    }

    /// All documents, as this peer has applied them.
    pub fn documents(&self) -> Arc<Documents> {
        self.0.core.shared.documents()
    }

    /// What this peer has applied. It rises also when no document changes.
    pub fn watch(&self) -> watch::Receiver<Revision> {
        self.0.core.shared.applied()
    }

    /// The newest changes, newest first, of one provider or of all.
    pub fn history(&self, provider: Option<&str>, limit: usize) -> Vec<Arc<Change>> {
        let replicated = self.0.core.shared.read();
        let changes = replicated.state.history.changes().rev();
        let wanted = |change: &&Arc<Change>| provider.is_none_or(|name| name == change.provider);
        changes.filter(wanted).take(limit).cloned().collect()
    }

    /// The changes after a revision, oldest first.
    pub fn changes_since(&self, revision: Revision) -> Result<Vec<Arc<Change>>, Compacted> {
        self.0.core.shared.read().state.history.since(revision)
    }

    /// The entries of a document as of a revision.
    pub fn document_at(
        &self,
        provider: &str,
        revision: Revision,
    ) -> Result<Map<Arc<str>, Entry>, Compacted> {
        self.0.core.shared.read().state.document_at(provider, revision)
    }

    /// Who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.core.leadership.subscribe()
    }

    /// Changes what this peer tells the others about itself. They hear it at once.
    pub fn report(&self, change: impl FnOnce(&mut PeerReport)) {
        self.0.core.report.send_if_modified(|report| {
            let before = report.clone();
            change(report);
            *report != before
        });
    }

    /// Waits until every reachable peer has applied a revision, to its plan if it reports one;
    /// says which have.
    pub async fn wait_all(&self, revision: Revision, timeout: Duration) -> Vec<(String, bool)> {
        let core = Arc::clone(&self.0.core);
        let result = self.run(async move { core.wait_all(revision, timeout).await }).await;
        result.unwrap_or_default()
    }

    /// The cluster as this peer sees it.
    pub fn status(&self) -> Status {
        self.0.core.status()
    }

    /// Figures of this peer.
    pub fn metrics(&self) -> Metrics {
        self.0.core.metrics()
    }

    /// All documents, sealed, with a checksum.
    pub fn backup(&self) -> Result<Vec<u8>, BackupError> {
        let documents = state::exported(&self.0.core.shared.read().state.store);
        backup::encode(&self.0.keyring, &Restore { documents, force: false })
    }

    /// Replaces all documents with those of a backup; without `force` only if there are none.
    pub async fn restore(
        &self,
        bytes: &[u8],
        force: bool,
        author: &str,
        idempotency: Option<Idempotency>,
    ) -> Result<Applied, RestoreError> {
        let restore = Restore { force, ..backup::decode(&self.0.keyring, bytes)? };
        let command = Command {
            operation: Operation::Restore(restore),
            author: author.to_owned(),
            idempotency,
        };
        let applied = self.propose(command).await?;
        match applied.reply {
            Reply::Stored { .. } | Reply::Unchanged => Ok(applied),
            Reply::Refused { reason } => Err(RestoreError::Refused(reason)),
            Reply::Conflict { current, .. } => {
                Err(RestoreError::Refused(format!("conflict with revision {current}")))
            }
        }
    }

    /// Stops the peer and lets go of its port and files. Every later call says so.
    pub async fn shutdown(&self) {
        let inner = Arc::clone(&self.0);
        self.0.stop.cancel();
        let core = Arc::clone(&self.0.core);
        let stop = async move {
            if let Err(error) = core.log.flush().await {
                tracing::warn!(%error, "cannot store what is committed");
            }
            if let Err(error) = core.raft.shutdown().await {
                tracing::warn!(%error, "raft did not stop cleanly");
            }
            let close = move || inner.backend.close();
            if let Err(error) = tokio::task::spawn_blocking(close).await {
                tracing::warn!(%error, "the store did not close");
            }
        };
        let stopped = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.0.handle.spawn(stop)).await;
        if stopped.is_err() {
            tracing::warn!("shutdown took too long");
        }
        if let Some(runtime) = lock(&self.0.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

/// A panic while a lock was held leaves nothing half done here: go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
