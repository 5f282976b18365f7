//! What became of each object: status, errors, who uses it. The API shows it; the digest of the plan is made of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::Settings;
use super::objects::Built;
use super::routers::Kept;
use super::source::{Source, Sources, qualify};
use super::tls::Tls;
use crate::{middleware, router, service, tcp, udp};

/// Traefik's status of an object (api.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Status {
    #[default]
    Enabled,
    /// Works, but not as it was written.
    Warning,
    Disabled,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Warning => "warning",
            Self::Disabled => "disabled",
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What became of a router.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RouterReport<O = router::Options> {
    /// As in force: entry points resolved, names of middlewares qualified, the model of the entry point applied.
    pub(crate) options: Arc<O>,
    pub(crate) status: Status,
    /// Entry points on which it listens.
    pub(crate) using: Vec<String>,
    pub(crate) errors: Vec<String>,
    pub(crate) priority: i64,
}

/// What became of a service or a middleware.
#[derive(Clone)]
pub(crate) struct ObjectReport<O> {
    pub(crate) options: Arc<O>,
    pub(crate) status: Status,
    /// Routers that use it, qualified.
    pub(crate) used_by: BTreeSet<Arc<str>>,
    pub(crate) errors: Vec<String>,
}

impl<O> ObjectReport<O> {
    pub(crate) fn new(options: Arc<O>) -> Self {
        Self { options, status: Status::Enabled, used_by: BTreeSet::new(), errors: Vec::new() }
    }

    /// Notes that the object cannot work, and why; one reason once.
    pub(crate) fn disable(&mut self, error: &str) {
        self.status = Status::Disabled;
        if !self.errors.iter().any(|known| known == error) {
            self.errors.push(error.to_owned());
        }
    }
}

/// A service's report, with what the API asks it for.
#[derive(Clone)]
pub(crate) struct ServiceReport {
    pub(crate) object: ObjectReport<service::Options>,
    /// Present where a router has made it.
    pub(crate) built: Option<Arc<dyn service::Service>>,
}

/// What became of all objects, by qualified name.
#[derive(Clone, Default)]
pub(crate) struct Report {
    pub(crate) routers: BTreeMap<Arc<str>, Arc<RouterReport>>,
    pub(crate) services: BTreeMap<Arc<str>, ServiceReport>,
    pub(crate) middlewares: BTreeMap<Arc<str>, ObjectReport<middleware::Options>>,
    pub(crate) tcp_routers: BTreeMap<Arc<str>, Arc<RouterReport<tcp::options::Router>>>,
    pub(crate) tcp_services: BTreeMap<Arc<str>, ObjectReport<tcp::options::Service>>,
    pub(crate) tcp_middlewares: BTreeMap<Arc<str>, ObjectReport<tcp::options::Middleware>>,
    pub(crate) udp_routers: BTreeMap<Arc<str>, Arc<RouterReport<udp::options::Router>>>,
    pub(crate) udp_services: BTreeMap<Arc<str>, ObjectReport<udp::options::Service>>,
    /// What is wrong beside the objects above: entries that do not decode, certificates, TLS options. Each line names
    /// its object.
    pub(crate) problems: Vec<String>,
}

impl Report {
    /// Objects that do not work.
    pub(crate) fn disabled(&self) -> usize {
        self.routers.values().filter(|router| router.status == Status::Disabled).count()
            + self
                .services
                .values()
                .filter(|service| service.object.status == Status::Disabled)
                .count()
            + self.middlewares.values().filter(|one| one.status == Status::Disabled).count()
    }

    /// All objects.
    pub(crate) fn objects(&self) -> usize {
        self.routers.len()
            + self.services.len()
            + self.middlewares.len()
            + self.tcp_routers.len()
            + self.tcp_services.len()
            + self.tcp_middlewares.len()
            + self.udp_routers.len()
            + self.udp_services.len()
    }
}

/// What a report is made of.
pub(crate) struct Input<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) settings: &'a Settings,
    pub(crate) routers: &'a [Arc<Kept>],
    pub(crate) built: &'a Built,
    pub(crate) tls: &'a Tls,
}

