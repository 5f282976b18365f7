//! The way to a collector of telemetry: HTTP connections of its own.

use std::sync::Arc;
use std::time::Duration;

use ::http::Request;
use async_trait::async_trait;
use bytes::Bytes;

use super::{Server, Trailers, Transport};
use crate::config::value::ClientTls;
use crate::observe::{Outlet, Reply};

/// Longest time for one message and its answer.
const TIME_MAX: Duration = Duration::from_secs(10);
/// More of an answer is not read: nothing in it is needed.
const ANSWER_BYTES_MAX: usize = 1 << 20;

struct Collector {
    server: Server,
}

/// An outlet to the server at `url`, whose scheme is `http`, `https` or `h2c`. It does not connect yet.
pub(crate) fn outlet(url: &str, tls: Option<&ClientTls>) -> Result<Arc<dyn Outlet>, String> {
    let tls = tls.cloned().unwrap_or_default().read().map_err(|error| format!("tls: {error}"))?;
    let transport = Transport::of_client(&tls, 1).map_err(|error| format!("tls: {error}"))?;
    let server = Server::new(url, false, true, transport).map_err(|error| error.to_string())?;
    Ok(Arc::new(Collector { server }))
}

#[async_trait]
impl Outlet for Collector {
    async fn post(&self, request: Request<Bytes>) -> Result<Reply, String> {
        let fetched = self.server.fetch(request, false, TIME_MAX, ANSWER_BYTES_MAX).await;
        let (mut head, body) = fetched.map_err(|error| error.to_string())?.into_parts();
        let trailers = head.extensions.remove::<Trailers>().map(|Trailers(trailers)| trailers);
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            trailers: trailers.unwrap_or_default(),
            body,
        })
    }
}
