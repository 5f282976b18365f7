//! Durations by OpenTelemetry's conventions: `http.server.request.duration` and `http.client.request.duration`.
//!
//! Traefik sends them to collectors beside its own. Differs: hosts are the client's choice, so at most 1000 a core and
//! 10000 in all are kept apart, and further ones count as `other`; of a request that was tried again only the last try
//! counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ::http::{HeaderValue, Version};

use super::cells::{Counts, method};
use super::family::{Label, sorted};
use crate::observe::Summary;

/// Series of one core between two sums.
const CORE_SERIES_MAX: usize = 1000;
/// Series in all.
const SERIES_MAX: usize = 10_000;
const OTHER: &str = "other";

/// Whose durations.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Whose {
    /// Ours, by what the client calls us.
    Server { host: Option<HeaderValue>, secure: bool },
    /// A server's, by its address.
    Client { address: Arc<str> },
}

/// Labels of a series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    whose: Whose,
    method: &'static str,
    status: u16,
    /// As in a request line, in lower case, and its version.
    protocol: (&'static str, &'static str),
}

/// Durations by their labels.
#[derive(Debug, Default)]
pub(super) struct Conventions(HashMap<Key, Counts>);

impl Conventions {
    /// Counts a request, and what its server has answered.
    pub(super) fn count(&mut self, summary: &Summary<'_>, bounds: &[f64]) {
        let method = method(summary.method);
        let protocol = protocol(summary.version);
        let host = summary.host.cloned();
        let whose = Whose::Server { host, secure: summary.tls.is_some() };
        let key = Key { whose, method, status: summary.status, protocol };
        self.add(key, summary.duration.as_secs_f64(), bounds);
        if summary.origin_status != 0
            && let Some(address) = summary.server_address
        {
            let whose = Whose::Client { address: address.clone() };
            let protocol = ("http/1.1", "1.1");
            let key = Key { whose, method, status: summary.origin_status, protocol };
            self.add(key, summary.origin_duration.as_secs_f64(), bounds);
        }
    }

    fn add(&mut self, mut key: Key, seconds: f64, bounds: &[f64]) {
        if self.0.len() >= CORE_SERIES_MAX && !self.0.contains_key(&key) {
            key.forget_host();
        }
        let counts = self.0.entry(key).or_insert_with(|| Counts::new(bounds.len()));
        counts.note(seconds, bounds);
    }
}

impl Key {
    fn forget_host(&mut self) {
        if let Whose::Server { host, .. } = &mut self.whose {
            *host = Some(HeaderValue::from_static(OTHER));
        }
    }

    fn labels(&self) -> Vec<Label> {
        let (name, version) = self.protocol;
        let mut labels = vec![
            Label::new("http.request.method", self.method),
            Label::new("http.response.status_code", self.status.to_string()),
            Label::new("network.protocol.name", name),
            Label::new("network.protocol.version", version),
        ];
        if self.status >= 400 {
            labels.push(Label::new("error.type", self.status.to_string()));
        }
        let secure = match &self.whose {
            Whose::Server { host, secure } => {
                let host = host.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
                labels.push(Label::new("server.address", String::from_utf8_lossy(host)));
                *secure
            }
            Whose::Client { address } => {
                labels.push(Label::new("server.address", &**address));
                let port = address.rsplit_once(':').map(|(_, port)| port);
                let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
                labels.push(Label::new("server.port", port.unwrap_or("80")));
                false
            }
        };
        labels.push(Label::new("url.scheme", if secure { "https" } else { "http" }));
        sorted(labels)
    }
}

/// Labels and what was counted.
pub(super) type Series<'a> = Vec<(Vec<Label>, &'a Counts)>;

/// Sums of all cores.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<Key, Counts>);

impl Sums {
    /// `places` says which of `bounds` buckets, and one without bound, each bucket falls into.
    pub(super) fn add(&mut self, more: &Conventions, places: &[usize], bounds: usize) {
        for (key, counts) in &more.0 {
            let mut key = key.clone();
            if self.0.len() >= SERIES_MAX && !self.0.contains_key(&key) {
                key.forget_host();
            }
            self.0.entry(key).or_insert_with(|| Counts::new(bounds)).add(counts, places);
        }
    }

    /// Series of ours and of servers.
    pub(super) fn series(&self) -> (Series<'_>, Series<'_>) {
        let (mut ours, mut servers) = (Vec::new(), Vec::new());
        for (key, counts) in &self.0 {
            let series = match key.whose {
                Whose::Server { .. } => &mut ours,
                Whose::Client { .. } => &mut servers,
            };
            series.push((key.labels(), counts));
        }
        (ours, servers)
    }
}

fn protocol(version: Version) -> (&'static str, &'static str) {
    match version {
        Version::HTTP_09 => ("http/0.9", "0.9"),
        Version::HTTP_10 => ("http/1.0", "1.0"),
        Version::HTTP_2 => ("http/2.0", "2"),
        Version::HTTP_3 => ("http/3.0", "3"),
        _ => ("http/1.1", "1.1"),
    }
}
