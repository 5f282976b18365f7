//! Metric families out of sums. Names and labels are Traefik's; labels stand in alphabetical order.

use std::collections::BTreeMap;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::cells::{Call, Counts, Scope, Totals};
use super::{Certificate, Kind, Number, ServerUp};

/// Families that are being gathered.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    pub(super) fn into_inner(self) -> Vec<MetricFamily> {
        self.0
    }

    /// Adds a family, unless it is empty.
    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.add(name, help, MetricType::COUNTER, vec![counter(Vec::new(), value as f64)]);
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, help, MetricType::GAUGE, vec![gauge(Vec::new(), value)]);
    }

    pub(super) fn open_connections(&mut self, open: &BTreeMap<&str, i64>) {
        let metrics = open.iter().map(|(name, count)| {
            gauge(labels([("entrypoint", *name), ("protocol", "TCP")]), *count as f64)
        });
        self.add(
            "traefik_open_connections",
            "Open connections by entry point and protocol.",
            MetricType::GAUGE,
            metrics.collect(),
        );
    }

    pub(super) fn certificates(&mut self, certificates: &[Certificate]) {
        let metrics = certificates.iter().map(|certificate| {
            let sans = certificate.sans.join(",");
            let labels = labels([
                ("cn", certificate.common_name.as_str()),
                ("serial", &certificate.serial),
                ("sans", &sans),
            ]);
            gauge(labels, certificate.not_after as f64)
        });
        self.add(
            "traefik_tls_certs_not_after",
            "When certificates expire, in seconds since the Unix epoch.",
            MetricType::GAUGE,
            metrics.collect(),
        );
    }

    pub(super) fn servers(&mut self, servers: &[ServerUp]) {
        let metrics = servers.iter().map(|server| {
            let labels = labels([("service", &*server.service), ("url", &*server.url)]);
            gauge(labels, if server.up { 1.0 } else { 0.0 })
        });
        self.add(
            "traefik_service_server_up",
            "Whether a server of a service is up: 0 or 1.",
            MetricType::GAUGE,
            metrics.collect(),
        );
    }

    /// The cluster's own numbers.
    pub(super) fn numbers(&mut self, numbers: Vec<Number>) {
        let mut by_name: BTreeMap<&str, (&str, Kind, Vec<Metric>)> = BTreeMap::new();
        for number in numbers {
            let labels = labels(number.labels.iter().map(|(name, value)| (*name, value.as_str())));
            let metric = match number.kind {
                Kind::Counter => counter(labels, number.value),
                Kind::Gauge => gauge(labels, number.value),
            };
            let family =
                by_name.entry(number.name).or_insert((number.help, number.kind, Vec::new()));
            family.2.push(metric);
        }
        for (name, (help, kind, metrics)) in by_name {
            let kind = match kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
            };
            self.add(name, help, kind, metrics);
        }
    }

    /// Everything that is counted of requests. `header_labels` are names of labels.
    pub(super) fn totals(&mut self, totals: &Totals, bounds: &[f64], header_labels: &[String]) {
        for kind in ["entrypoint", "router", "service"] {
            let calls: Vec<_> =
                totals.calls.iter().filter(|((scope, _), _)| kind_of(scope) == kind).collect();
            let counted = |value: fn(&Counts) -> u64| {
                let metrics = calls.iter().map(|((scope, call), counts)| {
                    counter(call_labels(scope, call), value(counts) as f64)
                });
                metrics.collect::<Vec<_>>()
            };
            let requests = if header_labels.is_empty() {
                counted(|counts| counts.requests)
            } else {
                requests_by_header(totals, kind, header_labels)
            };
            let durations = calls.iter().map(|((scope, call), counts)| {
                let mut metric = Metric::from_label(call_labels(scope, call));
                metric.set_histogram(histogram(counts, bounds));
                metric
            });
            self.add(
                &format!("traefik_{kind}_requests_total"),
                "Requests by status code, method and protocol.",
                MetricType::COUNTER,
                requests,
            );
            self.add(
                &format!("traefik_{kind}_request_duration_seconds"),
                "Time from the head of a request to the end of its response, in seconds.",
                MetricType::HISTOGRAM,
                durations.collect(),
            );
            self.add(
                &format!("traefik_{kind}_requests_bytes_total"),
                "Bytes of the bodies of requests.",
                MetricType::COUNTER,
                counted(|counts| counts.request_bytes),
            );
            self.add(
                &format!("traefik_{kind}_responses_bytes_total"),
                "Bytes of the bodies of responses.",
                MetricType::COUNTER,
                counted(|counts| counts.response_bytes),
            );
            self.tls(totals, kind);
        }
        let retries = totals
            .retries
            .iter()
            .map(|(service, count)| counter(labels([("service", &**service)]), *count as f64));
        self.add(
            "traefik_service_retries_total",
            "Tries after the first, by service.",
            MetricType::COUNTER,
            retries.collect(),
        );
    }

    fn tls(&mut self, totals: &Totals, kind: &str) {
        let tls = totals.tls.iter().filter(|((scope, ..), _)| kind_of(scope) == kind).map(
            |((scope, version, cipher), count)| {
                let own = [("tls_cipher", *cipher), ("tls_version", *version)];
                counter(labels(own.into_iter().chain(scope_labels(scope))), *count as f64)
            },
        );
        self.add(
            &format!("traefik_{kind}_requests_tls_total"),
            "Requests over TLS by version and cipher.",
            MetricType::COUNTER,
            tls.collect(),
        );
    }
}

fn requests_by_header(totals: &Totals, kind: &str, names: &[String]) -> Vec<Metric> {
    let series = totals.by_header.iter().filter(|((scope, ..), _)| kind_of(scope) == kind);
    let metrics = series.map(|((scope, call, values), count)| {
        let mut labels = call_labels(scope, call);
        labels.extend(names.iter().zip(values).map(|(name, value)| label(name, value)));
        labels.sort_by(|one, other| one.name().cmp(other.name()));
        counter(labels, *count as f64)
    });
    metrics.collect()
}

fn kind_of(scope: &Scope) -> &'static str {
    match scope {
        Scope::EntryPoint(_) => "entrypoint",
        Scope::Router { .. } => "router",
        Scope::Service(_) => "service",
    }
}

fn scope_labels(scope: &Scope) -> Vec<(&'static str, &str)> {
    match scope {
        Scope::EntryPoint(name) => vec![("entrypoint", name)],
        Scope::Router { router, service } => vec![("router", router), ("service", service)],
        Scope::Service(name) => vec![("service", name)],
    }
}

fn call_labels(scope: &Scope, call: &Call) -> Vec<LabelPair> {
    let code = call.code.to_string();
    let own =
        [("code", code.as_str()), ("method", call.method), ("protocol", call.protocol.label())];
    labels(own.into_iter().chain(scope_labels(scope)))
}

/// In alphabetical order.
fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<LabelPair> {
    let mut pairs: Vec<_> = pairs.into_iter().map(|(name, value)| label(name, value)).collect();
    pairs.sort_by(|one, other| one.name().cmp(other.name()));
    pairs
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn counter(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn histogram(counts: &Counts, bounds: &[f64]) -> Histogram {
    let mut below = 0;
    let buckets = bounds.iter().zip(&counts.buckets).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.requests);
    histogram.set_sample_sum(counts.seconds);
    histogram
}
