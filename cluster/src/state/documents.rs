//! Documents: ordered maps of entries, one map a provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::history::{Change, ChangeKind, KeyChange};
use crate::command::{Expected, PatchDocument, PutDocument, Reply, Revision};
use crate::map::Map;
use crate::value::Value;

/// Longest provider name and entry key.
const NAME_BYTES_MAX: usize = 1024;
/// Most documents in one cluster.
const DOCUMENTS_MAX: usize = 256;
/// All documents together: keys, values, and a little for each entry.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 64 << 20;
const ENTRY_OVERHEAD: usize = 32;

/// One entry of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was last changed.
    pub revision: Revision,
    /// What it holds; the schema is not known here.
    pub bytes: Value,
}

/// What one provider published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// When it was last changed.
    pub revision: Revision,
    /// Entries by key, such as `http/routers/api`.
    pub entries: Map<Arc<str>, Entry>,
}

/// All documents as of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// What has been applied.
    pub revision: Revision,
    /// Documents by provider.
    pub documents: BTreeMap<String, Arc<Document>>,
}

/// The documents as the state machine changes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) documents: BTreeMap<String, Arc<Document>>,
    bytes: usize,
}

/// Where and why a change happens.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) revision: Revision,
    pub(super) stamp_ms: u64,
    pub(super) author: &'a str,
    /// Refuse what makes all documents too large. Off where only the end of many changes counts.
    pub(super) bounded: bool,
}

fn cost(key: &str, bytes: &[u8]) -> usize {
    key.len() + bytes.len() + ENTRY_OVERHEAD
}

fn refused(reason: impl Into<String>) -> Reply {
    Reply::Refused { reason: reason.into() }
}

impl Store {
    pub(crate) fn new(documents: BTreeMap<String, Arc<Document>>) -> Self {
        let entries = documents.values().flat_map(|document| &document.entries);
        let bytes = entries.map(|(key, entry)| cost(key, &entry.bytes)).sum();
        Self { documents, bytes }
    }

    pub(super) fn check_size(&self) -> Result<(), Reply> {
        if self.bytes > DOCUMENT_BYTES_MAX { Err(too_large()) } else { Ok(()) }
    }

    /// Replaces a document.
    pub(super) fn put(
        &mut self,
        command: &PutDocument,
        context: Context<'_>,
    ) -> (Reply, Option<Change>) {
        if let Err(reply) = self.check_document(&command.provider, command.expected) {
            return (reply, None);
        }
        let mut wanted = BTreeMap::new();
        for (key, bytes) in &command.entries {
            if let Err(reply) = check_name("key", key) {
                return (reply, None);
            }
            if wanted.insert(key.as_str(), bytes).is_some() {
                return (refused(format!("key `{key}` stands twice in the command")), None);
            }
        }
        let current = self.documents.get(&command.provider);
        let mut edits: Vec<(&str, Option<&Bytes>)> = Vec::new();
        if let Some(document) = current {
            let gone = document.entries.keys().filter(|key| !wanted.contains_key(&***key));
            edits.extend(gone.map(|key| (&**key, None)));
        }
        for (key, bytes) in wanted {
            let stored = current.and_then(|document| document.entries.get(key));
            if stored.is_none_or(|entry| *entry.bytes != **bytes) {
                edits.push((key, Some(bytes)));
            }
        }
        let edits = owned(&edits, current.map(Arc::as_ref));
        let created = current.is_none();
        if edits.is_empty() && !created {
            return (Reply::Unchanged, None);
        }
        self.store(&command.provider, edits, created, context)
    }

