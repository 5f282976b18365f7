//! Documents to plan: pure, incremental, one object's mistake disables that object alone.
//!
//! No I/O and no clock. An object whose options are unchanged is the *same* `Arc` in the next plan, so that its
//! connections, health, counters and windows live on.

mod digest;
pub(crate) mod explain;
mod objects;
mod report;
mod routers;
pub(crate) mod source;
mod tables;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::http::SharedHandler;
use crate::plan::Plan;
use crate::router::{self, Syntax};
use crate::service::health::Checker;
use crate::upstream::Transport;

pub(crate) use report::{ObjectReport, Report, RouterReport, ServiceReport, Status};
pub(crate) use source::{Source, Sources};

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
}

/// What an entry point adds to its routers (http.md §2).
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) udp: bool,
    pub(crate) as_default: bool,
    /// Put in front of each router's own.
    pub(crate) middlewares: Vec<String>,
    /// For routers without `tls`.
    pub(crate) tls: Option<router::options::Tls>,
    pub(crate) observability: router::options::Observability,
}

impl Model {
    /// True if routers are changed by it, so that each entry point needs a copy of its own.
    fn changes_routers(&self) -> bool {
        !self.middlewares.is_empty() || self.tls.is_some()
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
    pub(crate) certificates: Vec<Arc<crate::tls::Pair>>,
    memory: Arc<Memory>,
}

/// What has been built, to be kept as long as nothing changes.
#[derive(Default)]
struct Memory {
    objects: objects::Built,
    tls: tls::Tls,
    routers: HashMap<Arc<str>, Arc<routers::Kept>>,
    tables: tables::Kept,
}

/// Compiles `sources`.
pub(crate) fn compile(sources: &Sources, settings: &Settings, previous: &Compiled) -> Compiled {
    let memory = &previous.memory;
    let tls = tls::Tls::compile(sources, &memory.tls);
    let objects = objects::Objects::new(sources, settings, &memory.objects);
    let routers = routers::compile(
        &routers::Context { sources, settings, tls: &tls, objects: &objects },
        &memory.routers,
    );
    let (built, service_errors, middleware_errors) = objects.finish();
    let report = report::make(
        &report::Input { sources, settings, routers: &routers, built: &built, tls: &tls },
        &service_errors,
        &middleware_errors,
    );
    let digest = digest::of(&report, &routers);
    let (plan, tables) =
        tables::make(&routers, settings, &tls, &memory.tables, previous.plan.generation + 1);
    let mut checkers: Vec<Arc<Checker>> =
        built.services().flat_map(|(_, service)| service.checkers()).collect();
    checkers.sort_by_key(|checker| Arc::as_ptr(checker) as usize);
    checkers.dedup_by(|a, b| Arc::ptr_eq(a, b));
    let certificates = tls.pairs().cloned().collect();
    Compiled {
        plan: Arc::new(plan),
        report: Arc::new(report),
        digest,
        checkers,
        certificates,
        memory: Arc::new(Memory {
            objects: built,
            tls,
            routers: routers.into_iter().map(|router| (router.name.clone(), router)).collect(),
            tables,
        }),
    }
}
