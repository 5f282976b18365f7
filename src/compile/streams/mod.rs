//! TCP and UDP: routers, services, middlewares and transports of all documents.
//!
//! They are few beside HTTP's, so all of them are looked at when one has changed, and none when none has. An object
//! whose options, and whose parts, are unchanged stays the same.

mod services;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Settings;
use super::digest::Sum;
use super::report::{ObjectReport, RouterReport, Status};
use super::source::{Source, Sources};
use super::tls::Tls;
use crate::config::text::Text;
use crate::service::health::Checker;

pub(crate) use tcp::Tcp;
pub(crate) use udp::Udp;

/// What came of them.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) tcp: Tcp,
    pub(crate) udp: Udp,
    /// Part of the plan's digest.
    pub(crate) digest: Sum,
    /// Objects that do not work.
    pub(crate) disabled: usize,
}

/// What they are compiled from.
#[derive(Clone, Copy)]
struct Context<'a> {
    sources: &'a Sources,
    settings: &'a Settings,
    tls: &'a Tls,
}

/// Compiles those of `sources`, or gives back `previous`, which was compiled from `before`.
pub(crate) fn compile(
    (sources, settings): (&Sources, &Settings),
    (tls, same_tls): (&Tls, bool),
    before: &Sources,
    previous: &Arc<Streams>,
) -> Arc<Streams> {
    if same_tls && same(before, sources) {
        return previous.clone();
    }
    let context = Context { sources, settings, tls };
    let (tcp, udp) = (Tcp::compile(context, &previous.tcp), Udp::compile(context, &previous.udp));
    let mut streams = Streams { tcp, udp, ..Streams::default() };
    let Streams { tcp, udp, digest, disabled } = &mut streams;
    let mut count = |status: Status| *disabled += usize::from(status == Status::Disabled);
    for (name, router) in &tcp.routers {
        digest.add_stream_router(name, &router.report);
        count(router.report.status);
    }
    for (name, router) in &udp.routers {
        digest.add_stream_router(name, router);
        count(router.status);
    }
    for (name, service) in &tcp.services {
        digest.add_object(name, Some(&service.object));
        count(service.object.status);
    }
    for (name, middleware) in &tcp.middlewares {
        digest.add_object(name, Some(middleware));
        count(middleware.status);
    }
    for (name, service) in &udp.services {
        digest.add_object(name, Some(service));
        count(service.status);
    }
    Arc::new(streams)
}

/// True if both say the same of TCP and UDP.
fn same(old: &Sources, new: &Sources) -> bool {
    let nothing = Arc::new(Source::default());
    old.keys().chain(new.keys()).all(|provider| {
        let before = old.get(provider).unwrap_or(&nothing);
        let after = new.get(provider).unwrap_or(&nothing);
        Arc::ptr_eq(before, after)
            || before.tcp_routers.is_copy_of(&after.tcp_routers)
                && before.tcp_services.is_copy_of(&after.tcp_services)
                && before.tcp_middlewares.is_copy_of(&after.tcp_middlewares)
                && before.tcp_transports.is_copy_of(&after.tcp_transports)
                && before.udp_routers.is_copy_of(&after.udp_routers)
                && before.udp_services.is_copy_of(&after.udp_services)
    })
}

impl Streams {
    pub(crate) fn objects(&self) -> usize {
        let Self { tcp, udp, .. } = self;
        tcp.routers.len()
            + tcp.services.len()
            + tcp.middlewares.len()
            + udp.routers.len()
            + udp.services.len()
    }

    /// Lines about routers that are not just enabled.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (Status, String)> {
        let line = |kind: &str, name: &str, status: Status, errors: &[Text]| {
            (status, format!("{kind} router {name}: {}", errors.join("; ")))
        };
        let tcp = self
            .tcp
            .routers
            .iter()
            .map(|(name, one)| ("TCP", name, one.report.status, &one.report.errors));
        let udp = self.udp.routers.iter().map(|(name, one)| ("UDP", name, one.status, &one.errors));
        let faulty = tcp.chain(udp).filter(|(_, _, status, _)| *status != Status::Enabled);
        faulty.map(move |(kind, name, status, errors)| line(kind, name, status, errors))
    }

    /// Health checks that must run.
    pub(crate) fn checkers(&self) -> impl Iterator<Item = Arc<Checker>> {
        let built = self.tcp.services.values().filter_map(|service| service.built.as_ref());
        built.flat_map(|service| service.checkers())
    }
}

/// What is being found out about a router.
struct Findings {
    status: Status,
    using: Vec<String>,
    errors: Vec<String>,
}

impl Findings {
    fn new() -> Self {
        Self { status: Status::Enabled, using: Vec::new(), errors: Vec::new() }
    }

    fn disable(&mut self, error: impl Into<String>) {
        self.status = Status::Disabled;
        self.errors.push(error.into());
    }

    fn warn(&mut self, error: impl Into<String>) {
        self.status = self.status.max(Status::Warning);
        self.errors.push(error.into());
    }

    /// Notes on which of `entry_points` the router listens. False where there is none.
    fn listen(&mut self, settings: &Settings, entry_points: &[String], udp: bool) -> bool {
        for entry_point in entry_points {
            match settings.entry_points.get(entry_point) {
                Some(model) if model.udp == udp => self.using.push(entry_point.clone()),
                _ => self.warn(format!("entryPoint \"{entry_point}\" doesn't exist")),
            }
        }
        if self.using.is_empty() {
            self.disable("no valid entryPoint for this router");
        }
        !self.using.is_empty()
    }

    fn report<O>(self, options: O, priority: i64) -> Arc<RouterReport<O>> {
        Arc::new(RouterReport {
            options: Arc::new(options),
            applied: None,
            status: self.status,
            using: self.using.into(),
            errors: self.errors.into(),
            priority,
        })
    }
}

/// Reports of objects by qualified name, from what went wrong with those that were asked for.
fn reports<O>(
    sources: &Sources,
    objects: impl for<'a> Fn(&'a Source) -> &'a super::source::Objects<O>,
    error: impl Fn(&str) -> Option<String>,
) -> BTreeMap<Arc<str>, ObjectReport<O>> {
    let mut reports = BTreeMap::new();
    for (provider, source) in sources {
        for (short, options) in objects(source) {
            let name: Arc<str> = format!("{short}@{provider}").into();
            let report = ObjectReport::new(options.clone()).disabled(error(&name).as_deref());
            reports.insert(name, report);
        }
    }
    reports
}
