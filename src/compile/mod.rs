//! Documents to plan: pure, incremental, one object's mistake disables that object alone.
//!
//! No I/O and no clock. An object whose options are unchanged is the *same* `Arc` in the next plan, so that its
//! connections, health, counters and windows live on. What a compilation costs goes by what has changed since the
//! last one, not by what there is: everything is in maps that share what is the same, and only objects that changed,
//! or that hold one that did, are looked at. The result is that of compiling all of it anew.

mod change;
mod digest;
pub(crate) mod explain;
mod intern;
mod layers;
mod models;
mod objects;
mod report;
mod routers;
pub(crate) mod source;
mod streams;
mod tables;
#[cfg(test)]
mod tests;
mod tls;
mod traced;
pub(crate) mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::http::SharedHandler;
use crate::plan::Plan;
use crate::router::{self, Syntax};
use crate::service::health::Checker;
use crate::tcp;
use crate::upstream::{Identity, Transport};

pub(crate) use report::{
    ObjectReport, Report, RouterReport, ServiceReport, Status, StreamServiceReport,
};
pub(crate) use source::{Source, Sources};
pub(crate) use streams::Streams;

/// What the startup configuration says to the compiler.
pub(crate) struct Settings {
    /// By name.
    pub(crate) entry_points: BTreeMap<String, Model>,
    /// Providers whose routers win a tie, best first.
    pub(crate) precedence: Vec<String>,
    pub(crate) default_syntax: Syntax,
    /// `core.defaultRuleSyntax` where it is written: it is shown with routers that name none.
    pub(crate) written_syntax: Option<String>,
    /// Objects of the provider `internal`.
    pub(crate) internal: Arc<Source>,
    /// Handlers of internal services, by qualified name (`api@internal`).
    pub(crate) internal_services: HashMap<String, SharedHandler>,
    /// `default@internal`
    pub(crate) default_transport: Arc<Transport>,
    /// The same for TCP.
    pub(crate) default_tcp_transport: Arc<tcp::Transport>,
    /// Who we are to servers that are verified by SPIFFE; `None` where nobody tells.
    pub(crate) identity: Option<Identity>,
    /// Requests may be traced: routers and middlewares get spans.
    pub(crate) traced: bool,
}

/// What an entry point adds to its routers (http.md §2).
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) udp: bool,
    pub(crate) as_default: bool,
    /// Something else is written that Traefik makes a model of: what is observed, or encoded characters.
    pub(crate) written: bool,
    /// Put in front of each router's own.
    pub(crate) middlewares: Vec<String>,
    /// For routers without `tls`.
    pub(crate) tls: Option<router::options::Tls>,
    pub(crate) observability: router::options::Observability,
}

impl Model {
    /// True if routers are changed by it, so that each entry point needs a copy of its own.
    fn changes_routers(&self) -> bool {
        self.written || !self.middlewares.is_empty() || self.tls.is_some()
    }
}

/// The result of a compilation, and what the next one keeps of it.
#[derive(Clone, Default)]
pub(crate) struct Compiled {
    pub(crate) plan: Arc<Plan>,
    pub(crate) report: Arc<Report>,
    /// Equal on every peer that compiled the same documents: hex of a SHA-256.
    pub(crate) digest: Arc<str>,
    /// Health checks that must run while this plan is in force.
    pub(crate) checkers: Vec<Arc<Checker>>,
    /// Certificates that are served, for metrics and the API.
    pub(crate) certificates: Arc<[Arc<crate::tls::Pair>]>,
    memory: Arc<Memory>,
}

/// What has been built, to be kept as long as nothing changes.
#[derive(Default)]
struct Memory {
    /// What it was built from, with that of the provider `internal`.
    sources: Sources,
    handlers: HashMap<String, SharedHandler>,
    objects: objects::Built,
    tls: Arc<tls::Tls>,
    routers: routers::All,
    streams: Arc<Streams>,
    tables: tables::Kept,
    digest: digest::Sum,
}

/// Compiles `sources`.
pub(crate) fn compile(sources: &Sources, settings: &Settings, previous: &Compiled) -> Compiled {
    let memory = &previous.memory;
    let mut sources = sources.clone();
    sources.insert(source::INTERNAL.into(), settings.internal.clone());
    let changes = change::Changes::between(&memory.sources, &sources);
    let tls = if changes.tls || memory.sources.is_empty() {
        Arc::new(tls::Tls::compile(&sources, &memory.tls))
    } else {
        memory.tls.clone()
    };
    let dirty = memory.objects.dirty(&changes, (&memory.handlers, &settings.internal_services));
    let objects = objects::Objects::new(&sources, settings, &memory.objects, &dirty);
    let routers = routers::compile(
        &routers::Context { sources: &sources, settings, tls: &tls, objects: &objects },
        routers::affected(&changes, &dirty, (&tls, &memory.tls), memory),
        &memory.routers,
    );
    let (mut built, made) = objects.finish();
    let same_tls = Arc::ptr_eq(&tls, &memory.tls);
    let streams =
        streams::compile((&sources, settings), (&tls, same_tls), &memory.sources, &memory.streams);
    let mut touched = dirty;
    touched.extend(made);
    touched.extend(routers.touched());
    built.note_users(&routers);
    touched.extend(built.sweep(&touched));
    let input = report::Input {
        sources: &sources,
        built: &built,
        tls: &tls,
        routers: &routers,
        streams: &streams,
        touched: &touched,
    };
    let (report, digest) = report::make(&input, &previous.report, &memory.digest);
    let generation = previous.plan.generation + 1;
    let routed = tables::Routed { routers: &routers, streams: &streams, before: &memory.streams };
    let (plan, tables) =
        tables::make(&routed, settings, (&tls, same_tls), &memory.tables, generation);
    let certificates =
        if same_tls { previous.certificates.clone() } else { tls.pairs().cloned().collect() };
    Compiled {
        plan: Arc::new(plan),
        digest: digest.text(&report, &streams.digest),
        report: Arc::new(report),
        checkers: built.checkers().into_iter().chain(streams.checkers()).collect(),
        certificates,
        memory: Arc::new(Memory {
            sources,
            handlers: settings.internal_services.clone(),
            objects: built,
            tls,
            routers: routers.all,
            streams,
            tables,
            digest,
        }),
    }
}
