//! What a core counts, and the sums of all cores.
//!
//! A request costs one look-up in a table of its own core, by the addresses of its names. When metrics are asked for,
//! the tables are emptied into sums by name.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use ::http::Method;

use super::conventions::Conventions;
use crate::observe::{Protocol, Summary};

/// Cells of one core; beyond, the core's table is emptied early.
pub(super) const CELLS_MAX: usize = 4096;
/// Series with labels from headers, which clients choose. Beyond, values are `other`.
const HEADER_SERIES_MAX: usize = 10_000;
/// Labels from headers that one cell keeps apart between two sums.
const HEADER_SERIES_PER_CELL_MAX: usize = 256;
/// Single durations that one cell keeps: beyond, a fair choice of them.
const SAMPLES_PER_CELL_MAX: usize = 512;
/// The same of a series.
const SAMPLES_MAX: usize = 4096;

/// Methods that have a label of their own.
const METHODS: [(Method, &str); 9] = [
    (Method::GET, "GET"),
    (Method::POST, "POST"),
    (Method::PUT, "PUT"),
    (Method::DELETE, "DELETE"),
    (Method::HEAD, "HEAD"),
    (Method::OPTIONS, "OPTIONS"),
    (Method::PATCH, "PATCH"),
    (Method::CONNECT, "CONNECT"),
    (Method::TRACE, "TRACE"),
];
const OTHER_METHOD: &str = "EXTENSION_METHOD";

/// Labels `code`, `method` and `protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Call {
    pub(super) code: u16,
    pub(super) method: &'static str,
    pub(super) protocol: Protocol,
}

impl Call {
    fn of(summary: &Summary<'_>) -> Self {
        let grpc = summary.grpc_status.filter(|_| summary.protocol.has_grpc_status());
        Self {
            code: grpc.unwrap_or(summary.status),
            method: method(summary.method),
            protocol: summary.protocol,
        }
    }
}

/// As the label has it.
pub(super) fn method(method: &Method) -> &'static str {
    let known = METHODS.iter().find(|(known, _)| known == method);
    known.map_or(OTHER_METHOD, |&(_, label)| label)
}

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    EntryPoint(Arc<str>),
    Router { router: Arc<str>, service: Arc<str> },
    Service(Arc<str>),
}

/// Sums of requests with the same labels.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) seconds: f64,
    /// Requests by the first bound that they do not exceed; the last is without bound.
    pub(super) buckets: Box<[u64]>,
    /// Durations in seconds, where a sink wants single ones.
    pub(super) samples: Vec<f32>,
}

impl Counts {
    pub(super) fn new(bounds: usize) -> Self {
        Self { buckets: vec![0; bounds + 1].into(), ..Self::default() }
    }

    /// Counts one duration.
    pub(super) fn note(&mut self, seconds: f64, bounds: &[f64]) {
        self.requests += 1;
        self.seconds += seconds;
        let bucket = bounds.iter().take_while(|&&bound| seconds > bound).count();
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
    }

    /// `places` says which bucket of these each bucket of the other falls into.
    pub(super) fn add(&mut self, other: &Self, places: &[usize]) {
        self.requests += other.requests;
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
        self.seconds += other.seconds;
        for (place, count) in places.iter().zip(&other.buckets) {
            if let Some(sum) = self.buckets.get_mut(*place) {
                *sum += count;
            }
        }
    }

    fn add_samples(&mut self, other: &Self) {
        let room = SAMPLES_MAX.saturating_sub(self.samples.len());
        self.samples.extend(other.samples.iter().take(room));
    }

    /// Keeps the duration of the request that was counted last, or lets chance decide.
    #[expect(clippy::cast_possible_truncation, reason = "microseconds do not matter in a duration")]
    fn sample(&mut self, seconds: f64) {
        if self.samples.len() < SAMPLES_PER_CELL_MAX {
            self.samples.push(seconds as f32);
            return;
        }
        // Each of so many requests has the same chance (Vitter's algorithm R).
        let place = usize::try_from(Mix::of(self.requests) % self.requests.max(1));
        if let Some(sample) = place.ok().and_then(|place| self.samples.get_mut(place)) {
            *sample = seconds as f32;
        }
    }
}

