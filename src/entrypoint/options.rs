//! Options of `entryPoints.NAME`: what operators write in the startup configuration.
//!
//! Traefik v3: install configuration, entry points. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::Duration;
use crate::observe::trace::Traces;
use crate::router::options::Tls;

/// An entry of `entryPoints`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Options {
    /// Where to listen: `[host]:port[/tcp|/udp]`. Required. Protocol: TCP.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) address: String,
    /// Lets routers of users serve ACME's HTTP and TLS challenges. Default: false.
    #[serde(rename = "allowACMEByPass", skip_serializing_if = "is_false")]
    pub(crate) allow_acme_by_pass: bool,
    /// Lets other processes listen on the same port (`SO_REUSEPORT`). Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) reuse_port: bool,
    /// Routers that name no entry point are on those with this set. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) as_default: bool,
    /// Timeouts of connections, and how the entry point ends.
    pub(crate) transport: Transport,
    /// Reads the PROXY protocol. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    /// Whose `X-Forwarded-*` headers are believed.
    pub(crate) forwarded_headers: ForwardedHeaders,
    /// What all HTTP routers of the entry point share.
    pub(crate) http: Http,
    /// HTTP/2 of clients.
    pub(crate) http2: Http2,
    /// Presence enables HTTP/3, for routers with TLS, on the UDP port of the same number. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http3: Option<Http3>,
    /// UDP sessions; used by `/udp` addresses only.
    pub(crate) udp: Udp,
    /// What is observed of requests, unless a router says otherwise. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observability: Option<Observability>,
}

impl Options {
    /// True for an entry point that takes datagrams.
    pub(crate) fn is_udp(&self) -> bool {
        self.address.to_ascii_lowercase().ends_with("/udp")
    }
}

/// `transport`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Transport {
    /// How the entry point ends.
    pub(crate) life_cycle: LifeCycle,
    /// Time limits of a client's connection.
    pub(crate) responding_timeouts: RespondingTimeouts,
    /// Age of a connection at which the response says `Connection: close`. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_zero_duration")]
    pub(crate) keep_alive_max_time: Duration,
    /// Number of requests after which the response says `Connection: close`. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) keep_alive_max_requests: u64,
}

/// `transport.lifeCycle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LifeCycle {
    /// How long to go on accepting after the order to end, while `ping` already says so. Default: 0.
    #[serde(skip_serializing_if = "is_zero_duration")]
    pub(crate) request_accept_grace_timeout: Duration,
    /// How long requests may then take to end before they are cut off. Default: 10 s.
    pub(crate) grace_time_out: Duration,
}

impl Default for LifeCycle {
    fn default() -> Self {
        Self {
            request_accept_grace_timeout: Duration::ZERO,
            grace_time_out: Duration::from_secs(10),
        }
    }
}

/// `transport.respondingTimeouts`. Zero means no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "Traefik's names")]
pub(crate) struct RespondingTimeouts {
    /// To read a request with its body; also a PROXY header, a `ClientHello`. Default: 60 s.
    pub(crate) read_timeout: Duration,
    /// To write a response, from the end of the request's head on. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_zero_duration")]
    pub(crate) write_timeout: Duration,
    /// How long a connection may wait for its next request. Default: 180 s.
    pub(crate) idle_timeout: Duration,
}

impl Default for RespondingTimeouts {
    fn default() -> Self {
        Self {
            read_timeout: Duration::from_secs(60),
            write_timeout: Duration::ZERO,
            idle_timeout: Duration::from_secs(180),
        }
    }
}

/// `proxyProtocol`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ProxyProtocol {
    /// Believes the header of any sender. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) insecure: bool,
    /// Addresses or networks whose header is believed; that of others is read and ignored. Default: none.
    #[serde(rename = "trustedIPs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) trusted_ips: Vec<String>,
}

/// `forwardedHeaders`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ForwardedHeaders {
    /// Believes the `X-Forwarded-*` headers of any client. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) insecure: bool,
    /// Addresses or networks whose `X-Forwarded-*` headers are believed. Default: none.
    #[serde(rename = "trustedIPs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) trusted_ips: Vec<String>,
    /// Headers that routers and middlewares see although `Connection` lists them. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) connection: Vec<String>,
    /// Leaves `X-Forwarded-For` without the client's own address. Default: false.
    #[serde(rename = "notAppendXForwardedFor", skip_serializing_if = "is_false")]
    pub(crate) not_append_x_forwarded_for: bool,
}

