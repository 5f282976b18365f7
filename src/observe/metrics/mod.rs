//! `metrics`: what is counted of requests, and the text that Prometheus reads at `prometheus@internal`.
//!
//! Traefik v3: observability, metrics. Same names, same labels.
//!
//! Differs: there are no `go_*` metrics, and of label values from headers at most 10000 series are kept apart; further
//! ones count as `other`.

mod cells;
mod families;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use self::cells::{Core, Scope, Totals, Wanted};
use self::families::Families;
use super::options::Prometheus as Options;
use super::{Error, Summary};
use crate::clock;
use crate::cores::PerCore;
use crate::http::{Body, Handler, ProxyError, Request, Response};

/// Characters of a header that become the value of a label.
const HEADER_VALUE_MAX: usize = 128;

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) common_name: String,
    /// In decimal.
    pub(crate) serial: String,
    pub(crate) sans: Vec<String>,
    /// Seconds since the Unix epoch.
    pub(crate) not_after: i64,
}

/// Whether a server of a service is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUp {
    /// `name@provider`
    pub(crate) service: Arc<str>,
    pub(crate) url: Arc<str>,
    pub(crate) up: bool,
}

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

/// A number of the cluster's or the program's, such as `pontoon_cluster_term`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Number {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: f64,
}

/// What is read at the moment when metrics are asked for. It must not wait.
pub(crate) trait Source: Send + Sync {
    fn certificates(&self) -> Vec<Certificate>;
    fn servers(&self) -> Vec<ServerUp>;
    fn numbers(&self) -> Vec<Number>;
    /// Whether the plan in force has a router of this qualified name.
    fn has_router(&self, name: &str) -> bool;
    fn has_service(&self, name: &str) -> bool;
}

/// Counters of requests and connections.
pub(super) struct Metrics {
    wanted: Wanted,
    add_internals: bool,
    bounds: Vec<f64>,
    /// Names of labels, and the headers that they are taken from.
    header_labels: Vec<String>,
    headers: Vec<HeaderName>,
    cores: PerCore<Core>,
    state: Mutex<State>,
    source: OnceLock<Arc<dyn Source>>,
}

#[derive(Default)]
struct State {
    totals: Totals,
    reloads: u64,
    last_reload: f64,
}

impl Metrics {
    pub(super) fn new(options: &Options, add_internals: bool) -> Result<Self, Error> {
        let mut bounds = options.buckets.clone();
        bounds.retain(|bound| bound.is_finite());
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let mut headers = Vec::new();
        for (label, header) in &options.header_labels {
            if !is_label(label) {
                return Err(Error::Label(label.clone()));
            }
            let name = HeaderName::try_from(header.as_str());
            headers.push(name.map_err(|_invalid| Error::Header(header.clone()))?);
        }
        Ok(Self {
            wanted: Wanted {
                entry_points: options.add_entry_points_labels,
                routers: options.add_routers_labels,
                services: options.add_services_labels,
            },
            add_internals,
            bounds,
            header_labels: options.header_labels.keys().cloned().collect(),
            headers,
            cores: PerCore::new(Core::default),
            state: Mutex::default(),
            source: OnceLock::new(),
        })
    }

    /// True if labels are taken from headers.
    pub(super) fn wants_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    pub(super) fn finished(&self, summary: &Summary<'_>) {
        if !summary.metrics || (summary.internal && !self.add_internals) {
            return;
        }
        let labels = self.wants_headers().then(|| self.labels_of(summary.request_headers));
        let mut core = self.cores.local();
        core.count(summary, &self.bounds, labels);
        if core.is_full() {
            let cells = core.take();
            drop(core);
            let mut state = self.state();
            for cell in &cells {
                state.totals.add(cell, self.wanted);
            }
        }
    }

    pub(super) fn connections(&self, entry_point: &Arc<str>, change: i64) {
        self.cores.local().connections(entry_point, change);
    }

    /// Counts a plan that is now in force. Series of routers and services that it does not have are told once more.
    pub(super) fn plan_applied(&self) {
        let mut state = self.state();
        state.reloads += 1;
        state.last_reload = clock::now().as_secs() as f64;
    }

    /// Where the rest is read; the first one stays.
    pub(super) fn connect(&self, source: Arc<dyn Source>) {
        self.source.get_or_init(|| source);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn labels_of(&self, headers: Option<&HeaderMap>) -> Box<[String]> {
        let value = |name: &HeaderName| {
            let value = headers.and_then(|headers| headers.get(name));
            let text = value.map(|value| String::from_utf8_lossy(value.as_bytes()));
            text.map(|text| text.chars().take(HEADER_VALUE_MAX).collect()).unwrap_or_default()
        };
        self.headers.iter().map(value).collect()
    }

    fn gather(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        if let Some(source) = self.source.get() {
            families.certificates(&source.certificates());
            families.servers(&source.servers());
            families.numbers(source.numbers());
        }
        let mut cells = Vec::new();
        let mut open: Vec<(Arc<str>, i64)> = Vec::new();
        self.cores.each(|core| {
            cells.append(&mut core.take());
            open.extend(core.open_connections().cloned());
        });
        let mut by_name = BTreeMap::new();
        for (name, count) in &open {
            *by_name.entry(&**name).or_default() += count;
        }
        if self.wanted.entry_points {
            families.open_connections(&by_name);
        }
        let mut state = self.state();
        for cell in &cells {
            state.totals.add(cell, self.wanted);
        }
        families.counter(RELOADS, "Configurations that were put in force.", state.reloads);
        families.gauge(
            LAST_RELOAD,
            "When a configuration was last put in force, in seconds since the Unix epoch.",
            state.last_reload,
        );
        families.totals(&state.totals, &self.bounds, &self.header_labels);
        if let Some(source) = self.source.get().filter(|_| state.reloads > 0) {
            state.totals.retain(|scope| match scope {
                Scope::EntryPoint(_) => true,
                Scope::Router { router, .. } => source.has_router(router),
                Scope::Service(service) => source.has_service(service),
            });
        }
        families.into_inner()
    }
}

const RELOADS: &str = "traefik_config_reloads_total";
const LAST_RELOAD: &str = "traefik_config_last_reload_success";

/// True for what Prometheus takes as the name of a label, without those of ours.
fn is_label(name: &str) -> bool {
    let ours = ["code", "method", "protocol", "entrypoint", "router", "service"];
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !ours.contains(&name)
}

/// Hands the families to the registry.
struct Gathered {
    metrics: Arc<Metrics>,
    description: Desc,
}

impl Collector for Gathered {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.metrics.gather()
    }
}

/// Answers Prometheus: `prometheus@internal`.
pub(super) struct Exposition {
    registry: Registry,
}

impl Exposition {
    pub(super) fn new(metrics: Arc<Metrics>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        // The registry asks for one description; names and labels of the others come and go.
        let description = Desc::new(
            RELOADS.to_owned(),
            "Counts of requests.".to_owned(),
            Vec::new(),
            Default::default(),
        )?;
        registry.register(Box::new(Gathered { metrics, description }))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self { registry })
    }
}

#[async_trait]
impl Handler for Exposition {
    async fn handle(&self, _: Request) -> Result<Response, ProxyError> {
        let registry = self.registry.clone();
        // Reads /proc and may have much to write.
        let text = tokio::task::spawn_blocking(move || {
            TextEncoder::new().encode_to_string(&registry.gather())
        });
        let text = text.await.map_err(|error| ProxyError::Internal(error.to_string()))?;
        let text = text.map_err(|error| ProxyError::Internal(error.to_string()))?;
        let mut response = Response::new(Body::from(text));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }
}
