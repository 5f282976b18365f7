//! Families out of sums. Names and labels are Traefik's; labels stand in alphabetical order.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::cells::{Call, Counts, Scope, Totals};
use super::conventions::Sums;
use super::family::{Durations, Family, Label, Point, Value, sorted};
use super::{Certificate, Kind, Number, ServerUp};

/// Families that are being gathered.
#[derive(Default)]
pub(super) struct Families(Vec<Family>);

impl Families {
    pub(super) fn into_inner(self) -> Vec<Family> {
        self.0
    }

    /// Adds a family, unless it is empty.
    fn add(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: &'static str,
        points: impl Iterator<Item = Point>,
    ) {
        let points: Vec<Point> = points.collect();
        if !points.is_empty() {
            self.0.push(Family { name: name.into(), help, points });
        }
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.add(name, help, std::iter::once(counter(Vec::new(), value as f64)));
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.add(name, help, std::iter::once(gauge(Vec::new(), value)));
    }

    pub(super) fn open_connections(&mut self, open: &BTreeMap<&str, i64>) {
        let points = open.iter().map(|(name, count)| {
            gauge(labels([("entrypoint", *name), ("protocol", "TCP")]), *count as f64)
        });
        self.add(
            "traefik_open_connections",
            "Open connections by entry point and protocol.",
            points,
        );
    }

    pub(super) fn certificates(&mut self, certificates: &[Certificate]) {
        let points = certificates.iter().map(|certificate| {
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
            points,
        );
    }

    pub(super) fn servers(&mut self, servers: &[ServerUp]) {
        let points = servers.iter().map(|server| {
            let labels = labels([("service", &*server.service), ("url", &*server.url)]);
            gauge(labels, if server.up { 1.0 } else { 0.0 })
        });
        self.add(
            "traefik_service_server_up",
            "Whether a server of a service is up: 0 or 1.",
            points,
        );
    }

    /// The cluster's own numbers.
    pub(super) fn numbers(&mut self, numbers: Vec<Number>) {
        let mut by_name: BTreeMap<&'static str, (&'static str, Vec<Point>)> = BTreeMap::new();
        for number in numbers {
            let labels = labels(number.labels.iter().map(|(name, value)| (*name, value.as_str())));
            let point = match number.kind {
                Kind::Counter => counter(labels, number.value),
                Kind::Gauge => gauge(labels, number.value),
            };
            by_name.entry(number.name).or_insert((number.help, Vec::new())).1.push(point);
        }
        for (name, (help, points)) in by_name {
            self.add(name, help, points.into_iter());
        }
    }

    /// Everything that is counted of requests. `header_labels` are names of labels.
    pub(super) fn totals(&mut self, totals: &Totals, bounds: &[f64], header_labels: &[String]) {
        for kind in ["entrypoint", "router", "service"] {
            let calls =
                || totals.calls.iter().filter(move |((scope, _), _)| kind_of(scope) == kind);
            let counted = |value: fn(&Counts) -> u64| {
                calls().map(move |((scope, call), counts)| {
                    counter(call_labels(scope, call), value(counts) as f64)
                })
            };
            let name = |rest: &str| format!("traefik_{kind}_{rest}");
            let requests = "Requests by status code, method and protocol.";
            if header_labels.is_empty() {
                self.add(name("requests_total"), requests, counted(|counts| counts.requests));
            } else {
                let points = requests_by_header(totals, kind, header_labels);
                self.add(name("requests_total"), requests, points);
            }
            self.add(
                name("request_duration_seconds"),
                "Time from the head of a request to the end of its response, in seconds.",
                calls().map(|((scope, call), counts)| Point {
                    labels: call_labels(scope, call),
                    value: Value::Durations(durations(counts, bounds)),
                }),
            );
            self.add(
                name("requests_bytes_total"),
                "Bytes of the bodies of requests.",
                counted(|counts| counts.request_bytes),
            );
            self.add(
                name("responses_bytes_total"),
                "Bytes of the bodies of responses.",
                counted(|counts| counts.response_bytes),
            );
            self.tls(totals, kind);
        }
        let retries = totals
            .retries
            .iter()
            .map(|(service, count)| counter(labels([("service", &**service)]), *count as f64));
        self.add("traefik_service_retries_total", "Tries after the first, by service.", retries);
    }

    /// Durations by OpenTelemetry's conventions.
    pub(super) fn conventions(&mut self, sums: &Sums, bounds: &[f64]) {
        let (ours, servers) = sums.series();
        for (name, help, series) in [
            ("http.server.request.duration", "Duration of HTTP server requests.", ours),
            ("http.client.request.duration", "Duration of HTTP client requests.", servers),
        ] {
            let points = series.into_iter().map(|(labels, counts)| Point {
                labels,
                value: Value::Durations(durations(counts, bounds)),
            });
            self.add(name, help, points);
        }
    }

    fn tls(&mut self, totals: &Totals, kind: &str) {
        let tls = totals.tls.iter().filter(|((scope, ..), _)| kind_of(scope) == kind).map(
            |((scope, version, cipher), count)| {
                let own = [("tls_cipher", *cipher), ("tls_version", *version)];
                counter(labels(own.into_iter().chain(scope_labels(scope))), *count as f64)
            },
        );
        let name = format!("traefik_{kind}_requests_tls_total");
        self.add(name, "Requests over TLS by version and cipher.", tls);
    }
}

fn requests_by_header<'a>(
    totals: &'a Totals,
    kind: &'a str,
    names: &'a [String],
) -> impl Iterator<Item = Point> + 'a {
    let series = totals.by_header.iter().filter(move |((scope, ..), _)| kind_of(scope) == kind);
    series.map(|((scope, call, values), count)| {
        let mut labels = call_labels(scope, call);
        let own = names.iter().zip(values);
        labels.extend(own.map(|(name, value)| Label::new(name.clone(), value.as_str())));
        counter(sorted(labels), *count as f64)
    })
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

fn call_labels(scope: &Scope, call: &Call) -> Vec<Label> {
    let code = call.code.to_string();
    let own =
        [("code", code.as_str()), ("method", call.method), ("protocol", call.protocol.label())];
    labels(own.into_iter().chain(scope_labels(scope)))
}

fn labels<'a>(pairs: impl IntoIterator<Item = (&'static str, &'a str)>) -> Vec<Label> {
    sorted(pairs.into_iter().map(|(name, value)| Label::new(name, value)).collect())
}

fn counter(labels: Vec<Label>, value: f64) -> Point {
    Point { labels, value: Value::Counter(value) }
}

fn gauge(labels: Vec<Label>, value: f64) -> Point {
    Point { labels, value: Value::Gauge(value) }
}

fn durations(counts: &Counts, bounds: &[f64]) -> Durations {
    Durations {
        count: counts.requests,
        sum: counts.seconds,
        buckets: bounds.iter().copied().zip(counts.buckets.iter().copied()).collect(),
        samples: counts.samples.clone(),
    }
}
