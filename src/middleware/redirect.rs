//! What `redirectRegex` and `redirectScheme` share: the URL that the client asked for, and the answer.

use ::http::{HeaderValue, Method, StatusCode, header};

use super::{Next, status_response};
use crate::http::{ProxyError, Request, Response};

const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// How a URL was asked for.
pub(super) struct Asked<'a> {
    /// The entry point removed the header of a client that is not trusted, and set it from the connection.
    pub(super) forwarded_proto: Option<&'a str>,
    pub(super) over_tls: bool,
    /// `Host` with its port.
    pub(super) host: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
}

impl<'a> Asked<'a> {
    pub(super) fn by(request: &'a Request) -> Self {
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        Self {
            forwarded_proto: request
                .headers()
                .get(FORWARDED_PROTO)
                .and_then(|value| value.to_str().ok())
                .filter(|value| !value.is_empty()),
            over_tls: request.exchange().connection.tls.is_some(),
            host: request.host().unwrap_or(authority),
            target: request.uri().path_and_query().map_or("/", |target| target.as_str()),
        }
    }
}

/// Answers with a redirect to `new`, or lets the request go on where it is the URL that was asked for already.
pub(super) async fn to(
    new: String,
    old: &str,
    permanent: bool,
    request: Request,
    next: Next<'_>,
) -> Result<Response, ProxyError> {
    if new == old {
        return next.run(request).await;
    }
    let location = HeaderValue::try_from(new)
        .map_err(|error| ProxyError::Internal(format!("redirecting: {error}")))?;
    let mut response = status_response(status(request.method(), permanent));
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Only GET may lose its method on the way.
fn status(method: &Method, permanent: bool) -> StatusCode {
    match (method == Method::GET, permanent) {
        (true, true) => StatusCode::MOVED_PERMANENTLY,
        (true, false) => StatusCode::FOUND,
        (false, true) => StatusCode::PERMANENT_REDIRECT,
        (false, false) => StatusCode::TEMPORARY_REDIRECT,
    }
}
