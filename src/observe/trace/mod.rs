//! `tracing`: spans of requests, as OpenTelemetry has them.
//!
//! Traefik v3: observability, tracing. Same names, kinds and attributes: a server span named by the method, a client span
//! `ReverseProxy` for each try, and with `traceVerbosity: detailed` spans of router, middlewares and service between.
//! Sampling follows the caller's decision, else the share of `sampleRate`. `OTEL_PROPAGATORS` may leave out
//! `tracecontext`; baggage passes as it is.
//!
//! Differs: `network.protocol.version` of HTTP/2 is `2`, as the conventions have it; a body of unknown size has no
//! `http.request.body.size`; spans of middlewares end with the head of the response; of `OTEL_PROPAGATORS` only
//! `tracecontext`, `baggage` and `none` are known.
//!
//! A request that is not recorded gets its ids and a header, and nothing else. A recorded one carries its [`Context`]
//! among its extensions.

mod context;
mod ids;
mod query;
mod sampler;
mod server;
mod span;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ::http::HeaderName;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Data};
use prost::Message as _;
use tracing::{error, warn};

use self::sampler::Sampler;
use super::options::{Metrics, Tracing as Options};
use super::otlp::{Batches, Exporter, Queue, Signal, Target, resource, scope};
use super::outlet::Connect;

pub(crate) use context::Context;
pub(crate) use ids::Ids;
pub(crate) use server::{Incoming, Recorded};
pub(crate) use span::{Kind, Span};

/// How much is told of a router's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traces {
    None,
    /// A span of the request and one of each try.
    Minimal,
    /// Also spans of router, middlewares and service.
    Detailed,
}

impl Traces {
    /// By the options `tracing` and `traceVerbosity`; what Traefik does not know is `minimal`.
    pub(crate) fn of(tracing: bool, verbosity: &str) -> Self {
        match (tracing, verbosity) {
            (false, _) => Self::None,
            (true, "detailed") => Self::Detailed,
            (true, _) => Self::Minimal,
        }
    }
}

/// Which scopes have metrics: they are spans of detailed traces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Metered {
    entry_points: bool,
    routers: bool,
    services: bool,
}

/// Spans that are to be sent.
pub(super) type Spans = Batches<Data>;

/// Begins traces, and takes the spans that have ended.
pub(crate) struct Tracer {
    sampler: Sampler,
    add_internals: bool,
    /// `traceparent` is read and written.
    propagates: bool,
    request_headers: Vec<HeaderName>,
    response_headers: Vec<HeaderName>,
    safe_parameters: Vec<String>,
    metered: Metered,
    queue: Queue<Data>,
}

impl Tracer {
    /// What `options` ask for, and where its spans go. `None` where they cannot go anywhere, which is said.
    pub(super) fn new(
        options: &Options,
        metrics: Option<&Metrics>,
        connect: Connect,
    ) -> Option<(Arc<Self>, Spans)> {
        let otlp = options.otlp.as_ref();
        let target = Target {
            http: otlp.and_then(|otlp| otlp.http.as_ref()),
            grpc: otlp.and_then(|otlp| otlp.grpc.as_ref()),
        };
        let exporter = Exporter::new(target, Signal::Traces, connect)
            .map_err(|problem| error!(problem, "tracing: cannot be used"))
            .ok()?;
        let attributes = options.global_attributes.iter().chain(&options.resource_attributes);
        let attributes = attributes.map(|(name, value)| (name.clone(), value.clone())).collect();
        let resource = resource(&options.service_name, &attributes);
        let encode = move |spans| message(&resource, spans);
        let (queue, batches) = Batches::new("tracing", "OTEL_BSP", exporter, Box::new(encode));
        Some((Arc::new(Self::with(options, metrics, queue)), batches))
    }

    fn with(options: &Options, metrics: Option<&Metrics>, queue: Queue<Data>) -> Self {
        Self {
            sampler: Sampler::new(options.sample_rate),
            add_internals: options.add_internals,
            propagates: propagates(std::env::var("OTEL_PROPAGATORS").ok().as_deref()),
            request_headers: names(&options.captured_request_headers),
            response_headers: names(&options.captured_response_headers),
            safe_parameters: options.safe_query_params.clone(),
            metered: metrics.map(metered).unwrap_or_default(),
            queue,
        }
    }
}

/// Whether any sink has metrics of a scope.
fn metered(metrics: &Metrics) -> Metered {
    let all = [
        metrics.prometheus.as_ref().map(|one| {
            (one.add_entry_points_labels, one.add_routers_labels, one.add_services_labels)
        }),
        metrics.datadog.as_ref().map(|one| {
            (one.add_entry_points_labels, one.add_routers_labels, one.add_services_labels)
        }),
        metrics.stats_d.as_ref().map(|one| {
            (one.add_entry_points_labels, one.add_routers_labels, one.add_services_labels)
        }),
        metrics.influx_db2.as_ref().map(|one| {
            (one.add_entry_points_labels, one.add_routers_labels, one.add_services_labels)
        }),
        metrics.otlp.as_ref().map(|one| {
            (one.add_entry_points_labels, one.add_routers_labels, one.add_services_labels)
        }),
    ];
    all.into_iter().flatten().fold(Metered::default(), |all, (entry_points, routers, services)| {
        Metered {
            entry_points: all.entry_points || entry_points,
            routers: all.routers || routers,
            services: all.services || services,
        }
    })
}

/// Whether trace contexts are passed on, by the variable's value.
fn propagates(variable: Option<&str>) -> bool {
    let Some(list) = variable.map(str::trim).filter(|list| !list.is_empty()) else { return true };
    for unknown in list.split(',').map(str::trim) {
        if !matches!(unknown, "tracecontext" | "baggage" | "none") {
            warn!(propagator = unknown, "OTEL_PROPAGATORS: unknown, and without effect");
        }
    }
    list.split(',').any(|name| name.trim() == "tracecontext")
}

/// Headers to record. `User-Agent` has an attribute of its own.
fn names(list: &[String]) -> Vec<HeaderName> {
    let names = list.iter().filter_map(|name| {
        let parsed = HeaderName::try_from(name.as_str());
        parsed.map_err(|_invalid| warn!(name, "tracing: no header can have this name")).ok()
    });
    names.filter(|name| *name != ::http::header::USER_AGENT).collect()
}

fn message(resource: &Resource, spans: Vec<Data>) -> Vec<u8> {
    let scope_spans = ScopeSpans { scope: Some(scope()), spans, ..Default::default() };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![scope_spans],
            ..Default::default()
        }],
    };
    request.encode_to_vec()
}
