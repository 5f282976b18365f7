//! The Raft log: the newest entries in memory, all of them in the store.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, EntryPayload, LogState, OptionalSend, RaftLogReader, StorageIOError};
use prost::Message as _;

use super::{LogId, RaftEntry, StorageError, Types, Vote};
use crate::codec::{self, proto};
use crate::lock;
use crate::store::writer::Writer;
use crate::store::{Backend, Error, Step};

/// Entries kept in memory, by size; older ones are read from the store. What is not committed stays, whatever its size.
const CACHE_BYTES: usize = 4 << 20;
/// Entries sent or read in one go, by size; one entry may be larger.
const READ_BYTES: usize = 8 << 20;
const ENTRY_OVERHEAD: usize = 128;
/// How long the mark of what is committed may wait for a write that takes it along. After that time what was committed
/// has been applied and sent, too, so that a large entry need not stay in memory.
const COMMITTED_DELAY: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Cache {
    entries: BTreeMap<u64, RaftEntry>,
    bytes: usize,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// `committed` is not on its way to the store yet.
    dirty: bool,
}

#[derive(Clone)]
pub(crate) struct LogStore {
    cache: Arc<Mutex<Cache>>,
    backend: Arc<dyn Backend>,
    writer: Writer,
}

fn size(entry: &RaftEntry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    payload + ENTRY_OVERHEAD
}

impl Cache {
    fn push(&mut self, entry: RaftEntry, durable: u64) {
        self.bytes += size(&entry);
        self.last = Some(entry.log_id);
        self.entries.insert(entry.log_id.index, entry);
        self.shrink(durable);
    }

    /// Lets go of the oldest entries while there are too many, as far as `last`.
    fn shrink(&mut self, last: u64) {
        while self.bytes > CACHE_BYTES {
            match self.entries.first_key_value() {
                Some((index, _)) if *index <= last => {}
                _ => return,
            }
            if let Some((_, entry)) = self.entries.pop_first() {
                self.bytes -= size(&entry);
            }
        }
    }

    fn recount(&mut self) {
        self.bytes = self.entries.values().map(size).sum();
    }

    fn take_committed(&mut self) -> Option<Step> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        self.committed.as_ref().map(|id| meta("committed", &codec::log_id_to(id)))
    }
}

fn meta(name: &str, message: &impl prost::Message) -> Step {
    Step::Meta { name: name.to_owned(), value: message.encode_to_vec() }
}

fn read_meta<M: prost::Message + Default>(
    backend: &dyn Backend,
    name: &str,
) -> Result<Option<M>, Error> {
    let value = backend.meta(name)?;
    let decode = |bytes: Vec<u8>| M::decode(bytes.as_slice());
    value
        .map(decode)
        .transpose()
        .map_err(|_undecodable| Error::Corrupt { what: format!("`{name}`") })
}

fn decode(index: u64, record: Vec<u8>) -> Result<RaftEntry, Error> {
    let message = proto::LogEntry::decode(bytes::Bytes::from(record));
    let entry = message.map_err(codec::Error::from).and_then(codec::entry_of);
    let entry = entry.ok().filter(|entry| entry.log_id.index == index);
    entry.ok_or_else(|| Error::Corrupt { what: format!("log record {index}") })
}

fn reading(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::read_logs(AnyError::new(error)).into()
}

fn writing(error: &std::io::Error) -> StorageError {
    StorageIOError::write_logs(AnyError::new(error)).into()
}

