//! OTLP over HTTP and over gRPC: how messages get to a collector.
//!
//! Traefik v3: `otlp` of `metrics`, `tracing`, `log` and `accessLog`. Messages are compressed with gzip, as Traefik's.

mod batch;
mod resource;
#[cfg(test)]
pub(super) mod testing;
mod value;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE, TE, USER_AGENT};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;

use super::options::{OtlpGrpc, OtlpHttp};
use super::outlet::{Connect, Outlet, Reply};

pub(super) use batch::{Batches, Queue};
pub(super) use resource::resource;
pub(super) use value::{int, text, texts};

/// The scope of everything that is told, Traefik's own: what is made for Traefik finds it.
const SCOPE: &str = "github.com/traefik/traefik";
/// Characters of an answer that are shown.
const ANSWER_SHOWN_MAX: usize = 200;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// Where messages are sent, by the options of one signal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) http: Option<&'a OtlpHttp>,
    /// Wins where both are there.
    pub(super) grpc: Option<&'a OtlpGrpc>,
}

/// A failed delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// The same message may be taken later.
    pub(super) passing: bool,
}

/// Sends the messages of one signal.
pub(super) struct Exporter {
    outlet: Arc<dyn Outlet>,
    uri: Uri,
    headers: HeaderMap,
    grpc: bool,
}

impl Exporter {
    /// Does not connect yet. Fails on options that cannot work.
    pub(super) fn new(
        target: Target<'_>,
        signal: Signal,
        connect: Connect,
    ) -> Result<Self, String> {
        match target.grpc {
            Some(options) => Self::grpc(options, signal, connect),
            None => match target.http {
                Some(options) => Self::http(options, signal, connect),
                None => Self::http(&OtlpHttp::default(), signal, connect),
            },
        }
    }

    fn http(options: &OtlpHttp, signal: Signal, connect: Connect) -> Result<Self, String> {
        let endpoint = options.endpoint.as_str();
        let wrong = || format!("invalid collector endpoint `{endpoint}`: write `http://host:port`");
        let (scheme, rest) = endpoint.split_once("://").ok_or_else(wrong)?;
        if !matches!(scheme, "http" | "https") {
            return Err(wrong());
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, signal.path()),
        };
        let mut headers = headers(&options.headers)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        Ok(Self {
            outlet: connect(&format!("{scheme}://{authority}"), options.tls.as_ref())?,
            uri: path.parse().map_err(|_invalid| wrong())?,
            headers,
            grpc: false,
        })
    }

    fn grpc(options: &OtlpGrpc, signal: Signal, connect: Connect) -> Result<Self, String> {
        let endpoint = options.endpoint.as_str();
        if endpoint.contains('/') || !endpoint.contains(':') {
            return Err(format!("invalid collector endpoint `{endpoint}`: write `host:port`"));
        }
        let scheme = if options.insecure { "h2c" } else { "https" };
        let mut headers = headers(&options.headers)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        Ok(Self {
            outlet: connect(&format!("{scheme}://{endpoint}"), options.tls.as_ref())?,
            uri: Uri::from_static(signal.method()),
            headers,
            grpc: true,
        })
    }

    /// Sends a message, which is encoded.
    pub(super) async fn send(&self, message: &[u8]) -> Result<(), Failure> {
        let internal =
            |error: std::io::Error| Failure { reason: error.to_string(), passing: false };
        let packed = packed(message).map_err(internal)?;
        let body = if self.grpc {
            let length = u32::try_from(packed.len()).unwrap_or(u32::MAX);
            [&[1][..], &length.to_be_bytes(), &packed].concat()
        } else {
            packed
        };
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        let reply = self.outlet.post(request).await;
        let reply = reply.map_err(|reason| Failure { reason, passing: true })?;
        if self.grpc { grpc_result(&reply) } else { http_result(&reply) }
    }
}

fn packed(message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}

fn headers(options: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let agent = HeaderValue::from_static(concat!("pontoon/", env!("CARGO_PKG_VERSION")));
    headers.insert(USER_AGENT, agent);
    for (name, value) in options {
        let wrong = |what| format!("header `{name}` has an invalid {what}");
        let key = HeaderName::try_from(name).map_err(|_invalid| wrong("name"))?;
        let mut value = HeaderValue::try_from(value).map_err(|_invalid| wrong("value"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn http_result(reply: &Reply) -> Result<(), Failure> {
    if reply.status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&reply.body);
    let shown: String = text.chars().take(ANSWER_SHOWN_MAX).collect();
    Err(Failure {
        reason: format!("the collector answers {}: {}", reply.status, shown.trim()),
        // As OTLP says which may be sent again.
        passing: matches!(reply.status.as_u16(), 429 | 502 | 503 | 504),
    })
}

fn grpc_result(reply: &Reply) -> Result<(), Failure> {
    let passing = matches!(reply.status.as_u16(), 429 | 502 | 503 | 504);
    if reply.status != StatusCode::OK {
        let reason = format!("the collector answers {}", reply.status);
        return Err(Failure { reason, passing });
    }
    let either = |name: &str| reply.trailers.get(name).or_else(|| reply.headers.get(name));
    let text = |name: &str| either(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => Ok(()),
        "" => Err(Failure { reason: "the collector speaks no gRPC".to_owned(), passing: false }),
        code => Err(Failure {
            reason: format!("the collector answers gRPC status {code}: {}", text("grpc-message")),
            // Cancelled, deadline exceeded, resource exhausted, aborted, out of range, unavailable, data loss.
            passing: matches!(code, "1" | "4" | "8" | "10" | "11" | "14" | "15"),
        }),
    }
}

pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
