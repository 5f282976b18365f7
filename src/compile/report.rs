//! What became of each object: status, errors, who uses it. The API shows it; the digest of the plan is made of it.

use std::collections::BTreeSet;
use std::ops::Index;
use std::sync::Arc;

use pontoon_cluster::Map;
use serde::{Serialize, Serializer};

use super::change::{Key, Kind};
use super::digest::Sum;
use super::objects::Built;
use super::routers::{Kept, Outcome};
use super::source::{Sources, qualify, split};
use super::streams::Streams;
use super::tls::{DEFAULT, Tls};
use crate::config::text::{Text, Texts};
use crate::router::options::Observability;
use crate::{middleware, router, service, tcp};

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

/// Names of routers.
pub(crate) type Users = Map<Arc<str>, ()>;

/// What became of a router.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RouterReport<O = router::Options> {
    /// As written, or with what the entry point's model adds.
    pub(crate) options: Arc<O>,
    /// Of HTTP routers.
    pub(crate) applied: Option<Arc<Applied>>,
    pub(crate) status: Status,
    /// Entry points on which it listens.
    pub(crate) using: Texts,
    pub(crate) errors: Texts,
    pub(crate) priority: i64,
}

/// What is in force for a router and does not stand in its options. Many routers have it alike.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Applied {
    pub(crate) entry_points: Texts,
    pub(crate) observability: Observability,
    /// Qualified name of the TLS options that its names are shaken with; `None` without TLS.
    pub(crate) tls: Option<Text>,
}

impl RouterReport {
    /// The options as in force: entry points and observability resolved, names of middlewares qualified. `name` is the
    /// router's, qualified.
    pub(crate) fn in_force(&self, name: &str) -> router::Options {
        let mut options = router::Options::clone(&self.options);
        let provider = split(name).1;
        let middlewares = options.middlewares.iter();
        options.middlewares = middlewares.map(|name| qualify(name, provider)).collect();
        if let Some(tls) = options.tls.as_mut().filter(|tls| tls.options.is_empty()) {
            DEFAULT.clone_into(&mut tls.options);
        }
        if let Some(applied) = &self.applied {
            options.entry_points = applied.entry_points.clone();
            options.observability = Some(Box::new(applied.observability.clone()));
        }
        options
    }
}

/// What became of a service or a middleware.
#[derive(Clone)]
pub(crate) struct ObjectReport<O> {
    pub(crate) options: Arc<O>,
    pub(crate) status: Status,
    /// Routers that use it, qualified.
    pub(crate) used_by: Users,
    pub(crate) errors: Vec<String>,
}

impl<O> ObjectReport<O> {
    pub(crate) fn new(options: Arc<O>) -> Self {
        Self { options, status: Status::Enabled, used_by: Users::new(), errors: Vec::new() }
    }

    /// Notes that the object cannot work, and why.
    pub(crate) fn disabled(mut self, error: Option<&str>) -> Self {
        if let Some(error) = error {
            self.status = Status::Disabled;
            self.errors.push(error.to_owned());
        }
        self
    }
}

/// A service's report, with what the API asks it for.
#[derive(Clone)]
pub(crate) struct ServiceReport {
    pub(crate) object: ObjectReport<service::Options>,
    /// Present where a router has made it.
    pub(crate) built: Option<Arc<dyn service::Service>>,
}

/// A TCP service's report, with what the API asks it for.
pub(crate) struct StreamServiceReport {
    pub(crate) object: ObjectReport<tcp::options::Service>,
    /// Present where a router has made it.
    pub(crate) built: Option<Arc<dyn tcp::Service>>,
}

/// What became of routers, by qualified name: compile's own routers, shown.
#[derive(Clone, Default)]
pub(crate) struct Routers(Map<Arc<str>, Arc<Kept>>);

impl Routers {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&RouterReport> {
        self.0.get(name).map(|router| &router.report)
    }

    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// By rising names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &RouterReport)> {
        self.0.iter().map(|(name, router)| (name, &router.report))
    }
}

impl Index<&str> for Routers {
    type Output = RouterReport;

    /// As the standard library's maps: the router must be there.
    fn index(&self, name: &str) -> &RouterReport {
        self.get(name).expect("the router is in the report")
    }
}

/// What became of all objects, by qualified name.
#[derive(Clone, Default)]
pub(crate) struct Report {
    pub(crate) routers: Routers,
    /// Those of them that are not just enabled.
    pub(crate) faulty: Routers,
    pub(crate) services: Map<Arc<str>, ServiceReport>,
    pub(crate) middlewares: Map<Arc<str>, ObjectReport<middleware::Options>>,
    /// TCP and UDP.
    pub(crate) streams: Arc<Streams>,
    /// What is wrong beside the objects above: entries that do not decode, certificates, TLS options. Each line names
    /// its object.
    pub(crate) problems: Vec<String>,
    /// Those of HTTP.
    disabled: usize,
}

impl Report {
    /// Objects that do not work.
    pub(crate) fn disabled(&self) -> usize {
        self.disabled + self.streams.disabled
    }

