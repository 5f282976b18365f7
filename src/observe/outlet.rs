//! The way to a collector over HTTP. Whoever puts the program together says how connections are made.

use std::sync::Arc;

use ::http::{HeaderMap, Request, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;

use crate::config::value::ClientTls;

/// A server that takes whole requests.
#[async_trait]
pub(crate) trait Outlet: Send + Sync {
    /// Sends a request, whose URI is path and query, and waits for the whole answer.
    async fn post(&self, request: Request<Bytes>) -> Result<Reply, String>;
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Makes an outlet to the server at a URL, whose scheme is `http`, `https` or `h2c`.
pub(crate) type Connect = fn(&str, Option<&ClientTls>) -> Result<Arc<dyn Outlet>, String>;
