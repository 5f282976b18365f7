//! `forwardAuth`: asks another server whether a request may pass.
//!
//! Traefik v3: HTTP middlewares, `ForwardAuth`.
//!
//! Differs: bodies that are sent along and answers are held in memory up to 32 MiB, whatever their options allow; a
//! client's header that has the name of a copied one with `_` for `-` is removed, too; with `trustForwardHeader: false`
//! `X-Real-Ip` is the address of the connection; CONNECT is asked for with GET.

mod copied;
mod location;
mod told;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Serialize};
use tracing::debug;

use self::copied::{Cookies, Copied, Refusal};
use self::location::Base;
use self::told::Told;
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default, rewrite};
use crate::config::value::ClientTls;
use crate::http::{Body, BodyError, ProxyError, Request, Response};
use crate::observe::trace::Span;
use crate::upstream::{FetchError, Server, Transport};

/// As in Traefik, not an option.
const TIMEOUT: Duration = Duration::from_secs(30);
/// More than this is not held in memory.
const BYTES_MAX: usize = 32 << 20;
/// Idle connections to the authenticator: it is asked as often as a service.
const IDLE_CONNECTIONS_MAX: i64 = 200;

/// Options of `forwardAuth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ForwardAuth {
    /// URL that is asked: `http` or `https`; a name and a password in it are sent where the client sends none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) address: String,
    /// How to speak TLS with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
    /// True keeps the client's `X-Forwarded-*`, false takes them all off first; absent overwrites only For, Proto,
    /// Method, Host and Uri. Which clients may send any at all, the entry point says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trust_forward_header: Option<bool>,
    /// Headers of the answer that are copied to the request; the client's own of these names are taken off.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) auth_response_headers: Vec<String>,
    /// The same, by a regular expression over their names as Go writes them (`X-Auth-User`).
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) auth_response_headers_regex: String,
    /// Headers of the request that are sent along, beside `X-Forwarded-*`. Default: all.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) auth_request_headers: Vec<String>,
    /// Bytes; a larger answer is refused with 401. Default, and the most there can be: 32 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_response_body_size: Option<i64>,
    /// Names of cookies of the answer that the client gets in place of the server's.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_auth_cookies_to_response: Vec<String>,
    /// Header of the answer that holds the user's name, for the access log. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) header_field: String,
    /// Sends the body along. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) forward_body: bool,
    /// Bytes; a larger request body is refused with 401. Default: -1, which means 32 MiB, the most there can be.
    pub(crate) max_body_size: i64,
    /// Leaves `Location` of the answer as it is. Default: false, resolved against the address.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) preserve_location_header: bool,
    /// Asks with the request's method. Default: false, GET.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) preserve_request_method: bool,
    /// Where a 401 of the answer redirects to. Default: none.
    #[serde(rename = "authSigninURL", skip_serializing_if = "is_default")]
    pub(crate) auth_signin_url: String,
}

impl Default for ForwardAuth {
    fn default() -> Self {
        Self {
            address: String::new(),
            tls: None,
            trust_forward_header: None,
            auth_response_headers: Vec::new(),
            auth_response_headers_regex: String::new(),
            auth_request_headers: Vec::new(),
            max_response_body_size: None,
            add_auth_cookies_to_response: Vec::new(),
            header_field: String::new(),
            forward_body: false,
            max_body_size: -1,
            preserve_location_header: false,
            preserve_request_method: false,
            auth_signin_url: String::new(),
        }
    }
}

impl Build for ForwardAuth {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Ok(Arc::new(self.gate()?))
    }
}