impl LogStore {
    /// Reads all that is stored, so that damage is found at the start.
    pub(crate) fn open(backend: Arc<dyn Backend>, writer: Writer) -> Result<Self, Error> {
        let store = backend.as_ref();
        let mut cache = Cache {
            vote: read_meta(store, "vote")?.as_ref().map(codec::vote_of),
            purged: read_meta(store, "purged")?.as_ref().map(codec::log_id_of),
            committed: read_meta(store, "committed")?.as_ref().map(codec::log_id_of),
            ..Cache::default()
        };
        let mut next = cache.purged.map_or(0, |id| id.index + 1);
        let last = store.last()?;
        while last.is_some_and(|last| next <= last) {
            let records = store.read(next, u64::MAX, READ_BYTES)?;
            if records.is_empty() {
                break;
            }
            for (index, record) in records {
                if index != next {
                    return Err(Error::Corrupt { what: format!("log record {next}") });
                }
                cache.push(decode(index, record)?, index);
                next += 1;
            }
        }
        writer.set_durable(next.saturating_sub(1));
        Ok(Self { cache: Arc::new(Mutex::new(cache)), backend, writer })
    }

    /// The newest entry known to be committed.
    pub(crate) fn committed(&self) -> u64 {
        lock(&self.cache).committed.map_or(0, |id| id.index)
    }

    /// Writes the mark of what is committed, if it is not on disk.
    pub(crate) async fn flush(&self) -> std::io::Result<()> {
        let step = lock(&self.cache).take_committed();
        match step {
            Some(step) => self.writer.write(vec![step]).await,
            None => Ok(()),
        }
    }

    /// The same, and lets go of what is committed and need not stay in memory.
    async fn settle(&self) {
        if let Err(error) = self.flush().await {
            tracing::debug!(%error, "cannot store what is committed");
        }
        let durable = self.writer.durable();
        let mut cache = lock(&self.cache);
        let committed = cache.committed.map_or(0, |id| id.index);
        cache.shrink(durable.min(committed));
    }

    /// Entries that are in the store only, up to the first in memory.
    async fn read(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        let backend = Arc::clone(&self.backend);
        let read = move || {
            let records = backend.read(from, to, bytes_max)?;
            records.into_iter().map(|(index, record)| decode(index, record)).collect()
        };
        let entries: Result<Vec<_>, Error> =
            tokio::task::spawn_blocking(read).await.map_err(|error| reading(&error))?;
        entries.map_err(|error| reading(&error))
    }

    async fn entries(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        let first = {
            let cache = lock(&self.cache);
            cache.entries.first_key_value().map_or(u64::MAX, |(index, _)| *index)
        };
        let mut entries = Vec::new();
        if from < first.min(to) {
            entries = self.read(from, first.min(to), bytes_max).await?;
        }
        let mut bytes: usize = entries.iter().map(size).sum();
        if bytes >= bytes_max && !entries.is_empty() {
            return Ok(entries);
        }
        let next = from.max(first);
        if next < to {
            let cache = lock(&self.cache);
            for (_, entry) in cache.entries.range(next..to) {
                bytes += size(entry);
                entries.push(entry.clone());
                if bytes >= bytes_max {
                    break;
                }
            }
        }
        Ok(entries)
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        self.entries(start, end, READ_BYTES).await
    }
}

