//! One request to one server, and its response.

use std::sync::Arc;

use super::{BuildError, Transport};
use crate::http::{ProxyError, Request, Response};

/// One server of a load balancer.
#[derive(Debug)]
pub(crate) struct Server {
    url: Arc<str>,
    transport: Arc<Transport>,
}

impl Server {
    /// A server at `url`, whose scheme is `http`, `https` or `h2c`.
    pub(crate) fn new(
        url: &str,
        preserve_path: bool,
        pass_host_header: bool,
        transport: Arc<Transport>,
    ) -> Result<Self, BuildError> {
        let bad = |problem| BuildError::Url { url: url.to_owned(), problem };
        let uri: ::http::Uri = url.parse().map_err(|_error| bad("is no URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https" | "h2c")) {
            return Err(bad("the scheme must be http, https or h2c"));
        }
        let (_, _) = (preserve_path, pass_host_header);
        Ok(Self { url: url.into(), transport })
    }

    /// As configured.
    pub(crate) fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// Sends `request` and gives the response, its body still on the way.
    #[expect(clippy::unused_async, reason = "the exchange comes with the connections")]
    pub(crate) async fn send(&self, request: Request) -> Result<Response, ProxyError> {
        drop(request);
        Err(ProxyError::Connect {
            server: self.url.to_string(),
            reason: "connections to servers are not built yet".to_owned(),
        })
    }
}