    /// Changes entries of a document.
    pub(super) fn patch(
        &mut self,
        command: &PatchDocument,
        context: Context<'_>,
    ) -> (Reply, Option<Change>) {
        if let Err(reply) = self.check_document(&command.provider, command.expected_document) {
            return (reply, None);
        }
        let empty = Document::default();
        let current = self.documents.get(&command.provider).map_or(&empty, |document| document);
        let mut edits: BTreeMap<&str, Option<&Bytes>> = BTreeMap::new();
        let set = command.set.iter().map(|(key, bytes, expected)| (key, Some(bytes), expected));
        let delete = command.delete.iter().map(|(key, expected)| (key, None, expected));
        for (key, bytes, expected) in set.chain(delete) {
            let checked =
                check_name("key", key).and_then(|()| check_entry(current, key, *expected));
            if let Err(reply) = checked {
                return (reply, None);
            }
            if edits.insert(key, bytes).is_some() {
                return (refused(format!("key `{key}` stands twice in the command")), None);
            }
        }
        let created =
            command.set.iter().any(|(key, ..)| !current.entries.contains_key(key.as_str()));
        let differs = |(key, bytes): &(&str, Option<&Bytes>)| {
            current.entries.get(*key).map(|entry| &*entry.bytes) != bytes.map(|bytes| &**bytes)
        };
        let edits: Vec<_> = edits.into_iter().filter(differs).collect();
        if edits.is_empty() {
            return (Reply::Unchanged, None);
        }
        let edits = owned(&edits, Some(current));
        self.store(&command.provider, edits, created, context)
    }

    fn store(
        &mut self,
        provider: &str,
        edits: Vec<(Arc<str>, Option<Value>)>,
        created: bool,
        context: Context<'_>,
    ) -> (Reply, Option<Change>) {
        let empty = Document::default();
        let current = self.documents.get(provider).map_or(&empty, |document| document);
        let mut bytes = self.bytes;
        for (key, value) in &edits {
            let before = current.entries.get(&**key).map_or(0, |entry| cost(key, &entry.bytes));
            let after = value.as_ref().map_or(0, |value| cost(key, value));
            bytes = bytes.saturating_sub(before).saturating_add(after);
        }
        if context.bounded && bytes > DOCUMENT_BYTES_MAX && bytes > self.bytes {
            return (too_large(), None);
        }
        self.bytes = bytes;
        let revision = context.revision;
        let document = Arc::make_mut(self.documents.entry(provider.to_owned()).or_default());
        document.revision = revision;
        let mut keys = Vec::with_capacity(edits.len());
        for (key, value) in edits {
            let (kind, previous) = match value {
                Some(bytes) => {
                    let entry = Entry { revision, bytes };
                    (ChangeKind::Set, document.entries.insert(key.clone(), entry))
                }
                None => (ChangeKind::Deleted, document.entries.remove(&*key)),
            };
            keys.push(KeyChange { key, kind, previous });
        }
        let change = Change {
            revision,
            stamp_ms: context.stamp_ms,
            author: context.author.to_owned(),
            provider: provider.to_owned(),
            keys,
        };
        (Reply::Stored { revision, created }, Some(change))
    }

    fn check_document(&self, provider: &str, expected: Expected) -> Result<(), Reply> {
        check_name("provider", provider)?;
        let document = self.documents.get(provider);
        if document.is_none() && self.documents.len() >= DOCUMENTS_MAX {
            return Err(refused(format!("there are {DOCUMENTS_MAX} documents already")));
        }
        let current = document.map_or(Revision(0), |document| document.revision);
        if !expected.is_met_by(current) {
            return Err(Reply::Conflict { key: None, current });
        }
        Ok(())
    }
}

fn too_large() -> Reply {
    refused(format!("all documents together would exceed {DOCUMENT_BYTES_MAX} bytes"))
}

/// Values are copied, so that a small one does not keep the whole command's memory. A key that `document` has is
/// that one.
fn owned(
    edits: &[(&str, Option<&Bytes>)],
    document: Option<&Document>,
) -> Vec<(Arc<str>, Option<Value>)> {
    let key = |key: &str| {
        let known = document.and_then(|document| document.entries.get_key_value(key));
        known.map_or_else(|| key.into(), |(known, _)| known.clone())
    };
    edits.iter().map(|(name, bytes)| (key(name), bytes.map(|bytes| (&**bytes).into()))).collect()
}

fn check_name(what: &str, name: &str) -> Result<(), Reply> {
    if name.is_empty() {
        return Err(refused(format!("{what} cannot be empty")));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(refused(format!("{what} is longer than {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_entry(document: &Document, key: &str, expected: Expected) -> Result<(), Reply> {
    let current = document.entries.get(key).map_or(Revision(0), |entry| entry.revision);
    if expected.is_met_by(current) {
        return Ok(());
    }
    Err(Reply::Conflict { key: Some(key.to_owned()), current })
}
