//! The documents in force: from the cluster's log, or kept in memory where no cluster is configured.

use std::sync::{Arc, Mutex, PoisonError};

use pontoon_cluster::{
    Cluster, Command, Document, Documents, Entry, Expected, PatchDocument, ProposeError,
    PutDocument, Reply, Revision, Value,
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

    /// One provider's document, as applied here.
    pub(crate) fn document(&self, provider: &str) -> Option<Arc<Document>> {
        self.documents().documents.get(provider).cloned()
    }

    /// Puts a provider's document in force: all of it, or the edits that come to the same. `term` is the one in which
    /// this peer leads.
    pub(crate) async fn publish(
        &self,
        provider: &str,
        entries: &Entries,
        edits: Option<Edits>,
        term: u64,
    ) -> Result<(), PublishError> {
        let cluster = match self {
            Self::Alone(alone) => {
                alone.change(provider, entries, edits);
                return Ok(());
            }
            Self::Cluster(cluster) => cluster,
        };
        let command = match edits {
            None => {
                let entries = entries.iter();
                let entries = entries.map(|(key, value)| (key.to_string(), value.to_bytes()));
                let put = PutDocument {
                    provider: provider.to_owned(),
                    entries: entries.collect(),
                    expected: Expected::Any,
                    fence: Some(term),
                };
                Command::put(put, provider)
            }
            Some(edits) => {
                let any = Expected::Any;
                let set = edits.set.iter();
                let set = set.map(|(key, value)| (key.to_string(), value.to_bytes(), any));
                let deleted = edits.deleted.iter().map(|key| (key.to_string(), any));
                let patch = PatchDocument {
                    provider: provider.to_owned(),
                    set: set.collect(),
                    delete: deleted.collect(),
                    expected_document: Expected::still(edits.expected),
                    fence: Some(term),
                };
                Command::patch(patch, provider)
            }
        };
        match cluster.propose(command).await?.reply {
            Reply::Stored { .. } | Reply::Unchanged => Ok(()),
            Reply::Refused { reason } => Err(PublishError::Refused(reason)),
            Reply::Conflict { current, .. } => {
                Err(PublishError::Refused(format!("the document is at revision {current}")))
            }
        }
    }
}

/// What changes in a document.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    pub(crate) set: Vec<(Arc<str>, Value)>,
    pub(crate) deleted: Vec<Arc<str>>,
    /// The revision of the document that they are for.
    pub(crate) expected: Revision,
}

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.deleted.is_empty()
    }
}

impl Alone {
    fn change(&self, provider: &str, entries: &Entries, edits: Option<Edits>) {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = Revision(documents.revision.0 + 1);
        let entry = |bytes: &Value| Entry { revision, bytes: bytes.clone() };
        let known = documents.documents.get(provider).map(|known| known.entries.clone());
        let entries = match (known, edits) {
            (Some(mut known), Some(edits)) => {
                known.extend(edits.set.iter().map(|(key, bytes)| (key.clone(), entry(bytes))));
                for key in &edits.deleted {
                    known.remove(&**key);
                }
                known
            }
            _ => entries.iter().map(|(key, bytes)| (key.clone(), entry(bytes))).collect(),
        };
        let mut next = Documents::clone(&documents);
        next.revision = revision;
        next.documents.insert(provider.to_owned(), Arc::new(Document { revision, entries }));
        *documents = Arc::new(next);
        drop(documents);
        self.revision.send_replace(revision);
    }
}
