//! The pure state machine: what every peer does with the commands of the log, in order.
//!
//! No clock, no randomness, no I/O: equal commands give equal states on all peers.

mod answers;
mod documents;
mod history;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use self::answers::Known;
pub(crate) use self::answers::{Answers, PeerAnswers, Remembered};
use self::documents::Context;
pub(crate) use self::documents::Store;
pub use self::documents::{Document, Documents, Entry};
pub(crate) use self::history::History;
pub use self::history::{Change, ChangeKind, Compacted, KeyChange};
use crate::command::{
    Command, Idempotency, Operation, Outcome, Proposal, PutDocument, Reply, Restore, Revision,
};
use crate::map::Map;

/// Longest idempotency key and author.
const KEY_BYTES_MAX: usize = 256;
/// Longest digest of a request.
const REQUEST_BYTES_MAX: usize = 64;

/// Where in the log a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// All that the commands so far have made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The newest stamp, in milliseconds since 1970. Rises with every command.
    pub(crate) stamp_ms: u64,
    pub(crate) store: Store,
    pub(crate) history: History,
    pub(crate) answers: Answers,
    /// The newest term that has spoken for a provider.
    pub(crate) fences: BTreeMap<String, u64>,
}

impl State {
    /// Carries out a command. None: it was sent twice, and its answer is no longer known.
    pub(crate) fn apply(&mut self, position: Position, proposal: &Proposal) -> Option<Outcome> {
        self.stamp_ms = proposal.stamp_ms.max(self.stamp_ms.saturating_add(1));
        self.answers.expire(self.stamp_ms);
        match self.answers.look_up(&proposal.proposer) {
            Known::Answered(outcome) => return Some(outcome),
            Known::Forgotten => return None,
            Known::New => {}
        }
        let outcome = self.once(position, &proposal.command);
        self.answers.record(&proposal.proposer, &outcome);
        Some(outcome)
    }

    /// Looks at the idempotency key first.
    fn once(&mut self, position: Position, command: &Command) -> Outcome {
        let answer =
            |reply| Outcome { reply, revision: Revision(position.index), term: position.term };
        let refused = |reason: &str| answer(Reply::Refused { reason: reason.to_owned() });
        if command.author.len() > KEY_BYTES_MAX {
            return refused("author is longer than 256 bytes");
        }
        let Some(idempotency) = &command.idempotency else {
            return answer(self.execute(position, command));
        };
        let Idempotency { key, request } = idempotency;
        if key.is_empty() || key.len() > KEY_BYTES_MAX || request.len() > REQUEST_BYTES_MAX {
            return refused("idempotency key must have 1 to 256 bytes");
        }
        if let Some(before) = self.answered(&command.author, idempotency) {
            return before;
        }
        let outcome = answer(self.execute(position, command));
        // A conflict has changed nothing: who reads again may use the key for what is proposed then.
        if !matches!(outcome.reply, Reply::Conflict { .. }) {
            let remembered = Remembered {
                stamp_ms: self.stamp_ms,
                // A copy, so that it does not keep the whole command's memory.
                request: Bytes::copy_from_slice(request),
                outcome: outcome.clone(),
            };
            self.answers.remember((command.author.clone(), key.clone()), remembered);
        }
        outcome
    }

    /// What a request was answered when it came first. Another request with its key is refused.
    pub(crate) fn answered(&self, author: &str, idempotency: &Idempotency) -> Option<Outcome> {
        let Idempotency { key, request } = idempotency;
        let before = self.answers.remembered(&(author.to_owned(), key.clone()))?;
        let mut outcome = before.outcome.clone();
        if before.request != *request {
            let reason = "idempotency key was used with another request";
            outcome.reply = Reply::Refused { reason: reason.to_owned() };
        }
        Some(outcome)
    }

    fn execute(&mut self, position: Position, command: &Command) -> Reply {
        let author = command.author.as_str();
        let revision = Revision(position.index);
        let context = Context { revision, stamp_ms: self.stamp_ms, author, bounded: true };
        let (reply, change) = match &command.operation {
            Operation::Put(put) => match self.pass_fence(&put.provider, put.fence) {
                Ok(()) => self.store.put(put, context),
                Err(reply) => (reply, None),
            },
            Operation::Patch(patch) => match self.pass_fence(&patch.provider, patch.fence) {
                Ok(()) => self.store.patch(patch, context),
                Err(reply) => (reply, None),
            },
            Operation::Restore(restore) => return self.restore(restore, context),
        };
        if let Some(change) = change {
            self.history.push(change);
        }
        reply
    }

    /// Refuses what was made in an older term than the newest that has spoken for the provider.
    fn pass_fence(&mut self, provider: &str, fence: Option<u64>) -> Result<(), Reply> {
        let Some(term) = fence else { return Ok(()) };
        let newest = self.fences.get(provider).copied().unwrap_or(0);
        if term < newest {
            let reason =
                format!("made in term {term}, but term {newest} has spoken for `{provider}`");
            return Err(Reply::Refused { reason });
        }
        // A provider without a document is not remembered: names come from outside.
        if self.store.documents.contains_key(provider) || self.fences.len() < 256 {
            self.fences.insert(provider.to_owned(), term);
        }
        Ok(())
    }

    /// Works on a copy, so that all documents are restored or none.
    fn restore(&mut self, restore: &Restore, context: Context<'_>) -> Reply {
        let holds = self.store.documents.values().any(|document| !document.entries.is_empty());
        if holds && !restore.force {
            let reason = "the cluster holds documents; restore with force replaces them";
            return Reply::Refused { reason: reason.to_owned() };
        }
        let mut store = self.store.clone();
        let mut changes = Vec::new();
        let kept: BTreeSet<&str> =
            restore.documents.iter().map(|(provider, _)| provider.as_str()).collect();
        let gone = self.store.documents.keys().filter(|provider| !kept.contains(provider.as_str()));
        let cleared = gone.map(|provider| (provider.clone(), Vec::new()));
        for (provider, entries) in cleared.chain(restore.documents.iter().cloned()) {
            let put = PutDocument { provider, entries, ..PutDocument::default() };
            let (reply, change) = store.put(&put, Context { bounded: false, ..context });
            if let Reply::Refused { .. } | Reply::Conflict { .. } = reply {
                return reply;
            }
            changes.extend(change);
        }
        if let Err(reply) = store.check_size() {
            return reply;
        }
        let created = self.store.documents.is_empty();
        self.store = store;
        for change in changes {
            self.history.push(change);
        }
        Reply::Stored { revision: context.revision, created }
    }

    /// The entries of a provider's document as of a revision.
    pub(crate) fn document_at(
        &self,
        provider: &str,
        revision: Revision,
    ) -> Result<Map<Arc<str>, Entry>, Compacted> {
        let document = self.store.documents.get(provider).map(Arc::as_ref);
        self.history.document_at(provider, document, revision)
    }
}

/// The documents of a state, as a backup holds them.
pub(crate) fn exported(store: &Store) -> Vec<(String, Vec<(String, Bytes)>)> {
    let entries = |document: &Document| {
        let entries = document.entries.iter();
        entries.map(|(key, entry)| (key.to_string(), entry.bytes.to_bytes())).collect()
    };
    store.documents.iter().map(|(name, document)| (name.clone(), entries(document))).collect()
}