/// By addresses: the cell keeps what is at them, so they stay unique.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    entry_point: usize,
    above: Vec<usize>,
    router: usize,
    service: usize,
    cipher: usize,
    call: u64,
}

/// Requests of one key.
#[derive(Debug)]
pub(super) struct Cell {
    entry_point: Arc<str>,
    /// Routers before that one, with what stands for their service.
    above: Vec<(Arc<str>, Arc<str>)>,
    router: Option<Arc<str>>,
    service: Option<Arc<str>>,
    /// Stands for the service of a router that leads on to others.
    muxer: Option<Arc<str>>,
    /// The service has been reached.
    reached: bool,
    tls: Option<(&'static str, &'static str)>,
    call: Call,
    counts: Counts,
    retries: u64,
    by_header: HashMap<Box<[String]>, u64>,
}

/// What one core has counted since it was last emptied.
#[derive(Debug, Default)]
pub(super) struct Core {
    cells: HashMap<Key, Cell, BuildHasherDefault<Mix>>,
    /// Connections by entry point; more may have ended here than began.
    connections: Vec<(Arc<str>, i64)>,
    /// Where a collector wants them.
    pub(super) conventions: Conventions,
}

impl Core {
    /// Counts a request. `header_labels` is empty unless labels are taken from headers; `samples`: a sink wants single
    /// durations.
    pub(super) fn count(
        &mut self,
        summary: &Summary<'_>,
        (bounds, samples): (&[f64], bool),
        header_labels: Option<Box<[String]>>,
    ) {
        let call = Call::of(summary);
        let reached = summary.origin_status != 0 || summary.server_url.is_some();
        let address = |name: Option<&Arc<str>>| name.map_or(0, |name| name.as_ptr() as usize);
        let key = Key {
            entry_point: address(Some(summary.entry_point)),
            above: summary.above.iter().map(|(router, _)| address(Some(router))).collect(),
            router: address(summary.router),
            service: address(summary.service.or(summary.muxer)),
            cipher: summary
                .tls
                .as_ref()
                .map_or(0, |tls| tls.cipher.as_ptr() as usize ^ tls.version.as_ptr() as usize),
            call: u64::from(call.code)
                | (call.protocol as u64) << 16
                | u64::from(reached) << 24
                | (METHODS
                    .iter()
                    .position(|&(_, label)| label == call.method)
                    .unwrap_or(METHODS.len()) as u64)
                    << 32,
        };
        let cell = self.cells.entry(key).or_insert_with(|| Cell {
            entry_point: summary.entry_point.clone(),
            above: summary.above.to_vec(),
            router: summary.router.cloned(),
            service: summary.service.cloned(),
            muxer: summary.muxer.cloned(),
            reached,
            tls: summary.tls.as_ref().map(|tls| (tls.version, tls.cipher)),
            call,
            counts: Counts::new(bounds.len()),
            retries: 0,
            by_header: HashMap::new(),
        });
        let seconds = summary.duration.as_secs_f64();
        cell.counts.note(seconds, bounds);
        cell.counts.request_bytes += summary.request_bytes;
        cell.counts.response_bytes += summary.response_bytes;
        cell.retries += u64::from(summary.retry_attempts);
        if samples {
            cell.counts.sample(seconds);
        }
        if let Some(labels) = header_labels {
            let full = cell.by_header.len() >= HEADER_SERIES_PER_CELL_MAX;
            let known = !full || cell.by_header.contains_key(&labels);
            *cell.by_header.entry(if known { labels } else { other(&labels) }).or_default() += 1;
        }
    }

    /// True if it is time to empty the table.
    pub(super) fn is_full(&self) -> bool {
        self.cells.len() >= CELLS_MAX
    }

    /// Counts connections that began (1) or ended (-1).
    pub(super) fn connections(&mut self, entry_point: &Arc<str>, change: i64) {
        match self.connections.iter_mut().find(|(name, _)| Arc::ptr_eq(name, entry_point)) {
            Some((_, count)) => *count += change,
            None => self.connections.push((entry_point.clone(), change)),
        }
    }

