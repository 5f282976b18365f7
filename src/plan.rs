//! The plan: what the data plane follows. Compiled from all documents, immutable, swapped atomically.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use async_trait::async_trait;

use crate::http::{Handler, ProxyError, Request, Response, SharedHandler};
use crate::observe::trace::Traces;
use crate::router::{self, Table, Target};
use crate::{tcp, tls, udp};

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
    pub(crate) plain: Table<Route>,
    /// Routes of requests over TLS.
    pub(crate) secure: Table<Route>,
    /// Certificates and options for handshakes.
    pub(crate) tls: Arc<tls::Tables>,
    /// Routes of TCP connections; absent where there are none, so that HTTP is not kept waiting.
    pub(crate) streams: Option<Arc<Streams>>,
    /// Where new UDP sessions go.
    pub(crate) datagrams: Option<Arc<udp::Route>>,
}

/// What one entry point does with connections before HTTP gets them.
#[derive(Default)]
pub(crate) struct Streams {
    /// Routes of connections without TLS.
    pub(crate) plain: router::tcp::Table<Arc<tcp::Route>>,
    /// Routes of connections with TLS.
    pub(crate) secure: router::tcp::Table<Arc<tcp::Route>>,
    pub(crate) https: Https,
}

/// What has to be known of HTTPS routers where TCP routers are, too.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Https {
    /// There are some.
    pub(crate) any: bool,
    /// One of them takes any host.
    pub(crate) catch_all: bool,
    exact: HashSet<String>,
    /// By what follows `*.`.
    wildcard: HashSet<String>,
}

impl Https {
    /// Of the hosts of each router, as [`router::Rule::hosts`] gives them.
    pub(crate) fn of(routers: impl Iterator<Item = Vec<String>>) -> Self {
        let mut https = Self::default();
        for hosts in routers {
            https.any = true;
            https.catch_all |= hosts.is_empty();
            for host in hosts {
                if let Some(parent) = host.strip_prefix("*.") {
                    https.wildcard.insert(parent.to_owned());
                } else if host == "*" {
                    https.catch_all = true;
                } else {
                    https.exact.insert(host);
                }
            }
        }
        https
    }

    /// True if a router asks for this very name, which is in lower case.
    pub(crate) fn names(&self, server_name: &str) -> bool {
        self.exact.contains(server_name)
            || server_name
                .split_once('.')
                .is_some_and(|(label, parent)| !label.is_empty() && self.wildcard.contains(parent))
    }
}

/// A router that works, as the table has it: its name is `name@provider`.
pub(crate) type Routed = router::Entry<Route>;

/// What a router that works does: its middlewares and its service, ready to run.
pub(crate) struct Route {
    /// `name@provider` of its service; where routers are below it, what stands for one in metrics.
    pub(crate) service: Arc<str>,
    /// Routers are below it, no service.
    pub(crate) leads_on: bool,
    /// The chain.
    pub(crate) handler: SharedHandler,
    /// What is observed of its requests.
    pub(crate) observed: Observed,
    /// Internal routers (`api@internal` …) are left out of logs and metrics unless asked for.
    pub(crate) internal: bool,
}

/// The routers below another: they are tried as the middlewares of that one have left the request.
pub(crate) struct Below {
    /// `name@provider` of the router above.
    parent: Arc<str>,
    entries: Vec<Arc<Routed>>,
    table: Table<Route>,
    depth: usize,
}

impl Below {
    /// `depth` counts the layers from here on.
    pub(crate) fn new(parent: Arc<str>, entries: Vec<Arc<Routed>>, depth: usize) -> Self {
        Self { parent, table: Table::new(&entries), entries, depth }
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// The routers, by rising names.
    pub(crate) fn entries(&self) -> &[Arc<Routed>] {
        &self.entries
    }

    /// True if it is made of these very entries.
    pub(crate) fn is_of(&self, entries: &[Arc<Routed>]) -> bool {
        self.entries.len() == entries.len()
            && self.entries.iter().zip(entries).all(|(mine, other)| Arc::ptr_eq(mine, other))
    }
}

#[async_trait]
impl Handler for Below {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        let router = {
            let client = request.exchange().connection.remote.ip();
            let target = Target::new(request.method(), request.uri(), request.headers(), client)
                .map_err(|_invalid| ProxyError::BadRequest("percent-encoding of the path"))?
                .with_flat_host(request.exchange().flat_host());
            self.table.find(&target).ok_or(ProxyError::NotFound)?.clone()
        };
        let route = &router.value;
        request
            .exchange()
            .record()
            .descend(&self.parent, (&router.name, &route.service, route.leads_on));
        route.handler.handle(request).await
    }
}

/// Router option `observability`, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) access_logs: bool,
    pub(crate) metrics: bool,
    pub(crate) traces: Traces,
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
