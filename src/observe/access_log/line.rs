//! One line of the access log, in each format.

use std::borrow::Cow;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Version};
use itoa::Integer;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use time::UtcOffset;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::fields::{FIELDS, Field, Fields, Mode};
use super::{text, times};
use crate::observe::{Summary, otlp};

const REDACTED: &str = "REDACTED";

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// The Common Log Format with Traefik's additions.
    Common,
    /// The Common Log Format with referrer and user agent.
    Generic,
    Json,
}

/// What a line tells.
pub(super) struct Line<'a> {
    pub(super) summary: &'a Summary<'a>,
    pub(super) fields: &'a Fields,
    /// Number of the request since the start of the process.
    pub(super) count: u64,
    /// When the request ended, since the Unix epoch.
    pub(super) now: Duration,
    /// Of local time.
    pub(super) offset: UtcOffset,
}

impl Line<'_> {
    /// The line as attributes of a log record.
    pub(super) fn attributes(&self) -> Vec<KeyValue> {
        let mut all = Vec::new();
        for (field, name) in FIELDS.iter().filter(|(field, _)| self.fields.keeps(*field)) {
            self.member(&mut all, *field, name);
        }
        self.headers(&mut all, "request_", self.summary.request_headers);
        self.headers(&mut all, "downstream_", self.summary.response_headers);
        all
    }

    /// Appends the line to `out`, with its line feed.
    pub(super) fn write(&self, format: Format, out: &mut Vec<u8>) {
        match format {
            Format::Common => self.common(out),
            Format::Generic => {
                self.generic(out);
                out.push(b'\n');
            }
            Format::Json => self.json(out),
        }
    }

    fn common(&self, out: &mut Vec<u8>) {
        self.generic(out);
        out.push(b' ');
        self.number(out, Field::RequestCount, self.count);
        out.push(b' ');
        self.quoted(out, Field::RouterName, self.summary.router_name().as_deref());
        out.push(b' ');
        self.quoted(out, Field::ServiceUrl, self.summary.server_url.map(AsRef::as_ref));
        let kept = self.fields.keeps(Field::Duration);
        out.push(b' ');
        text::number(out, if kept { self.summary.duration.as_millis() } else { 0 });
        out.extend_from_slice(b"ms\n");
    }

    fn generic(&self, out: &mut Vec<u8>) {
        let summary = self.summary;
        self.plain(out, Field::ClientHost, &self.client_host());
        out.extend_from_slice(b" - ");
        self.plain(out, Field::ClientUsername, summary.username.unwrap_or_default());
        out.extend_from_slice(b" [");
        self.clf_time(out);
        out.extend_from_slice(b"] \"");
        self.plain(out, Field::RequestMethod, summary.method.as_str());
        out.push(b' ');
        self.plain(out, Field::RequestPath, &self.path());
        out.push(b' ');
        self.plain(out, Field::RequestProtocol, protocol(summary.version));
        out.extend_from_slice(b"\" ");
        self.number(out, Field::DownstreamStatus, summary.status);
        out.push(b' ');
        self.number(out, Field::DownstreamContentSize, summary.response_bytes);
        out.push(b' ');
        self.quoted_header(out, "referer");
        out.push(b' ');
        self.quoted_header(out, "user-agent");
    }

    /// A value outside of quotes; `-` where there is none.
    fn plain(&self, out: &mut Vec<u8>, field: Field, value: &str) {
        if value.is_empty() || !self.fields.keeps(field) {
            out.push(b'-');
        } else {
            text::escaped(out, value);
        }
    }

    fn number(&self, out: &mut Vec<u8>, field: Field, value: impl Integer) {
        if self.fields.keeps(field) { text::number(out, value) } else { out.push(b'-') }
    }

    fn quoted(&self, out: &mut Vec<u8>, field: Field, value: Option<&str>) {
        quote(out, value.filter(|_| self.fields.keeps(field)));
    }

    fn quoted_header(&self, out: &mut Vec<u8>, name: &str) {
        let value = self.summary.request_headers.and_then(|headers| headers.get(name));
        match (value, self.fields.header(name)) {
            (None, _) | (_, Mode::Drop) => quote(out, None),
            (Some(_), Mode::Redact) => quote(out, Some(REDACTED)),
            (Some(value), Mode::Keep) => quote(out, Some(&header_text(value))),
        }
    }

    fn start(&self) -> Duration {
        self.now.saturating_sub(self.summary.duration)
    }

    fn clf_time(&self, out: &mut Vec<u8>) {
        let offset = if self.fields.keeps(Field::StartUtc) {
            UtcOffset::UTC
        } else if self.fields.keeps(Field::StartLocal) {
            self.offset
        } else {
            out.push(b'-');
            return;
        };
        times::put_clf(out, self.start(), offset);
    }

    /// The whole of `X-Forwarded-For` where that is believed, else the client's address.
    fn client_host(&self) -> Cow<'_, str> {
        match self.summary.forwarded_for {
            Some(value) => header_text(value),
            None => text::address(self.summary.client.ip().to_canonical()).into(),
        }
    }

    /// The target, with its query as far as that is kept.
    fn path(&self) -> Cow<'_, str> {
        let Some(uri) = self.summary.uri else { return "".into() };
        let Some(target) = uri.path_and_query() else { return uri.to_string().into() };
        match (target.query(), self.fields.query) {
            (None, _) | (_, Mode::Keep) => target.as_str().into(),
            (Some(_), Mode::Drop) => target.path().into(),
            (Some(query), Mode::Redact) => format!("{}?{}", target.path(), redacted(query)).into(),
        }
    }

    fn json(&self, out: &mut Vec<u8>) {
        let mut object = Object { out, empty: true };
        for (field, name) in FIELDS {
            // Members stand in the order of their names.
            match field {
                Field::EntryPointName => {
                    self.headers(&mut object, "downstream_", self.summary.response_headers);
                }
                Field::SpanIdOtel => {
                    object.text("level", "info");
                    object.text("msg", "");
                    self.headers(&mut object, "request_", self.summary.request_headers);
                }
                Field::TraceIdOtel => {
                    let now = Duration::from_secs(self.now.as_secs());
                    object.time("time", now, self.offset);
                }
                _ => {}
            }
            if self.fields.keeps(field) {
                self.member(&mut object, field, name);
            }
        }
        out.extend_from_slice(b"}\n");
    }

    fn member(&self, object: &mut impl Members, field: Field, name: &str) {
        let summary = self.summary;
        let nanoseconds =
            |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        match field {
            Field::ClientAddr => object.text(name, &text::socket_address(summary.client)),
            Field::ClientHost => object.text(name, &self.client_host()),
            Field::ClientPort => {
                object.text(name, itoa::Buffer::new().format(summary.client.port()));
            }
            Field::ClientUsername => object.text(name, summary.username.unwrap_or("-")),
            Field::DownstreamContentSize => object.number(name, summary.response_bytes),
            Field::DownstreamStatus => object.number(name, summary.status),
            Field::Duration => object.number(name, nanoseconds(summary.duration)),
            Field::OriginDuration => object.number(name, nanoseconds(summary.origin_duration)),
            Field::OriginStatus => object.number(name, summary.origin_status),
            Field::Overhead => {
                object.number(
                    name,
                    nanoseconds(summary.duration.saturating_sub(summary.origin_duration)),
                );
            }
            Field::RequestAddr => object.text(name, &self.host()),
            Field::RequestContentSize => object.number(name, summary.request_bytes),
            Field::RequestCount => object.number(name, self.count),
            Field::RequestHost => object.text(name, split_host(&self.host()).0),
            Field::RequestMethod => object.text(name, summary.method.as_str()),
            Field::RequestPath => object.text(name, &self.path()),
            Field::RequestPort => object.text(name, split_host(&self.host()).1),
            Field::RequestProtocol => object.text(name, protocol(summary.version)),
            Field::RequestScheme => {
                object.text(name, if summary.tls.is_some() { "https" } else { "http" });
            }
            Field::RetryAttempts => object.number(name, summary.retry_attempts),
            Field::RouterName => object.text_of(name, summary.router_name()),
            Field::ServiceAddr => object.text_of(name, summary.server_address),
            Field::ServiceName => object.text_of(name, summary.service),
            Field::ServiceUrl => object.text_of(name, summary.server_url),
            Field::StartLocal => {
                object.time(name, self.start(), self.offset);
            }
            Field::StartUtc => object.time(name, self.start(), UtcOffset::UTC),
            Field::TlsCipher => object.text_of(name, summary.tls.as_ref().map(|tls| tls.cipher)),
            Field::TlsClientSubject => {
                let certificate = summary.tls.as_ref().and_then(|tls| tls.client_certificate);
                object.text_of(name, certificate.and_then(subject));
            }
            Field::TlsVersion => object.text_of(name, summary.tls.as_ref().map(|tls| tls.version)),
            Field::EntryPointName => object.text(name, summary.entry_point),
            Field::SpanId | Field::SpanIdOtel => {
                object.text_of(name, summary.trace.map(|ids| ids.span_hex()));
            }
            Field::TraceId | Field::TraceIdOtel => {
                object.text_of(name, summary.trace.map(|ids| ids.trace_hex()));
            }
        }
    }

    fn host(&self) -> Cow<'_, str> {
        self.summary.host.map(header_text).unwrap_or_default()
    }

    /// Headers under their canonical names, in the order of these. Values of a name are joined by `,`.
    fn headers(&self, object: &mut impl Members, prefix: &str, headers: Option<&HeaderMap>) {
        let Some(headers) = headers else { return };
        let mut names: Vec<&str> = headers.keys().map(::http::HeaderName::as_str).collect();
        names.sort_unstable();
        for name in names {
            let value = match self.fields.header(name) {
                Mode::Drop => continue,
                Mode::Redact => REDACTED.to_owned(),
                Mode::Keep => {
                    let values: Vec<_> = headers.get_all(name).iter().map(header_text).collect();
                    values.join(",")
                }
            };
            object.text(&format!("{prefix}{}", canonical(name)), &value);
        }
    }
}