/// `http`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Http {
    /// Sends all requests elsewhere. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redirections: Option<Redirections>,
    /// Middlewares in front of those of each router; an unqualified name is looked up in the router's provider.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) middlewares: Vec<String>,
    /// TLS of routers that have no `tls` of their own. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Tls>,
    /// Which percent-encoded characters a path may hold. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoded_characters: Option<EncodedCharacters>,
    /// Encodes `;` in queries instead of taking it for `&`. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) encode_query_semicolons: bool,
    /// Resolves `.`, `..` and repeated slashes of paths before routing. Default: true.
    pub(crate) sanitize_path: bool,
    /// Size of a request's head in bytes, at most. Default: 1 MiB.
    pub(crate) max_header_bytes: u64,
    /// What is done with headers that have `_` in their name. Default: keep.
    pub(crate) underscore_headers_strategy: UnderscoreHeadersStrategy,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            redirections: None,
            middlewares: Vec::new(),
            tls: None,
            encoded_characters: None,
            encode_query_semicolons: false,
            sanitize_path: true,
            max_header_bytes: 1_048_576,
            underscore_headers_strategy: UnderscoreHeadersStrategy::default(),
        }
    }
}

/// `http.underscoreHeadersStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum UnderscoreHeadersStrategy {
    /// They go on as they are.
    #[default]
    Keep,
    /// They are dropped.
    Delete,
    /// The request is answered 400.
    Reject,
}

/// `http.redirections`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Redirections {
    /// Where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entry_point: Option<RedirectEntryPoint>,
}

/// `http.redirections.entryPoint`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RedirectEntryPoint {
    /// Name of an entry point, or `:port`. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) to: String,
    /// Scheme of the new address. Default: `https`.
    pub(crate) scheme: String,
    /// 301 or 308 instead of 302 or 307. Default: true.
    pub(crate) permanent: bool,
    /// Priority of the router that redirects. Default: 9223372036854775806.
    pub(crate) priority: i64,
}

impl Default for RedirectEntryPoint {
    fn default() -> Self {
        Self {
            to: String::new(),
            scheme: "https".to_owned(),
            permanent: true,
            priority: i64::MAX - 1,
        }
    }
}

/// `http.encodedCharacters`: a request whose path holds one that is not allowed is answered 400.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EncodedCharacters {
    /// `%2F`. Default: true.
    pub(crate) allow_encoded_slash: bool,
    /// `%5C`. Default: true.
    pub(crate) allow_encoded_back_slash: bool,
    /// `%00`. Default: true.
    pub(crate) allow_encoded_null_character: bool,
    /// `%3B`. Default: true.
    pub(crate) allow_encoded_semicolon: bool,
    /// `%25`. Default: true.
    pub(crate) allow_encoded_percent: bool,
    /// `%3F`. Default: true.
    pub(crate) allow_encoded_question_mark: bool,
    /// `%23`. Default: true.
    pub(crate) allow_encoded_hash: bool,
}

impl Default for EncodedCharacters {
    fn default() -> Self {
        Self {
            allow_encoded_slash: true,
            allow_encoded_back_slash: true,
            allow_encoded_null_character: true,
            allow_encoded_semicolon: true,
            allow_encoded_percent: true,
            allow_encoded_question_mark: true,
            allow_encoded_hash: true,
        }
    }
}

/// `http2`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "Traefik's names")]
pub(crate) struct Http2 {
    /// Requests at a time on one connection, at most. Default: 250.
    pub(crate) max_concurrent_streams: u32,
    /// Size in bytes of the table that a client's header compression may use, at most. Default: 4096.
    pub(crate) max_decoder_header_table_size: u32,
    /// Size in bytes of the table that our header compression uses, at most. Default: 4096.
    ///
    /// Differs: it is what the client allows, 4096 unless it says so; another value is named at start.
    pub(crate) max_encoder_header_table_size: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 250,
            max_decoder_header_table_size: 4096,
            max_encoder_header_table_size: 4096,
        }
    }
}

/// `http3`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Http3 {
    /// UDP port told to clients (`Alt-Svc`), where it is another one from outside. Default: 0, the entry point's own.
    #[serde(skip_serializing_if = "is_zero_port")]
    pub(crate) advertised_port: u16,
}

