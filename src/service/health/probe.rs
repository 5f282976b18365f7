//! One probe of one server: what is asked, and which answers are healthy.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header};
use async_trait::async_trait;
use bytes::Bytes;

use super::super::BuildError;
use super::super::options::HealthCheck;
use super::checker::Probe;
use crate::http::path::without_dots;
use crate::upstream::{self, Server, Trailers};

/// Bytes of a probe's answer that are read; an answer that is longer is broken off.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// `grpc.health.v1.HealthCheckRequest` without a service, framed: not compressed, no bytes.
const GRPC_REQUEST: &[u8] = &[0; 5];
/// `grpc.health.v1.HealthCheckResponse` with status `SERVING`: field 1, varint 1.
const GRPC_SERVING: &[u8] = &[0x08, 0x01];

pub(super) struct HttpProbe {
    /// The server as configured.
    url: Arc<str>,
    /// Where probes go: scheme and port may be others.
    server: Server,
    mode: Mode,
    method: Method,
    path: Uri,
    headers: HeaderMap,
    follow_redirects: bool,
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The status that is expected; 0: 200 to 399.
    Http(i64),
    Grpc,
}

impl HttpProbe {
    pub(super) fn new(
        options: &HealthCheck,
        url: &Arc<str>,
        timeout: Duration,
        transport: &Arc<upstream::Transport>,
    ) -> Result<Self, BuildError> {
        let base: Uri = url.parse().map_err(|error| {
            BuildError::Other(format!("error parsing server URL {url}: {error}"))
        })?;
        let mode = match options.mode.as_str() {
            "" | "http" => Mode::Http(options.status),
            "grpc" => Mode::Grpc,
            other => {
                let problem = format!("`{other}` is neither `http` nor `grpc`");
                return Err(BuildError::option("healthCheck.mode", problem));
            }
        };
        let (method, path) = match mode {
            Mode::Http(_) => (method(&options.method)?, target(&base, &options.path)?),
            Mode::Grpc => (Method::POST, Uri::from_static("/grpc.health.v1.Health/Check")),
        };
        let address = address(options, &base, mode)?;
        let server =
            Server::new(&address, false, true, Arc::clone(transport)).map_err(|error| {
                BuildError::Server { url: address.clone(), problem: error.to_string() }
            })?;
        Ok(Self {
            url: Arc::clone(url),
            server,
            mode,
            method,
            path,
            headers: headers(options, mode)?,
            follow_redirects: options.follow_redirects.unwrap_or(true),
            timeout,
        })
    }

    /// Asks once.
    async fn run(&self) -> Result<(), String> {
        let follow = self.follow_redirects && self.mode != Mode::Grpc;
        let answer = self.server.fetch(self.request(), follow, self.timeout, ANSWER_BYTES_MAX);
        // `fetch` keeps the limit itself; a second look at the clock costs nothing and trusts nobody.
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => judge(self.mode, &answer),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    fn request(&self) -> Request<Bytes> {
        let body = match self.mode {
            Mode::Http(_) => Bytes::new(),
            Mode::Grpc => Bytes::from_static(GRPC_REQUEST),
        };
        let mut request = Request::new(body);
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.path);
        request.headers_mut().clone_from(&self.headers);
        if self.mode == Mode::Grpc {
            *request.version_mut() = Version::HTTP_2;
        }
        request
    }
}

#[async_trait]
impl Probe for HttpProbe {
    fn server(&self) -> &Arc<str> {
        &self.url
    }

    async fn ask(&self) -> Result<(), String> {
        self.run().await
    }
}

/// Whether an answer is a healthy one.
fn judge(mode: Mode, answer: &Response<Bytes>) -> Result<(), String> {
    let status = answer.status().as_u16();
    match mode {
        Mode::Http(0) if (200..400).contains(&status) => Ok(()),
        Mode::Http(expected) if i64::from(status) == expected => Ok(()),
        Mode::Http(_) => Err(format!("received status {status}")),
        Mode::Grpc => {
            let trailers = answer.extensions().get::<Trailers>().map(|trailers| &trailers.0);
            let code = trailers
                .and_then(|trailers| trailers.get("grpc-status"))
                .or_else(|| answer.headers().get("grpc-status"));
            if status != 200 || code.is_some_and(|code| code != "0") {
                return Err(format!("received status {status}, gRPC status {code:?}"));
            }
            // Five bytes of framing: a flag and the length.
            match answer.body().get(5..) {
                Some(message) if message.starts_with(GRPC_SERVING) => Ok(()),
                _ => Err("not serving".to_owned()),
            }
        }
    }
}