    /// Leaves the table empty. Connections are not part of it.
    pub(super) fn take(&mut self) -> Vec<Cell> {
        self.cells.drain().map(|(_, cell)| cell).collect()
    }

    /// Open connections as far as this core knows.
    pub(super) fn open_connections(&self) -> impl Iterator<Item = &(Arc<str>, i64)> {
        self.connections.iter()
    }
}

fn other(labels: &[String]) -> Box<[String]> {
    labels.iter().map(|_| "other".to_owned()).collect()
}

/// Which scopes are counted.
#[derive(Debug, Clone, Copy)]
pub(in crate::observe) struct Wanted {
    pub(in crate::observe) entry_points: bool,
    pub(in crate::observe) routers: bool,
    pub(in crate::observe) services: bool,
    /// Requests also by labels from headers.
    pub(in crate::observe) by_header: bool,
    /// Durations by OpenTelemetry's conventions.
    pub(in crate::observe) conventions: bool,
}

/// Sums of all cores.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) calls: BTreeMap<(Scope, Call), Counts>,
    /// Requests once more, by labels from headers.
    pub(super) by_header: BTreeMap<(Scope, Call, Box<[String]>), u64>,
    /// By version and cipher.
    pub(super) tls: BTreeMap<(Scope, &'static str, &'static str), u64>,
    /// By service.
    pub(super) retries: BTreeMap<Arc<str>, u64>,
}

impl Totals {
    /// `places` says which of `bounds` buckets, and one without bound, each bucket of the cell falls into.
    pub(super) fn add(&mut self, cell: &Cell, wanted: Wanted, places: &[usize], bounds: usize) {
        let mut scopes = Vec::with_capacity(3);
        if wanted.entry_points {
            scopes.push(Scope::EntryPoint(cell.entry_point.clone()));
        }
        if wanted.routers
            && let (Some(router), Some(service)) =
                (&cell.router, cell.service.as_ref().or(cell.muxer.as_ref()))
        {
            for (router, service) in cell.above.iter().chain([&(router.clone(), service.clone())]) {
                scopes.push(Scope::Router { router: router.clone(), service: service.clone() });
            }
        }
        if wanted.services
            && cell.reached
            && let Some(service) = &cell.service
        {
            scopes.push(Scope::Service(service.clone()));
            if cell.retries > 0 {
                *self.retries.entry(service.clone()).or_default() += cell.retries;
            }
        }
        for scope in scopes {
            if wanted.by_header {
                self.add_by_header(&scope, cell);
            }
            self.add_to(scope, cell, places, bounds);
        }
    }

    fn add_by_header(&mut self, scope: &Scope, cell: &Cell) {
        for (labels, count) in &cell.by_header {
            let mut key = (scope.clone(), cell.call, labels.clone());
            if self.by_header.len() >= HEADER_SERIES_MAX && !self.by_header.contains_key(&key) {
                key.2 = other(labels);
            }
            *self.by_header.entry(key).or_default() += count;
        }
    }

    fn add_to(&mut self, scope: Scope, cell: &Cell, places: &[usize], bounds: usize) {
        if let Some((version, cipher)) = cell.tls {
            *self.tls.entry((scope.clone(), version, cipher)).or_default() += cell.counts.requests;
        }
        let counts = self.calls.entry((scope, cell.call));
        let counts = counts.or_insert_with(|| Counts::new(bounds));
        counts.add(&cell.counts, places);
        counts.add_samples(&cell.counts);
    }

    /// Keeps what `lives` says of a scope.
    pub(super) fn retain(&mut self, lives: impl Fn(&Scope) -> bool) {
        self.calls.retain(|(scope, _), _| lives(scope));
        self.by_header.retain(|(scope, ..), _| lives(scope));
        self.tls.retain(|(scope, ..), _| lives(scope));
        self.retries.retain(|service, _| lives(&Scope::Service(service.clone())));
    }
}

/// Mixes the few words of a key. Nobody outside chooses keys, so it needs no secret.
#[derive(Default)]
struct Mix(u64);

impl Mix {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    fn of(word: u64) -> u64 {
        let mut mix = Self::default();
        mix.write_u64(word);
        mix.write_u64(word >> 7);
        mix.finish()
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(Self::FACTOR);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
