//! One request to one server, and its response.
//!
//! Traefik v3 and Go's `ReverseProxy`: what crosses the proxy, and how it is changed (http.md §4, "Proxy behaviour").
//!
//! Differs: connections are not pinned to clients for NTLM and Negotiate, `HTTP_PROXY` and its like are ignored, and a
//! server that switches to another protocol than was asked for is answered 502, not 500.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, HOST, UPGRADE};
use ::http::request::Parts;
use ::http::uri::{Authority, PathAndQuery};
use ::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, uri};
use http_body::Body as _;
use tokio::time::Instant;

use super::connector::Scheme;
use super::pool::{Lease, Pool, Want};
use super::{BuildError, Transport, h1, h2, headers, tunnel};
use crate::http::{
    Body, Exchange, Informational, KeepForwardedFor, OnUpgrade, ProxyError, Request, Response,
    Upgraded,
};
use crate::observe::trace::{Context, Kind, Span};

/// Connections that a request tries before it gives up, where the ones before had not taken it.
const ATTEMPTS: usize = 3;

/// How a request is sent.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    /// The request asks for another protocol, or for a tunnel.
    pub(super) leaves_http: bool,
    /// Takes interim responses.
    pub(super) informational: Option<&'a Informational>,
    pub(super) started: Instant,
}

/// One server of a load balancer.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    url: Arc<str>,
    /// Host and port as in the URL.
    address: Arc<str>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// Put before the path of requests: option `preservePath`.
    base_path: Option<Arc<str>>,
    pass_host_header: bool,
    pool: Arc<Pool>,
    transport: Arc<Transport>,
}

