//! Metrics at `StatsD`, Datadog, `InfluxDB` 2 and OpenTelemetry collectors (static.md §8).

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, number_data_point};
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use rustls::{ConfigBuilder, ServerConfig};

use super::{dynamic, startup};
use crate::support::collector::{Agent, Collector, Message};
use crate::support::running::{Running, echo};

/// static.md §8: statsD and datadog with address, pushInterval, prefix and the labels of routers.
#[tokio::test]
async fn statsd_and_datadog_get_lines() {
    let (_backend, server) = echo("one", "http").await;
    let folder = tempfile::tempdir().unwrap();
    let (statsd, datadog) = (Agent::udp().await, Agent::unix(&folder.path().join("agent")));
    let options = format!(
        "
metrics:
  statsD: {{address: '{}', pushInterval: 50ms, prefix: edge}}
  datadog: {{address: '{}', pushInterval: 50ms, addRoutersLabels: true}}
",
        statsd.address, datadog.address
    );
    let _running = Running::start(&startup(&options), &[("app.yml", &dynamic(&server))]).await;
    statsd.until(|line| line == "edge.service.request.total:1.000000|c").await;
    for start in ["edge.entrypoint.request.duration:", "edge.service.request.duration:"] {
        let line = statsd.until(|line| line.starts_with(start)).await;
        assert!(line.ends_with("|ms"), "{line}");
    }
    statsd.until(|line| line == "edge.service.server.up:1.000000|g").await;
    let tags = "code:200,method:GET,protocol:http,router:app@file,service:app@file";
    datadog.until(|line| line == format!("traefik.router.request.total:1.000000|c|#{tags}")).await;
    let start = "traefik.router.request.duration:";
    let line = datadog.until(|line| line.starts_with(start)).await;
    assert!(line.ends_with(&format!("|h|#{tags}")), "{line}");
    assert!(!statsd.lines().iter().any(|line| line.contains("router")), "not asked for");
    let told = statsd.lines();
    let told = told.iter().filter(|line| line.starts_with("edge.service.request.total"));
    assert_eq!(told.count(), 1, "what has changed is told once");
}

/// static.md §8: influxDB2 with token, org, bucket and additionalLabels. The last push comes at the end.
#[tokio::test]
async fn influxdb_gets_lines_at_the_latest_when_the_program_ends() {
    let (_backend, server) = echo("one", "http").await;
    let influx = Collector::http(0).await;
    let options = format!(
        "
metrics:
  influxDB2:
    address: 'http://{}'
    token: secret
    org: us
    bucket: edge
    pushInterval: 1h
    additionalLabels: {{zone: north}}
",
        influx.address
    );
    let mut running = Running::start(&startup(&options), &[("app.yml", &dynamic(&server))]).await;
    assert!(influx.messages().is_empty(), "not before its time");
    running.signal("TERM");
    assert!(running.ended().await.success());
    let messages = influx.messages();
    let message = &messages[0];
    assert_eq!(message.path, "/api/v2/write?bucket=edge&org=us&precision=ns");
    assert_eq!(message.header("authorization").as_deref(), Some("Token secret"));
    let text = String::from_utf8(message.body.clone()).unwrap();
    let tags = "code=200,entrypoint=web,method=GET,protocol=http,zone=north";
    let start = format!("traefik.entrypoint.requests.total,{tags} count=1 ");
    assert!(text.lines().any(|line| line.starts_with(&start)), "{text}");
    assert!(text.contains("traefik.entrypoint.request.duration,"), "{text}");
    assert!(text.contains(" p50="), "{text}");
}

fn metrics(messages: &[Message]) -> Vec<ExportMetricsServiceRequest> {
    let decode = |message: &Message| ExportMetricsServiceRequest::decode(&*message.body).unwrap();
    messages.iter().map(decode).collect()
}

/// The metric in the newest message that has it.
fn metric(requests: &[ExportMetricsServiceRequest], name: &str) -> Option<Metric> {
    let all = requests.iter().rev().flat_map(|request| &request.resource_metrics);
    let mut all = all.flat_map(|one| &one.scope_metrics).flat_map(|one| &one.metrics);
    all.find(|metric| metric.name == name).cloned()
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let pairs = attributes.iter().map(|one| {
        let value = one.value.as_ref().and_then(|value| value.value.clone());
        match value {
            Some(Value::StringValue(text)) => (one.key.clone(), text),
            other => panic!("{}: {other:?}", one.key),
        }
    });
    pairs.collect()
}

fn has(pairs: &[(String, String)], key: &str, value: &str) -> bool {
    pairs.iter().any(|(name, text)| name == key && text == value)
}

