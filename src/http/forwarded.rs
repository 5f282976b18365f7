//! `X-Forwarded-*`, `X-Real-Ip` and `Connection`: what a request says of its way, and whom that is believed.
//!
//! Traefik: forwarded headers of entry points (http.md §3). `X-Forwarded-For` gets the client's address last of all,
//! in front of the server (`upstream`).

use std::fs;
use std::sync::OnceLock;

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    UPGRADE,
};

use super::Connection;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
static REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Names that only trusted clients may send, and that `Connection` cannot take away.
const MANAGED: [&str; 11] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-prefix",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-real-ip",
];

/// The entry point's part of the forwarded headers.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    /// Headers that go on although `Connection` lists them, in lower case.
    kept: Vec<String>,
}

impl Forwarded {
    /// `kept`: option `forwardedHeaders.connection`.
    pub(crate) fn new(kept: &[String]) -> Self {
        Self { kept: kept.iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Brings the headers of a request into the state in which routers and servers see them.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, connection: &Connection, trusted: bool) {
        let mut seen = Seen::default();
        for name in headers.keys() {
            seen.note(name);
        }
        if seen.managed && !trusted {
            remove_managed(headers);
            seen.managed = false;
        }
        rewrite(headers, connection, seen);
        if seen.connection {
            self.remove_listed(headers);
        }
    }

    /// Drops the headers that `Connection` lists, and `Connection` but for what goes on.
    fn remove_listed(&self, headers: &mut HeaderMap) {
        let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
        let listed = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| {
            line.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|n| !n.is_empty())
        });
        let mut stay = Vec::new();
        let mut upgrade = false;
        for name in listed {
            if name == "upgrade" {
                upgrade = headers.contains_key(UPGRADE);
            } else if self.kept.contains(&name) {
                stay.push(name);
            } else if !is_managed(&name) && !frames_the_message(&name) {
                headers.remove(name);
            }
        }
        if upgrade {
            stay.push("Upgrade".to_owned());
        }
        match HeaderValue::try_from(stay.join(",")) {
            Ok(value) if !stay.is_empty() => headers.insert(CONNECTION, value),
            _ => headers.remove(CONNECTION),
        };
    }
}

/// True for what says where a message goes and where it ends: a client cannot take that away.
fn frames_the_message(name: &str) -> bool {
    [HOST.as_str(), CONTENT_LENGTH.as_str(), TRANSFER_ENCODING.as_str()].contains(&name)
}

/// True for a managed name, also in its spelling with `_`, which CGI-like servers take for the same.
pub(super) fn is_managed(name: &str) -> bool {
    name.starts_with('x')
        && MANAGED.iter().any(|managed| {
            managed.len() == name.len()
                && managed
                    .bytes()
                    .zip(name.bytes())
                    .all(|(m, n)| m == n || (m == b'-' && n == b'_'))
        })
}

/// What one pass over the names of a request finds. Most have none of these, and then nothing is looked up.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    managed: bool,
    connection: bool,
    upgrade: bool,
}

impl Seen {
    fn note(&mut self, name: &HeaderName) {
        if *name == CONNECTION {
            self.connection = true;
        } else if *name == UPGRADE {
            self.upgrade = true;
        } else if !self.managed {
            self.managed = is_managed(name.as_str());
        }
    }
}

