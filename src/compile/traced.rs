//! A span around a router, for requests that are recorded in detail.

use std::sync::Arc;

use crate::http::{Handler, ProxyError, Request, Response, SharedHandler};

/// A router whose requests may be recorded in detail.
pub(super) struct Traced {
    /// `name@provider`
    pub(super) router: Arc<str>,
    pub(super) rule: Arc<str>,
    /// `name@provider`
    pub(super) service: Arc<str>,
    pub(super) inner: SharedHandler,
}

#[async_trait::async_trait]
impl Handler for Traced {
    async fn handle(&self, mut request: Request) -> Result<Response, ProxyError> {
        let span = request.span().and_then(|span| span.inner("Router"));
        let Some(mut span) = span else { return self.inner.handle(request).await };
        span.text("traefik.service.name", &*self.service);
        span.text("traefik.router.name", &*self.router);
        span.text("http.route", &*self.rule);
        // Dropped before the span that it is in.
        let metrics = span.context().of_router_metrics();
        request.enter(metrics.as_ref().unwrap_or(&span));
        self.inner.handle(request).await
    }
}