/// static.md §8 and §9: otlp over HTTP with endpoint, headers, serviceName, resourceAttributes, explicitBoundaries. A
/// collector that refuses for a while gets all of it later.
#[tokio::test]
async fn collectors_get_sums_over_http() {
    let (_backend, server) = echo("one", "http").await;
    let collector = Collector::http(2).await;
    let options = format!(
        "
log: {{level: INFO}}
metrics:
  otlp:
    serviceName: edge
    resourceAttributes: {{region: north}}
    pushInterval: 50ms
    explicitBoundaries: [0.5, 20]
    http: {{endpoint: 'http://{}', headers: {{x-key: secret}}}}
",
        collector.address
    );
    let running = Running::start(&startup(&options), &[("app.yml", &dynamic(&server))]).await;
    let find = |messages: &[Message]| metric(&metrics(messages), "traefik_service_requests_total");
    let found = collector.until("the sum", find).await;
    let Some(Data::Sum(sum)) = found.data else { panic!("no sum") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    let point = &sum.data_points[0];
    assert_eq!(point.value, Some(number_data_point::Value::AsDouble(1.0)));
    let labels = texts(&point.attributes);
    assert!(has(&labels, "service", "app@file") && has(&labels, "code", "200"), "{labels:?}");
    let messages = collector.messages();
    assert_eq!(messages[0].path, "/v1/metrics");
    assert_eq!(messages[0].header("x-key").as_deref(), Some("secret"));
    let requests = metrics(&messages);
    let resource = requests[0].resource_metrics[0].resource.clone().unwrap();
    let about = texts(&resource.attributes);
    assert!(has(&about, "service.name", "edge") && has(&about, "region", "north"), "{about:?}");
    let name = "traefik_entrypoint_request_duration_seconds";
    let Some(Data::Histogram(histogram)) = metric(&requests, name).unwrap().data else {
        panic!("no histogram")
    };
    assert_eq!(histogram.data_points[0].explicit_bounds, [0.5, 20.0]);
    assert_eq!(histogram.data_points[0].bucket_counts, [1, 0, 0]);
    let log = running.output();
    assert_eq!(log.matches("telemetry cannot be delivered").count(), 1, "{log}");
    assert_eq!(log.matches("telemetry is delivered again").count(), 1, "{log}");
}

/// static.md §9: otlp over gRPC with endpoint, insecure and headers.
#[tokio::test]
async fn collectors_get_sums_over_grpc() {
    let (_backend, server) = echo("one", "http").await;
    let collector = Collector::grpc().await;
    let options = format!(
        "
metrics:
  otlp:
    pushInterval: 50ms
    grpc: {{endpoint: '{}', insecure: true, headers: {{x-key: secret}}}}
",
        collector.address
    );
    let _running = Running::start(&startup(&options), &[("app.yml", &dynamic(&server))]).await;
    let find =
        |messages: &[Message]| metric(&metrics(messages), "traefik_entrypoint_requests_total");
    collector.until("the sum", find).await;
    let message = &collector.messages()[0];
    let method = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    assert_eq!(message.path, method);
    assert_eq!(message.header("x-key").as_deref(), Some("secret"));
}

/// static.md §9: tls of otlp with ca, cert and key, and with insecureSkipVerify.
#[tokio::test]
async fn collectors_are_reached_over_tls() {
    let (_backend, server) = echo("one", "http").await;
    let folder = Running::prepare("", &[]);
    let certificate = std::fs::read(folder.path().join("tls/cert.pem")).unwrap();
    let certificate = CertificateDer::from_pem_slice(&certificate).unwrap();
    let mut known = rustls::RootCertStore::empty();
    known.add(certificate.clone()).unwrap();
    let asks = WebPkiClientVerifier::builder(Arc::new(known)).build().unwrap();
    let key = || PrivateKeyDer::from_pem_file(folder.path().join("tls/key.pem")).unwrap();
    let config = |builder: ConfigBuilder<ServerConfig, WantsServerCert>| {
        builder.with_single_cert(vec![certificate.clone()], key()).unwrap()
    };
    let builder = ServerConfig::builder;
    let strict = Collector::https(config(builder().with_client_cert_verifier(asks))).await;
    let open = Collector::https(config(builder().with_no_client_auth())).await;
    let path = |name: &str| folder.path().join("tls").join(name).display().to_string();
    let shown = format!(
        "{{ca: '{}', cert: '{}', key: '{}'}}",
        path("cert.pem"),
        path("cert.pem"),
        path("key.pem")
    );
    for (collector, tls) in [(&strict, shown.as_str()), (&open, "{insecureSkipVerify: true}")] {
        let port = collector.address.port();
        let options = format!(
            "
metrics:
  otlp: {{pushInterval: 50ms, http: {{endpoint: 'https://localhost:{port}', tls: {tls}}}}}
"
        );
        let _running = Running::start(&startup(&options), &[("app.yml", &dynamic(&server))]).await;
        collector.until("a message", |messages| (!messages.is_empty()).then_some(())).await;
    }
}

/// Nobody is waited for: neither at the start nor at the end.
#[tokio::test]
async fn sinks_that_are_not_there_hold_nothing_up() {
    let (_backend, server) = echo("one", "http").await;
    let options = "
log: {level: WARN}
metrics:
  otlp: {pushInterval: 30ms, http: {endpoint: 'http://127.0.0.1:9'}}
  influxDB2: {address: 'http://127.0.0.1:9', token: t, org: o, bucket: b, pushInterval: 30ms}
  datadog: {address: 'unix:///nowhere/agent', pushInterval: 30ms}
";
    let mut running = Running::start(&startup(options), &[("app.yml", &dynamic(&server))]).await;
    running.until("/", |answer| answer.status == 200).await;
    running.signal("TERM");
    assert!(running.ended().await.success());
    let log = running.output();
    for sink in ["metrics.otlp", "metrics.influxDB2", "metrics.datadog"] {
        let told = log.lines().filter(|line| line.contains("telemetry") && line.contains(sink));
        assert_eq!(told.count(), 1, "{sink}\n{log}");
    }
}