fn method(name: &str) -> Result<Method, BuildError> {
    if name.is_empty() {
        return Ok(Method::GET);
    }
    Method::from_bytes(name.to_uppercase().as_bytes())
        .map_err(|error| BuildError::option("healthCheck.method", error.to_string()))
}

/// Scheme, host and port that probes go to.
fn address(options: &HealthCheck, base: &Uri, mode: Mode) -> Result<String, BuildError> {
    let scheme = match mode {
        Mode::Grpc if options.scheme == "https" => "https",
        Mode::Grpc => "h2c",
        Mode::Http(_) if options.scheme.is_empty() => base.scheme_str().unwrap_or("http"),
        Mode::Http(_) => options.scheme.as_str(),
    };
    let host = base.host().unwrap_or_default();
    let port =
        match options.port {
            0 => base.port_u16(),
            port => Some(u16::try_from(port).map_err(|error| {
                BuildError::option("healthCheck.port", format!("{port}: {error}"))
            })?),
        };
    let port = match (port, mode) {
        (None, Mode::Grpc) if scheme == "h2c" && base.scheme_str() == Some("https") => Some(443),
        (port, Mode::Grpc | Mode::Http(_)) => port,
    };
    // Without a port it is the scheme's.
    Ok(port
        .map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}")))
}