/// Takes the members of a line, one after the other.
trait Members {
    fn text(&mut self, name: &str, value: &str);

    fn number(&mut self, name: &str, value: impl Into<u64>);

    fn time(&mut self, name: &str, since_epoch: Duration, offset: UtcOffset);

    /// Leaves the member out where there is no value.
    fn text_of(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.text(name, value.as_ref());
        }
    }
}

/// A JSON object that is being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl Object<'_> {
    /// Names are ours, or tokens of HTTP: nothing in them needs an escape.
    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(if self.empty { b"{\"" } else { b",\"" });
        self.empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

impl Members for Object<'_> {
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        text::json(self.out, value);
    }

    fn time(&mut self, name: &str, since_epoch: Duration, offset: UtcOffset) {
        self.name(name);
        self.out.push(b'"');
        times::put_rfc3339(self.out, since_epoch, offset);
        self.out.push(b'"');
    }

    fn number(&mut self, name: &str, value: impl Into<u64>) {
        self.name(name);
        text::number(self.out, value.into());
    }
}

/// Attributes of a log record.
impl Members for Vec<KeyValue> {
    fn text(&mut self, name: &str, value: &str) {
        self.push(otlp::text(name, value));
    }

    fn number(&mut self, name: &str, value: impl Into<u64>) {
        self.push(otlp::int(name, i64::try_from(value.into()).unwrap_or(i64::MAX)));
    }

