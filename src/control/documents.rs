//! The documents in force: from the cluster's log, or kept in memory where no cluster is configured.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pontoon_cluster::{
    Cluster, Command, Document, Documents, Entry, Expected, ProposeError, PutDocument, Reply,
    Revision,
};
use tokio::sync::watch;

use crate::provider::Entries;

/// Where documents are kept. Clones share it.
#[derive(Clone)]
pub(crate) enum Store {
    /// One peer alone: nothing outlives the process.
    Alone(Arc<Alone>),
    Cluster(Cluster),
}

/// Documents in memory.
pub(crate) struct Alone {
    documents: Mutex<Arc<Documents>>,
    revision: watch::Sender<Revision>,
}

/// Why a provider's document was not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("{0}")]
    Propose(#[from] ProposeError),
    #[error("refused: {0}")]
    Refused(String),
}

impl Store {
    pub(crate) fn alone() -> Self {
        let (revision, _) = watch::channel(Revision(0));
        Self::Alone(Arc::new(Alone { documents: Mutex::default(), revision }))
    }

    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::Alone(_) => None,
            Self::Cluster(cluster) => Some(cluster),
        }
    }

    /// What has been applied here.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        match self {
            Self::Alone(alone) => {
                alone.documents.lock().unwrap_or_else(PoisonError::into_inner).clone()
            }
            Self::Cluster(cluster) => cluster.documents(),
        }
    }

    /// Changes with each revision that is applied here.
    pub(crate) fn watch(&self) -> watch::Receiver<Revision> {
        match self {
            Self::Alone(alone) => alone.revision.subscribe(),
            Self::Cluster(cluster) => cluster.watch(),
        }
    }

    /// Puts a provider's whole document in force. `term` is the one in which this peer leads.
    pub(crate) async fn publish(
        &self,
        provider: &str,
        entries: Entries,
        term: u64,
    ) -> Result<(), PublishError> {
        match self {
            Self::Alone(alone) => {
                alone.put(provider, entries);
                Ok(())
            }
            Self::Cluster(cluster) => {
                let put = PutDocument {
                    provider: provider.to_owned(),
                    entries: entries.into_iter().map(|(key, value)| (key, value.into())).collect(),
                    expected: Expected::Any,
                    fence: Some(term),
                };
                let applied = cluster.propose(Command::put(put, provider)).await?;
                match applied.reply {
                    Reply::Stored { .. } | Reply::Unchanged => Ok(()),
                    Reply::Refused { reason } => Err(PublishError::Refused(reason)),
                    Reply::Conflict { current, .. } => {
                        Err(PublishError::Refused(format!("the document is at revision {current}")))
                    }
                }
            }
        }
    }
}

impl Alone {
    fn put(&self, provider: &str, entries: Entries) {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = Revision(documents.revision.0 + 1);
        let known = documents.documents.get(provider).cloned().unwrap_or_default();
        let entries: BTreeMap<String, Entry> = entries
            .into_iter()
            .map(|(key, value)| {
                let entry = match known.entries.get(&key) {
                    Some(entry) if *entry.bytes == value => entry.clone(),
                    _ => Entry { revision, bytes: Bytes::from(value) },
                };
                (key, entry)
            })
            .collect();
        let mut next = Documents::clone(&documents);
        next.revision = revision;
        next.documents.insert(provider.to_owned(), Arc::new(Document { revision, entries }));
        *documents = Arc::new(next);
        drop(documents);
        self.revision.send_replace(revision);
    }
}