/// A response before it is looked at.
pub(super) struct Answer {
    pub(super) response: Response,
    /// Present where the connection has left HTTP.
    pub(super) upgraded: Option<Upgraded>,
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
        let uri: Uri = url.parse().map_err(|_error| bad("is no URL"))?;
        let (scheme, default_port) = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref()
        {
            Some("http") => (Scheme::Http, 80),
            Some("https") => (Scheme::Https, 443),
            Some("h2c") => (Scheme::H2c, 80),
            _ => return Err(bad("the scheme must be http, https or h2c")),
        };
        let full = uri.authority().ok_or_else(|| bad("has no host"))?;
        let without_user = full.as_str().rsplit('@').next().unwrap_or_default();
        let authority: Authority =
            without_user.parse().map_err(|_error| bad("has no usable host"))?;
        let in_brackets = authority.host();
        // What stands behind the host is checked here: the parser lets any number pass.
        let port = match authority.as_str().strip_prefix(in_brackets).unwrap_or_default() {
            "" => default_port,
            rest => rest
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or_else(|| bad("has no usable port"))?,
        };
        let host = in_brackets.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        let base_path = Some(uri.path()).filter(|path| preserve_path && *path != "/");
        Ok(Self {
            url: url.into(),
            address: authority.as_str().into(),
            scheme,
            host: HeaderValue::from_str(authority.as_str()).map_err(|_error| bad("has no host"))?,
            base_path: base_path.map(Into::into),
            pass_host_header,
            pool: transport.pool(scheme, host, port).map_err(bad)?,
            authority,
            transport,
        })
    }

    /// As configured.
    pub(crate) fn url(&self) -> &Arc<str> {
        &self.url
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// Sends `request` and gives the response, its body still on the way.
    ///
    /// A switch of protocols (101, or 2xx to CONNECT) goes on by itself once the client has got the response.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, ProxyError> {
        let started = Instant::now();
        let (mut parts, mut body, exchange) = request.into_parts();
        {
            let mut record = exchange.record();
            record.server_url = Some(self.url.clone());
            record.server_address = Some(self.address.clone());
        }
        let result = self.forward(&mut parts, &mut body, &exchange, started).await;
        let mut record = exchange.record();
        record.origin_status = match &result {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.status().as_u16(),
        };
        record.origin_duration = started.elapsed();
        drop(record);
        result
    }

    async fn forward(
        &self,
        parts: &mut Parts,
        body: &mut Body,
        exchange: &Exchange,
        started: Instant,
    ) -> Result<Response, ProxyError> {
        let client = &exchange.connection;
        let upgrade = headers::clean_request(&mut parts.headers)?;
        if matches!(parts.version, Version::HTTP_2 | Version::HTTP_3) {
            headers::join_cookies(&mut parts.headers);
        }
        let keep = parts.extensions.get::<KeepForwardedFor>().is_some();
        if client.append_forwarded_for && !keep {
            headers::append_forwarded_for(&mut parts.headers, &client.remote_ip);
        }
        if !self.pass_host_header {
            parts.headers.insert(HOST, self.host.clone());
        }
        self.retarget(parts)?;
        let connects = parts.method == Method::CONNECT;
        let leaves_http = connects || upgrade.is_some();
        let on_upgrade = if leaves_http { parts.extensions.remove::<OnUpgrade>() } else { None };
        let informational = exchange.informational.as_ref();
        let way = Way { leaves_http, informational, started };
        let span = self.span(parts);
        let answer = self.round_trip(parts, body, way).await;
        if let Some(mut span) = span {
            match &answer {
                Ok(Answer { response, .. }) => {
                    span.response(response.status(), response.version(), Some(response.headers()));
                }
                Err(error) => span.response(error.status(), Version::HTTP_11, None),
            }
        }
        let answer = answer?;
        let mut response = answer.response;
        let Some(upgraded) = answer.upgraded else {
            headers::clean_response(response.headers_mut());
            return Ok(response);
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.check_switch(upgrade.as_ref(), response.headers())?;
        } else {
            headers::clean_response(response.headers_mut());
        }
        let on_upgrade = on_upgrade.ok_or_else(|| {
            self.broken("it left HTTP where the client's connection cannot".to_owned())
        })?;
        super::spawn(tunnel::run(on_upgrade, upgraded));
        Ok(response)
    }

    /// A span of one try, where the request is recorded.
    fn span(&self, parts: &mut Parts) -> Option<Box<Span>> {
        let context = parts.extensions.remove::<Context>()?;
        let span =
            self.asked("ReverseProxy", &context, (&parts.method, &parts.headers), &parts.uri);
        span.context().write(&mut parts.headers);
        Some(Box::new(span))
    }

    /// A span of a request to this server.
    pub(crate) fn asked(
        &self,
        name: &str,
        context: &Context,
        head: (&Method, &HeaderMap),
        uri: &Uri,
    ) -> Span {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http | Scheme::H2c => "http",
        };
        let mut span = context.child(name, Kind::Client);
        span.client_request(head, (scheme, &self.address), uri);
        span
    }

    /// A server may only switch to what the client asked for.
    fn check_switch(
        &self,
        asked: Option<&HeaderValue>,
        headers: &HeaderMap,
    ) -> Result<(), ProxyError> {
        let got = headers.get(UPGRADE).map(HeaderValue::as_bytes).unwrap_or_default();
        if asked.is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(got)) {
            return Ok(());
        }
        Err(self.broken("it switched to another protocol than was asked for".to_owned()))
    }

    /// Puts the server's path before the request's, where it is preserved.
    fn retarget(&self, parts: &mut Parts) -> Result<(), ProxyError> {
        let Some(base) = &self.base_path else { return Ok(()) };
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let joined = join(base, target);
        let joined = PathAndQuery::try_from(joined)
            .map_err(|_error| ProxyError::BadRequest("the path cannot be joined"))?;
        parts.uri = Uri::from(joined);
        Ok(())
    }

    /// Sends a request over a connection of the pool and waits for the head of its response.
    ///
    /// An idle connection that turns out to be closed is replaced once, where that cannot repeat the request: nothing
    /// was sent, or it is idempotent (RFC 9110, 9.2.2; as Go's transport) and its body is still whole.
    ///
    /// What is rare or large waits in a box of its own: this future is part of every request's.
    pub(super) async fn round_trip(
        &self,
        parts: &mut Parts,
        body: &mut Body,
        way: Way<'_>,
    ) -> Result<Answer, ProxyError> {
        let Way { leaves_http, informational, started } = way;
        if !parts.headers.contains_key(HOST) {
            parts.headers.insert(HOST, self.host.clone());
        }
        let head_timeout = self.transport.response_header_timeout();
        let mut want = if leaves_http { Want::Http1 } else { Want::Any };
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            let lease = match self.pool.ready(want, started) {
                Some(lease) => lease,
                None => Box::pin(self.pool.lease(want))
                    .await
                    .map_err(|error| error.into_proxy_error(&self.address))?,
            };
            match lease {
                Lease::Http2(lease) => {
                    let sent = Box::pin(self.multiplexed(lease, parts, body, head_timeout)).await?;
                    match sent {
                        Ok(response) => return Ok(Answer { response, upgraded: None }),
                        Err(why) => reason = why,
                    }
                }
                Lease::Http1(connection, home) => {
                    let informational = informational.cloned();
                    let extras =
                        h1::Extras { body: std::mem::take(body), informational, head_timeout };
                    let sent = connection.send(parts, extras, move |it| home.put_back(it)).await;
                    let failure = match sent {
                        Ok(h1::Answer::Response(response)) => {
                            return Ok(Answer { response, upgraded: None });
                        }
                        Ok(h1::Answer::Switched(response, upgraded)) => {
                            return Ok(Answer { response, upgraded: Some(upgraded) });
                        }
                        Err(failure) => failure,
                    };
                    (*body, reason) = self.unsent(failure)?;
                    want = if leaves_http { Want::Http1 } else { Want::Fresh };
                }
            }
        }
        Err(ProxyError::Connect { server: self.address.to_string(), reason })
    }

    /// Sends a request over HTTP/2; the reason, where another connection has to be tried.
    async fn multiplexed(
        &self,
        lease: h2::Lease,
        parts: &mut Parts,
        body: &mut Body,
        head_timeout: Option<Duration>,
    ) -> Result<Result<Response, String>, ProxyError> {
        let host = self.absolute(parts)?;
        set_length(parts, body);
        let head = std::mem::replace(parts, ::http::Request::new(()).into_parts().0);
        let request = ::http::Request::from_parts(head, std::mem::take(body));
        match lease.send(request, head_timeout).await {
            Ok(response) => Ok(Ok(response)),
            Err(h2::Failure::NotSent(request, why)) => {
                (*parts, *body) = request.into_parts();
                parts.headers.insert(HOST, host);
                Ok(Err(why))
            }
            Err(h2::Failure::Timeout) => Err(self.late()),
            Err(h2::Failure::Broken(why)) => Err(self.broken(why)),
        }
    }

    /// The body of a request that may be sent again, and why it has to be.
    fn unsent(&self, failure: h1::Failure) -> Result<(Body, String), ProxyError> {
        let h1::Failure { error, unsent } = failure;
        match (error, unsent) {
            (h1::Error::HeadTimeout, _) => Err(self.late()),
            (h1::Error::RequestBody(error), _) => Err(ProxyError::ClientBody(error.to_string())),
            (error, Some(body)) => Ok((body, error.to_string())),
            (error, None) => Err(self.broken(error.to_string())),
        }
    }

    /// Makes the URI what HTTP/2 sends: scheme and authority instead of the `Host` header, which is given back.
    fn absolute(&self, parts: &mut Parts) -> Result<HeaderValue, ProxyError> {
        if parts.method == Method::CONNECT || parts.headers.contains_key(UPGRADE) {
            let text = "an h2c server cannot be asked to leave HTTP";
            return Err(ProxyError::Internal(text.to_owned()));
        }
        let host = parts.headers.remove(HOST).unwrap_or_else(|| self.host.clone());
        let authority = if host == self.host {
            self.authority.clone()
        } else {
            Authority::try_from(host.as_bytes())
                .map_err(|_error| ProxyError::BadRequest("the Host header is no host"))?
        };
        let mut absolute = uri::Parts::default();
        absolute.scheme = Some(match self.scheme {
            Scheme::Https => uri::Scheme::HTTPS,
            Scheme::Http | Scheme::H2c => uri::Scheme::HTTP,
        });
        absolute.authority = Some(authority);
        absolute.path_and_query =
            Some(parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
        parts.uri = Uri::from_parts(absolute)
            .map_err(|_error| ProxyError::BadRequest("the request target is no path"))?;
        parts.version = Version::HTTP_2;
        Ok(host)
    }

    fn broken(&self, reason: String) -> ProxyError {
        ProxyError::Upstream { server: self.address.to_string(), reason }
    }

    fn late(&self) -> ProxyError {
        ProxyError::UpstreamTimeout { server: self.address.to_string() }
    }
}