fn headers(options: &HealthCheck, mode: Mode) -> Result<HeaderMap, BuildError> {
    let value = |value: &str| {
        HeaderValue::from_str(value)
            .map_err(|error| BuildError::option("healthCheck.headers", error.to_string()))
    };
    let mut headers = HeaderMap::new();
    if !options.hostname.is_empty() {
        headers.insert(header::HOST, value(&options.hostname)?);
    }
    for (name, text) in &options.headers {
        let name: HeaderName = name.parse().map_err(|_error| {
            BuildError::option("healthCheck.headers", format!("name `{name}`"))
        })?;
        headers.insert(name, value(text)?);
    }
    if mode == Mode::Grpc {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(headers)
}

/// Path and query of probes: `reference`, resolved against the server's URL (RFC 3986, section 5.2).
fn target(base: &Uri, reference: &str) -> Result<Uri, BuildError> {
    let bad = |problem: String| BuildError::option("healthCheck.path", problem);
    let reference = reference.split('#').next().unwrap_or_default();
    let scheme = reference.split(['/', '?']).next().is_some_and(|first| first.contains(':'));
    if scheme || reference.starts_with("//") {
        return Err(bad(format!("`{reference}` is no relative URL")));
    }
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let base_path = match base.path() {
        "" => "/",
        path => path,
    };
    let (path, query) = if path.is_empty() {
        (base_path.to_owned(), query.or(base.query()))
    } else if path.starts_with('/') {
        (path.to_owned(), query)
    } else {
        let folder = base_path.rsplit_once('/').map_or("", |(folder, _)| folder);
        (format!("{folder}/{path}"), query)
    };
    let mut target = without_dots(&path);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target.parse().map_err(|error| bad(format!("`{reference}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(base: &str, path: &str) -> String {
        target(&base.parse().unwrap(), path).unwrap().to_string()
    }

    #[test]
    fn paths_are_resolved_against_the_servers_url() {
        for (base, path, expected) in [
            ("http://a:1", "", "/"),
            ("http://a:1", "/health", "/health"),
            ("http://a:1", "health?x=1", "/health?x=1"),
            ("http://a:1/app", "health", "/health"),
            ("http://a:1/app/", "health", "/app/health"),
            ("http://a:1/app/?q", "", "/app/?q"),
            ("http://a:1/app/x", "?deep", "/app/x?deep"),
            ("http://a:1/app/x/", "../y/./z#f", "/app/y/z"),
            ("http://a:1/app/x/", "../../../..", "/"),
            ("http://a:1/", "/a/b/..", "/a/"),
        ] {
            assert_eq!(resolved(base, path), expected, "{base} {path}");
        }
        for path in ["http://b/x", "//b/x", "mailto:x"] {
            assert!(target(&"http://a".parse().unwrap(), path).is_err(), "{path}");
        }
    }

    #[test]
    fn scheme_and_port_replace_the_servers() {
        let with = |scheme: &str, port, mode| {
            let options = HealthCheck { scheme: scheme.into(), port, ..HealthCheck::default() };
            address(&options, &"http://[::1]:80/x".parse().unwrap(), mode)
        };
        assert_eq!(with("", 0, Mode::Http(0)).unwrap(), "http://[::1]:80");
        assert_eq!(with("https", 8443, Mode::Http(0)).unwrap(), "https://[::1]:8443");
        assert_eq!(with("", 0, Mode::Grpc).unwrap(), "h2c://[::1]:80");
        assert_eq!(with("https", 0, Mode::Grpc).unwrap(), "https://[::1]:80");
        assert!(with("", 70000, Mode::Http(0)).is_err());
        let portless = |scheme: &str, base: &str, mode| {
            let options = HealthCheck { scheme: scheme.into(), ..HealthCheck::default() };
            address(&options, &base.parse().unwrap(), mode).unwrap()
        };
        assert_eq!(portless("https", "http://a", Mode::Http(0)), "https://a");
        assert_eq!(portless("", "https://a", Mode::Grpc), "h2c://a:443");
        assert_eq!(portless("", "http://a", Mode::Grpc), "h2c://a");
    }

    proptest::proptest! {
        #[test]
        fn every_path_is_refused_or_resolved(path in ".*") {
            if let Ok(target) = target(&"http://a/b/c?d".parse().unwrap(), &path) {
                proptest::prop_assert!(target.path().starts_with('/') && target.host().is_none());
            }
        }
    }

    #[test]
    fn hostname_and_headers_are_sent() {
        let options = HealthCheck {
            hostname: "app.test".into(),
            headers: [("X-Probe".to_owned(), "1".to_owned())].into(),
            ..HealthCheck::default()
        };
        let sent = headers(&options, Mode::Http(0)).unwrap();
        assert_eq!(
            (sent["host"].as_bytes(), sent["x-probe"].as_bytes()),
            (&b"app.test"[..], &b"1"[..])
        );
        let bad = [("a b".to_owned(), String::new())].into();
        let bad = HealthCheck { headers: bad, ..HealthCheck::default() };
        assert!(headers(&bad, Mode::Http(0)).is_err());
    }

    fn answer(status: u16, body: &'static [u8]) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::from_static(body)).unwrap()
    }

    #[test]
    fn statuses_are_judged_as_traefik_does() {
        for (expected, status, healthy) in [
            (0, 200, true),
            (0, 399, true),
            (0, 400, false),
            (0, 199, false),
            (418, 418, true),
            (418, 200, false),
        ] {
            assert_eq!(judge(Mode::Http(expected), &answer(status, b"")).is_ok(), healthy);
        }
    }

    #[test]
    fn grpc_has_to_say_serving() {
        assert!(judge(Mode::Grpc, &answer(200, b"\0\0\0\0\x02\x08\x01")).is_ok());
        assert!(judge(Mode::Grpc, &answer(200, b"\0\0\0\0\x02\x08\x02")).is_err());
        assert!(judge(Mode::Grpc, &answer(200, b"")).is_err());
        let mut unknown = answer(200, b"\0\0\0\0\x02\x08\x01");
        let trailers = [("grpc-status".parse().unwrap(), HeaderValue::from_static("5"))];
        unknown.extensions_mut().insert(Trailers(trailers.into_iter().collect()));
        assert!(judge(Mode::Grpc, &unknown).is_err());
    }
}
