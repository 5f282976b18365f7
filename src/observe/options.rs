//! Options of `log`, `accessLog`, `metrics` and `tracing`.
//!
//! Traefik v3: observability. Same keys, same defaults.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{ClientTls, Duration, Secret, is_default};

/// `log`: what the program says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Log {
    /// `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, `FATAL` or `PANIC` in any case. Default: ERROR, also for
    /// others. Release builds have no `TRACE` statements: there it is as `DEBUG`, with more of the libraries.
    pub(crate) level: String,
    /// `common` or `json`. Default: common.
    pub(crate) format: String,
    /// No colours. Default: false; always so with `filePath`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) no_color: bool,
    /// File to write to. Default: standard output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) file_path: String,
    /// Megabytes after which the file is rotated. Default: 0, that is 100.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_size: i64,
    /// Days that rotated files are kept. Default: 0, for ever.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_age: i64,
    /// Rotated files that are kept. Default: 0, all.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_backups: i64,
    /// Rotated files are compressed, as by Traefik, whatever it says. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) compress: bool,
    /// Also sends the lines to a collector. Needs `experimental.otlpLogs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp: Option<Otlp>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "ERROR".to_owned(),
            format: "common".to_owned(),
            no_color: false,
            file_path: String::new(),
            max_size: 0,
            max_age: 0,
            max_backups: 0,
            compress: false,
            otlp: None,
        }
    }
}

/// `accessLog`: one line for each request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AccessLog {
    /// File to write to. Default: standard output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) file_path: String,
    /// `common`, `genericCLF` or `json`. Default: common.
    pub(crate) format: String,
    /// Which requests are logged; any one filter is enough. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filters: Option<AccessLogFilters>,
    /// What is kept of each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fields: Option<AccessLogFields>,
    /// Lines that may wait to be written. Default: 0, each is written at once.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) buffering_size: i64,
    /// Also logs requests to the program's own routers. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_internals: bool,
    /// With `otlp`: also writes the lines here. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) dual_output: bool,
    /// Sends the lines to a collector. Needs `experimental.otlpLogs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp: Option<Otlp>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            file_path: String::new(),
            format: "common".to_owned(),
            filters: None,
            fields: None,
            buffering_size: 0,
            add_internals: false,
            dual_output: false,
            otlp: None,
        }
    }
}

/// `accessLog.filters`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AccessLogFilters {
    /// Statuses or ranges such as `500-599`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) status_codes: Vec<String>,
    /// Requests that were tried again. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) retry_attempts: bool,
    /// Requests that took at least so long. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) min_duration: Duration,
}

/// `accessLog.fields`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AccessLogFields {
    /// `keep` or `drop` for fields that `names` does not list. Default: keep.
    pub(crate) default_mode: String,
    /// `keep` or `drop` by name of the field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) names: BTreeMap<String, String>,
    /// What is kept of headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<AccessLogHeaders>,
    /// What is kept of query parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query_parameters: Option<AccessLogQuery>,
}

impl Default for AccessLogFields {
    fn default() -> Self {
        Self {
            default_mode: "keep".to_owned(),
            names: BTreeMap::new(),
            headers: None,
            query_parameters: None,
        }
    }
}

/// `accessLog.fields.headers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AccessLogHeaders {
    /// `keep`, `drop` or `redact` for headers that `names` does not list. Default: drop.
    pub(crate) default_mode: String,
    /// `keep`, `drop` or `redact` by name of the header.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) names: BTreeMap<String, String>,
}

impl Default for AccessLogHeaders {
    fn default() -> Self {
        Self { default_mode: "drop".to_owned(), names: BTreeMap::new() }
    }
}

/// `accessLog.fields.queryParameters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AccessLogQuery {
    /// `keep`, `drop` or `redact`. Default: keep.
    pub(crate) default_mode: String,
}

impl Default for AccessLogQuery {
    fn default() -> Self {
        Self { default_mode: "keep".to_owned() }
    }
}

/// `metrics`: a backend that is present is used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metrics {
    /// Also counts requests to the program's own routers. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_internals: bool,
    /// Answers Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prometheus: Option<Prometheus>,
    /// Pushes to Datadog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) datadog: Option<Datadog>,
    /// Pushes to `StatsD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stats_d: Option<StatsD>,
    /// Pushes to `InfluxDB` 2.
    #[serde(rename = "influxDB2", skip_serializing_if = "Option::is_none")]
    pub(crate) influx_db2: Option<InfluxDb2>,
    /// Pushes to an OpenTelemetry collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp: Option<OtlpMetrics>,
}

