//! What the authenticator is told: headers of the client's request, and `X-Forwarded-*`.

use ::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::http::Request;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
static FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
static REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Meant for the hop before, or said anew by the one that follows. `Proxy-Authorization` is not among them: the
/// authenticator may be who asked for it.
const NOT_PASSED_ON: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// How far the client's `X-Forwarded-*` are believed: option `trustForwardHeader`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// All of them.
    All,
    /// None of them.
    None,
    /// For, Proto, Method, Host and Uri are replaced, the others go on: Traefik's way where nothing is said.
    Unsaid,
}

impl From<Option<bool>> for Trust {
    fn from(option: Option<bool>) -> Self {
        match option {
            Some(true) => Self::All,
            Some(false) => Self::None,
            None => Self::Unsaid,
        }
    }
}

/// What the authenticator is told.
pub(super) struct Told {
    pub(super) trust: Trust,
    /// The only headers that are passed on; empty: all.
    pub(super) only: Vec<HeaderName>,
}

impl Told {
    /// The headers of the request to the authenticator.
    pub(super) fn headers(&self, request: &Request) -> HeaderMap {
        let sent = request.headers();
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            let chosen = self.only.is_empty() || self.only.contains(name);
            if chosen && !NOT_PASSED_ON.contains(&name.as_str()) {
                headers.append(name.clone(), value.clone());
            }
        }
        remove_listed(&mut headers, sent);
        if self.trust == Trust::None {
            forget_forwarded(&mut headers, request);
        }
        self.forwarded(&mut headers, request);
        headers
    }

    fn forwarded(&self, headers: &mut HeaderMap, request: &Request) {
        let connection = &request.exchange().connection;
        let believed =
            |name: &HeaderName| if self.trust == Trust::All { given(request, name) } else { None };
        let chain = match self.trust {
            Trust::All => chain(request.headers(), &connection.remote_ip),
            Trust::None | Trust::Unsaid => connection.remote_ip.clone(),
        };
        headers.insert(&FORWARDED_FOR, chain);
        let method = HeaderValue::from_str(request.method().as_str()).ok();
        put(headers, &FORWARDED_METHOD, believed(&FORWARDED_METHOD).or(method));
        let scheme = if connection.tls.is_some() { "https" } else { "http" };
        let scheme = HeaderValue::from_static(scheme);
        put(headers, &FORWARDED_PROTO, believed(&FORWARDED_PROTO).or(Some(scheme)));
        if let Some(port) = believed(&FORWARDED_PORT) {
            headers.insert(&FORWARDED_PORT, port);
        }
        let host = request.headers().get(header::HOST).cloned();
        put(headers, &FORWARDED_HOST, believed(&FORWARDED_HOST).or(host));
        put(headers, &FORWARDED_URI, believed(&FORWARDED_URI).or(target(request.uri())));
    }
}

fn put(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}

fn target(uri: &Uri) -> Option<HeaderValue> {
    HeaderValue::from_str(uri.path_and_query()?.as_str()).ok()
}

fn given(request: &Request, name: &HeaderName) -> Option<HeaderValue> {
    request.headers().get(name).filter(|value| !value.is_empty()).cloned()
}

/// The client's address behind those that `X-Forwarded-For` names.
fn chain(headers: &HeaderMap, client: &HeaderValue) -> HeaderValue {
    let mut lines: Vec<&[u8]> = headers
        .get_all(&FORWARDED_FOR)
        .iter()
        .filter(|line| !line.is_empty())
        .map(HeaderValue::as_bytes)
        .collect();
    lines.push(client.as_bytes());
    // Values joined by a comma are a value again.
    HeaderValue::from_bytes(&lines.join(&b", "[..])).unwrap_or_else(|_error| client.clone())
}

/// Takes off what the client's `Connection` lists.
fn remove_listed(headers: &mut HeaderMap, sent: &HeaderMap) {
    let lines = sent.get_all(header::CONNECTION).iter();
    for name in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
        if let Ok(name) = HeaderName::from_bytes(name.trim_ascii()) {
            headers.remove(name);
        }
    }
}

/// Takes off all that speaks of the way here, in each spelling; the address is that of the connection.
fn forget_forwarded(headers: &mut HeaderMap, request: &Request) {
    let real_ip = headers.contains_key(&REAL_IP);
    let found: Vec<HeaderName> =
        headers.keys().filter(|name| tells_the_way(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
    if real_ip {
        headers.insert(&REAL_IP, request.exchange().connection.remote_ip.clone());
    }
}

/// `X-Forwarded-*`, `X-Real-Ip` and their spellings with `_`, which CGI-like servers take for the same.
fn tells_the_way(name: &HeaderName) -> bool {
    let dashed = name.as_str().replace('_', "-");
    dashed.starts_with("x-forwarded-") || dashed == "x-real-ip"
}
