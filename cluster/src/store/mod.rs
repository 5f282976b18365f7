//! Where a peer keeps its log, its vote and its state snapshot.
//!
//! One trait with two forms: on disk ([`disk`]) and, for tests, in memory.

pub(crate) mod disk;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod writer;

use std::path::PathBuf;

use crate::secret;

/// A record of the log: its index, and its bytes.
pub(crate) type Record = (u64, Vec<u8>);

/// One step of a batch. Steps are carried out in order; a batch happens whole or not at all.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Append {
        index: u64,
        record: Vec<u8>,
    },
    /// Deletes this index and all after it.
    TruncateFrom(u64),
    /// Deletes all up to this index.
    PurgeTo(u64),
    Meta {
        name: String,
        value: Vec<u8>,
    },
}

impl Step {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { record, .. } => record.len(),
            Self::Meta { value, .. } => value.len(),
            Self::TruncateFrom(_) | Self::PurgeTo(_) => 0,
        }
    }
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", .path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The database could not be opened, read or written.
    #[error("cannot {action} the database in `{}`", .path.display())]
    Database {
        /// What was attempted.
        action: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: sled::Error,
    },
    /// The database is so damaged that its library gave up.
    #[error(
        "the database in `{}` is damaged: restore this data directory from a copy, or remove it \
         and let the peer join again as a new one; the other peers hold everything committed",
        .path.display()
    )]
    Damaged {
        /// Where it is.
        path: PathBuf,
    },
    /// A checksum does not match, or a part is missing.
    #[error("{what} is damaged")]
    Corrupt {
        /// What does not match.
        what: String,
    },
    /// It cannot be unsealed.
    #[error("cannot open {what}")]
    Sealed {
        /// What was sealed.
        what: String,
        /// Why it does not open.
        #[source]
        source: secret::Error,
    },
    /// This peer is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// A store. Calls block; they are made off the async threads.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Returns when all steps are on disk.
    fn write(&self, steps: &[Step]) -> Result<(), Error>;
    /// Records from `from` up to, and without, `to`; stops after the one that fills `bytes_max`.
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Record>, Error>;
    fn last(&self) -> Result<Option<u64>, Error>;
    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;
    /// Replaces the state snapshot. Returns when it is on disk.
    fn save_state(&self, state: &[u8]) -> Result<(), Error>;
    fn load_state(&self) -> Result<Option<Vec<u8>>, Error>;
    /// Lets go of all files; every later call fails.
    fn close(&self);
}
