//! What changed, when and by whom, with enough of the old content to go back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::documents::{Document, Entry};
use crate::command::Revision;
use crate::map::Map;

/// Most changes kept.
const CHANGES_MAX: usize = 1000;
/// Most bytes of old content kept.
const BYTES_MAX: usize = 64 << 20;
const CHANGE_OVERHEAD: usize = 128;

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Stored, new or not.
    Set,
    /// Deleted.
    Deleted,
}

/// What happened to one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// Which entry.
    pub key: Arc<str>,
    /// What happened.
    pub kind: ChangeKind,
    /// What it was before; none if it did not exist.
    pub previous: Option<Entry>,
}

/// One change of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The revision that the change made.
    pub revision: Revision,
    /// When, in milliseconds since 1970, by the leader's clock; rises with the revision.
    pub stamp_ms: u64,
    /// Who asked for it.
    pub author: String,
    /// Whose document changed.
    pub provider: String,
    /// The entries that changed.
    pub keys: Vec<KeyChange>,
}

/// A revision is too old to be told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("revisions before {floor} are compacted away")]
pub struct Compacted {
    /// The oldest revision that can be asked for.
    pub floor: Revision,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    changes: VecDeque<Arc<Change>>,
    floor: Revision,
    bytes: usize,
}

fn cost(change: &Change) -> usize {
    let old = |key: &KeyChange| key.previous.as_ref().map_or(0, |entry| entry.bytes.len());
    let keys = change.keys.iter().map(|key| key.key.len() + CHANGE_OVERHEAD + old(key));
    CHANGE_OVERHEAD + change.author.len() + change.provider.len() + keys.sum::<usize>()
}

impl History {
    pub(crate) fn new(changes: impl IntoIterator<Item = Change>, floor: Revision) -> Self {
        let mut history = Self { floor, ..Self::default() };
        changes.into_iter().for_each(|change| history.push(change));
        history
    }

    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn changes(&self) -> impl DoubleEndedIterator<Item = &Arc<Change>> {
        self.changes.iter()
    }

    /// Adds the newest change; drops the oldest, whole revisions at a time.
    pub(crate) fn push(&mut self, change: Change) {
        self.bytes += cost(&change);
        self.changes.push_back(Arc::new(change));
        while let Some(oldest) = self.changes.front() {
            let full = self.changes.len() > CHANGES_MAX || self.bytes > BYTES_MAX;
            if !full && oldest.revision > self.floor {
                return;
            }
            self.bytes -= cost(oldest);
            self.floor = oldest.revision;
            self.changes.pop_front();
        }
    }

    /// Changes after a revision, oldest first.
    pub(crate) fn since(&self, revision: Revision) -> Result<Vec<Arc<Change>>, Compacted> {
        self.check(revision)?;
        let start = self.changes.partition_point(|change| change.revision <= revision);
        Ok(self.changes.iter().skip(start).cloned().collect())
    }

    /// The entries that `document` had as of `revision`.
    pub(crate) fn document_at(
        &self,
        provider: &str,
        document: Option<&Document>,
        revision: Revision,
    ) -> Result<Map<Arc<str>, Entry>, Compacted> {
        self.check(revision)?;
        let mut entries = document.map(|document| document.entries.clone()).unwrap_or_default();
        let later = self.changes.iter().rev().take_while(|change| change.revision > revision);
        for change in later.filter(|change| change.provider == provider) {
            for key in &change.keys {
                match &key.previous {
                    Some(entry) => entries.insert(key.key.clone(), entry.clone()),
                    None => entries.remove(&*key.key),
                };
            }
        }
        Ok(entries)
    }

    fn check(&self, revision: Revision) -> Result<(), Compacted> {
        if revision < self.floor { Err(Compacted { floor: self.floor }) } else { Ok(()) }
    }
}