impl LogStore {
    /// Makes peer `id` a follower where it led when it stopped: it has to be elected again, as in the Raft paper (5.2).
    ///
    /// openraft would have it lead on in its old term. But what it knew to be committed may have been lost with it, and
    /// only an entry of a new term tells it (6.4): until then it would answer linearizable reads from the past.
    pub(crate) async fn step_down(&mut self, id: u64) -> Result<(), StorageError> {
        let vote = lock(&self.cache).vote;
        match vote {
            Some(vote) if vote.is_committed() && vote.leader_id().voted_for() == Some(id) => {
                self.save_vote(&Vote::new(vote.leader_id().get_term(), id)).await
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let cache = lock(&self.cache);
        let last_log_id = cache.last.or(cache.purged);
        Ok(LogState { last_purged_log_id: cache.purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let step = meta("vote", &codec::vote_to(vote));
        self.writer
            .write(vec![step])
            .await
            .map_err(|error| StorageIOError::write_vote(AnyError::new(&error)))?;
        lock(&self.cache).vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(lock(&self.cache).vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let waiting = {
            let mut cache = lock(&self.cache);
            cache.committed = committed;
            std::mem::replace(&mut cache.dirty, committed.is_some())
        };
        if !waiting {
            // Appended entries take the mark along; this is for the time when there are none.
            let store = self.clone();
            tokio::runtime::Handle::current().spawn(async move {
                tokio::time::sleep(COMMITTED_DELAY).await;
                store.settle().await;
            });
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(lock(&self.cache).committed)
    }

    async fn append<I>(&mut self, entries: I, done: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut steps = Vec::new();
        let last = {
            let durable = self.writer.durable();
            let mut cache = lock(&self.cache);
            for entry in entries {
                let record = codec::entry_to(&entry).encode_to_vec();
                steps.push(Step::Append { index: entry.log_id.index, record });
                cache.push(entry, durable);
            }
            steps.extend(cache.take_committed());
            cache.last.map(|id| id.index)
        };
        let submitted = self.writer.submit(steps, last, |result| done.log_io_completed(result));
        submitted.await.map_err(|error| writing(&error))
    }

    async fn truncate(&mut self, id: LogId) -> Result<(), StorageError> {
        let steps = vec![Step::TruncateFrom(id.index)];
        self.writer.write(steps).await.map_err(|error| writing(&error))?;
        let Some(before) = id.index.checked_sub(1) else {
            let mut cache = lock(&self.cache);
            cache.entries.clear();
            cache.last = None;
            cache.recount();
            return Ok(());
        };
        self.writer.set_durable(before);
        let last = {
            let mut cache = lock(&self.cache);
            drop(cache.entries.split_off(&id.index));
            cache.recount();
            cache.entries.last_key_value().map(|(_, entry)| entry.log_id)
        };
        let last = match last {
            Some(last) => Some(last),
            None => self.read(before, id.index, 1).await?.first().map(|entry| entry.log_id),
        };
        lock(&self.cache).last = last;
        Ok(())
    }

    async fn purge(&mut self, id: LogId) -> Result<(), StorageError> {
        {
            let mut cache = lock(&self.cache);
            cache.purged = Some(id);
            cache.entries = cache.entries.split_off(&(id.index + 1));
            cache.recount();
            if cache.last.is_some_and(|last| last.index <= id.index) {
                cache.last = None;
            }
        }
        let steps = vec![meta("purged", &codec::log_id_to(&id)), Step::PurgeTo(id.index)];
        self.writer.write(steps).await.map_err(|error| writing(&error))
    }
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;
    use openraft::storage::RaftLogStorageExt as _;

    use super::*;
    use crate::metrics::Counters;
    use crate::raft::Encoded;
    use crate::store::memory::Memory;

    fn entry(index: u64, bytes: usize) -> RaftEntry {
        let log_id = LogId::new(CommittedLeaderId::new(1, 1), index);
        RaftEntry { log_id, payload: EntryPayload::Normal(Encoded(vec![7; bytes].into())) }
    }

    /// A document of many routers stayed in memory a second time until enough was written after it.
    #[tokio::test]
    async fn a_large_entry_leaves_memory_when_it_is_committed() {
        let backend: Arc<dyn Backend> = Arc::new(Memory::default());
        let writer = Writer::start(Arc::clone(&backend), Arc::new(Counters::default())).unwrap();
        let mut log = LogStore::open(backend, writer).unwrap();
        let entries = [entry(1, 1), entry(2, CACHE_BYTES), entry(3, 1)];
        log.blocking_append(entries.clone()).await.unwrap();
        let held = |log: &LogStore| lock(&log.cache).entries.keys().copied().collect::<Vec<_>>();
        log.settle().await;
        assert_eq!(held(&log), [1, 2, 3], "it is not committed");
        log.save_committed(Some(entries[2].log_id)).await.unwrap();
        log.settle().await;
        assert_eq!(held(&log), [3]);
        assert_eq!(lock(&log.cache).bytes, size(&entries[2]));
        assert_eq!(log.try_get_log_entries(1..4).await.unwrap(), entries);
    }
}
