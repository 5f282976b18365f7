//! The span of a client's request: where a trace begins here, or goes on.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::request::Parts;
use ::http::{StatusCode, Version};

use super::context::{Context, TRACEPARENT, TRACESTATE};
use super::ids::Ids;
use super::span::{Kind, Span, first};
use super::{Tracer, Traces};

/// A request that may be traced.
pub(crate) struct Incoming<'a> {
    pub(crate) entry_point: &'a str,
    pub(crate) client: SocketAddr,
    /// What its router, or else its entry point, wants.
    pub(crate) traces: Traces,
    /// Its router is the program's own.
    pub(crate) internal: bool,
    /// Bytes of its body, where they are known.
    pub(crate) body: Option<u64>,
}

/// A request that is recorded: its spans end with its response.
pub(crate) struct Recorded {
    /// Inside of the other one, so it ends first.
    metrics: Option<Span>,
    server: Span,
}

impl Tracer {
    /// The ids of a request, and its spans where it is recorded. The next one that is asked learns of it by `parts`.
    pub(crate) fn begin(
        self: &Arc<Self>,
        parts: &mut Parts,
        incoming: &Incoming<'_>,
    ) -> Option<(Ids, Option<Box<Recorded>>)> {
        if incoming.traces == Traces::None || (incoming.internal && !self.add_internals) {
            return None;
        }
        let came = parts.headers.get(&TRACEPARENT).filter(|_| self.propagates);
        let parent = came.and_then(Ids::parse);
        if came.is_some() && parent.is_none() {
            // What belongs to a context that cannot be read means nothing.
            parts.headers.remove(&TRACESTATE);
        }
        let mut ids = Ids::new(parent, rand::random(), false);
        ids.sampled = match parent {
            Some(parent) => parent.sampled,
            None => self.sampler.samples(ids.trace),
        };
        if !ids.sampled {
            if self.propagates {
                parts.headers.insert(TRACEPARENT.clone(), ids.header());
            }
            return Some((ids, None));
        }
        let state = parent.and_then(|_| parts.headers.get(&TRACESTATE)).cloned();
        let detailed = incoming.traces == Traces::Detailed;
        let context = Context { tracer: self.clone(), ids, state, detailed };
        let name = parts.method.as_str().to_owned();
        let mut server = Span::new(context, name, Kind::Server, parent, parent.is_some());
        server.text("entry_point", incoming.entry_point);
        server.server_request(&parts.method, &parts.uri, parts.version, &parts.headers);
        let forwarded = first(&parts.headers, "x-forwarded-for");
        server.peer((incoming.client.ip(), incoming.client.port()), &forwarded);
        if let Some(bytes) = incoming.body {
            server.body_size(bytes);
        }
        let metrics = server.context().of_entry_point_metrics();
        let recorded = Recorded { metrics, server };
        let inner = recorded.metrics.as_ref().unwrap_or(&recorded.server).context();
        inner.write(&mut parts.headers);
        parts.extensions.insert(inner.clone());
        Some((ids, Some(Box::new(recorded))))
    }
}

impl Recorded {
    /// The head of the response as the client gets it.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &::http::HeaderMap) {
        self.server.response(status, Version::HTTP_11, Some(headers));
    }
}
