//! A whole small response: health probes, `forwardAuth`, documents of providers.

use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;

use super::Server;

/// Trailers of a fetched response, in its extensions where there were any.
#[derive(Debug, Clone)]
pub(crate) struct Trailers(pub(crate) HeaderMap);

/// Why there is no whole response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No connection could be made.
    #[error("connecting to {server}: {reason}")]
    Connect { server: String, reason: String },
    /// Not all of it came within the time limit.
    #[error("no whole response within {0:?}")]
    Timeout(Duration),
    /// The server broke off, or does not speak HTTP.
    #[error("talking to {server}: {reason}")]
    Broken { server: String, reason: String },
    /// The body is longer than the caller takes.
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    /// A redirect that cannot be followed.
    #[error("redirect: {0}")]
    Redirect(String),
}

impl Server {
    /// Asks this server. The request's URI is path and query; headers are sent as they are, `Host` is added if missing.
    /// A redirect is followed up to ten times, as Go's client does.
    #[expect(clippy::unused_async, reason = "the exchange comes with the connections")]
    pub(crate) async fn fetch(
        &self,
        request: ::http::Request<Bytes>,
        follow_redirects: bool,
        timeout: Duration,
        body_bytes_max: usize,
    ) -> Result<::http::Response<Bytes>, FetchError> {
        let (_, _, _) = (follow_redirects, timeout, body_bytes_max);
        drop(request);
        Err(FetchError::Connect {
            server: self.url().to_string(),
            reason: "connections to servers are not built yet".to_owned(),
        })
    }
}
