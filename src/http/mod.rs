//! What a request is: the types that pass from the entry point through middlewares and services to a server.

pub(crate) mod body;
mod connection;
mod date;
mod error;
mod exchange;
pub(crate) mod forwarded;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod h3;
mod informational;
pub(crate) mod path;
mod request;
pub(crate) mod upgrade;

use std::sync::Arc;

use async_trait::async_trait;

pub(crate) use body::{Body, BodyError};
pub(crate) use connection::{Connection, TlsSession};
pub(crate) use error::{NothingSent, ProxyError, Side, plain_text};
pub(crate) use exchange::Exchange;
pub(crate) use informational::Informational;
pub(crate) use request::Request;
pub(crate) use upgrade::{OnUpgrade, Upgraded};

/// Among a request's extensions: the client's address is not appended to `X-Forwarded-For`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepForwardedFor;

/// A response on its way to the client.
pub(crate) type Response = ::http::Response<Body>;

/// Answers a request: a service, or an internal endpoint such as `ping@internal`.
#[async_trait]
pub(crate) trait Handler: Send + Sync {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError>;
}

/// A handler that others share.
pub(crate) type SharedHandler = Arc<dyn Handler>;
