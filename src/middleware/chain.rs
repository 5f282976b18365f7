//! Runs the middlewares of a route, in order, then its service; and `chain`, which puts several under one name.
//!
//! Traefik v3: HTTP middlewares, `Chain`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Middleware, Shared, is_default};
use crate::http::{Handler, ProxyError, Request, Response, SharedHandler};

/// Middlewares in front of a handler. With none, it costs nothing beyond the handler's own call.
pub(crate) struct Chain {
    middlewares: Box<[Shared]>,
    last: SharedHandler,
}

impl Chain {
    pub(crate) fn new(middlewares: Vec<Shared>, last: SharedHandler) -> Self {
        Self { middlewares: middlewares.into(), last }
    }
}

#[async_trait]
impl Handler for Chain {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        Next { rest: &self.middlewares, last: Last::Handler(&self.last) }.run(request).await
    }
}

/// What comes behind a middleware. It is `Copy`: a retry runs it several times.
#[derive(Clone, Copy)]
pub(crate) struct Next<'a> {
    rest: &'a [Shared],
    last: Last<'a>,
}

/// What the middlewares end in: the service, or for those of a `chain` what comes behind the `chain`.
#[derive(Clone, Copy)]
enum Last<'a> {
    Handler(&'a SharedHandler),
    Outer(&'a Next<'a>),
}

impl Next<'_> {
    pub(crate) async fn run(self, request: Request) -> Result<Response, ProxyError> {
        match self.rest.split_first() {
            Some((first, rest)) => first.handle(request, Next { rest, last: self.last }).await,
            None => match self.last {
                Last::Handler(handler) => handler.handle(request).await,
                Last::Outer(next) => Box::pin(next.run(request)).await,
            },
        }
    }
}

#[cfg(test)]
impl<'a> Next<'a> {
    /// A chain that ends in `last` at once: for tests of single middlewares.
    pub(crate) fn directly(last: &'a SharedHandler) -> Self {
        Self { rest: &[], last: Last::Handler(last) }
    }
}

/// Options of `chain`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Chain")]
pub(crate) struct ChainOptions {
    /// Names of middlewares, run in this order.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) middlewares: Vec<String>,
}

impl Build for ChainOptions {
    fn build(&self, context: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let middlewares: Result<Vec<_>, _> =
            self.middlewares.iter().map(|name| context.lookup.middleware(name)).collect();
        Ok(Arc::new(Several { middlewares: middlewares?.into() }))
    }
}

struct Several {
    middlewares: Box<[Shared]>,
}

#[async_trait]
impl Middleware for Several {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        Next { rest: &self.middlewares, last: Last::Outer(&next) }.run(request).await
    }
}
