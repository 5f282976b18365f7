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
    /// `api.dashboard`: the dashboard beside that API.
    pub(crate) dashboard: bool,
    /// `ping` without `manualRouting`: its entry point.
    pub(crate) ping: Option<String>,
    /// `metrics.prometheus` without `manualRouting`: its entry point.
    pub(crate) prometheus: Option<String>,
}

/// Makes the objects. `services` are the names of what is there.
pub(crate) fn source<'a>(
    wanted: &Wanted,
    services: impl Iterator<Item = &'a str>,
    entry_points: &BTreeMap<String, entrypoint::Options>,
) -> Source {
    let mut source = Source::default();
    for name in services {
        source.services.insert(name.into(), Arc::new(service::Options::default()));
    }
    let mut add = |name: &str, entry_point: &str, path: &str, priority: i64| {
        let options = router::Options {
            entry_points: vec![entry_point].into(),
            rule: format!("PathPrefix(`{path}`)").into(),
            service: format!("{name}@internal").into(),
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
    if let Some(base) = wanted.insecure_api.as_ref().filter(|_| wanted.dashboard) {
        dashboard(&mut source, base);
    }
    for (name, options) in entry_points {
        redirection(&mut source, name, options, entry_points);
    }
    source
}

/// The dashboard on the entry point `traefik`, and the way to it from the base path (api.md §3).
fn dashboard(source: &mut Source, base: &str) {
    let escaped = base.replace('.', r"\.").replace('/', r"\/");
    let regex = format!(r"^(http:\/\/(\[[\w:.]+\]|[\w\._-]+)(:\d+)?){escaped}\/$");
    let redirect = middleware::Options::redirect_regex(regex, format!("${{1}}{base}/dashboard/"));
    source.middlewares.insert("dashboard_redirect".into(), Arc::new(redirect));
    let prefixes = vec![format!("{base}/dashboard/"), format!("{base}/dashboard")];
    let strip = middleware::Options::strip_prefix(prefixes);
    source.middlewares.insert("dashboard_stripprefix".into(), Arc::new(strip));
    let router = router::Options {
        entry_points: vec!["traefik"].into(),
        rule: format!("PathPrefix(`{base}/`)").into(),
        middlewares: vec!["dashboard_redirect@internal", "dashboard_stripprefix@internal"].into(),
        service: "dashboard@internal".into(),
        priority: HIGHEST - 2,
        ..router::Options::default()
    };
    source.routers.insert("dashboard".into(), Arc::new(router));
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
    let port = match to.to.strip_prefix(':') {
        Some(port) => Some(port).filter(|port| port.parse::<u16>().is_ok()),
        None => all.get(&to.to).and_then(|target| port_of(&target.address)),
    };
    // Said at start.
    let Some(port) = port else { return };
    let redirection = normalized(&format!("{name}-to-{}", to.to));
    let object = format!("redirect-{redirection}");
    let redirect = middleware::Options::redirect(to.scheme.clone(), port.to_owned(), to.permanent);
    source.middlewares.insert(object.as_str().into(), Arc::new(redirect));
    let router = router::Options {
        entry_points: vec![name].into(),
        rule: "HostRegexp(`^.+$`)".into(),
        middlewares: vec![object].into(),
        service: "noop@internal".into(),
        priority: to.priority,
        ..router::Options::default()
    };
    source.routers.insert(redirection.into(), Arc::new(router));
}

/// Letters and digits, with one `-` where there is something else between them.
fn normalized(name: &str) -> String {
    let parts = name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> Source {
        let entry_points = serde_json::from_str(text).unwrap();
        source(&Wanted::default(), ["noop"].into_iter(), &entry_points)
    }

    /// providers.md §1, internal elements: `<ep>-to-<target>`.
    #[test]
    fn redirections_have_traefiks_names_and_priority() {
        let made = made(
            r#"{"web": {"address": ":80", "http": {"redirections": {"entryPoint": {"to": "web_secure"}}}},
                "web_secure": {"address": ":8443/tcp", "http": {"redirections": {"entryPoint":
                    {"to": ":443", "scheme": "wss", "permanent": false, "priority": 7}}}}}"#,
        );
        let router = &made.routers.get("web-to-web-secure").unwrap();
        assert_eq!(
            serde_json::to_value(&***router).unwrap(),
            serde_json::json!({
                "entryPoints": ["web"], "rule": "HostRegexp(`^.+$`)", "service": "noop@internal",
                "middlewares": ["redirect-web-to-web-secure"], "priority": 9_223_372_036_854_775_806_i64,
            })
        );
        let redirect = made.middlewares.get("redirect-web-to-web-secure").unwrap();
        assert_eq!(
            serde_json::to_value(&**redirect).unwrap(),
            serde_json::json!({"redirectScheme": {"scheme": "https", "port": "8443", "permanent": true}})
        );
        assert_eq!(made.routers.get("web-secure-to-443").unwrap().priority, 7);
        let redirect = made.middlewares.get("redirect-web-secure-to-443").unwrap();
        assert_eq!(
            serde_json::to_value(&**redirect).unwrap(),
            serde_json::json!({"redirectScheme": {"scheme": "wss", "port": "443"}})
        );
    }

    /// providers.md §1 and api.md §3, dashboard middlewares; static.md §10, `api.basePath`.
    #[test]
    fn the_dashboard_has_traefiks_router_and_middlewares() {
        let made = |base: &str, dashboard| {
            let insecure_api = Some(base.to_owned());
            let wanted = Wanted { insecure_api, dashboard, ..Wanted::default() };
            source(&wanted, ["noop"].into_iter(), &BTreeMap::new())
        };
        let plain = made("", true);
        let redirect = plain.middlewares.get("dashboard_redirect").unwrap();
        assert_eq!(
            serde_json::to_value(&**redirect).unwrap(),
            serde_json::json!({"redirectRegex": {
                "regex": r"^(http:\/\/(\[[\w:.]+\]|[\w\._-]+)(:\d+)?)\/$",
                "replacement": "${1}/dashboard/", "permanent": true,
            }})
        );
        let strip = plain.middlewares.get("dashboard_stripprefix").unwrap();
        assert_eq!(
            serde_json::to_value(&**strip).unwrap(),
            serde_json::json!({"stripPrefix": {"prefixes": ["/dashboard/", "/dashboard"]}})
        );
        let router = plain.routers.get("dashboard").unwrap();
        assert_eq!((&*router.rule, router.priority), ("PathPrefix(`/`)", i64::MAX - 2));
        let below = made("/a.b", true);
        assert_eq!(&*below.routers.get("dashboard").unwrap().rule, "PathPrefix(`/a.b/`)");
        assert!(made("", false).routers.get("dashboard").is_none());
    }

    /// static.md §3, `observability`, `http.encodedCharacters`: written ones make a model, defaults do not.
    #[test]
    fn an_entry_point_passes_on_what_is_written() {
        let model = |text: &str| model(&serde_json::from_str(text).unwrap());
        assert!(!model(r#"{"address": ":80"}"#).written);
        assert!(model(r#"{"http": {"encodedCharacters": {}}}"#).written);
        let observed =
            model(r#"{"observability": {"metrics": false, "traceVerbosity": "detailed"}}"#);
        assert!(observed.written);
        assert_eq!(
            serde_json::to_value(observed.observability).unwrap(),
            serde_json::json!({"accessLogs": true, "metrics": false, "tracing": true, "traceVerbosity": "detailed"})
        );
    }
}
