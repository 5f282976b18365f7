//! What must hold for any head that a client of HTTP/3 sends (`crate::fuzzing`).

use ::http::header::{CONTENT_LENGTH, HOST};
use ::http::{Method, Version};

use super::{head, qpack};

const BYTES_MAX: u64 = 16 * 1024;

/// A request's field section: what is taken names one host and one length, has nothing of HTTP/1's, and is the same
/// when it is written down and read again.
pub(crate) fn head(bytes: &[u8]) {
    let Ok(head::Request { parts, length }) = head::request(bytes, BYTES_MAX) else { return };
    assert_eq!(parts.version, Version::HTTP_3);
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert!(!parts.headers.contains_key(name), "{name}");
    }
    for once in [HOST, CONTENT_LENGTH] {
        assert!(parts.headers.get_all(&once).iter().count() <= 1, "{once}");
    }
    assert_eq!(length.is_some(), parts.headers.contains_key(CONTENT_LENGTH));
    let connects = parts.method == Method::CONNECT;
    assert!(connects || matches!(parts.uri.path().as_bytes(), [b'/', ..] | b"*"));
    let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = parts.headers.get(HOST).map(::http::HeaderValue::as_bytes);
    match (named, host) {
        (Some(named), Some(host)) if !connects => assert!(named.eq_ignore_ascii_case(host)),
        (named, host) => assert!(named.or(host).is_some(), "no host"),
    }

    let mut section = Vec::new();
    qpack::begin(&mut section);
    let mut put = |name: &str, value: &[u8]| qpack::put(&mut section, name, value);
    put(":method", parts.method.as_str().as_bytes());
    if !connects {
        put(":scheme", b"https");
        let target = parts.uri.path_and_query().expect("a path is there");
        put(":path", target.as_str().as_bytes());
    }
    if let Some(named) = named {
        put(":authority", named);
    }
    for (name, value) in &parts.headers {
        put(name.as_str(), value.as_bytes());
    }
    let again = head::request(&section, u64::MAX).expect("what is taken can be written down");
    assert_eq!(again.parts.method, parts.method);
    assert_eq!(again.parts.uri.path_and_query(), parts.uri.path_and_query());
    assert_eq!(again.parts.uri.authority(), parts.uri.authority());
    assert_eq!(again.parts.headers, parts.headers);
    assert_eq!(again.length, length);
}

/// A field section as a client may write it.
#[cfg(test)]
pub(crate) fn section(fields: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut section = Vec::new();
    qpack::begin(&mut section);
    for (name, value) in fields {
        qpack::put(&mut section, name, value);
    }
    section
}
