//! A whole small response: health probes, `forwardAuth`, documents of providers.

use std::borrow::Cow;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION};
use ::http::request::Parts;
use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, Method, StatusCode, Uri};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::exchange::Way;
use super::{Server, headers};
use crate::http::{Body, ProxyError};

/// As many as Go's client follows.
const REDIRECTS_MAX: usize = 10;

/// Trailers of a fetched response, in its extensions where there were any: gRPC's status is among them.
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
    #[error("redirect to `{location}`: {problem}")]
    Redirect { location: String, problem: &'static str },
}

impl Server {
    /// Asks this server. The request's URI is path and query, sent as it is, whatever the server's own path; headers are
    /// sent as they are, `Host` is added if missing. With `follow_redirects`, up to ten are followed, to other servers
    /// too (over the same transport, without credentials), as Go's client does.
    pub(crate) async fn fetch(
        &self,
        request: ::http::Request<Bytes>,
        follow_redirects: bool,
        timeout: Duration,
        body_bytes_max: usize,
    ) -> Result<::http::Response<Bytes>, FetchError> {
        let whole = async {
            let (parts, body) = request.into_parts();
            if follow_redirects {
                self.follow(parts, body, body_bytes_max).await
            } else {
                self.fetch_once(parts, body, body_bytes_max).await
            }
        };
        tokio::time::timeout(timeout, whole)
            .await
            .map_err(|_elapsed| FetchError::Timeout(timeout))?
    }

    async fn follow(
        &self,
        mut parts: Parts,
        mut body: Bytes,
        body_bytes_max: usize,
    ) -> Result<::http::Response<Bytes>, FetchError> {
        let mut server = Cow::Borrowed(self);
        for _ in 0..=REDIRECTS_MAX {
            let response = server.fetch_once(parts.clone(), body.clone(), body_bytes_max).await?;
            let status = response.status();
            let Some(location) = redirected_to(status, response.headers()) else {
                return Ok(response);
            };
            let refused = |problem| FetchError::Redirect { location: location.to_owned(), problem };
            let (origin, target) = resolve(parts.uri.path(), location)
                .ok_or_else(|| refused("it is not understood"))?;
            if let Some(origin) = origin {
                let next = Self::new(&origin, false, true, server.transport().clone())
                    .map_err(|_error| refused("it is no server"))?;
                if next.address() != server.address() {
                    for name in [AUTHORIZATION, COOKIE] {
                        parts.headers.remove(name);
                    }
                }
                parts.headers.remove(HOST);
                server = Cow::Owned(next);
            }
            parts.uri = Uri::from(target);
            if !matches!(status.as_u16(), 307 | 308) {
                body = Bytes::new();
                parts.headers.remove(CONTENT_TYPE);
                parts.headers.remove(CONTENT_LENGTH);
                if parts.method != Method::HEAD {
                    parts.method = Method::GET;
                }
            }
        }
        let location = parts.uri.to_string();
        Err(FetchError::Redirect { location, problem: "there were more than ten" })
    }

    async fn fetch_once(
        &self,
        mut parts: Parts,
        body: Bytes,
        body_bytes_max: usize,
    ) -> Result<::http::Response<Bytes>, FetchError> {
        let way = Way { leaves_http: false, informational: None, started: Instant::now() };
        let answer = self.round_trip(&mut parts, &mut Body::from(body), way).await;
        let (mut head, mut body) = answer.map_err(from_proxy_error)?.response.into_parts();
        headers::clean_response(&mut head.headers);
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| FetchError::Broken {
                server: self.address().to_owned(),
                reason: error.to_string(),
            })?;
            match frame.into_data() {
                Ok(data) if bytes.len().saturating_add(data.len()) > body_bytes_max => {
                    return Err(FetchError::TooLarge(body_bytes_max));
                }
                Ok(data) => bytes.extend_from_slice(&data),
                Err(other) => {
                    if let Ok(trailers) = other.into_trailers() {
                        head.extensions.insert(Trailers(trailers));
                    }
                }
            }
        }
        Ok(::http::Response::from_parts(head, bytes.freeze()))
    }
}

fn from_proxy_error(error: ProxyError) -> FetchError {
    match error {
        ProxyError::Connect { server, reason } | ProxyError::Certificate { server, reason } => {
            FetchError::Connect { server, reason }
        }
        ProxyError::ConnectTimeout { server } => {
            FetchError::Connect { server, reason: "no answer in time".to_owned() }
        }
        ProxyError::UpstreamTimeout { server } => {
            FetchError::Broken { server, reason: "no answer in time".to_owned() }
        }
        ProxyError::Upstream { server, reason } => FetchError::Broken { server, reason },
        other => FetchError::Broken { server: String::new(), reason: other.to_string() },
    }
}

/// The `Location` of a response that redirects.
fn redirected_to(status: StatusCode, headers: &HeaderMap) -> Option<&str> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    headers.get(LOCATION)?.to_str().ok()
}

/// Where a `Location` leads from `path`: another origin if it names one, and path with query.
fn resolve(path: &str, location: &str) -> Option<(Option<String>, PathAndQuery)> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme_end = location.find("://").filter(|&end| {
        location.get(..end).is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric()))
    });
    if let Some(end) = scheme_end {
        let uri: Uri = location.parse().ok()?;
        let origin = format!("{}://{}", location.get(..end)?, uri.authority()?);
        let target = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        return Some((Some(origin), target));
    }
    let target = match location.as_bytes().first() {
        // `//host/path` keeps the scheme of the request, which is not known here: rare enough to refuse.
        Some(b'/') if location.starts_with("//") => return None,
        Some(b'/') => location.to_owned(),
        Some(b'?') => format!("{path}{location}"),
        Some(_) => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{location}")
        }
        None => path.to_owned(),
    };
    Some((None, PathAndQuery::try_from(target).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_against_the_path() {
        for (location, origin, target) in [
            ("/b?x#frag", None, "/b?x"),
            ("b", None, "/a/b"),
            ("?x=1", None, "/a/here?x=1"),
            ("", None, "/a/here"),
            ("https://b.test:8443/c?d", Some("https://b.test:8443"), "/c?d"),
            ("http://b.test", Some("http://b.test"), "/"),
        ] {
            let (got, path) = resolve("/a/here", location).unwrap();
            assert_eq!((got.as_deref(), path.as_str()), (origin, target), "{location}");
        }
        for location in ["//b.test/c", "http://", "/a b"] {
            assert_eq!(resolve("/a/here", location), None, "{location}");
        }
    }

    #[test]
    fn only_redirects_with_a_location_lead_on() {
        let mut headers = HeaderMap::new();
        assert_eq!(redirected_to(StatusCode::FOUND, &headers), None);
        headers.insert(LOCATION, "/x".parse().unwrap());
        assert_eq!(redirected_to(StatusCode::FOUND, &headers), Some("/x"));
        assert_eq!(redirected_to(StatusCode::OK, &headers), None);
        assert_eq!(redirected_to(StatusCode::NOT_MODIFIED, &headers), None);
    }
}
