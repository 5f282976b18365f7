//! Which router takes a request, why the others do not, and what the request passes then.

use std::sync::Arc;

use serde::Serialize;

use super::report::{Report, Status};
use super::routers::Kept;
use super::source::{qualify, split};
use super::{Compiled, Settings};
use crate::router::Target;

/// Most other routers that are told of, an entry point.
const OTHERS_MAX: usize = 200;
/// How deep services and chains are followed.
const DEPTH_MAX: usize = 8;
/// Most middlewares that are told of.
const MIDDLEWARES_MAX: usize = 256;

/// What is asked.
pub(crate) struct Question<'a> {
    pub(crate) target: Target<'a>,
    /// The request came over TLS.
    pub(crate) secure: bool,
    /// `None`: all entry points that have a router for it.
    pub(crate) entry_point: Option<&'a str>,
}

/// What one entry point does with the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    pub(crate) entry_point: String,
    /// The router that takes the request; `None`: 404.
    pub(crate) router: Option<Router>,
    /// Routers that it passes before that one, where they stand in layers, outermost first. The rules of those below
    /// are asked about the request as it came: what middlewares change of it is not known here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) through: Vec<Router>,
    /// In the order in which they are passed; chains are followed by their parts.
    pub(crate) middlewares: Vec<Middleware>,
    pub(crate) service: Option<Service>,
    /// The other routers in the order in which they would be tried.
    pub(crate) others: Vec<Other>,
    /// Routers that are left out of `others`.
    pub(crate) omitted: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Router {
    pub(crate) name: Arc<str>,
    pub(crate) rule: String,
    pub(crate) priority: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Middleware {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) servers: Vec<Server>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<Service>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) up: bool,
}

/// A router that does not take the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Other {
    pub(crate) name: Arc<str>,
    pub(crate) rule: String,
    pub(crate) priority: i64,
    pub(crate) reason: String,
}

/// Explains what is in force.
pub(crate) fn explain(
    compiled: &Compiled,
    settings: &Settings,
    question: &Question<'_>,
) -> Vec<Explanation> {
    let wanted = |name: &&String| question.entry_point.is_none_or(|asked| asked == *name);
    let all = settings.entry_points.keys().filter(wanted).map(|name| {
        let routers = candidates(compiled, settings, name);
        (name, routers)
    });
    let named = question.entry_point.is_some();
    all.filter(|(_, routers)| named || routers.iter().any(|one| tls(one) == question.secure))
        .map(|(name, routers)| one(name, routers, (compiled, settings), question))
        .collect()
}

fn tls(router: &Kept) -> bool {
    router.report.options.tls.is_some()
}

/// Routers of an entry point in the order in which they are tried.
fn candidates<'a>(compiled: &'a Compiled, settings: &Settings, name: &str) -> Vec<&'a Arc<Kept>> {
    let on_it = |router: &&Arc<Kept>| {
        let report = &router.report;
        let asked = report.applied.iter().flat_map(|applied| applied.entry_points.iter());
        report.using.iter().chain(asked).any(|using| *using == name)
    };
    let mut routers: Vec<_> = compiled.memory.routers.iter().filter(on_it).collect();
    routers.retain(|router| router.report.options.parent_refs.is_empty());
    sort(&mut routers, settings);
    routers
}

fn sort(routers: &mut [&Arc<Kept>], settings: &Settings) {
    let place = |router: &Kept| {
        let provider = router.provider();
        settings.precedence.iter().position(|one| one == provider).unwrap_or(usize::MAX)
    };
    routers.sort_by(|a, b| {
        b.report
            .priority
            .cmp(&a.report.priority)
            .then_with(|| place(a).cmp(&place(b)))
            .then_with(|| a.name.cmp(&b.name))
    });
}

fn one<'a>(
    entry_point: &str,
    mut routers: Vec<&'a Arc<Kept>>,
    (compiled, settings): (&'a Compiled, &Settings),
    question: &Question<'_>,
) -> Explanation {
    let report = &compiled.report;
    let mut tried = Tried::default();
    let (mut through, mut middlewares) = (Vec::new(), Vec::new());
    let taker = loop {
        let taker = tried.taker(&routers, question);
        let Some(router) = taker else { break None };
        for name in &router.report.options.middlewares {
            let name = qualify(name, router.provider());
            add_middleware(report, &name, &mut middlewares, 0);
        }
        let Some(below) = router.below() else { break taker };
        through.push(shown(router));
        let below = below.entries().iter();
        routers = below.filter_map(|entry| compiled.memory.routers.get(&entry.name)).collect();
        sort(&mut routers, settings);
    };
    let service = taker.map(|router| {
        service(report, &qualify(&router.report.options.service, router.provider()), 0)
    });
    let (entry_point, router) = (entry_point.to_owned(), taker.map(shown));
    let Tried { others, omitted } = tried;
    Explanation { entry_point, router, through, middlewares, service, others, omitted }
}