impl Metrics {
    /// The name of the first backend, as the API shows it.
    pub(crate) fn backend(&self) -> &'static str {
        let backends = [
            (self.prometheus.is_some(), "Prometheus"),
            (self.datadog.is_some(), "Datadog"),
            (self.stats_d.is_some(), "StatsD"),
            (self.influx_db2.is_some(), "InfluxDB2"),
            (self.otlp.is_some(), "OTLP"),
        ];
        backends.iter().find(|(used, _)| *used).map(|(_, name)| *name).unwrap_or_default()
    }
}

/// `metrics.prometheus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Prometheus {
    /// Upper bounds of the duration histograms in seconds. Default: 0.1, 0.3, 1.2, 5.
    pub(crate) buckets: Vec<f64>,
    /// Metrics by entry point. Default: true.
    pub(crate) add_entry_points_labels: bool,
    /// Metrics by router. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_routers_labels: bool,
    /// Metrics by service. Default: true.
    pub(crate) add_services_labels: bool,
    /// Entry point that answers `/metrics`. Default: traefik.
    pub(crate) entry_point: String,
    /// Makes no router; the user's own one names `prometheus@internal`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) manual_routing: bool,
    /// Labels taken from request headers, label to header; on `*_requests_total` only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) header_labels: BTreeMap<String, String>,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            buckets: vec![0.1, 0.3, 1.2, 5.0],
            add_entry_points_labels: true,
            add_routers_labels: false,
            add_services_labels: true,
            entry_point: "traefik".to_owned(),
            manual_routing: false,
            header_labels: BTreeMap::new(),
        }
    }
}

/// `metrics.datadog`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Datadog {
    /// Where the agent listens. Default: localhost:8125.
    pub(crate) address: String,
    /// Time between two pushes. Default: 10 s.
    pub(crate) push_interval: Duration,
    /// Put before all names. Default: traefik.
    pub(crate) prefix: String,
    /// Metrics by entry point. Default: true.
    pub(crate) add_entry_points_labels: bool,
    /// Metrics by router. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_routers_labels: bool,
    /// Metrics by service. Default: true.
    pub(crate) add_services_labels: bool,
}

impl Default for Datadog {
    fn default() -> Self {
        Self {
            address: "localhost:8125".to_owned(),
            push_interval: Duration::from_secs(10),
            prefix: "traefik".to_owned(),
            add_entry_points_labels: true,
            add_routers_labels: false,
            add_services_labels: true,
        }
    }
}

/// `metrics.statsD`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StatsD {
    /// Where the agent listens. Default: localhost:8125.
    pub(crate) address: String,
    /// Time between two pushes. Default: 10 s.
    pub(crate) push_interval: Duration,
    /// Put before all names. Default: traefik.
    pub(crate) prefix: String,
    /// Metrics by entry point. Default: true.
    pub(crate) add_entry_points_labels: bool,
    /// Metrics by router. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_routers_labels: bool,
    /// Metrics by service. Default: true.
    pub(crate) add_services_labels: bool,
}

impl Default for StatsD {
    fn default() -> Self {
        Self {
            address: "localhost:8125".to_owned(),
            push_interval: Duration::from_secs(10),
            prefix: "traefik".to_owned(),
            add_entry_points_labels: true,
            add_routers_labels: false,
            add_services_labels: true,
        }
    }
}

/// `metrics.influxDB2`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct InfluxDb2 {
    /// Address of the server. Default: `http://localhost:8086`.
    pub(crate) address: String,
    /// Token to show. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) token: Secret,
    /// Organisation. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) org: String,
    /// Bucket. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) bucket: String,
    /// Time between two pushes. Default: 10 s.
    pub(crate) push_interval: Duration,
    /// Labels on all metrics. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) additional_labels: BTreeMap<String, String>,
    /// Metrics by entry point. Default: true.
    pub(crate) add_entry_points_labels: bool,
    /// Metrics by router. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_routers_labels: bool,
    /// Metrics by service. Default: true.
    pub(crate) add_services_labels: bool,
}