/// `udp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Udp {
    /// Silence after which a session ends. Default: 3 s.
    pub(crate) timeout: Duration,
}

impl Default for Udp {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3) }
    }
}

/// `observability`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Observability {
    /// Lines in the access log. Default: true.
    pub(crate) access_logs: bool,
    /// Metrics. Default: true.
    pub(crate) metrics: bool,
    /// Traces. Default: true.
    pub(crate) tracing: bool,
    /// How much traces tell. Default: minimal.
    pub(crate) trace_verbosity: TraceVerbosity,
}

impl Default for Observability {
    fn default() -> Self {
        Self {
            access_logs: true,
            metrics: true,
            tracing: true,
            trace_verbosity: TraceVerbosity::default(),
        }
    }
}

impl Observability {
    /// How much traces tell.
    pub(crate) fn traces(&self) -> Traces {
        match (self.tracing, self.trace_verbosity) {
            (false, _) => Traces::None,
            (true, TraceVerbosity::Minimal) => Traces::Minimal,
            (true, TraceVerbosity::Detailed) => Traces::Detailed,
        }
    }
}

/// `observability.traceVerbosity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TraceVerbosity {
    /// A span of the request and one of the server's answer.
    #[default]
    Minimal,
    /// Also a span of each middleware.
    Detailed,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero_port(value: &u16) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero_duration(value: &Duration) -> bool {
    *value == Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_entry_point_has_traefiks_defaults() {
        let options: Options = serde_json::from_str(r#"{"address":":80"}"#).unwrap();
        assert_eq!(
            serde_json::to_value(&options).unwrap(),
            serde_json::json!({
                "address": ":80",
                "transport": {
                    "lifeCycle": { "graceTimeOut": "10s" },
                    "respondingTimeouts": { "readTimeout": "1m0s", "idleTimeout": "3m0s" },
                },
                "forwardedHeaders": {},
                "http": {
                    "sanitizePath": true,
                    "maxHeaderBytes": 1_048_576,
                    "underscoreHeadersStrategy": "keep",
                },
                "http2": {
                    "maxConcurrentStreams": 250,
                    "maxDecoderHeaderTableSize": 4096,
                    "maxEncoderHeaderTableSize": 4096,
                },
                "udp": { "timeout": "3s" },
            })
        );
    }

    /// static.md §3, `observability.tracing` and `traceVerbosity`.
    #[test]
    fn entry_points_say_how_much_is_traced() {
        for (text, traces) in [
            ("{}", Traces::Minimal),
            (r#"{"traceVerbosity":"detailed"}"#, Traces::Detailed),
            (r#"{"tracing":false,"traceVerbosity":"detailed"}"#, Traces::None),
        ] {
            let options: Observability = serde_json::from_str(text).unwrap();
            assert_eq!(options.traces(), traces, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_equal() {
        let text = r#"{"address":"[::1]:443/tcp","allowACMEByPass":true,"reusePort":true,"asDefault":true,
            "transport":{"lifeCycle":{"requestAcceptGraceTimeout":5,"graceTimeOut":0},
              "respondingTimeouts":{"readTimeout":0,"writeTimeout":"1s","idleTimeout":0},
              "keepAliveMaxTime":"1h","keepAliveMaxRequests":7},
            "proxyProtocol":{"trustedIPs":["10.0.0.0/8"]},
            "forwardedHeaders":{"insecure":true,"trustedIPs":["::1"],"connection":["Foo"],"notAppendXForwardedFor":true},
            "http":{"redirections":{"entryPoint":{"to":":443","permanent":false}},"middlewares":["a@file"],
              "tls":{"options":"o","certResolver":"r","domains":[{"main":"m","sans":["s"]}]},
              "encodedCharacters":{"allowEncodedSlash":false},"encodeQuerySemicolons":true,"sanitizePath":false,
              "maxHeaderBytes":100,"underscoreHeadersStrategy":"reject"},
            "http2":{"maxConcurrentStreams":1},"http3":{"advertisedPort":443},"udp":{"timeout":1},
            "observability":{"metrics":false,"traceVerbosity":"detailed"}}"#;
        let options: Options = serde_json::from_str(text).unwrap();
        let again = serde_json::from_value(serde_json::to_value(&options).unwrap()).unwrap();
        assert_eq!(options, again);
    }
}
