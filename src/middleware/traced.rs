//! A span around a middleware, for requests that are recorded in detail.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Middleware, Next, Shared};
use crate::http::{ProxyError, Request, Response};

/// A middleware of a chain, and the span that it has.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) middleware: Shared,
    /// Qualified name and type; absent where nothing is traced, and where the middleware makes its spans itself.
    pub(crate) span: Option<Box<(Arc<str>, &'static str)>>,
}

impl Link {
    /// What runs in a chain.
    pub(crate) fn shared(&self) -> Shared {
        match self.span.as_deref() {
            Some((name, kind)) => {
                let inner = Arc::clone(&self.middleware);
                Arc::new(Traced { name: Arc::clone(name), kind, inner })
            }
            None => Arc::clone(&self.middleware),
        }
    }
}

struct Traced {
    name: Arc<str>,
    kind: &'static str,
    inner: Shared,
}

#[async_trait]
impl Middleware for Traced {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let span = request.span().and_then(|span| span.inner(self.kind));
        let Some(mut span) = span else { return self.inner.handle(request, next).await };
        span.text("traefik.middleware.name", &*self.name);
        request.enter(&span);
        self.inner.handle(request, next).await
    }
}
