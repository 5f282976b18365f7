//! What is wrong with objects before they are stored: compiles the documents as they would be, without effect.

use std::sync::Arc;

use super::report::{RouterReport, Status};
use super::source::{Source, Sources, split};
use super::{Compiled, Settings, compile};
use crate::{router, service, tcp, udp};

/// Provider of routers that exist only to have an object built that no router uses yet.
const PROBE: &str = "probe of a write";

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Objects that would not work: key, what is wrong, what may help.
    pub(crate) faults: Vec<Fault>,
    /// What the writer should know.
    pub(crate) warnings: Vec<String>,
}

/// What is wrong with one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Judges the objects of `provider` that `keys` name, within `sources` as they would be.
pub(crate) fn judge(
    sources: &Sources,
    settings: &Settings,
    current: &Compiled,
    (provider, keys): (&str, &[&str]),
) -> Verdict {
    let empty = Source::default();
    let source = sources.get(provider).map_or(&empty, |source| &**source);
    let mut with_probes = sources.clone();
    with_probes.insert(PROBE.into(), Arc::new(probes(settings, provider, keys)));
    let after = compile(&with_probes, settings, current);
    let mut verdict = Verdict::default();
    for key in keys {
        if let Some(error) = source.errors.get(*key) {
            verdict.fault(key, error, &after);
            continue;
        }
        let (kind, name) = key.rsplit_once('/').unwrap_or(("", key));
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let full = format!("{name}@{provider}");
        match kind {
            "http/routers" => router_of(&full, key, &after, &mut verdict),
            "tcp/routers" => {
                let router = after.report.streams.tcp.routers.get(full.as_str());
                verdict.stream_router(key, router.map(|one| &*one.report), &after);
            }
            "udp/routers" => {
                let router = after.report.streams.udp.routers.get(full.as_str());
                verdict.stream_router(key, router.map(|one| &**one), &after);
            }
            "tcp/services" | "tcp/middlewares" | "tcp/serversTransports" => {
                let probe = format!("{key}@{PROBE}");
                let probe = after.report.streams.tcp.routers.get(probe.as_str());
                verdict.stream_router(key, probe.map(|one| &*one.report), &after);
            }
            "udp/services" => {
                let probe = format!("{key}@{PROBE}");
                let probe = after.report.streams.udp.routers.get(probe.as_str());
                let disabled = probe.filter(|one| one.status == Status::Disabled);
                verdict.stream_router(key, disabled.map(|one| &**one), &after);
            }
            _ => {
                let probe = after.memory.routers.get(&format!("{key}@{PROBE}"));
                if let Some(probe) = probe.filter(|one| one.report.status == Status::Disabled) {
                    verdict.fault(key, &probe.report.errors.join("; "), &after);
                }
            }
        }
    }
    tls(keys, current, &after, &mut verdict);
    others(current, &after, &mut verdict);
    verdict
}

impl Verdict {
    fn fault(&mut self, key: &str, message: &str, after: &Compiled) {
        let message = message.to_owned();
        let hint = hint(&message, after);
        self.faults.push(Fault { key: key.to_owned(), message, hint });
    }

    fn stream_router<O>(&mut self, key: &str, router: Option<&RouterReport<O>>, after: &Compiled) {
        let Some(router) = router else { return };
        let errors = router.errors.join("; ");
        match router.status {
            Status::Enabled => {}
            Status::Warning => self.warnings.push(format!("{key}: {errors}")),
            Status::Disabled => self.fault(key, &errors, after),
        }
    }
}

/// A router for each object, so that it is built.
fn probes(settings: &Settings, provider: &str, keys: &[&str]) -> Source {
    let mut probes = Source::default();
    let usable = || settings.entry_points.iter().filter(|(_, model)| !model.udp);
    let plain = usable().find(|(_, model)| !model.changes_routers());
    let Some((entry_point, _)) = plain.or_else(|| usable().next()) else { return probes };
    for key in keys {
        let (kind, name) = key.rsplit_once('/').unwrap_or(("", key));
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let name = format!("{name}@{provider}");
        let mut options = router::Options {
            entry_points: vec![entry_point].into(),
            rule: "PathPrefix(`/`)".into(),
            service: "noop@internal".into(),
            ..router::Options::default()
        };
        if kind.starts_with("tcp/") || kind.starts_with("udp/") {
            stream_probe(&mut probes, settings, (kind, key), name);
            continue;
        }
        match kind {
            "http/services" => options.service = name.into(),
            "http/middlewares" => options.middlewares = vec![name].into(),
            "http/serversTransports" => {
                let probe: Arc<str> = Arc::from(*key);
                probes.services.insert(probe, Arc::new(service::Options::through(name)));
                options.service = format!("{key}@{PROBE}").into();
            }
            _ => continue,
        }
        probes.routers.insert(Arc::from(*key), Arc::new(options));
    }
    probes
}

