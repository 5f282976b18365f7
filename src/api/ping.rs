//! `/ping` and `/ready`: is this peer alive, may it get traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::StatusCode;

use crate::control::follow::View;
use crate::http::{Body, Handler, ProxyError, Request, Response, plain_text};

/// Set once, when shutdown begins.
#[derive(Clone, Default)]
pub(crate) struct Draining(Arc<AtomicBool>);

impl Draining {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn now(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// `ping@internal`: 200 `OK` for any method (api.md §8); below it, `/ready` (CLUSTER.md §4).
pub(crate) struct Ping {
    pub(crate) draining: Draining,
    /// While draining.
    pub(crate) terminating: StatusCode,
}

#[async_trait]
impl Handler for Ping {
    async fn handle(&self, _: Request) -> Result<Response, ProxyError> {
        let (status, text) = if self.draining.now() {
            (self.terminating, self.terminating.canonical_reason().unwrap_or_default())
        } else {
            (StatusCode::OK, "OK")
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        Ok(response)
    }
}

/// Whether this peer may get traffic, and if not, why.
#[derive(Clone)]
pub(crate) struct Readiness {
    pub(crate) draining: Draining,
    pub(crate) view: View,
    /// True where a cluster is configured: without a document of any provider, a peer has nothing to serve.
    pub(crate) cluster: bool,
}

impl Readiness {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let now = self.view.load();
        if self.draining.now() {
            return Err("draining");
        }
        if now.plans == 0 {
            return Err("no plan is in force yet");
        }
        if self.cluster && now.sources.is_empty() {
            return Err("nothing has been received from the cluster yet");
        }
        Ok(())
    }
}

/// Answers `/ready`.
#[async_trait]
impl Handler for Readiness {
    async fn handle(&self, _: Request) -> Result<Response, ProxyError> {
        Ok(match self.check() {
            Ok(()) => plain_text(StatusCode::OK, "ready\n"),
            Err(reason) => plain_text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        })
    }
}
