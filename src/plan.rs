//! The plan: what the data plane follows. Compiled from all documents, immutable, swapped atomically.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::http::SharedHandler;
use crate::router::Table;
use crate::tls;

/// The compiled result of all documents.
#[derive(Default)]
pub(crate) struct Plan {
    /// Counts the plans of this process, so that a connection can see that there is a newer one.
    pub(crate) generation: u64,
    /// By name; an entry point without routers is present and empty.
    pub(crate) entry_points: HashMap<Arc<str>, Arc<EntryPoint>>,
}

/// What one entry point does with connections and requests.
#[derive(Default)]
pub(crate) struct EntryPoint {
    /// Routes of requests without TLS.
    pub(crate) plain: Table<Arc<Route>>,
    /// Routes of requests over TLS.
    pub(crate) secure: Table<Arc<Route>>,
    /// Certificates and options for handshakes.
    pub(crate) tls: Arc<tls::Tables>,
}

/// A router that works: its middlewares and its service, ready to run.
pub(crate) struct Route {
    /// `name@provider`
    pub(crate) name: Arc<str>,
    /// `name@provider` of its service.
    pub(crate) service: Arc<str>,
    /// The chain.
    pub(crate) handler: SharedHandler,
    /// What is observed of its requests.
    pub(crate) observed: Observed,
    /// Internal routers (`api@internal` …) are left out of logs and metrics unless asked for.
    pub(crate) internal: bool,
}

/// Router option `observability`, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) access_logs: bool,
    pub(crate) metrics: bool,
}

/// The plan in force. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Handle(Arc<ArcSwap<Plan>>);

impl Handle {
    /// The plan in force. A request keeps the one that it started with.
    pub(crate) fn load(&self) -> Guard<Arc<Plan>> {
        self.0.load()
    }

    /// Puts `plan` in force.
    pub(crate) fn store(&self, plan: Arc<Plan>) {
        self.0.store(plan);
    }
}