fn remove_managed(headers: &mut HeaderMap) {
    let found: Vec<HeaderName> =
        headers.keys().filter(|name| is_managed(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Sets what is missing.
fn rewrite(headers: &mut HeaderMap, connection: &Connection, seen: Seen) {
    let tls = connection.tls.is_some();
    let is_unset = |headers: &HeaderMap, name| !seen.managed || is_unset(headers, name);
    if is_unset(headers, &REAL_IP) {
        headers.insert(&REAL_IP, connection.remote_ip.clone());
    }
    if is_unset(headers, &FORWARDED_PROTO) {
        let scheme = match (seen.upgrade && is_websocket(headers), tls) {
            (true, true) => "wss",
            (true, false) => "ws",
            (false, true) => "https",
            (false, false) => "http",
        };
        headers.insert(&FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    let host = headers.get(HOST).cloned();
    if is_unset(headers, &FORWARDED_PORT) {
        let port = port(headers, host.as_ref(), connection);
        headers.insert(&FORWARDED_PORT, port);
    }
    if is_unset(headers, &FORWARDED_HOST)
        && let Some(host) = host
    {
        headers.insert(&FORWARDED_HOST, host);
    }
    if seen.managed {
        join_forwarded_for(headers);
    }
    if let Some(name) = host_name() {
        headers.insert(&FORWARDED_SERVER, name.clone());
    }
}

fn is_unset(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get(name).is_none_or(HeaderValue::is_empty)
}

/// The port in `Host`, else that of the scheme.
fn port(headers: &HeaderMap, host: Option<&HeaderValue>, connection: &Connection) -> HeaderValue {
    let host = host.map(HeaderValue::as_bytes).unwrap_or_default();
    let colon = host.iter().rposition(|&byte| byte == b':');
    let given = match colon.and_then(|colon| host.split_at_checked(colon)) {
        // A colon inside brackets belongs to an address.
        Some((name, [_, port @ ..]))
            if !port.is_empty() && (!name.contains(&b':') || name.ends_with(b"]")) =>
        {
            connection.port(port)
        }
        _ => None,
    };
    given.unwrap_or_else(|| {
        let tls = connection.tls.is_some();
        let scheme = headers.get(&FORWARDED_PROTO).map(HeaderValue::as_bytes);
        let secure = tls || matches!(scheme, Some(b"https" | b"wss"));
        HeaderValue::from_static(if secure { "443" } else { "80" })
    })
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let Some(upgrade) = headers.get(UPGRADE) else { return false };
    upgrade.as_bytes().eq_ignore_ascii_case(b"websocket")
        && headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")))
}

/// Several lines become one.
fn join_forwarded_for(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(&FORWARDED_FOR).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let joined = headers
        .get_all(&FORWARDED_FOR)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(b", ".as_slice());
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(&FORWARDED_FOR, value);
    }
}

/// The machine's name, read once.
fn host_name() -> Option<&'static HeaderValue> {
    static NAME: OnceLock<Option<HeaderValue>> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        HeaderValue::from_str(name.trim()).ok().filter(|name| !name.is_empty())
    })
    .as_ref()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::TlsSession;

    fn connection(tls: bool) -> Connection {
        let tls = tls.then(|| TlsSession {
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            server_name: None,
            options: "default".into(),
            peer_certificates: Vec::new(),
        });
        Connection::new("10.1.2.3:4000".parse().unwrap(), Arc::from("web"), tls)
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn applied(lines: &[(&'static str, &'static str)], tls: bool, trusted: bool) -> HeaderMap {
        let mut headers = headers(lines);
        Forwarded::new(&["Foo".to_owned()]).apply(&mut headers, &connection(tls), trusted);
        headers
    }

    #[test]
    fn missing_headers_are_set() {
        let got = applied(&[("host", "example.org:8443")], false, false);
        assert_eq!(got["x-real-ip"], "10.1.2.3");
        assert_eq!(got["x-forwarded-proto"], "http");
        assert_eq!(got["x-forwarded-port"], "8443");
        assert_eq!(got["x-forwarded-host"], "example.org:8443");
        assert!(got.contains_key("x-forwarded-server"));
        assert_eq!(applied(&[("host", "[::1]")], true, false)["x-forwarded-port"], "443");
    }

    #[test]
    fn strangers_are_not_believed_in_any_spelling() {
        let sent = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-forwarded-prefix", "/a"),
            ("x-real-ip", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-other", "stays"),
        ];
        let got = applied(&sent, false, false);
        assert!(!got.contains_key("x-forwarded-for") && !got.contains_key("x_forwarded_for"));
        assert!(!got.contains_key("x-forwarded-prefix"));
        assert_eq!(got["x-real-ip"], "10.1.2.3");
        assert_eq!(got["x-forwarded-proto"], "http");
        assert_eq!(got["x-forwarded-other"], "stays");
    }

    #[test]
    fn trusted_clients_are_believed_and_lines_joined() {
        let sent = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-server", "theirs"),
        ];
        let got = applied(&sent, false, true);
        assert_eq!(got["x-forwarded-for"], "1.1.1.1, 2.2.2.2");
        assert_eq!(got["x-forwarded-proto"], "https");
        assert_eq!(got["x-forwarded-port"], "443");
        assert_ne!(got["x-forwarded-server"], "theirs");
    }

    #[test]
    fn websockets_have_schemes_of_their_own() {
        let sent = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        let got = applied(&sent, true, false);
        assert_eq!(got["x-forwarded-proto"], "wss");
        assert_eq!(got["connection"], "Upgrade");
        assert_eq!(got["upgrade"], "websocket");
    }

    #[test]
    fn connection_cannot_take_away_what_matters() {
        let sent = [
            ("host", "a"),
            ("connection", "close, X-Secret, foo, host, content-length, X-Forwarded-Host"),
            ("x-secret", "1"),
            ("foo", "1"),
            ("content-length", "0"),
        ];
        let got = applied(&sent, false, false);
        assert!(!got.contains_key("x-secret"));
        assert_eq!(got["connection"], "foo");
        for name in ["foo", "host", "content-length", "x-forwarded-host"] {
            assert!(got.contains_key(name), "{name}");
        }
    }
}
