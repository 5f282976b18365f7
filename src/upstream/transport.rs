//! A transport: what the connections to servers have in common, and their pools.

use std::sync::Arc;

use super::Options;

/// Why a transport or a server cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildError {
    /// An option has a value that cannot work.
    #[error("option `{option}`: {problem}")]
    Option { option: &'static str, problem: String },
    /// The options decode, the behaviour does not exist yet.
    #[error("option `{0}` is not built yet")]
    NotBuilt(&'static str),
    /// The URL of a server cannot be used.
    #[error("server URL `{url}`: {problem}")]
    Url { url: String, problem: &'static str },
}

/// A transport, built.
#[derive(Debug)]
pub(crate) struct Transport {}

impl Transport {
    /// Builds a transport. It does no I/O but for reading the system's authorities, once per process.
    pub(crate) fn build(options: &Options) -> Result<Arc<Self>, BuildError> {
        if options.spiffe.is_some() {
            return Err(BuildError::NotBuilt("spiffe"));
        }
        Ok(Arc::new(Self {}))
    }
}
