//! Providers: where dynamic configuration comes from. One file or folder each.

pub(crate) mod consul_catalog;
pub(crate) mod docker;
pub(crate) mod ecs;
pub(crate) mod file;
pub(crate) mod http;
pub(crate) mod kubernetes;
pub(crate) mod kv;
pub(crate) mod nomad;
pub(crate) mod rest;
pub(crate) mod swarm;

use std::sync::Arc;

use async_trait::async_trait;
use pontoon_cluster::{Document, Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// One provider's whole configuration as entries: key such as `http/routers/NAME`, value canonical JSON.
pub(crate) type Entries = Map<Arc<str>, Value>;

/// Why a provider cannot go on. It is logged; the others go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// The source cannot be used at all, so that watching it is of no use.
    #[error("{0}")]
    Source(String),
    /// Nobody takes updates any more.
    #[error("the control loop has ended")]
    Ended,
}

/// A source of dynamic configuration, that all peers could see: the leader runs it. It sends whole configurations: comparing, throttling and publishing are not
/// its business.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// As in `NAME@provider`.
    fn name(&self) -> &'static str;

    /// Watches the source and sends what it says, until `stop` is cancelled.
    async fn run(&self, updates: Updates, stop: CancellationToken) -> Result<(), ProviderError>;

    /// A digest of what this peer sees of the source now; `None` where it sees nothing.
    async fn digest(&self) -> Option<String>;

    /// Keeps what the document of this provider holds, too, as that, and not a second time.
    async fn share(&self, _document: &Arc<Document>) {}
}

/// Takes whole configurations from a provider. Only the newest waits; what it replaces was never published.
#[derive(Clone)]
pub(crate) struct Updates(watch::Sender<Option<Entries>>);

impl Updates {
    /// The sending side, and what the control loop reads.
    pub(crate) fn channel() -> (Self, watch::Receiver<Option<Entries>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    pub(crate) fn send(&self, entries: Entries) -> Result<(), ProviderError> {
        self.0.send(Some(entries)).map_err(|_closed| ProviderError::Ended)
    }
}
