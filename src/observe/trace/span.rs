//! One span. It ends when it is dropped, and goes to the queue then.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use ::http::header::USER_AGENT;
use ::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Outcome;
use opentelemetry_proto::tonic::trace::v1::{Span as Data, Status};

use super::context::Context;
use super::ids::Ids;
use super::query;
use crate::clock;
use crate::observe::otlp::{int, text, texts};

/// OTLP's bits: it is known whether the parent is elsewhere; it is.
const HAS_IS_REMOTE: u32 = 1 << 8;
const IS_REMOTE: u32 = 1 << 9;
const SAMPLED: u32 = 1;
/// nginx's code for a client that went away.
const GIVEN_UP: u16 = 499;

/// On which side of a call a span stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Server,
    Client,
    Internal,
}

/// A span that has not ended.
pub(crate) struct Span {
    context: Context,
    kind: Kind,
    /// There was a response, or what stands for one.
    answered: bool,
    data: Option<Box<Data>>,
}

impl Span {
    pub(super) fn new(
        context: Context,
        name: String,
        kind: Kind,
        parent: Option<Ids>,
        remote: bool,
    ) -> Self {
        let state = context.state.as_ref().and_then(|state| state.to_str().ok());
        let data = Data {
            trace_id: context.ids.trace.to_vec(),
            span_id: context.ids.span.to_vec(),
            trace_state: state.unwrap_or_default().to_owned(),
            parent_span_id: parent.map(|parent| parent.span.to_vec()).unwrap_or_default(),
            flags: SAMPLED | HAS_IS_REMOTE | if remote { IS_REMOTE } else { 0 },
            name,
            kind: match kind {
                Kind::Server => SpanKind::Server,
                Kind::Client => SpanKind::Client,
                Kind::Internal => SpanKind::Internal,
            }
            .into(),
            start_time_unix_nano: nanoseconds(clock::now()),
            ..Default::default()
        };
        Self { context, kind, answered: false, data: Some(Box::new(data)) }
    }

    /// What is inside of this span gets it as its context.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Adds an attribute.
    pub(crate) fn text(&mut self, key: &'static str, value: impl Into<String>) {
        self.set(text(key, value));
    }

    fn set(&mut self, attribute: KeyValue) {
        if let Some(data) = &mut self.data {
            data.attributes.push(attribute);
        }
    }

    /// Adds `http.request.resend_count`.
    pub(crate) fn resent(&mut self, times: u32) {
        self.set(int("http.request.resend_count", times.into()));
    }

    /// Says that it failed, and why.
    pub(crate) fn fail(&mut self, message: impl Into<String>) {
        self.answered = true;
        if let Some(data) = &mut self.data {
            data.status = Some(Status { message: message.into(), code: Outcome::Error.into() });
        }
    }

    /// Describes the request that is sent to `scheme://authority`.
    pub(crate) fn client_request(
        &mut self,
        (method, headers): (&Method, &HeaderMap),
        (scheme, authority): (&str, &str),
        uri: &Uri,
    ) {
        let (host, port) = host_and_port(authority);
        let port = port.unwrap_or(if scheme == "https" { 443 } else { 80 });
        let query = uri.query().unwrap_or_default();
        let query = query::redacted(query, &self.context.tracer.safe_parameters);
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{scheme}://{authority}{}{mark}{query}", uri.path());
        self.set(text("http.request.method", method.as_str()));
        self.set(text("url.full", url));
        self.set(text("url.scheme", scheme));
        self.set(user_agent(headers));
        self.set(text("network.peer.address", host));
        self.set(int("network.peer.port", port.into()));
        self.set(text("server.address", host));
        self.set(int("server.port", port.into()));
        self.request_headers(headers);
    }

    /// Describes the client's request.
    pub(super) fn server_request(
        &mut self,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
    ) {
        let query = uri.query().unwrap_or_default();
        let query = query::redacted(query, &self.context.tracer.safe_parameters);
        self.set(text("http.request.method", method.as_str()));
        self.set(text("network.protocol.version", protocol(version)));
        self.set(text("url.path", uri.path()));
        self.set(text("url.query", query));
        self.set(text("url.scheme", first(headers, "x-forwarded-proto").into_owned()));
        self.set(user_agent(headers));
        self.set(text("server.address", first(headers, "host").into_owned()));
        self.request_headers(headers);
    }

    /// Says who sent it. `forwarded` is what is believed of `X-Forwarded-For`.
    pub(super) fn peer(&mut self, (ip, port): (IpAddr, u16), forwarded: &str) {
        let peer = ip.to_canonical().to_string();
        let first = forwarded.split(',').next().unwrap_or_default().trim();
        let client = if first.is_empty() { peer.clone() } else { first.to_owned() };
        self.set(text("network.peer.address", peer));
        self.set(int("network.peer.port", port.into()));
        self.set(text("client.address", client));
        self.set(int("client.port", port.into()));
    }

    pub(super) fn body_size(&mut self, bytes: u64) {
        self.set(int("http.request.body.size", i64::try_from(bytes).unwrap_or(i64::MAX)));
    }

    fn request_headers(&mut self, headers: &HeaderMap) {
        let tracer = self.context.tracer.clone();
        for name in &tracer.request_headers {
            self.header("http.request.header.", name, headers);
        }
    }

    fn header(&mut self, prefix: &str, name: &::http::HeaderName, headers: &HeaderMap) {
        if headers.contains_key(name) {
            let values = headers.get_all(name).iter().map(|value| lossy(value).into_owned());
            self.set(texts(format!("{prefix}{name}"), values));
        }
    }

    /// Describes the response, whose head is here.
    pub(crate) fn response(
        &mut self,
        status: StatusCode,
        version: Version,
        headers: Option<&HeaderMap>,
    ) {
        if self.kind == Kind::Client {
            self.set(text("network.protocol.version", protocol(version)));
        }
        self.answered(status.as_u16());
        let tracer = self.context.tracer.clone();
        for name in &tracer.response_headers {
            if let Some(headers) = headers {
                self.header("http.response.header.", name, headers);
            }
        }
    }

    /// The status alone. Calls fail from 400 on, as their side sees it; what is answered from 500 on.
    pub(super) fn answered(&mut self, status: u16) {
        self.answered = true;
        self.set(int("http.response.status_code", status.into()));
        let fails_from = if self.kind == Kind::Client { 400 } else { 500 };
        if status >= fails_from {
            self.fail("");
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if !self.answered && self.kind != Kind::Internal {
            self.answered(GIVEN_UP);
        }
        if let Some(mut data) = self.data.take() {
            data.end_time_unix_nano = nanoseconds(clock::now());
            self.context.tracer.queue.add(*data);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn lossy(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

pub(super) fn first<'a>(headers: &'a HeaderMap, name: &str) -> Cow<'a, str> {
    headers.get(name).map(lossy).unwrap_or_default()
}

fn user_agent(headers: &HeaderMap) -> KeyValue {
    text("user_agent.original", headers.get(USER_AGENT).map(lossy).unwrap_or_default())
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// Without brackets.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}