/// Joins with exactly one slash, as Go's `JoinPath` for proxies does.
fn join(base: &str, target: &str) -> String {
    match (base.strip_suffix('/'), target.starts_with('/')) {
        (Some(base), true) => format!("{base}{target}"),
        (None, false) => format!("{base}/{target}"),
        (Some(_), false) | (None, true) => format!("{base}{target}"),
    }
}

/// Makes `Content-Length` say what the body is: middlewares may have changed it. HTTP/1 does so by itself.
fn set_length(parts: &mut Parts, body: &Body) {
    let headers = &mut parts.headers;
    match body.size_hint().exact() {
        Some(0) if matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Some(0) | None => {
            headers.remove(CONTENT_LENGTH);
        }
        Some(length) => {
            let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
            if told.and_then(|told| told.parse().ok()) != Some(length) {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Options;

    fn server(url: &str, preserve_path: bool) -> Result<Server, BuildError> {
        let transport = Transport::build(&Options::default()).unwrap();
        Server::new(url, preserve_path, true, transport)
    }

    fn parts(method: Method, uri: &str, length: Option<&str>) -> Parts {
        let mut builder = ::http::Request::builder().method(method).uri(uri);
        if let Some(length) = length {
            builder = builder.header(CONTENT_LENGTH, length);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn urls_are_read_as_servers() {
        let plain = server("http://user:pass@a.test/base?x=1", false).unwrap();
        assert_eq!((plain.address(), plain.scheme), ("a.test", Scheme::Http));
        let six = server("h2c://[::1]:8080", false).unwrap();
        assert_eq!((six.address(), six.scheme), ("[::1]:8080", Scheme::H2c));
        for (url, problem) in [
            ("a.test:80", "scheme"),
            ("ftp://a.test", "scheme"),
            ("http:///x", "is no URL"),
            ("http://a.test:99999", "port"),
            ("", "is no URL"),
        ] {
            let error = server(url, false).unwrap_err().to_string();
            assert!(error.contains(problem), "{url}: {error}");
        }
    }

    #[test]
    fn the_servers_path_counts_only_where_it_is_preserved() {
        for (url, preserve, target, expected) in [
            ("http://a.test/base", false, "/x?y=1", "/x?y=1"),
            ("http://a.test/base", true, "/x?y=1", "/base/x?y=1"),
            ("http://a.test/base/", true, "/x%2F", "/base/x%2F"),
            ("http://a.test/", true, "/", "/"),
        ] {
            let mut parts = parts(Method::GET, target, None);
            server(url, preserve).unwrap().retarget(&mut parts).unwrap();
            assert_eq!(parts.uri, expected);
        }
    }

    #[test]
    fn the_length_is_that_of_the_body() {
        for (method, told, body, expected) in [
            (Method::GET, Some("0"), Body::Empty, None),
            (Method::POST, None, Body::Empty, Some("0")),
            (Method::POST, Some("99"), Body::from("abc"), Some("3")),
            (Method::PUT, Some("3"), Body::from("abc"), Some("3")),
        ] {
            let mut parts = parts(method, "/", told);
            set_length(&mut parts, &body);
            let got = parts.headers.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap());
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn http2_gets_the_host_as_authority() {
        let server = server("https://a.test:8443", false).unwrap();
        let mut parts = parts(Method::GET, "/x", None);
        parts.headers.insert(HOST, HeaderValue::from_static("public.test"));
        assert_eq!(server.absolute(&mut parts).unwrap(), "public.test");
        assert_eq!(parts.uri, "https://public.test/x");
        assert!(!parts.headers.contains_key(HOST));
        parts.headers.insert(HOST, HeaderValue::from_static("a b"));
        assert!(server.absolute(&mut parts).is_err());
    }
}