    /// All objects.
    pub(crate) fn objects(&self) -> usize {
        self.routers.len() + self.services.len() + self.middlewares.len() + self.streams.objects()
    }

    fn count(&mut self, old: Option<Status>, new: Option<Status>) {
        let disabled = |status| usize::from(status == Some(Status::Disabled));
        self.disabled = self.disabled + disabled(new) - disabled(old);
    }

    /// Notes routers that are gone and those that are new, by name each once.
    fn note_faulty<'a>(
        &mut self,
        gone: impl Iterator<Item = &'a Arc<Kept>>,
        new: impl Iterator<Item = &'a Arc<Kept>>,
    ) {
        for router in gone.filter(|one| one.report.status != Status::Enabled) {
            self.faulty.0.remove(&*router.name);
            self.count(Some(router.report.status), None);
        }
        for router in new.filter(|one| one.report.status != Status::Enabled) {
            self.faulty.0.insert(router.name.clone(), router.clone());
            self.count(None, Some(router.report.status));
        }
    }
}

/// What a report is made of.
pub(crate) struct Input<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) built: &'a Built,
    pub(crate) tls: &'a Tls,
    pub(crate) routers: &'a Outcome,
    pub(crate) streams: &'a Arc<Streams>,
    /// Services and middlewares that have changed, or what came of them or who uses them has.
    pub(crate) touched: &'a BTreeSet<Key>,
}

/// The report and the sum of its digests, from the last ones and what has changed.
pub(crate) fn make(input: &Input<'_>, previous: &Report, sum: &Sum) -> (Report, Sum) {
    let (mut report, mut sum) = (previous.clone(), sum.clone());
    routers(&mut report, &mut sum, input.routers);
    for key in input.touched {
        match key.kind {
            Kind::Service => set_service(&mut report, &mut sum, input, &key.name),
            Kind::Middleware => set_middleware(&mut report, &mut sum, input, &key.name),
            Kind::Transport => {}
        }
    }
    report.streams = input.streams.clone();
    report.problems.clear();
    for (provider, source) in input.sources {
        for (key, error) in &source.errors {
            report.problems.push(format!("{key} of provider {provider}: {error}"));
        }
    }
    report.problems.extend(input.tls.problems.iter().cloned());
    (report, sum)
}

fn routers(report: &mut Report, sum: &mut Sum, routers: &Outcome) {
    for router in &routers.removed {
        sum.remove_router(router);
    }
    for router in &routers.added {
        sum.add_router(router);
    }
    let mut all = routers.all.names().clone();
    all.remove(HIDDEN);
    let before = std::mem::replace(&mut report.routers, Routers(all.clone()));
    let seen = |router: &&Arc<Kept>| !hidden(&router.name);
    if routers.anew {
        report.note_faulty(before.0.values(), all.values());
    } else {
        report.note_faulty(routers.removed.iter().filter(seen), routers.added.iter().filter(seen));
    }
}

fn set_service(report: &mut Report, sum: &mut Sum, input: &Input<'_>, name: &Arc<str>) {
    if hidden(name) {
        return;
    }
    let (short, provider) = split(name);
    let options = input.sources.get(provider).and_then(|source| source.services.get(short));
    let (built, error) = input.built.service(name);
    let new = options.map(|options| {
        let mut object = ObjectReport::new(options.clone()).disabled(error);
        object.used_by = used_by(input, &Key::service(name.clone()));
        ServiceReport { object, built }
    });
    sum.add_object(name, new.as_ref().map(|new| &new.object));
    let status = new.as_ref().map(|new| new.object.status);
    let old = match new {
        Some(new) => report.services.insert(name.clone(), new),
        None => report.services.remove(&**name),
    };
    sum.remove_object(name, old.as_ref().map(|old| &old.object));
    report.count(old.map(|old| old.object.status), status);
}

fn set_middleware(report: &mut Report, sum: &mut Sum, input: &Input<'_>, name: &Arc<str>) {
    let (short, provider) = split(name);
    let options = input.sources.get(provider).and_then(|source| source.middlewares.get(short));
    let new = options.map(|options| {
        let error = input.built.middleware_error(name);
        let mut object = ObjectReport::new(options.clone()).disabled(error);
        object.used_by = used_by(input, &Key::middleware(name.clone()));
        object
    });
    sum.add_object(name, new.as_ref());
    let status = new.as_ref().map(|new| new.status);
    let old = match new {
        Some(new) => report.middlewares.insert(name.clone(), new),
        None => report.middlewares.remove(&**name),
    };
    sum.remove_object(name, old.as_ref());
    report.count(old.map(|old| old.status), status);
}

fn used_by(input: &Input<'_>, key: &Key) -> Users {
    let mut users = input.built.users(key).cloned().unwrap_or_default();
    users.remove(HIDDEN);
    users
}

/// An object of our own that tools made for Traefik do not see (CLUSTER.md §7).
const HIDDEN: &str = "ready@internal";

fn hidden(name: &str) -> bool {
    name == HIDDEN
}
