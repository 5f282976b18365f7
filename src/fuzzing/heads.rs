//! Header fields that strangers send: cookies of sticky sessions, and forwarded headers.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::Connection;
use crate::http::forwarded::Forwarded;
use crate::service::{Cookie, Sticky};

/// Cookies of a request, a line each behind a first line with the cookie's name as configured. Only a value that
/// stands for a server finds one, and the cookie that names a server leads back to it.
pub fn cookie(bytes: &[u8]) {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let name = lines.next().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
    let options = Cookie { name: name.to_owned(), ..Cookie::default() };
    let targets = ["http://10.0.0.1:80", "http://10.0.0.2:80", "canary"];
    let sticky =
        Sticky::new(&options, "app@file", targets.into_iter()).expect("any name makes a cookie");
    let mut headers = HeaderMap::new();
    for line in lines.filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(header::COOKIE, line);
    }
    if let Some(found) = sticky.find(&headers) {
        assert!(found.index < targets.len());
        let text = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        assert!(text.collect::<String>().contains('='), "found without a pair");
    }
    // Behind what the client has of others.
    for index in 0..targets.len() {
        let set = sticky.cookie(index).and_then(|set| set.to_str().ok()).expect("a cookie is text");
        let pair = set.split(';').next().unwrap_or_default();
        let line = format!("a=b; {pair}");
        let back: HeaderMap =
            HeaderValue::try_from(line).map(|line| (header::COOKIE, line)).into_iter().collect();
        let found = sticky.find(&back).expect("the cookie names a server");
        assert_eq!((found.index, found.current), (index, true), "{set:?}");
    }
}

/// Fields of a request, `name: value` a line. Nothing that only trusted clients may say comes through from others,
/// what frames the message stays, and `Connection` takes away what it lists and no more.
pub fn forwarded(bytes: &[u8]) {
    let sent = fields(bytes);
    let connection = Connection::new(([10, 1, 2, 3], 4000).into(), Arc::from("web"), None);
    let forwarded = Forwarded::new(&["Kept".to_owned()]);
    for trusted in [false, true] {
        let mut headers = sent.clone();
        forwarded.apply(&mut headers, &connection, trusted);
        if !trusted {
            check_untrusted(&headers);
        }
        assert!(headers.get_all("x-forwarded-for").iter().count() <= 1, "one line");
        for framing in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            let before: Vec<_> = sent.get_all(&framing).iter().collect();
            let after: Vec<_> = headers.get_all(&framing).iter().collect();
            assert_eq!(before, after, "{framing}");
        }
        for listed in listed(&headers) {
            assert!(["kept", "upgrade"].contains(&listed.as_str()), "still lists {listed}");
        }
        let own = ["kept", "upgrade", "host", "content-length", "transfer-encoding"];
        for name in listed(&sent).iter().filter(|name| !own.contains(&name.as_str())) {
            assert!(is_managed(name) || !headers.contains_key(name), "{name} is listed");
        }
    }
}

fn fields(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|&byte| byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// Names that `Connection` lists, in lower case.
fn listed(headers: &HeaderMap) -> BTreeSet<String> {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

/// Written down once more, on purpose: one that is forgotten there is found here.
fn is_managed(name: &str) -> bool {
    let name = name.replace('_', "-");
    let forwarded = ["for", "host", "port", "proto", "server", "uri", "method", "prefix"];
    let forwarded_tls = ["client-cert", "client-cert-info"];
    name == "x-real-ip"
        || name.strip_prefix("x-forwarded-").is_some_and(|rest| {
            forwarded.contains(&rest)
                || rest.strip_prefix("tls-").is_some_and(|rest| forwarded_tls.contains(&rest))
        })
}

fn check_untrusted(headers: &HeaderMap) {
    let ours =
        |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    assert_eq!(ours("x-real-ip"), [b"10.1.2.3".as_slice()]);
    let scheme = ours("x-forwarded-proto").concat();
    assert!([b"http".as_slice(), b"ws"].contains(&scheme.as_slice()), "{scheme:?}");
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    assert_eq!(ours("x-forwarded-host").first().copied(), host);
    assert_eq!(ours("x-forwarded-port").len(), 1);
    let set = [
        "x-real-ip",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-server",
    ];
    for name in headers.keys().map(HeaderName::as_str).filter(|name| is_managed(name)) {
        assert!(set.contains(&name), "{name} of a stranger goes on");
    }
}