impl Default for InfluxDb2 {
    fn default() -> Self {
        Self {
            address: "http://localhost:8086".to_owned(),
            token: Secret::default(),
            org: String::new(),
            bucket: String::new(),
            push_interval: Duration::from_secs(10),
            additional_labels: BTreeMap::new(),
            add_entry_points_labels: true,
            add_routers_labels: false,
            add_services_labels: true,
        }
    }
}

/// `metrics.otlp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OtlpMetrics {
    /// `service.name` of the resource. Default: traefik.
    pub(crate) service_name: String,
    /// Further attributes of the resource. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) resource_attributes: BTreeMap<String, String>,
    /// Upper bounds of the duration histograms in seconds. Default: 0.005 to 10.
    pub(crate) explicit_boundaries: Vec<f64>,
    /// Time between two pushes. Default: 10 s.
    pub(crate) push_interval: Duration,
    /// Metrics by entry point. Default: true.
    pub(crate) add_entry_points_labels: bool,
    /// Metrics by router. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_routers_labels: bool,
    /// Metrics by service. Default: true.
    pub(crate) add_services_labels: bool,
    /// OTLP over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<OtlpHttp>,
    /// OTLP over gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc: Option<OtlpGrpc>,
}

impl Default for OtlpMetrics {
    fn default() -> Self {
        Self {
            service_name: "traefik".to_owned(),
            resource_attributes: BTreeMap::new(),
            explicit_boundaries: vec![
                0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
            ],
            push_interval: Duration::from_secs(10),
            add_entry_points_labels: true,
            add_routers_labels: false,
            add_services_labels: true,
            http: None,
            grpc: None,
        }
    }
}

/// `tracing`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tracing {
    /// `service.name` of the resource. Default: traefik.
    pub(crate) service_name: String,
    /// Further attributes of the resource. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) resource_attributes: BTreeMap<String, String>,
    /// Deprecated: `resourceAttributes`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) global_attributes: BTreeMap<String, String>,
    /// Request headers to record. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) captured_request_headers: Vec<String>,
    /// Response headers to record. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) captured_response_headers: Vec<String>,
    /// Query parameters whose values are recorded; others are redacted. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) safe_query_params: Vec<String>,
    /// Share of requests that are traced, 0 to 1. Default: 1.
    pub(crate) sample_rate: f64,
    /// Also traces requests to the program's own routers. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_internals: bool,
    /// Where spans are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp: Option<TracingOtlp>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            service_name: "traefik".to_owned(),
            resource_attributes: BTreeMap::new(),
            global_attributes: BTreeMap::new(),
            captured_request_headers: Vec::new(),
            captured_response_headers: Vec::new(),
            safe_query_params: Vec::new(),
            sample_rate: 1.0,
            add_internals: false,
            otlp: None,
        }
    }
}

/// An OpenTelemetry collector of spans: `http` or `grpc`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TracingOtlp {
    /// OTLP over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<OtlpHttp>,
    /// OTLP over gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc: Option<OtlpGrpc>,
}

/// An OpenTelemetry collector of logs: `http` or `grpc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Otlp {
    /// `service.name` of the resource. Default: traefik.
    pub(crate) service_name: String,
    /// Further attributes of the resource. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) resource_attributes: BTreeMap<String, String>,
    /// OTLP over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<OtlpHttp>,
    /// OTLP over gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc: Option<OtlpGrpc>,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            service_name: "traefik".to_owned(),
            resource_attributes: BTreeMap::new(),
            http: None,
            grpc: None,
        }
    }
}

/// OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OtlpHttp {
    /// Address of the collector; its path is used if it has one. Default: `https://localhost:4318`.
    pub(crate) endpoint: String,
    /// Headers to send. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// TLS towards the collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
}

impl Default for OtlpHttp {
    fn default() -> Self {
        Self { endpoint: "https://localhost:4318".to_owned(), headers: BTreeMap::new(), tls: None }
    }
}

/// OTLP over gRPC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OtlpGrpc {
    /// `host:port` of the collector. Default: localhost:4317.
    pub(crate) endpoint: String,
    /// No TLS. Default: false; excludes `tls`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) insecure: bool,
    /// Headers to send. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// TLS towards the collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
}

impl Default for OtlpGrpc {
    fn default() -> Self {
        Self {
            endpoint: "localhost:4317".to_owned(),
            insecure: false,
            headers: BTreeMap::new(),
            tls: None,
        }
    }
}
