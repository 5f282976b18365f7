//! What a recorded request carries along.

use std::fmt;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue};

use super::ids::Ids;
use super::span::{Kind, Span};
use super::{Metered, Tracer};

pub(super) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The span that a request is in, among the request's extensions.
#[derive(Clone)]
pub(crate) struct Context {
    pub(super) tracer: Arc<Tracer>,
    pub(super) ids: Ids,
    /// `tracestate`, as it came.
    pub(super) state: Option<HeaderValue>,
    pub(super) detailed: bool,
}

impl Context {
    /// A span inside of this one.
    pub(crate) fn child(&self, name: impl Into<String>, kind: Kind) -> Span {
        let ids = Ids::new(Some(self.ids), rand::random(), true);
        let context = Self { ids, ..self.clone() };
        Span::new(context, name.into(), kind, Some(self.ids), false)
    }

    /// The same, for routers, middlewares and services: `None` unless these are told of.
    pub(crate) fn inner(&self, name: &str) -> Option<Span> {
        self.detailed.then(|| self.child(name, Kind::Internal))
    }

    /// The span that stands for the metrics of a router, where it has some.
    pub(crate) fn of_router_metrics(&self) -> Option<Span> {
        self.metrics("metrics-router", |metered| metered.routers)
    }

    /// The same of a service.
    pub(crate) fn of_service_metrics(&self) -> Option<Span> {
        self.metrics("metrics-service", |metered| metered.services)
    }

    /// The same of an entry point.
    pub(super) fn of_entry_point_metrics(&self) -> Option<Span> {
        self.metrics("metrics-entrypoint", |metered| metered.entry_points)
    }

    fn metrics(&self, name: &str, wanted: fn(&Metered) -> bool) -> Option<Span> {
        // Asked first: a span that is begun is sent.
        if !wanted(&self.tracer.metered) {
            return None;
        }
        let mut span = self.inner("Metrics")?;
        span.text("traefik.middleware.name", name);
        Some(span)
    }

    /// Tells whoever is asked next of this span.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if !self.tracer.propagates {
            return;
        }
        headers.insert(TRACEPARENT.clone(), self.ids.header());
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE.clone(), state.clone());
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("ids", &self.ids).finish_non_exhaustive()
    }
}
