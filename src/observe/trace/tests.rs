//! What of a request is recorded, and what the next one learns of it.

use ::http::request::Parts;
use ::http::{HeaderMap, Method, StatusCode, Uri, Version};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Data;

use super::context::{TRACEPARENT, TRACESTATE};
use super::*;
use crate::observe::otlp::testing::queue;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn tracer(options: &Options) -> (Arc<Tracer>, impl FnMut() -> Vec<Data> + use<>) {
    let (queue, taken) = queue();
    let metrics = Metrics { prometheus: Some(Default::default()), ..Default::default() };
    (Arc::new(Tracer::with(options, Some(&metrics), queue)), taken)
}

fn parts(headers: &[(&'static str, &str)]) -> Parts {
    let mut request = ::http::Request::builder().uri("/a/b?x=1&page=2");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn incoming(traces: Traces) -> Incoming<'static> {
    let client = "192.0.2.7:4711".parse().unwrap();
    Incoming { entry_point: "web", client, traces, internal: false, body: Some(3) }
}

/// An attribute as text.
fn shown(span: &Data, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(values) => format!("{} values", values.values.len()),
        other => panic!("{other:?}"),
    })
}

/// static.md §9: the server span is named by the method; attributes by the conventions.
#[test]
fn the_server_span_describes_the_request_and_its_response() {
    let options = Options {
        captured_request_headers: vec!["X-Tag".into(), "user-agent".into()],
        captured_response_headers: vec!["X-Answer".into()],
        safe_query_params: vec!["page".into()],
        ..Options::default()
    };
    let (tracer, mut taken) = tracer(&options);
    let mut parts = parts(&[
        ("host", "a.test:8080"),
        ("user-agent", "curl/8"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "203.0.113.9, 10.0.0.1"),
        ("x-tag", "one"),
        ("x-tag", "two"),
    ]);
    let (ids, recorded) = tracer.begin(&mut parts, &incoming(Traces::Minimal)).unwrap();
    let mut recorded = recorded.unwrap();
    let answer =
        HeaderMap::from_iter([(HeaderName::from_static("x-answer"), "1".parse().unwrap())]);
    recorded.answered(StatusCode::BAD_GATEWAY, &answer);
    assert!(taken().is_empty(), "it has not ended");
    drop(recorded);
    let spans = taken();
    let span = &spans[0];
    assert_eq!((spans.len(), span.name.as_str(), span.kind), (1, "GET", 2));
    assert_eq!(
        (span.trace_id.as_slice(), span.span_id.as_slice()),
        (&ids.trace[..], &ids.span[..])
    );
    assert!(span.parent_span_id.is_empty() && span.end_time_unix_nano >= span.start_time_unix_nano);
    for (key, value) in [
        ("entry_point", "web"),
        ("http.request.method", "GET"),
        ("http.request.body.size", "3"),
        ("network.protocol.version", "1.1"),
        ("url.path", "/a/b"),
        ("url.query", "page=2&x=REDACTED"),
        ("url.scheme", "https"),
        ("user_agent.original", "curl/8"),
        ("server.address", "a.test:8080"),
        ("network.peer.address", "192.0.2.7"),
        ("network.peer.port", "4711"),
        ("client.address", "203.0.113.9"),
        ("client.port", "4711"),
        ("http.request.header.x-tag", "2 values"),
        ("http.response.header.x-answer", "1 values"),
        ("http.response.status_code", "502"),
    ] {
        assert_eq!(shown(span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(shown(span, "http.request.header.user-agent"), None);
    assert_eq!(span.status.as_ref().unwrap().code, 2, "an error");
}

/// W3C Trace Context: the caller decides, and its state goes along.
#[test]
fn the_callers_decision_is_followed() {
    let (tracer, mut taken) = tracer(&Options { sample_rate: 0.0, ..Options::default() });
    let state = ("tracestate", "vendor=1");
    let mut sampled = parts(&[("traceparent", PARENT), state]);
    let (ids, recorded) = tracer.begin(&mut sampled, &incoming(Traces::Minimal)).unwrap();
    assert_eq!(ids.trace_hex(), "0af7651916cd43dd8448eb211c80319c");
    drop(recorded.unwrap());
    let span = &taken()[0];
    assert_eq!(crate::hex::lower(&span.parent_span_id), "b7ad6b7169203331");
    assert_eq!(span.trace_state, "vendor=1");
    assert_eq!(shown(span, "http.response.status_code").as_deref(), Some("499"), "no answer");

    let not = PARENT.replace("-01", "-00");
    let mut unsampled = parts(&[("traceparent", &not), state]);
    let (ids, recorded) = tracer.begin(&mut unsampled, &incoming(Traces::Detailed)).unwrap();
    assert!(recorded.is_none() && unsampled.extensions.is_empty());
    let told = unsampled.headers[&TRACEPARENT].to_str().unwrap();
    assert_eq!(told, format!("00-{}-{}-00", ids.trace_hex(), ids.span_hex()));
    assert_eq!(unsampled.headers[&TRACESTATE], "vendor=1");

    let mut broken = parts(&[("traceparent", "nonsense"), state]);
    let (ids, recorded) = tracer.begin(&mut broken, &incoming(Traces::Minimal)).unwrap();
    assert!(recorded.is_none() && !ids.sampled, "the rate is 0");
    assert!(!broken.headers.contains_key(&TRACESTATE));
    assert!(taken().is_empty());
}

#[test]
fn what_is_not_to_be_traced_is_left_alone() {
    let (tracer, mut taken) = tracer(&Options::default());
    let mut parts = parts(&[]);
    assert!(tracer.begin(&mut parts, &incoming(Traces::None)).is_none());
    let internal = Incoming { internal: true, ..incoming(Traces::Detailed) };
    assert!(tracer.begin(&mut parts, &internal).is_none());
    assert!(parts.headers.is_empty() && taken().is_empty());
    let (with, _) = self::tracer(&Options { add_internals: true, ..Options::default() });
    assert!(with.begin(&mut parts, &internal).is_some());
}

/// static.md §9: `detailed` adds spans between those of `minimal`.
#[test]
fn only_detailed_traces_have_inner_spans() {
    let (tracer, mut taken) = tracer(&Options::default());
    for (traces, names) in [
        (Traces::Minimal, &["ReverseProxy", "GET"][..]),
        (Traces::Detailed, &["ReverseProxy", "Router", "Metrics", "GET"]),
    ] {
        let mut parts = parts(&[]);
        let (_, recorded) = tracer.begin(&mut parts, &incoming(traces)).unwrap();
        let context = parts.extensions.get::<Context>().unwrap();
        let router = context.inner("Router");
        let inside = router.as_ref().map_or(context, Span::context);
        let mut client = inside.child("ReverseProxy", Kind::Client);
        let uri = Uri::from_static("/a?b=c");
        let asked = (&Method::GET, &parts.headers);
        client.client_request(asked, ("http", "[::1]:8080"), &uri);
        client.response(StatusCode::NOT_FOUND, Version::HTTP_2, None);
        let mut headers = HeaderMap::new();
        client.context().write(&mut headers);
        drop(client);
        drop(router);
        drop(recorded);
        let spans = taken();
        let found: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(found, names);
        for pair in spans.windows(2) {
            assert_eq!(pair[0].parent_span_id, pair[1].span_id, "each is in the next one");
        }
        let client = &spans[0];
        for (key, value) in [
            ("url.full", "http://[::1]:8080/a?b=REDACTED"),
            ("server.address", "::1"),
            ("server.port", "8080"),
            ("network.peer.address", "::1"),
            ("network.protocol.version", "2"),
            ("http.response.status_code", "404"),
        ] {
            assert_eq!(shown(client, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!((client.kind, client.status.as_ref().unwrap().code), (3, 2));
        let told = headers[&TRACEPARENT].to_str().unwrap();
        assert!(told.contains(&crate::hex::lower(&client.span_id)), "{told}");
    }
}

#[test]
fn propagators_are_chosen_by_the_environment() {
    for (variable, expected) in [
        (None, true),
        (Some(""), true),
        (Some("baggage,tracecontext"), true),
        (Some("baggage"), false),
        (Some("none"), false),
        (Some("b3"), false),
    ] {
        assert_eq!(propagates(variable), expected, "{variable:?}");
    }
}
