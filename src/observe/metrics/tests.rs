//! What the registry gathers.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, Method};
use prometheus::TextEncoder;

use super::family::{Family, Value};
use super::prometheus::{Exposition, family};
use super::reader::ReaderId;
use super::{Certificate, Kind, Metrics, Number, ServerUp, Sinks, Source};
use crate::observe::options::{self, Prometheus as Options};
use crate::observe::testing::{Sample, nowhere};
use crate::observe::{Error, Protocol};

fn all(options: &options::Metrics) -> Result<Metrics, Error> {
    let sinks = Sinks::new(options, nowhere);
    Metrics::new(&sinks.readings, &sinks.headers, options.add_internals)
}

fn metrics(options: &Options) -> Metrics {
    let prometheus = Some(options.clone());
    all(&options::Metrics { prometheus, ..Default::default() }).unwrap()
}

fn text(metrics: &Metrics) -> String {
    let mut families: Vec<_> = metrics.gather(ReaderId(0)).into_iter().map(family).collect();
    families.sort_by(|one, other| one.name().cmp(other.name()));
    let text = TextEncoder::new().encode_to_string(&families).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_config_"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn requests_are_counted_by_entry_point_router_and_service() {
    let metrics = metrics(&Options { add_routers_labels: true, ..Options::default() });
    Sample::default().summary(|summary| metrics.finished(summary));
    let slow = Sample { duration: Duration::from_millis(500), ..Sample::default() };
    slow.summary(|summary| metrics.finished(summary));
    let text = text(&metrics);
    let expected = r#"traefik_entrypoint_request_duration_seconds_bucket{code="200",entrypoint="web",method="GET",protocol="http",le="0.1"} 1
traefik_entrypoint_request_duration_seconds_bucket{code="200",entrypoint="web",method="GET",protocol="http",le="0.3"} 1
traefik_entrypoint_request_duration_seconds_bucket{code="200",entrypoint="web",method="GET",protocol="http",le="1.2"} 2
traefik_entrypoint_request_duration_seconds_bucket{code="200",entrypoint="web",method="GET",protocol="http",le="5"} 2
traefik_entrypoint_request_duration_seconds_bucket{code="200",entrypoint="web",method="GET",protocol="http",le="+Inf"} 2
traefik_entrypoint_request_duration_seconds_sum{code="200",entrypoint="web",method="GET",protocol="http"} 0.512
traefik_entrypoint_request_duration_seconds_count{code="200",entrypoint="web",method="GET",protocol="http"} 2
traefik_entrypoint_requests_bytes_total{code="200",entrypoint="web",method="GET",protocol="http"} 6
traefik_entrypoint_requests_total{code="200",entrypoint="web",method="GET",protocol="http"} 2
traefik_entrypoint_responses_bytes_total{code="200",entrypoint="web",method="GET",protocol="http"} 10
"#;
    assert!(text.starts_with(expected), "{text}");
    for line in [
        r#"traefik_router_requests_total{code="200",method="GET",protocol="http",router="web@file",service="app@file"} 2"#,
        r#"traefik_service_requests_total{code="200",method="GET",protocol="http",service="app@file"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn methods_protocols_tls_and_retries_have_their_labels() {
    let metrics = metrics(&Options::default());
    let call = Sample {
        method: Method::from_bytes(b"BREW").unwrap(),
        protocol: Protocol::Grpc,
        grpc_status: Some(14),
        secure: true,
        retry_attempts: 2,
        ..Sample::default()
    };
    call.summary(|summary| metrics.finished(summary));
    let text = text(&metrics);
    for line in [
        r#"traefik_entrypoint_requests_total{code="14",entrypoint="web",method="EXTENSION_METHOD",protocol="grpc"} 1"#,
        r#"traefik_entrypoint_requests_tls_total{entrypoint="web",tls_cipher="TLS_AES_128_GCM_SHA256",tls_version="1.3"} 1"#,
        r#"traefik_service_retries_total{service="app@file"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("traefik_router_"), "{text}");
}

#[test]
fn services_that_were_not_reached_and_internal_routers_do_not_count() {
    let metrics = metrics(&Options::default());
    let refused = Sample { server_url: None, status: 401, ..Sample::default() };
    refused.summary(|summary| metrics.finished(summary));
    Sample { internal: true, ..Sample::default() }.summary(|summary| metrics.finished(summary));
    let text = text(&metrics);
    assert!(!text.contains("traefik_service_"), "{text}");
    assert!(!text.contains("code=\"200\""), "{text}");
}

#[test]
fn labels_come_from_headers_on_request_counts_only() {
    let mut options = Options::default();
    options.header_labels.insert("agent".to_owned(), "User-Agent".to_owned());
    let metrics = metrics(&options);
    Sample::default().summary(|summary| metrics.finished(summary));
    let text = text(&metrics);
    let line = r#"traefik_entrypoint_requests_total{agent="curl \"8\"",code="200",entrypoint="web",method="GET",protocol="http"} 1"#;
    assert!(text.lines().any(|found| found == line), "{text}");
    assert_eq!(text.matches("agent=").count(), 2);
}

#[test]
fn label_values_that_clients_choose_are_limited() {
    let mut options = Options { add_services_labels: false, ..Options::default() };
    options.header_labels.insert("id".to_owned(), "X-Id".to_owned());
    let metrics = metrics(&options);
    let mut sample = Sample::default();
    for number in 0..20_000 {
        let name = HeaderName::from_static("x-id");
        sample.request_headers.insert(name, number.to_string().parse().unwrap());
        sample.summary(|summary| metrics.finished(summary));
    }
    let text = text(&metrics);
    let series = text.lines().filter(|line| line.contains("requests_total{"));
    assert!(series.count() < 300);
}

#[test]
fn wrong_labels_are_refused() {
    for (label, header) in [("service", "X"), ("1st", "X"), ("a-b", "X"), ("", "X"), ("ok", "a b")]
    {
        let mut options = Options::default();
        options.header_labels.insert(label.to_owned(), header.to_owned());
        let options = options::Metrics { prometheus: Some(options), ..Default::default() };
        assert!(all(&options).is_err(), "{label} {header}");
    }
}

#[test]
fn series_of_what_has_vanished_are_told_once_more() {
    let metrics = metrics(&Options { add_routers_labels: true, ..Options::default() });
    Sample::default().summary(|summary| metrics.finished(summary));
    metrics.connect(Arc::new(Nothing));
    metrics.plan_applied();
    assert!(text(&metrics).contains("web@file"));
    let later = text(&metrics);
    assert!(!later.contains("web@file") && !later.contains("app@file"), "{later}");
    assert!(later.contains("traefik_entrypoint_requests_total"), "{later}");
}

#[test]
fn connections_are_summed() {
    let metrics = metrics(&Options::default());
    let name: Arc<str> = "web".into();
    metrics.connections(&name, 1);
    metrics.connections(&name, 1);
    metrics.connections(&Arc::from("web"), -1);
    assert_eq!(text(&metrics), "traefik_open_connections{entrypoint=\"web\",protocol=\"TCP\"} 1\n");
}

struct Fixed;

impl Source for Fixed {
    fn has_router(&self, _: &str) -> bool {
        false
    }

    fn has_service(&self, _: &str) -> bool {
        false
    }
    fn certificates(&self) -> Vec<Certificate> {
        vec![Certificate {
            common_name: "example.org".to_owned(),
            serial: "17".to_owned(),
            sans: vec!["example.org".to_owned(), "www.example.org".to_owned()],
            not_after: 1_800_000_000,
        }]
    }

    fn servers(&self) -> Vec<ServerUp> {
        let server = |url: &str, up| ServerUp { service: "app@file".into(), url: url.into(), up };
        vec![server("http://10.0.0.1", true), server("http://10.0.0.2", false)]
    }

    fn numbers(&self) -> Vec<Number> {
        vec![Number {
            name: "pontoon_cluster_term",
            help: "Raft term.",
            kind: Kind::Gauge,
            labels: Vec::new(),
            value: 3.0,
        }]
    }
}

#[test]
fn the_source_is_read_when_asked() {
    let metrics = metrics(&Options::default());
    metrics.connect(Arc::new(Fixed));
    assert_eq!(
        text(&metrics),
        r#"pontoon_cluster_term 3
traefik_service_server_up{service="app@file",url="http://10.0.0.1"} 1
traefik_service_server_up{service="app@file",url="http://10.0.0.2"} 0
traefik_tls_certs_not_after{cn="example.org",sans="example.org,www.example.org",serial="17"} 1800000000
"#
    );
}

#[test]
fn the_registry_has_ours_and_those_of_the_process() {
    let metrics = Arc::new(metrics(&Options::default()));
    Sample::default().summary(|summary| metrics.finished(summary));
    let text = Exposition::new(metrics, ReaderId(0)).unwrap().text().unwrap();
    for line in [
        "# TYPE traefik_config_reloads_total counter",
        "# TYPE traefik_entrypoint_request_duration_seconds histogram",
        "# TYPE process_open_fds gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

fn found<'a>(families: &'a [Family], name: &str) -> Option<&'a Value> {
    let family = families.iter().find(|family| family.name == name)?;
    family.points.first().map(|point| &point.value)
}

/// static.md §8: each backend has its own labels, buckets and pace.
#[test]
fn each_sink_reads_sums_of_its_own() {
    let options = options::Metrics {
        prometheus: Some(Options { buckets: vec![0.01, 1.0], ..Options::default() }),
        stats_d: Some(options::StatsD { add_services_labels: false, ..Default::default() }),
        otlp: Some(options::OtlpMetrics { explicit_boundaries: vec![0.02], ..Default::default() }),
        ..Default::default()
    };
    let metrics = all(&options).unwrap();
    let [prometheus, lines, otlp] = [0, 1, 2].map(ReaderId);
    metrics.plan_applied();
    Sample::default().summary(|summary| metrics.finished(summary));
    let name = "traefik_entrypoint_request_duration_seconds";
    let buckets = |reader| match found(&metrics.gather(reader), name) {
        Some(Value::Durations(durations)) => durations.buckets.clone(),
        other => panic!("no durations: {other:?}"),
    };
    assert_eq!(buckets(prometheus), [(0.01, 0), (1.0, 1)]);
    assert_eq!(buckets(otlp), [(0.02, 1)]);
    let first = metrics.gather(lines);
    assert!(found(&first, "traefik_service_requests_total").is_none());
    match found(&first, name) {
        Some(Value::Durations(durations)) => assert_eq!(durations.samples, [0.012]),
        other => panic!("no durations: {other:?}"),
    }
    Sample::default().summary(|summary| metrics.finished(summary));
    let total = "traefik_entrypoint_requests_total";
    let reloads = "traefik_config_reloads_total";
    let second = metrics.gather(lines);
    assert_eq!(found(&second, total), Some(&Value::Counter(1.0)), "what has changed");
    assert_eq!(found(&second, reloads), Some(&Value::Counter(0.0)));
    let sums = metrics.gather(otlp);
    assert_eq!(found(&sums, total), Some(&Value::Counter(2.0)), "sums");
    assert_eq!(found(&sums, reloads), Some(&Value::Counter(1.0)));
    assert!(found(&metrics.gather(lines), total).is_none(), "nothing new");
}

/// Beside Traefik's own, collectors get what OpenTelemetry's conventions ask for.
#[test]
fn collectors_get_durations_by_conventions() {
    let options = options::Metrics {
        prometheus: Some(Options::default()),
        otlp: Some(options::OtlpMetrics::default()),
        ..Default::default()
    };
    let metrics = all(&options).unwrap();
    assert!(metrics.wants_target());
    let failed = Sample { status: 502, ..Sample::default() };
    failed.summary(|summary| metrics.finished(summary));
    let families = metrics.gather(ReaderId(1));
    let labels = |name: &str| {
        let family = families.iter().find(|family| family.name == name).unwrap();
        let labels = family.points[0].labels.iter();
        labels.map(|label| format!("{}={}", label.name, label.value)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        labels("http.server.request.duration"),
        "error.type=502 http.request.method=GET http.response.status_code=502 \
         network.protocol.name=http/1.1 network.protocol.version=1.1 \
         server.address=example.org:8080 url.scheme=http"
    );
    let client = labels("http.client.request.duration");
    assert!(client.contains("server.address=10.0.0.1:80 server.port=80"), "{client}");
    assert!(!text(&metrics).contains("server.address"), "Prometheus does not");
}

#[test]
fn single_durations_are_limited_and_chosen_fairly() {
    let stats_d = Some(options::StatsD::default());
    let metrics = all(&options::Metrics { stats_d, ..Default::default() }).unwrap();
    let mut sample = Sample::default();
    for number in 0..5000_u64 {
        sample.duration = Duration::from_millis(number);
        sample.summary(|summary| metrics.finished(summary));
    }
    let families = metrics.gather(ReaderId(0));
    let name = "traefik_entrypoint_request_duration_seconds";
    let Some(Value::Durations(durations)) = found(&families, name) else { panic!("none") };
    assert_eq!((durations.count, durations.samples.len()), (5000, 512));
    let late = durations.samples.iter().filter(|seconds| **seconds >= 2.5).count();
    assert!((180..330).contains(&late), "{late} of 512 are from the second half");
}

struct Nothing;

impl Source for Nothing {
    fn certificates(&self) -> Vec<Certificate> {
        Vec::new()
    }

    fn servers(&self) -> Vec<ServerUp> {
        Vec::new()
    }

    fn numbers(&self) -> Vec<Number> {
        Vec::new()
    }

    fn has_router(&self, _: &str) -> bool {
        false
    }

    fn has_service(&self, _: &str) -> bool {
        false
    }
}
