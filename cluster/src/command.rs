//! What a client can ask the cluster for, and what it is answered.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Largest command, encoded.
pub const COMMAND_BYTES_MAX: usize = 64 << 20;

/// The log index at which a value was last stored. 0 is before everything.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a write expects to find at a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expected {
    /// Anything or nothing.
    #[default]
    Any,
    /// Nothing.
    Absent,
    /// A value, whichever.
    Present,
    /// A value that was stored at this revision.
    At(Revision),
}

impl Expected {
    /// What is expected where `revision` was read; 0: nothing was there.
    pub fn still(revision: Revision) -> Self {
        if revision.0 == 0 { Self::Absent } else { Self::At(revision) }
    }

    /// Whether it is met by a value of this revision; 0: there is none.
    pub fn is_met_by(self, current: Revision) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.0 == 0,
            Self::Present => current.0 > 0,
            Self::At(revision) => current == revision,
        }
    }
}

/// Replaces the whole document of a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutDocument {
    /// Whose document it is.
    pub provider: String,
    /// All of its entries. Entries with equal bytes keep their revision.
    pub entries: Vec<(String, Bytes)>,
    /// What the document must be.
    pub expected: Expected,
    /// The term in which leader-only work made this. Refused when a later term has spoken.
    pub fence: Option<u64>,
}

/// Changes some entries of a document: all of them, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatchDocument {
    /// Whose document it is. It need not exist.
    pub provider: String,
    /// Entries to store.
    pub set: Vec<(String, Bytes, Expected)>,
    /// Entries to delete; one that does not exist is passed over.
    pub delete: Vec<(String, Expected)>,
    /// What the document must be.
    pub expected_document: Expected,
    /// See [`PutDocument::fence`].
    pub fence: Option<u64>,
}

/// Replaces all documents with those of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restore {
    /// Provider and entries.
    pub documents: Vec<(String, Vec<(String, Bytes)>)>,
    /// Replace what is there. Without it, a cluster that holds documents refuses.
    pub force: bool,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Replaces a document.
    Put(PutDocument),
    /// Changes entries of a document.
    Patch(PatchDocument),
    /// Replaces everything.
    Restore(Restore),
}

/// By which a request that is sent again is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// As the client chose it; 1 to 256 bytes.
    pub key: String,
    /// A digest of what the client asked for; at most 64 bytes. A key belongs to one request.
    pub request: Bytes,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it does.
    pub operation: Operation,
    /// Who asked for it: the name of a token or a provider. Stands in the history.
    pub author: String,
    /// Makes a second command of the same request, key and author answer as the first did, for 24 h, whatever it
    /// would do by now; an answer `Conflict` is not remembered.
    pub idempotency: Option<Idempotency>,
}

impl Command {
    /// A command that replaces a document.
    pub fn put(document: PutDocument, author: impl Into<String>) -> Self {
        Self { operation: Operation::Put(document), author: author.into(), idempotency: None }
    }

    /// A command that changes entries of a document.
    pub fn patch(patch: PatchDocument, author: impl Into<String>) -> Self {
        Self { operation: Operation::Patch(patch), author: author.into(), idempotency: None }
    }
}

/// The state machine's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Stored.
    Stored {
        /// The document's new revision.
        revision: Revision,
        /// The document was new, or, for a patch, at least one of the keys that it set.
        created: bool,
    },
    /// Nothing differed; nothing was stored.
    Unchanged,
    /// Something had another revision than expected; nothing was stored.
    Conflict {
        /// The key, or none for the document itself.
        key: Option<String>,
        /// The revision it has; 0: it does not exist.
        current: Revision,
    },
    /// The command cannot be carried out; nothing was stored.
    Refused {
        /// Why, for the one who asked.
        reason: String,
    },
}

/// A reply, and where in the log it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    pub(crate) revision: Revision,
    pub(crate) term: u64,
}

/// Who proposed a command. Two proposals with equal values are the same proposal, sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proposer {
    pub(crate) peer: u64,
    pub(crate) boot: u64,
    pub(crate) sequence: u64,
}

/// A command on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) command: Command,
    /// Milliseconds since 1970, by the leader's clock.
    pub(crate) stamp_ms: u64,
    pub(crate) proposer: Proposer,
}
