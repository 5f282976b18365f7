//! Runs the middlewares of a route, in order, then its service.

use async_trait::async_trait;

use super::Shared;
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
        Next { rest: &self.middlewares, last: &self.last }.run(request).await
    }
}

/// What comes behind a middleware. It is `Copy`: a retry runs it several times.
#[derive(Clone, Copy)]
pub(crate) struct Next<'a> {
    rest: &'a [Shared],
    last: &'a SharedHandler,
}

impl Next<'_> {
    pub(crate) async fn run(self, request: Request) -> Result<Response, ProxyError> {
        match self.rest.split_first() {
            Some((first, rest)) => first.handle(request, Next { rest, last: self.last }).await,
            None => self.last.handle(request).await,
        }
    }
}

#[cfg(test)]
impl<'a> Next<'a> {
    /// A chain that ends in `last` at once: for tests of single middlewares.
    pub(crate) fn directly(last: &'a SharedHandler) -> Self {
        Self { rest: &[], last }
    }
}