/// Puts the report together; the errors are by qualified name of the service or middleware.
pub(crate) fn make(
    input: &Input<'_>,
    service_errors: &HashMap<String, String>,
    middleware_errors: &HashMap<String, String>,
) -> Report {
    let mut report = Report::default();
    let internal: Arc<str> = "internal".into();
    let sources = input.sources.iter().map(|(name, source)| (name, &**source));
    for (provider, source) in sources.chain([(&internal, &*input.settings.internal)]) {
        add_source(&mut report, provider, source);
    }
    let built: HashMap<&String, _> = input.built.services().collect();
    report.services.retain(|name, _| !hidden(name));
    for (name, service) in &mut report.services {
        service.built = built.get(&name.to_string()).map(|built| (*built).clone());
    }
    for router in input.routers.iter().filter(|router| !hidden(&router.name)) {
        report.routers.insert(router.name.clone(), router.report.clone());
        let options = &router.report.options;
        let service = qualify(&options.service, &router.provider);
        if let Some(service) = report.services.get_mut(service.as_str()) {
            service.object.used_by.insert(router.name.clone());
        }
        for middleware in &options.middlewares {
            let middleware = qualify(middleware, &router.provider);
            if let Some(middleware) = report.middlewares.get_mut(middleware.as_str()) {
                middleware.used_by.insert(router.name.clone());
            }
        }
    }
    for (name, error) in service_errors {
        if let Some(service) = report.services.get_mut(name.as_str()) {
            service.object.disable(error);
        }
    }
    for (name, error) in middleware_errors {
        if let Some(middleware) = report.middlewares.get_mut(name.as_str()) {
            middleware.disable(error);
        }
    }
    report.problems.extend(input.tls.problems.iter().cloned());
    report
}

/// Objects of our own that tools made for Traefik do not see (CLUSTER.md §7).
fn hidden(name: &str) -> bool {
    name == "ready@internal"
}

fn add_source(report: &mut Report, provider: &Arc<str>, source: &Source) {
    let full = |name: &Arc<str>| -> Arc<str> { format!("{name}@{provider}").into() };
    for (name, options) in &source.services {
        let object = ObjectReport::new(options.clone());
        report.services.insert(full(name), ServiceReport { object, built: None });
    }
    for (name, options) in &source.middlewares {
        report.middlewares.insert(full(name), ObjectReport::new(options.clone()));
    }
    for (name, options) in &source.tcp_routers {
        report.tcp_routers.insert(full(name), Arc::new(tcp_router(options)));
    }
    for (name, options) in &source.tcp_services {
        report.tcp_services.insert(full(name), ObjectReport::new(options.clone()));
    }
    for (name, options) in &source.tcp_middlewares {
        report.tcp_middlewares.insert(full(name), ObjectReport::new(options.clone()));
    }
    for (name, options) in &source.udp_routers {
        report.udp_routers.insert(full(name), Arc::new(udp_router(options)));
    }
    for (name, options) in &source.udp_services {
        report.udp_services.insert(full(name), ObjectReport::new(options.clone()));
    }
    for (key, error) in &source.errors {
        report.problems.push(format!("{key} of provider {provider}: {error}"));
    }
}

/// TCP routing waits for its turn; what is wrong with a router is said first.
fn tcp_router(options: &Arc<tcp::options::Router>) -> RouterReport<tcp::options::Router> {
    let named = options.rule.contains("HostSNI(") && !options.rule.contains("HostSNI(`*`)");
    let error = if options.rule.is_empty() {
        "router has no rule".to_owned()
    } else if named && options.tls.is_none() {
        format!("invalid rule: \"{}\" , has HostSNI matcher, but no TLS on router", options.rule)
    } else if options.service.is_empty() {
        "the service is missing on the router".to_owned()
    } else {
        "TCP routers are not built yet".to_owned()
    };
    let priority = match options.priority {
        0 if options.rule == "HostSNI(`*`)" => -1,
        0 => i64::try_from(options.rule.len()).unwrap_or(i64::MAX),
        priority => priority,
    };
    RouterReport {
        options: options.clone(),
        status: Status::Disabled,
        using: options.entry_points.clone(),
        errors: vec![error],
        priority,
    }
}

fn udp_router(options: &Arc<udp::options::Router>) -> RouterReport<udp::options::Router> {
    RouterReport {
        options: options.clone(),
        status: Status::Disabled,
        using: options.entry_points.clone(),
        errors: vec!["UDP routers are not built yet".to_owned()],
        priority: 0,
    }
}