impl ForwardAuth {
    fn gate(&self) -> Result<Gate, BuildError> {
        let address = |problem: String| BuildError::option("address", problem);
        let uri: Uri = self.address.parse().map_err(|_error| address("is no URL".to_owned()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(address("must begin with `http://` or `https://`".to_owned()));
        }
        let base = Base::new(&uri).ok_or_else(|| address("has no host".to_owned()))?;
        let server = Server::new(&self.address, false, true, self.transport()?)
            .map_err(|error| address(error.to_string()))?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let pattern = match self.auth_response_headers_regex.as_str() {
            "" => None,
            pattern => Some(rewrite::compile("authResponseHeadersRegex", pattern)?),
        };
        Ok(Gate {
            server,
            target: target.parse().map_err(|_error| address("has no usable path".to_owned()))?,
            credentials: credentials(&uri)?,
            told: Told {
                trust: self.trust_forward_header.into(),
                only: names("authRequestHeaders", &self.auth_request_headers)?,
            },
            copied: Copied {
                names: names("authResponseHeaders", &self.auth_response_headers)?,
                pattern,
            },
            cookies: Cookies(self.add_auth_cookies_to_response.clone()),
            refusal: Refusal {
                base,
                keeps_location: self.preserve_location_header,
                sign_in: sign_in(&self.auth_signin_url)?,
            },
            user: match self.header_field.as_str() {
                "" => None,
                name => Some(header_name("headerField", name)?),
            },
            body_bytes_max: self.forward_body.then(|| limit(Some(self.max_body_size))),
            answer_bytes_max: limit(self.max_response_body_size),
            keeps_method: self.preserve_request_method,
        })
    }

    fn transport(&self) -> Result<Arc<Transport>, BuildError> {
        let tls = self.tls.clone().unwrap_or_default();
        if tls.cert.is_empty() != tls.key.is_empty() {
            return Err(BuildError::option("tls", "`cert` and `key` go together"));
        }
        Transport::of_client(&tls, IDLE_CONNECTIONS_MAX)
            .map_err(|error| BuildError::option("tls", error.to_string()))
    }
}

fn header_name(option: &'static str, name: &str) -> Result<HeaderName, BuildError> {
    HeaderName::try_from(name)
        .map_err(|error| BuildError::option(option, format!("`{name}`: {error}")))
}

fn names(option: &'static str, names: &[String]) -> Result<Vec<HeaderName>, BuildError> {
    names.iter().map(|name| header_name(option, name)).collect()
}

fn sign_in(url: &str) -> Result<Option<HeaderValue>, BuildError> {
    if url.is_empty() {
        return Ok(None);
    }
    let value = HeaderValue::try_from(url);
    value.map(Some).map_err(|error| BuildError::option("authSigninURL", error.to_string()))
}

/// Name and password of the address, for `Authorization`.
fn credentials(address: &Uri) -> Result<Option<HeaderValue>, BuildError> {
    let authority = address.authority().map_or("", |authority| authority.as_str());
    let Some((user, _host)) = authority.rsplit_once('@') else { return Ok(None) };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut pair: Vec<u8> = percent_encoding::percent_decode_str(name).collect();
    pair.push(b':');
    pair.extend(percent_encoding::percent_decode_str(password));
    HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .map(|mut value| {
            value.set_sensitive(true);
            Some(value)
        })
        .map_err(|error| BuildError::option("address", error.to_string()))
}

/// Bytes that may be held; negative and absent mean as many as we ever hold.
fn limit(option: Option<i64>) -> usize {
    option.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(BYTES_MAX).min(BYTES_MAX)
}

struct Gate {
    server: Server,
    /// Path and query of the address.
    target: Uri,
    credentials: Option<HeaderValue>,
    told: Told,
    copied: Copied,
    cookies: Cookies,
    refusal: Refusal,
    user: Option<HeaderName>,
    /// Present where the body is sent along.
    body_bytes_max: Option<usize>,
    answer_bytes_max: usize,
    keeps_method: bool,
}

#[async_trait]
impl Middleware for Gate {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let body = match self.body_bytes_max {
            None => Bytes::new(),
            Some(limit) => match keep_body(&mut request, limit).await? {
                Some(body) => body,
                None => return Ok(bare(StatusCode::UNAUTHORIZED)),
            },
        };
        let mut question = self.question(&request, body);
        let span = self.span(&request, &mut question);
        let fetched = self.server.fetch(question, false, TIMEOUT, self.answer_bytes_max).await;
        if let Some(mut span) = span {
            match &fetched {
                Ok(answer) => {
                    span.response(answer.status(), answer.version(), Some(answer.headers()));
                }
                Err(error) => span.fail(error.to_string()),
            }
        }
        let answer = match fetched {
            Ok(answer) => answer,
            Err(error) => {
                debug!(%error, "the authenticator cannot be asked");
                return Ok(bare(match error {
                    FetchError::TooLarge(_) => StatusCode::UNAUTHORIZED,
                    FetchError::Connect { .. }
                    | FetchError::Timeout(_)
                    | FetchError::Broken { .. }
                    | FetchError::Redirect { .. } => StatusCode::INTERNAL_SERVER_ERROR,
                }));
            }
        };
        if let Some(name) = self.user.as_ref().and_then(|field| answer.headers().get(field)) {
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            request.exchange().record().username = Some(name);
        }
        if !answer.status().is_success() {
            return self.refusal.response(answer, request.method());
        }
        self.copied.apply(request.headers_mut(), answer.headers())?;
        let Some(cookies) = self.cookies.of(answer.headers()) else {
            return next.run(request).await;
        };
        // Errors become responses here already, since they get the cookies, too.
        let mut response = next.run(request).await.unwrap_or_else(ProxyError::into_response);
        self.cookies.put(response.headers_mut(), cookies);
        Ok(response)
    }
}

impl Gate {
    /// A span of the question, where the request is recorded.
    fn span(&self, request: &Request, question: &mut ::http::Request<Bytes>) -> Option<Box<Span>> {
        let head = (question.method(), question.headers());
        let span = self.server.asked("AuthRequest", request.span()?, head, question.uri());
        span.context().write(question.headers_mut());
        Some(Box::new(span))
    }

    /// What the authenticator is asked.
    fn question(&self, request: &Request, body: Bytes) -> ::http::Request<Bytes> {
        let mut question = ::http::Request::new(body);
        if self.keeps_method && *request.method() != Method::CONNECT {
            question.method_mut().clone_from(request.method());
        }
        question.uri_mut().clone_from(&self.target);
        *question.headers_mut() = self.told.headers(request);
        if let Some(credentials) = &self.credentials {
            question.headers_mut().entry(header::AUTHORIZATION).or_insert(credentials.clone());
        }
        question
    }
}

/// Reads the body of `request` and leaves it a copy; `None` where it is larger than `limit`.
async fn keep_body(request: &mut Request, limit: usize) -> Result<Option<Bytes>, ProxyError> {
    let mut body = request.take_body();
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    let mut kept = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ProxyError::ClientBody(error.to_string()))?;
        match frame.into_data() {
            Ok(data) if kept.len().saturating_add(data.len()) > limit => return Ok(None),
            Ok(data) => kept.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let kept = kept.freeze();
    request.replace_body(with_trailers(kept.clone(), trailers));
    Ok(Some(kept))
}

fn with_trailers(data: Bytes, trailers: Option<HeaderMap>) -> Body {
    let Some(trailers) = trailers else { return Body::from(data) };
    let body = Full::new(data).with_trailers(async move { Some(Ok(trailers)) });
    Body::stream(body.map_err(|never| -> BodyError { match never {} }))
}

/// An answer of our own, without a body.
fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
