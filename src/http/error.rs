//! Request errors, and the one place where they become responses.

use ::http::{HeaderValue, StatusCode, header};

use super::{Body, Response};

/// Who failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Upstream,
    Ourselves,
}

/// Why a request got no answer from a server. Traefik's status codes: http.md, "Proxy behaviour".
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// No router takes the request. 404, body as Go's `http.NotFound`.
    #[error("no router matches")]
    NotFound,
    /// The client sent something that is refused. The status, its text as body.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// The TLS options of the handshake are not those of the request's host. 421.
    #[error("misdirected request: the handshake was for a host with other TLS options")]
    Misdirected,
    /// The client's body could not be read to its end.
    #[error("reading the client's body: {0}")]
    ClientBody(String),
    /// The balancer has no usable server. 503 `no available server`.
    #[error("no available server")]
    NoServer,
    /// No connection could be made: nothing was sent, a retry is safe. 502.
    #[error("connecting to {server}: {reason}")]
    Connect { server: String, reason: String },
    /// No connection within the dial timeout: nothing was sent, a retry is safe. 504.
    #[error("connecting to {server}: no answer in time")]
    ConnectTimeout { server: String },
    /// The server's certificate is not accepted: nothing was sent. 500, as Traefik answers.
    #[error("certificate of {server}: {reason}")]
    Certificate { server: String, reason: String },
    /// The server broke off after something had been sent. 502.
    #[error("talking to {server}: {reason}")]
    Upstream { server: String, reason: String },
    /// No response head within `responseHeaderTimeout`. 504.
    #[error("waiting for {server}: no answer in time")]
    UpstreamTimeout { server: String },
    /// Our own fault. 500.
    #[error("{0}")]
    Internal(String),
}

/// Among the extensions of a response that stands for an error with which no byte had reached a server: a middleware
/// that turns errors into responses must not hide that a retry is safe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NothingSent;

impl ProxyError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadRequest(_) | Self::ClientBody(_) => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoServer => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect { .. } | Self::Upstream { .. } => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout { .. } | Self::UpstreamTimeout { .. } => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Certificate { .. } | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn side(&self) -> Side {
        match self {
            Self::NotFound | Self::BadRequest(_) | Self::Misdirected | Self::ClientBody(_) => {
                Side::Client
            }
            Self::NoServer
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Certificate { .. }
            | Self::Upstream { .. }
            | Self::UpstreamTimeout { .. } => Side::Upstream,
            Self::Internal(_) => Side::Ourselves,
        }
    }

    /// True where no byte of the request has reached a server.
    pub(crate) fn nothing_sent(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Certificate { .. }
        )
    }

    /// The response that the client gets.
    pub(crate) fn into_response(self) -> Response {
        let nothing_sent = self.nothing_sent();
        let mut response = self.written();
        if nothing_sent {
            response.extensions_mut().insert(NothingSent);
        }
        response
    }

    fn written(self) -> Response {
        match self {
            Self::NotFound => plain_text(StatusCode::NOT_FOUND, "404 page not found\n"),
            Self::NoServer => plain_text(StatusCode::SERVICE_UNAVAILABLE, "no available server\n"),
            Self::BadRequest(_) => plain_text(StatusCode::BAD_REQUEST, "Bad Request\n"),
            Self::Misdirected => {
                plain_text(StatusCode::MISDIRECTED_REQUEST, "Misdirected Request\n")
            }
            other => {
                let status = other.status();
                bare(status, status.canonical_reason().unwrap_or_default())
            }
        }
    }
}

/// A response that holds a text and no content type, as Traefik's proxy writes its errors.
fn bare(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

/// A response as Go's `http.Error` writes it.
pub(crate) fn plain_text(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
