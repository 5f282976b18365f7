//! Traces at OpenTelemetry collectors, and what servers learn of them (static.md §9, http.md §2 `observability`).

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Data;
use prost::Message as _;
use tokio::net::TcpStream;

use super::{hex, startup};
use crate::support::backend::{Backend, Record};
use crate::support::collector::{Collector, Message};
use crate::support::h1::{Reader, joined};
use crate::support::running::{Answer, Running, echo, eventually, get, send};

/// Batches are sent soon.
const SOON: &[(&str, &str)] = &[("OTEL_BSP_SCHEDULE_DELAY", "30")];
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A span in words.
#[derive(Debug, Clone)]
struct Span {
    name: String,
    kind: i32,
    trace: String,
    id: String,
    parent: String,
    attributes: BTreeMap<String, String>,
    failed: bool,
}

impl Span {
    fn of(data: &Data) -> Self {
        let attributes = data.attributes.iter().map(|one| {
            let value = match one.value.as_ref().and_then(|value| value.value.clone()) {
                Some(Value::StringValue(text)) => text,
                Some(Value::IntValue(number)) => number.to_string(),
                other => format!("{other:?}"),
            };
            (one.key.clone(), value)
        });
        Self {
            name: data.name.clone(),
            kind: data.kind,
            trace: hex(&data.trace_id),
            id: hex(&data.span_id),
            parent: hex(&data.parent_span_id),
            attributes: attributes.collect(),
            failed: data.status.as_ref().is_some_and(|status| status.code == 2),
        }
    }

    fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map(String::as_str).unwrap_or_default()
    }
}

