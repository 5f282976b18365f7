//! The state machine as openraft drives it: in memory, with its state snapshot in the store.

use std::io::Cursor;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError,
};
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{LogId, RaftEntry, SnapshotMeta, StorageError, StoredMembership, Types};
use crate::codec::{self, proto};
use crate::command::{Outcome, Revision};
use crate::lock;
use crate::metrics::Counters;
use crate::state::{Documents, Position, State};
use crate::store::{self, Backend};

/// What Raft has made so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replicated {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
    pub(crate) state: State,
}

/// What others read of the state machine.
pub(crate) struct Shared {
    replicated: RwLock<Replicated>,
    documents: ArcSwap<Documents>,
    applied: watch::Sender<Revision>,
    /// Bytes of commands since the last state snapshot.
    pub(crate) unsaved_bytes: AtomicU64,
}

impl Shared {
    fn new(replicated: Replicated) -> Self {
        let revision = Revision(replicated.applied.map_or(0, |id| id.index));
        let documents = replicated.state.store.documents.clone();
        Self {
            replicated: RwLock::new(replicated),
            documents: ArcSwap::from_pointee(Documents { revision, documents }),
            applied: watch::Sender::new(revision),
            unsaved_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Replicated> {
        self.replicated.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Replicated> {
        self.replicated.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn documents(&self) -> Arc<Documents> {
        self.documents.load_full()
    }

    pub(crate) fn applied(&self) -> watch::Receiver<Revision> {
        self.applied.subscribe()
    }

    fn publish(&self) {
        let (revision, documents) = {
            let replicated = self.read();
            let revision = Revision(replicated.applied.map_or(0, |id| id.index));
            (revision, replicated.state.store.documents.clone())
        };
        self.documents.store(Arc::new(Documents { revision, documents }));
        self.applied.send_replace(revision);
    }
}

/// Cloned as the builder of a state snapshot.
#[derive(Clone)]
pub(crate) struct StateMachine {
    shared: Arc<Shared>,
    backend: Arc<dyn Backend>,
    counters: Arc<Counters>,
    current: Arc<Mutex<Option<SnapshotMeta>>>,
    built: Arc<AtomicU64>,
}

fn encode(replicated: &Replicated, id: &str) -> Vec<u8> {
    let message = proto::StateSnapshot {
        applied: replicated.applied.as_ref().map(codec::log_id_to),
        membership: Some(codec::stored_membership_to(&replicated.membership)),
        state: Some(codec::state_to(&replicated.state)),
        id: id.to_owned(),
    };
    message.encode_to_vec()
}

fn decode(bytes: Vec<u8>) -> Result<(Replicated, SnapshotMeta), codec::Error> {
    let message = proto::StateSnapshot::decode(bytes::Bytes::from(bytes))?;
    let applied = message.applied.as_ref().map(codec::log_id_of);
    let membership = message.membership.ok_or(codec::Error::Missing("membership"))?;
    let membership = codec::stored_membership_of(membership);
    let state = codec::state_of(message.state.ok_or(codec::Error::Missing("state"))?)?;
    let meta = SnapshotMeta {
        last_log_id: applied,
        last_membership: membership.clone(),
        snapshot_id: message.id,
    };
    Ok((Replicated { applied, membership, state }, meta))
}

fn saving(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::write_snapshot(None, AnyError::new(error)).into()
}

fn loading(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::read_snapshot(None, AnyError::new(error)).into()
}

impl StateMachine {
    /// Starts from the state snapshot in the store, if there is one.
    pub(crate) fn open(
        backend: Arc<dyn Backend>,
        counters: Arc<Counters>,
    ) -> Result<(Self, Arc<Shared>), store::Error> {
        let (replicated, meta) = match backend.load_state()? {
            Some(bytes) => {
                let decoded = decode(bytes).map_err(|error| store::Error::Corrupt {
                    what: format!("the state snapshot ({error})"),
                })?;
                (decoded.0, Some(decoded.1))
            }
            None => (Replicated::default(), None),
        };
        let shared = Arc::new(Shared::new(replicated));
        let (current, built) = (Arc::new(Mutex::new(meta)), Arc::default());
        let machine = Self { shared: Arc::clone(&shared), backend, counters, current, built };
        Ok((machine, shared))
    }

    /// Off the async threads, since it writes and syncs a file.
    async fn save(&self, bytes: Vec<u8>) -> Result<Vec<u8>, StorageError> {
        let backend = Arc::clone(&self.backend);
        let save = move || backend.save_state(&bytes).map(|()| bytes);
        let saved = tokio::task::spawn_blocking(save).await.map_err(|error| saving(&error))?;
        saved.map_err(|error| saving(&error))
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let start = Instant::now();
        let replicated = self.shared.read().clone();
        self.shared.unsaved_bytes.store(0, Ordering::Relaxed);
        let number = self.built.fetch_add(1, Ordering::Relaxed);
        let index = replicated.applied.map_or(0, |id| id.index);
        let meta = SnapshotMeta {
            last_log_id: replicated.applied,
            last_membership: replicated.membership.clone(),
            snapshot_id: format!("{index}-{number}"),
        };
        let id = meta.snapshot_id.clone();
        let encoded = tokio::task::spawn_blocking(move || encode(&replicated, &id)).await;
        let bytes = self.save(encoded.map_err(|error| saving(&error))?).await?;
        *lock(&self.current) = Some(meta.clone());
        self.counters.state_snapshot.record(start.elapsed());
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let replicated = self.shared.read();
        Ok((replicated.applied, replicated.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<Outcome>>, StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        {
            let mut replicated = self.shared.write();
            for entry in entries {
                let id = entry.log_id;
                let mut outcome = None;
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Normal(proposal) => {
                        let bytes = proposal.0.len() as u64;
                        self.shared.unsaved_bytes.fetch_add(bytes, Ordering::Relaxed);
                        // One that cannot be read must stop this peer: others may read it.
                        let proposal = codec::proposal_of(proposal.0)
                            .map_err(|error| StorageIOError::apply(id, AnyError::new(&error)))?;
                        let position = Position { index: id.index, term: id.leader_id.term };
                        outcome = replicated.state.apply(position, &proposal);
                    }
                    EntryPayload::Membership(membership) => {
                        replicated.membership = StoredMembership::new(Some(id), membership);
                    }
                }
                replicated.applied = Some(id);
                outcomes.push(outcome);
            }
        }
        self.shared.publish();
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        // What cannot be read must not replace what can.
        let decode = move || decode(bytes.clone()).map(|(replicated, _)| (replicated, bytes));
        let decoded = tokio::task::spawn_blocking(decode).await.map_err(|error| loading(&error))?;
        let (replicated, bytes) = decoded.map_err(|error| loading(&error))?;
        self.save(bytes).await?;
        *self.shared.write() = replicated;
        *lock(&self.current) = Some(meta.clone());
        self.shared.unsaved_bytes.store(0, Ordering::Relaxed);
        self.shared.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let Some(meta) = lock(&self.current).clone() else { return Ok(None) };
        let backend = Arc::clone(&self.backend);
        let loaded = tokio::task::spawn_blocking(move || backend.load_state()).await;
        let bytes = loaded.map_err(|error| loading(&error))?.map_err(|error| loading(&error))?;
        Ok(bytes.map(|bytes| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}
