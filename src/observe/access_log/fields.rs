//! `accessLog.fields`: what is kept of each request.

use std::collections::HashMap;

use tracing::warn;

use crate::observe::options::AccessLogFields;

/// A field of a line. In the order of their names, in which JSON has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    ClientAddr,
    ClientHost,
    ClientPort,
    ClientUsername,
    DownstreamContentSize,
    DownstreamStatus,
    Duration,
    OriginDuration,
    OriginStatus,
    Overhead,
    RequestAddr,
    RequestContentSize,
    RequestCount,
    RequestHost,
    RequestMethod,
    RequestPath,
    RequestPort,
    RequestProtocol,
    RequestScheme,
    RetryAttempts,
    RouterName,
    ServiceAddr,
    ServiceName,
    ServiceUrl,
    SpanId,
    StartLocal,
    StartUtc,
    TlsCipher,
    TlsClientSubject,
    TlsVersion,
    TraceId,
    EntryPointName,
    /// OpenTelemetry's name of the same.
    SpanIdOtel,
    /// OpenTelemetry's name of the same.
    TraceIdOtel,
}

/// Fields under their names, in order.
pub(super) const FIELDS: [(Field, &str); 34] = [
    (Field::ClientAddr, "ClientAddr"),
    (Field::ClientHost, "ClientHost"),
    (Field::ClientPort, "ClientPort"),
    (Field::ClientUsername, "ClientUsername"),
    (Field::DownstreamContentSize, "DownstreamContentSize"),
    (Field::DownstreamStatus, "DownstreamStatus"),
    (Field::Duration, "Duration"),
    (Field::OriginDuration, "OriginDuration"),
    (Field::OriginStatus, "OriginStatus"),
    (Field::Overhead, "Overhead"),
    (Field::RequestAddr, "RequestAddr"),
    (Field::RequestContentSize, "RequestContentSize"),
    (Field::RequestCount, "RequestCount"),
    (Field::RequestHost, "RequestHost"),
    (Field::RequestMethod, "RequestMethod"),
    (Field::RequestPath, "RequestPath"),
    (Field::RequestPort, "RequestPort"),
    (Field::RequestProtocol, "RequestProtocol"),
    (Field::RequestScheme, "RequestScheme"),
    (Field::RetryAttempts, "RetryAttempts"),
    (Field::RouterName, "RouterName"),
    (Field::ServiceAddr, "ServiceAddr"),
    (Field::ServiceName, "ServiceName"),
    (Field::ServiceUrl, "ServiceURL"),
    (Field::SpanId, "SpanId"),
    (Field::StartLocal, "StartLocal"),
    (Field::StartUtc, "StartUTC"),
    (Field::TlsCipher, "TLSCipher"),
    (Field::TlsClientSubject, "TLSClientSubject"),
    (Field::TlsVersion, "TLSVersion"),
    (Field::TraceId, "TraceId"),
    (Field::EntryPointName, "entryPointName"),
    (Field::SpanIdOtel, "span_id"),
    (Field::TraceIdOtel, "trace_id"),
];

/// What is done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Keep,
    Drop,
    Redact,
}

impl Mode {
    /// What Traefik does not know, it takes for `default`.
    fn named(option: &str, name: &str, default: Self) -> Self {
        match name {
            "keep" => Self::Keep,
            "drop" => Self::Drop,
            "redact" => Self::Redact,
            "" => default,
            _ => {
                warn!(option, mode = name, "accessLog.fields: unknown mode; the default is used");
                default
            }
        }
    }
}

/// What is kept, resolved.
#[derive(Debug)]
pub(super) struct Fields {
    /// A bit for each field.
    kept: u64,
    headers_default: Mode,
    /// By name in lower case.
    headers: HashMap<String, Mode>,
    pub(super) query: Mode,
}

impl Fields {
    pub(super) fn new(options: Option<&AccessLogFields>) -> Self {
        let default = AccessLogFields::default();
        let options = options.unwrap_or(&default);
        let fallback = Mode::named("defaultMode", &options.default_mode, Mode::Keep);
        let mut kept = 0;
        for (field, name) in FIELDS {
            let named = options.names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let mode = named.map_or(fallback, |(name, mode)| Mode::named(name, mode, fallback));
            if mode != Mode::Drop {
                kept |= bit(field);
            }
        }
        let (headers_default, headers) = match &options.headers {
            None => (Mode::Drop, HashMap::new()),
            Some(headers) => {
                let default = Mode::named("headers.defaultMode", &headers.default_mode, Mode::Drop);
                let modes = headers.names.iter().map(|(name, mode)| {
                    (name.to_ascii_lowercase(), Mode::named(name, mode, default))
                });
                (default, modes.collect())
            }
        };
        let query = options.query_parameters.as_ref().map_or(Mode::Keep, |query| {
            Mode::named("queryParameters.defaultMode", &query.default_mode, Mode::Keep)
        });
        Self { kept, headers_default, headers, query }
    }

    pub(super) fn keeps(&self, field: Field) -> bool {
        self.kept & bit(field) != 0
    }

    /// `name` is in lower case.
    pub(super) fn header(&self, name: &str) -> Mode {
        self.headers.get(name).copied().unwrap_or(self.headers_default)
    }

    /// True if some header is kept.
    pub(super) fn any_header(&self) -> bool {
        self.headers_default != Mode::Drop || self.headers.values().any(|&mode| mode != Mode::Drop)
    }
}

fn bit(field: Field) -> u64 {
    1 << field as u64
}
