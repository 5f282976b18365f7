//! The provider `internal`: routers, services and middlewares that follow from the startup configuration.
//!
//! Traefik: providers.md §1, "Internal provider elements".

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compile::{Model, Source};
use crate::entrypoint;
use crate::entrypoint::options::TraceVerbosity;
use crate::{middleware, router, service};

/// Priorities above those that users may give.
const HIGHEST: i64 = i64::MAX;

/// What the startup configuration asks for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// `api.insecure`: the API on the entry point `traefik`, below this base path.
    pub(crate) insecure_api: Option<String>,
    /// `ping` without `manualRouting`: its entry point.
    pub(crate) ping: Option<String>,
    /// `metrics.prometheus` without `manualRouting`: its entry point.
    pub(crate) prometheus: Option<String>,
}

/// Names of internal services; each needs a handler under `NAME@internal`.
const SERVICES: [&str; 5] = ["api", "noop", "ping", "prometheus", "ready"];

/// Makes the objects.
pub(crate) fn source(
    wanted: &Wanted,
    entry_points: &BTreeMap<String, entrypoint::Options>,
) -> Source {
    let mut source = Source::default();
    for name in SERVICES {
        source.services.insert(name.into(), Arc::new(service::Options::default()));
    }
    let mut add = |name: &str, entry_point: &str, path: &str, priority: i64| {
        let options = router::Options {
            entry_points: vec![entry_point.to_owned()],
            rule: format!("PathPrefix(`{path}`)"),
            service: format!("{name}@internal"),
            priority,
            ..router::Options::default()
        };
        source.routers.insert(name.into(), Arc::new(options));
    };
    if let Some(base) = &wanted.insecure_api {
        add("api", "traefik", &format!("{base}/api"), HIGHEST - 1);
    }
    if let Some(entry_point) = &wanted.ping {
        add("ping", entry_point, "/ping", HIGHEST);
        add("ready", entry_point, "/ready", HIGHEST);
    }
    if let Some(entry_point) = &wanted.prometheus {
        add("prometheus", entry_point, "/metrics", HIGHEST);
    }
    for (name, options) in entry_points {
        redirection(&mut source, name, options, entry_points);
    }
    source
}

/// `http.redirections.entryPoint`: everything on this entry point goes to another one.
fn redirection(
    source: &mut Source,
    name: &str,
    options: &entrypoint::Options,
    all: &BTreeMap<String, entrypoint::Options>,
) {
    let redirections = options.http.redirections.as_ref();
    let Some(to) = redirections.and_then(|all| all.entry_point.as_ref()) else { return };
    let (target, port) = if let Some(port) = to.to.strip_prefix(':') {
        (port, port)
    } else {
        let address = all.get(&to.to).map(|target| target.address.as_str());
        (to.to.as_str(), address.and_then(port_of).unwrap_or_default())
    };
    let object = format!("redirect-{name}-to-{target}");
    let redirect = middleware::Options::redirect(to.scheme.clone(), port.to_owned(), to.permanent);
    source.middlewares.insert(object.as_str().into(), Arc::new(redirect));
    let router = router::Options {
        entry_points: vec![name.to_owned()],
        rule: "HostRegexp(`^.+$`)".to_owned(),
        middlewares: vec![object],
        service: "noop@internal".to_owned(),
        priority: to.priority,
        ..router::Options::default()
    };
    source.routers.insert(format!("{name}-to-{target}").into(), Arc::new(router));
}

/// The port of `[host]:port[/protocol]`.
pub(crate) fn port_of(address: &str) -> Option<&str> {
    let address = address.split('/').next()?;
    address.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.is_empty())
}

/// What an entry point adds to its routers.
pub(crate) fn model(options: &entrypoint::Options) -> Model {
    let observability = options.observability.clone().unwrap_or_default();
    Model {
        udp: options.is_udp(),
        as_default: options.as_default,
        written: options.observability.is_some() || options.http.encoded_characters.is_some(),
        middlewares: options.http.middlewares.clone(),
        tls: options.http.tls.clone(),
        observability: router::options::Observability {
            access_logs: Some(observability.access_logs),
            metrics: Some(observability.metrics),
            tracing: Some(observability.tracing),
            trace_verbosity: match observability.trace_verbosity {
                TraceVerbosity::Minimal => "minimal".to_owned(),
                TraceVerbosity::Detailed => "detailed".to_owned(),
            },
        },
    }
}