/// The same for an object of TCP or UDP.
fn stream_probe(probes: &mut Source, settings: &Settings, (kind, key): (&str, &str), name: String) {
    let all = |udp| settings.entry_points.iter().find(move |(_, model)| model.udp == udp);
    let entry_points = |udp| all(udp).map(|(name, _)| vec![name.clone()]);
    let key: Arc<str> = key.into();
    if kind == "udp/services" {
        if let Some(entry_points) = entry_points(true) {
            let router = udp::options::Router { entry_points, service: name };
            probes.udp_routers.insert(key, Arc::new(router));
        }
        return;
    }
    let Some(entry_points) = entry_points(false) else { return };
    let through = |servers_transport: String| {
        let balancer = tcp::options::LoadBalancer { servers_transport, ..Default::default() };
        Arc::new(tcp::options::Service { load_balancer: Some(balancer), weighted: None })
    };
    let own = format!("{key}@{PROBE}");
    let mut router = tcp::options::Router {
        entry_points,
        rule: "HostSNI(`*`)".to_owned(),
        ..tcp::options::Router::default()
    };
    match kind {
        "tcp/services" => router.service = name,
        "tcp/middlewares" => {
            probes.tcp_services.insert(key.clone(), through(String::new()));
            (router.service, router.middlewares) = (own, vec![name]);
        }
        "tcp/serversTransports" => {
            probes.tcp_services.insert(key.clone(), through(name));
            router.service = own;
        }
        _ => return,
    }
    probes.tcp_routers.insert(key, Arc::new(router));
}

fn router_of(name: &str, key: &str, after: &Compiled, verdict: &mut Verdict) {
    // A router may have become several, one an entry point.
    for router in after.memory.routers.of(name) {
        let errors = router.report.errors.join("; ");
        match router.report.status {
            Status::Enabled => {}
            Status::Warning => verdict.warnings.push(format!("router `{}`: {errors}", router.name)),
            Status::Disabled => {
                if !verdict.faults.iter().any(|fault| fault.key == key) {
                    verdict.fault(key, &errors, after);
                }
            }
        }
    }
}

/// Problems of certificates, options and stores that were not there before.
fn tls(keys: &[&str], current: &Compiled, after: &Compiled, verdict: &mut Verdict) {
    let mine: Vec<&&str> = keys.iter().filter(|key| key.starts_with("tls/")).collect();
    let Some(first) = mine.first() else { return };
    let known = &current.report.problems;
    for problem in after.report.problems.iter().filter(|problem| !known.contains(problem)) {
        let named = mine
            .iter()
            .find(|key| key.rsplit('/').next().is_some_and(|name| problem.contains(name)));
        let key = named.unwrap_or(first);
        if !verdict.faults.iter().any(|fault| fault.key == ***key) {
            verdict.fault(key, problem, after);
        }
    }
}

/// Routers elsewhere that would no longer work.
fn others(current: &Compiled, after: &Compiled, verdict: &mut Verdict) {
    for (name, router) in after.report.faulty.iter() {
        let works = |report: &super::Report| {
            report.routers.get(name).is_some_and(|one| one.status != Status::Disabled)
        };
        if router.status == Status::Disabled && works(&current.report) {
            let errors = router.errors.join("; ");
            let short = split(name).0;
            let told = |fault: &Fault| fault.key.strip_prefix("http/routers/") == Some(short);
            if !verdict.faults.iter().any(told) {
                verdict.warnings.push(format!("router `{name}` is disabled by this: {errors}"));
            }
        }
    }
}

/// What may help where a name leads nowhere: the same name elsewhere.
fn hint(message: &str, after: &Compiled) -> Option<String> {
    let missing = ["does not exist", "not found", "unknown TLS options"];
    if !missing.iter().any(|text| message.contains(text)) {
        return None;
    }
    let quoted = message.split('"').nth(1);
    let name = quoted.or_else(|| message.split_whitespace().last()).unwrap_or_default();
    let (short, _) = split(name);
    let report = &after.report;
    let named = |known: &&Arc<str>| split(known).0 == short && &***known != name;
    let elsewhere = if message.contains("middleware") {
        report.middlewares.keys().find(named)
    } else {
        report.services.keys().find(named)
    };
    Some(match elsewhere {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("write `{name}` first, or in the same request"),
    })
}
