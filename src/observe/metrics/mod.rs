//! `metrics`: what is counted of requests, once for all sinks.
//!
//! Traefik v3: observability, metrics. Same names, same labels. Requests are counted in cells of their cores; each sink
//! reads sums of its own, when it is asked (Prometheus) or at its interval (the others).
//!
//! Differs: there are no `go_*` metrics, and of label values from headers at most 10000 series are kept apart; further
//! ones count as `other`.

mod cells;
mod conventions;
mod families;
mod family;
mod influx;
mod lines;
mod otlp;
mod prometheus;
mod push;
mod reader;
mod sinks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ::http::{HeaderMap, HeaderName};

use self::cells::{Core, Scope};
use self::families::Families;
use self::family::Family;
use self::reader::{Keeps, Reader, ReaderId, Reading};
use super::{Error, Summary};
use crate::clock;
use crate::cores::PerCore;

pub(super) use prometheus::Exposition;
pub(super) use push::{Pushed, push};
pub(super) use sinks::Sinks;

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
    add_internals: bool,
    /// Bounds of all readers.
    bounds: Box<[f64]>,
    /// A reader wants single durations.
    samples: bool,
    /// A reader wants durations by OpenTelemetry's conventions.
    conventions: bool,
    /// Names of labels, and the headers that they are taken from.
    header_labels: Vec<String>,
    headers: Vec<HeaderName>,
    cores: PerCore<Core>,
    state: Mutex<State>,
    source: OnceLock<Arc<dyn Source>>,
}

struct State {
    readers: Vec<Reader>,
    reloads: u64,
    last_reload: f64,
}

impl State {
    fn add(&mut self, cells: &[cells::Cell]) {
        for reader in &mut self.readers {
            for cell in cells {
                reader.add(cell);
            }
        }
    }
}

impl Metrics {
    /// For these readers. Labels are taken from `headers`: label to header.
    pub(super) fn new(
        readings: &[Reading],
        headers: &BTreeMap<String, String>,
        add_internals: bool,
    ) -> Result<Self, Error> {
        let all: Vec<f64> = readings.iter().flat_map(|one| one.bounds.iter().copied()).collect();
        let bounds = reader::clean(&all);
        let mut names = Vec::new();
        for (label, header) in headers {
            if !is_label(label) {
                return Err(Error::Label(label.clone()));
            }
            let name = HeaderName::try_from(header.as_str());
            names.push(name.map_err(|_invalid| Error::Header(header.clone()))?);
        }
        let readers = readings.iter().map(|reading| Reader::new(reading, &bounds)).collect();
        Ok(Self {
            add_internals,
            bounds: bounds.into(),
            samples: readings.iter().any(|reading| reading.keeps == Keeps::Changes),
            conventions: readings.iter().any(|reading| reading.wanted.conventions),
            header_labels: headers.keys().cloned().collect(),
            headers: names,
            cores: PerCore::new(Core::default),
            state: Mutex::new(State { readers, reloads: 0, last_reload: 0.0 }),
            source: OnceLock::new(),
        })
    }

    /// True if labels are taken from headers.
    pub(super) fn wants_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// True if series are told apart by hosts.
    pub(super) fn wants_target(&self) -> bool {
        self.conventions
    }

    pub(super) fn finished(&self, summary: &Summary<'_>) {
        if !summary.metrics || (summary.internal && !self.add_internals) {
            return;
        }
        let labels = self.wants_headers().then(|| self.labels_of(summary.request_headers));
        let mut core = self.cores.local();
        core.count(summary, (&self.bounds, self.samples), labels);
        if self.conventions {
            core.conventions.count(summary, &self.bounds);
        }
        if core.is_full() {
            let cells = core.take();
            drop(core);
            self.state().add(&cells);
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

    /// What a reader is told.
    fn gather(&self, reader: ReaderId) -> Vec<Family> {
        let (mut cells, mut conventions) = (Vec::new(), Vec::new());
        let mut open: Vec<(Arc<str>, i64)> = Vec::new();
        self.cores.each(|core| {
            cells.append(&mut core.take());
            conventions.push(std::mem::take(&mut core.conventions));
            open.extend(core.open_connections().cloned());
        });
        let mut connections = BTreeMap::new();
        for (name, count) in &open {
            *connections.entry(&**name).or_default() += count;
        }
        let mut families = Families::default();
        families.open_connections(&connections);
        let mut state = self.state();
        state.add(&cells);
        for reader in &mut state.readers {
            for more in &conventions {
                reader.add_conventions(more);
            }
        }
        let State { readers, reloads, last_reload } = &mut *state;
        let Some(reader) = readers.get_mut(reader.0) else { return Vec::new() };
        let changes = reader.keeps == Keeps::Changes;
        let told = if changes { std::mem::replace(&mut reader.reloads, *reloads) } else { 0 };
        families.counter(RELOADS, "Configurations that were put in force.", *reloads - told);
        families.gauge(
            LAST_RELOAD,
            "When a configuration was last put in force, in seconds since the Unix epoch.",
            *last_reload,
        );
        let by_header = reader.wanted.by_header;
        let header_labels = if by_header { &self.header_labels[..] } else { &[] };
        families.totals(&reader.totals, &reader.bounds, header_labels);
        families.conventions(&reader.conventions, &reader.bounds);
        let source = self.source.get();
        if changes {
            reader.totals = cells::Totals::default();
        } else if let Some(source) = source.filter(|_| *reloads > 0) {
            reader.totals.retain(|scope| match scope {
                Scope::EntryPoint(_) => true,
                Scope::Router { router, .. } => source.has_router(router),
                Scope::Service(service) => source.has_service(service),
            });
        }
        let services = reader.wanted.services;
        drop(state);
        if let Some(source) = source {
            families.certificates(&source.certificates());
            if services {
                families.servers(&source.servers());
            }
            families.numbers(source.numbers());
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