    fn time(&mut self, name: &str, since_epoch: Duration, offset: UtcOffset) {
        let mut text = Vec::new();
        times::put_rfc3339(&mut text, since_epoch, offset);
        self.push(otlp::text(name, String::from_utf8_lossy(&text)));
    }
}

fn quote(out: &mut Vec<u8>, value: Option<&str>) {
    out.push(b'"');
    match value {
        None | Some("") => out.push(b'-'),
        Some(value) => text::escaped(out, value),
    }
    out.push(b'"');
}

fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    value.to_str().map_or_else(|_other| String::from_utf8_lossy(value.as_bytes()), Cow::Borrowed)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// Host and port; `-` for a port that is not there.
fn split_host(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name.trim_start_matches('[').trim_end_matches(']'), port)
        }
        _ => (host, "-"),
    }
}

/// Values of parameters go, their names stay.
fn redacted(query: &str) -> String {
    let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) => format!("{name}={REDACTED}"),
        None => parameter.to_owned(),
    });
    parameters.collect::<Vec<_>>().join("&")
}

/// `user-agent` as `User-Agent`.
fn canonical(name: &str) -> String {
    let mut upper = true;
    let letters = name.chars().map(|letter| {
        let cased = if upper { letter.to_ascii_uppercase() } else { letter };
        upper = letter == '-';
        cased
    });
    letters.collect()
}

/// The subject of a certificate, the most specific part first (RFC 4514).
fn subject(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let registry = x509_parser::objects::oid_registry();
    let mut parts: Vec<String> = certificate
        .subject()
        .iter_attributes()
        .map(|attribute| {
            let kind = attribute.attr_type();
            let name = x509_parser::objects::oid2abbrev(kind, registry)
                .map_or_else(|_unknown| kind.to_id_string(), ToOwned::to_owned);
            format!("{name}={}", attribute.as_str().unwrap_or_default())
        })
        .collect();
    parts.reverse();
    Some(parts.join(","))
}
