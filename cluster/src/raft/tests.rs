//! openraft's own storage suite, on both stores.

use std::sync::Arc;

use openraft::storage::RaftLogStorage as _;
use openraft::testing::{StoreBuilder, Suite};

use super::log::LogStore;
use super::state_machine::StateMachine;
use super::{StorageError, Types, Vote};
use crate::metrics::Counters;
use crate::secret::{self, Keyring};
use crate::store::Backend;
use crate::store::disk::Disk;
use crate::store::memory::Memory;
use crate::store::writer::Writer;

fn stores(backend: Arc<dyn Backend>) -> (LogStore, StateMachine) {
    let counters = Arc::new(Counters::default());
    let writer = Writer::start(Arc::clone(&backend), Arc::clone(&counters)).unwrap();
    let log = LogStore::open(Arc::clone(&backend), writer).unwrap();
    (log, StateMachine::open(backend, counters).unwrap().0)
}

struct InMemory;

impl StoreBuilder<Types, LogStore, StateMachine> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError> {
        let (log, machine) = stores(Arc::new(Memory::default()));
        Ok(((), log, machine))
    }
}

struct OnDisk;

impl StoreBuilder<Types, LogStore, StateMachine, tempfile::TempDir> for OnDisk {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError> {
        let directory = tempfile::tempdir().unwrap();
        let secret = secret::new_secret().unwrap();
        let keyring = Arc::new(Keyring::new(secret::parse(&[secret]).unwrap()).unwrap());
        let disk = Disk::open(directory.path(), keyring).unwrap();
        let (log, machine) = stores(Arc::new(disk));
        Ok((directory, log, machine))
    }
}

#[test]
fn store_in_memory_obeys_raft() {
    Suite::test_all(InMemory).unwrap();
}

#[test]
fn store_on_disk_obeys_raft() {
    Suite::test_all(OnDisk).unwrap();
}

/// A leader that was killed led on in its term when it came back, and answered reads without what it had acknowledged.
#[tokio::test]
async fn a_leader_that_comes_back_has_to_be_elected() {
    let (mut log, _machine) = stores(Arc::new(Memory::default()));
    for (stored, expected) in [
        (Vote::new_committed(3, 1), Vote::new(3, 1)),
        (Vote::new_committed(4, 2), Vote::new_committed(4, 2)),
        (Vote::new(5, 1), Vote::new(5, 1)),
    ] {
        log.save_vote(&stored).await.unwrap();
        log.step_down(1).await.unwrap();
        assert_eq!(log.read_vote().await.unwrap(), Some(expected));
    }
}