/// Routers that do not take the request.
#[derive(Default)]
struct Tried {
    others: Vec<Other>,
    omitted: usize,
}

impl Tried {
    /// The one of `routers`, in their order, that takes the request.
    fn taker<'a>(
        &mut self,
        routers: &[&'a Arc<Kept>],
        question: &Question<'_>,
    ) -> Option<&'a Kept> {
        let mut taker: Option<&Kept> = None;
        for router in routers {
            let refusal = refusal(router, question);
            let reason = match (refusal, taker) {
                (None, None) => {
                    taker = Some(router);
                    continue;
                }
                (None, Some(taker)) => {
                    format!("would match, but `{}` is tried before it", taker.name)
                }
                (Some(reason), _) => reason,
            };
            if self.others.len() < OTHERS_MAX {
                let Router { name, rule, priority } = shown(router);
                self.others.push(Other { name, rule, priority, reason });
            } else {
                self.omitted += 1;
            }
        }
        taker
    }
}

fn shown(router: &Kept) -> Router {
    let report = &router.report;
    let rule = report.options.rule.to_string();
    Router { name: router.name.clone(), rule, priority: report.priority }
}

/// Why the router does not take the request.
fn refusal(router: &Kept, question: &Question<'_>) -> Option<String> {
    if router.report.status == Status::Disabled {
        return Some(format!("disabled: {}", router.report.errors.join("; ")));
    }
    let layered = !router.report.options.parent_refs.is_empty();
    match (tls(router), question.secure) {
        // Those above have decided.
        _ if layered => {}
        (true, false) => return Some("takes requests over TLS only".to_owned()),
        (false, true) => return Some("takes requests without TLS only".to_owned()),
        (true, true) | (false, false) => {}
    }
    match &router.rule {
        Some(rule) => rule.refusal(&question.target),
        None => Some("has no rule".to_owned()),
    }
}

fn add_middleware(report: &Report, name: &str, list: &mut Vec<Middleware>, depth: usize) {
    if list.len() >= MIDDLEWARES_MAX {
        return;
    }
    let found = report.middlewares.get(name);
    let kind = found.map(|found| found.options.type_name()).unwrap_or_default();
    list.push(Middleware { name: name.to_owned(), kind });
    let chain = found.and_then(|found| found.options.chain.as_ref());
    if let Some(chain) = chain.filter(|_| depth < DEPTH_MAX) {
        for inner in &chain.middlewares {
            add_middleware(report, &qualify(inner, split(name).1), list, depth + 1);
        }
    }
}

fn service(report: &Report, name: &str, depth: usize) -> Service {
    let Some(found) = report.services.get(name) else {
        let kind = "internal".to_owned();
        return Service { name: name.to_owned(), kind, servers: Vec::new(), services: Vec::new() };
    };
    let options = &found.object.options;
    let statuses = found.built.as_ref().map(|built| built.server_statuses()).unwrap_or_default();
    let up =
        |url: &str| statuses.iter().find(|(known, _)| **known == *url).is_none_or(|(_, up)| *up);
    let servers = options.load_balancer.iter().flat_map(|balancer| &balancer.servers);
    let servers = servers.map(|server| Server { url: server.url.clone(), up: up(&server.url) });
    let mut children: Vec<&str> = Vec::new();
    if let Some(weighted) = &options.weighted {
        children.extend(weighted.services.iter().map(|child| child.name.as_str()));
    }
    if let Some(weighted) = &options.highest_random_weight {
        children.extend(weighted.services.iter().map(|child| child.name.as_str()));
    }
    if let Some(mirroring) = &options.mirroring {
        children.push(&mirroring.service);
        children.extend(mirroring.mirrors.iter().map(|mirror| mirror.name.as_str()));
    }
    if let Some(failover) = &options.failover {
        children.extend([failover.service.as_str(), failover.fallback.as_str()]);
    }
    let provider = split(name).1;
    let services = children.into_iter().filter(|_| depth < DEPTH_MAX);
    Service {
        name: name.to_owned(),
        kind: options.kinds().first().map_or_else(|| "internal".to_owned(), ToString::to_string),
        servers: servers.collect(),
        services: services
            .map(|child| service(report, &qualify(child, provider), depth + 1))
            .collect(),
    }
}