/// The spans of requests for `path`, outermost first.
fn spans(messages: &[Message], path: &str) -> Vec<Span> {
    let requests = messages.iter().map(|message| {
        ExportTraceServiceRequest::decode(&*message.body).expect("a message of spans")
    });
    let all: Vec<Span> = requests
        .flat_map(|request| request.resource_spans)
        .flat_map(|one| one.scope_spans)
        .flat_map(|one| {
            assert_eq!(one.scope.unwrap().name, "github.com/traefik/traefik");
            one.spans
        })
        .map(|data| Span::of(&data))
        .collect();
    let server = all.iter().find(|span| span.kind == 2 && span.get("url.path") == path);
    let Some(server) = server.cloned() else { return Vec::new() };
    let mut found = vec![server];
    let mut place = 0;
    while place < found.len() {
        let id = found[place].id.clone();
        found.extend(all.iter().filter(|span| span.parent == id).cloned());
        place += 1;
    }
    found
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// Waits until there are so many spans of requests for `path`.
async fn until(collector: &Collector, path: &str, count: usize) -> Vec<Span> {
    let look = |messages: &[Message]| {
        let found = spans(messages, path);
        (found.len() >= count).then_some(found)
    };
    collector.until(&format!("{count} spans of {path}"), look).await
}

fn tracing(options: &str) -> String {
    startup(&format!(
        "accessLog: {{filePath: access.log, format: json}}\nmetrics: {{prometheus: {{manualRouting: true}}}}\n\
         tracing: {{{options}}}"
    ))
}

fn dynamic(server: &str) -> String {
    format!(
        "
http:
  routers:
    app: {{rule: 'PathPrefix(`/`)', service: app, priority: 1}}
    silent: {{rule: 'Path(`/silent`)', service: app, observability: {{tracing: false}}}}
    full:
      rule: 'Path(`/full`)'
      service: app
      middlewares: [both]
      observability: {{traceVerbosity: detailed}}
    down: {{rule: 'Path(`/down`)', service: down, middlewares: [again]}}
    told: {{rule: 'Path(`/told`)', service: down, middlewares: [again], observability: {{traceVerbosity: detailed}}}}
    asked: {{rule: 'Path(`/asked`)', service: app, middlewares: [ask]}}
  middlewares:
    both: {{chain: {{middlewares: [tag, limit]}}}}
    tag: {{headers: {{customRequestHeaders: {{X-Tag: 'yes'}}}}}}
    limit: {{rateLimit: {{average: 1000, burst: 1000}}}}
    again: {{retry: {{attempts: 3}}}}
    ask: {{forwardAuth: {{address: 'http://{server}/may'}}}}
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{server}'}}]}}}}
    down: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:9'}}]}}}}
"
    )
}

async fn running(options: &str, server: &str) -> Running {
    let folder = Running::prepare(&tracing(options), &[("app.yml", &dynamic(server))]);
    let running = Running::start_with(folder, SOON).await;
    running.until("/warm", |answer| answer.status == 200).await;
    running
}

/// A request with these headers.
async fn ask_with(running: &Running, path: &str, headers: &str) -> Answer {
    let stream = TcpStream::connect(running.address("web")).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    send(&mut Reader::new(stream), request.as_bytes()).await.unwrap()
}

fn seen(backend: &Backend, path: &str) -> Record {
    let found = backend.all(0).into_iter().find(|record| record.target.starts_with(path));
    found.expect("the server has got it")
}

/// The line of a request in the access log.
async fn line(running: &Running, path: &str) -> serde_json::Value {
    eventually("the line of the access log", || async {
        let text = std::fs::read_to_string(running.path("access.log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let mut lines = lines.filter(|line: &serde_json::Value| {
            line["RequestPath"].as_str().is_some_and(|target| target.starts_with(path))
        });
        lines.next()
    })
    .await
}

/// static.md §9: otlp.http, serviceName, safeQueryParams, capturedRequestHeaders, capturedResponseHeaders; W3C contexts
/// in and out; §7: `TraceId`, `SpanId`.
#[tokio::test]
async fn a_trace_goes_on_from_the_client_to_the_server() {
    let (backend, server) = echo("one", "http").await;
    let collector = Collector::http(0).await;
    let options = format!(
        "otlp: {{http: {{endpoint: 'http://{}'}}}}, serviceName: edge, safeQueryParams: [page], \
         resourceAttributes: {{region: north}}, globalAttributes: {{zone: seven}}, \
         capturedRequestHeaders: [X-Tag], capturedResponseHeaders: [X-Backend]",
        collector.address
    );
    let running = running(&options, &server).await;
    let headers = format!(
        "traceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: vendor=1\r\nbaggage: user=7\r\nX-Tag: a\r\n"
    );
    let answer = ask_with(&running, "/path?page=2&token=secret", &headers).await;
    assert_eq!(answer.status, 200);
    let found = until(&collector, "/path", 2).await;
    assert_eq!(names(&found), ["GET", "ReverseProxy"]);
    let [outer, client] = &found[..] else { unreachable!() };
    assert_eq!((outer.kind, client.kind), (2, 3));
    assert_eq!((outer.trace.as_str(), outer.parent.as_str()), (TRACE, CALLER));
    let told = seen(&backend, "/path");
    let header = |name: &str| joined(&told.headers, name).unwrap();
    assert_eq!(header("traceparent"), format!("00-{TRACE}-{}-01", client.id));
    assert_eq!((header("tracestate").as_str(), header("baggage").as_str()), ("vendor=1", "user=7"));
    for (key, value) in [
        ("entry_point", "web"),
        ("url.query", "page=2&token=REDACTED"),
        ("url.scheme", "http"),
        ("server.address", "localhost"),
        ("client.address", "127.0.0.1"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(outer.get(key), value, "{key}");
    }
    assert!(outer.get("http.request.header.x-tag").contains('a'));
    assert!(outer.get("http.response.header.x-backend").contains("one"));
    assert_eq!(client.get("url.full"), format!("http://{server}/path?page=2&token=REDACTED"));
    assert_eq!(client.get("http.response.status_code"), "200");
    let line = line(&running, "/path").await;
    for (field, value) in [
        ("TraceId", TRACE),
        ("trace_id", TRACE),
        ("SpanId", outer.id.as_str()),
        ("span_id", outer.id.as_str()),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    let message = &collector.messages()[0];
    assert_eq!(message.path, "/v1/traces");
    let text = String::from_utf8_lossy(&message.body);
    assert!(["edge", "north", "seven"].iter().all(|word| text.contains(word)), "the resource");
}

/// static.md §9: otlp.grpc; http.md §2: `traceVerbosity: detailed`.
#[tokio::test]
async fn detailed_traces_show_what_is_passed() {
    let (_backend, server) = echo("one", "http").await;
    let collector = Collector::grpc().await;
    let options = format!("otlp: {{grpc: {{endpoint: '{}', insecure: true}}}}", collector.address);
    let running = running(&options, &server).await;
    assert_eq!(get(running.address("web"), "/full").await.unwrap().status, 200);
    let found = until(&collector, "/full", 8).await;
    let expected = [
        "GET",
        "Metrics",
        "Router",
        "Headers",
        "RateLimiter",
        "Service",
        "Metrics",
        "ReverseProxy",
    ];
    assert_eq!(names(&found), expected);
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert_eq!(collector.messages()[0].path, path);
    for (place, key, value) in [
        (1, "traefik.middleware.name", "metrics-entrypoint"),
        (2, "traefik.router.name", "full@file"),
        (2, "traefik.service.name", "app@file"),
        (2, "http.route", "Path(`/full`)"),
        (3, "traefik.middleware.name", "tag@file"),
        (4, "traefik.middleware.name", "limit@file"),
        (5, "traefik.service.name", "app@file"),
        (6, "traefik.middleware.name", "metrics-service"),
    ] {
        assert_eq!(found[place].get(key), value, "{key} of {}", found[place].name);
    }
}

/// static.md §9: `Retry` per attempt, `http.request.resend_count` from the second; one client span a try.
#[tokio::test]
async fn each_try_has_a_client_span() {
    let (_backend, server) = echo("one", "http").await;
    let collector = Collector::http(0).await;
    let options = format!("otlp: {{http: {{endpoint: 'http://{}'}}}}", collector.address);
    let running = running(&options, &server).await;
    assert_eq!(get(running.address("web"), "/down").await.unwrap().status, 502);
    let found = until(&collector, "/down", 4).await;
    assert_eq!(names(&found), ["GET", "ReverseProxy", "ReverseProxy", "ReverseProxy"]);
    for client in &found[1..] {
        assert!(client.failed && client.get("http.response.status_code") == "502", "{client:?}");
        assert_eq!(client.get("server.port"), "9");
    }
    assert!(found[0].failed, "502 is an error to the client, too");
    assert_eq!(get(running.address("web"), "/told").await.unwrap().status, 502);
    let found = until(&collector, "/told", 15).await;
    let tries: Vec<&Span> = found.iter().filter(|span| span.name == "Retry").collect();
    let mut counts: Vec<&str> =
        tries.iter().map(|span| span.get("http.request.resend_count")).collect();
    counts.sort_unstable();
    assert_eq!(counts, ["", "1", "2"]);
    let clients = found.iter().filter(|span| span.name == "ReverseProxy");
    assert_eq!(clients.count(), 3);
}

/// static.md §9: `AuthRequest` client span for forwardAuth.
#[tokio::test]
async fn the_authenticator_is_told_of_the_trace() {
    let (backend, server) = echo("one", "http").await;
    let collector = Collector::http(0).await;
    let options = format!("otlp: {{http: {{endpoint: 'http://{}'}}}}", collector.address);
    let running = running(&options, &server).await;
    assert_eq!(get(running.address("web"), "/asked").await.unwrap().status, 200);
    let found = until(&collector, "/asked", 3).await;
    assert_eq!(names(&found), ["GET", "AuthRequest", "ReverseProxy"]);
    let told = joined(&seen(&backend, "/may").headers, "traceparent").unwrap();
    assert_eq!(told, format!("00-{}-{}-01", found[0].trace, found[1].id));
}

/// static.md §9: sampleRate; http.md §2: `observability.tracing`.
#[tokio::test]
async fn what_is_not_sampled_is_told_and_not_recorded() {
    let (backend, server) = echo("one", "http").await;
    let collector = Collector::http(0).await;
    let options =
        format!("otlp: {{http: {{endpoint: 'http://{}'}}}}, sampleRate: 0", collector.address);
    let running = running(&options, &server).await;
    assert_eq!(get(running.address("web"), "/free").await.unwrap().status, 200);
    let told = joined(&seen(&backend, "/free").headers, "traceparent").unwrap();
    assert!(told.ends_with("-00"), "{told}");
    let line = line(&running, "/free").await;
    assert!(told.contains(line["TraceId"].as_str().unwrap()), "{told} {line}");
    assert_eq!(get(running.address("web"), "/silent").await.unwrap().status, 200);
    assert_eq!(joined(&seen(&backend, "/silent").headers, "traceparent"), None);
    // The caller has decided otherwise.
    let headers = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n");
    ask_with(&running, "/wanted", &headers).await;
    until(&collector, "/wanted", 2).await;
    for path in ["/free", "/silent", "/warm"] {
        assert!(spans(&collector.messages(), path).is_empty(), "{path}");
    }
}

/// Spans that wait are sent when the program ends.
#[tokio::test]
async fn the_last_spans_are_sent_at_the_end() {
    let (_backend, server) = echo("one", "http").await;
    let collector = Collector::http(0).await;
    let options = format!("otlp: {{http: {{endpoint: 'http://{}'}}}}", collector.address);
    let folder = Running::prepare(&tracing(&options), &[("app.yml", &dynamic(&server))]);
    let late = [("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let mut running = Running::start_with(folder, &late).await;
    running.until("/last", |answer| answer.status == 200).await;
    assert!(collector.messages().is_empty());
    running.signal("TERM");
    assert!(running.ended().await.success());
    assert_eq!(spans(&collector.messages(), "/last").len(), 2);
}
