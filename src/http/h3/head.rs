//! Heads: a request's from its fields, with the rules of RFC 9114, 4.2 and 4.3, and a response's as fields.

use std::str::FromStr;

use ::http::header::{CONTENT_LENGTH, HOST};
use ::http::request::Parts;
use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::{frames, qpack, varint};
use crate::http::h1;

/// A request's head.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) parts: Box<Parts>,
    /// What `Content-Length` says.
    pub(super) length: Option<u64>,
}

#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
}

/// Reads a request's head; at most `bytes_max`.
pub(super) fn request(section: &[u8], bytes_max: u64) -> Result<Request, qpack::Error> {
    let mut pseudo = Pseudo::default();
    let mut headers = HeaderMap::new();
    qpack::decode(section, bytes_max, |name, value| match name.strip_prefix(b":") {
        Some(_) if !headers.is_empty() => Err("a pseudo-header field behind others"),
        Some(name) => pseudo.take(name, value),
        None => add(&mut headers, name, value),
    })?;
    build(pseudo, headers).map_err(qpack::Error::Refused)
}

/// Reads trailers; at most `bytes_max`.
pub(super) fn trailers(section: &[u8], bytes_max: u64) -> Result<HeaderMap, qpack::Error> {
    let mut trailers = HeaderMap::new();
    qpack::decode(section, bytes_max, |name, value| {
        if name.starts_with(b":") {
            return Err("a pseudo-header field in trailers");
        }
        add(&mut trailers, name, value)
    })?;
    Ok(trailers)
}

impl Pseudo {
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match name {
            b"method" => set(&mut self.method, parsed(value)),
            b"scheme" => set(&mut self.scheme, parsed(value)),
            b"authority" => set(&mut self.authority, parsed(value)),
            b"path" => {
                let valid = value.starts_with(b"/") || value == b"*";
                set(&mut self.path, if valid { parsed(value) } else { None })
            }
            // `:protocol` among them: extended CONNECT is not offered.
            _ => Err("an unknown pseudo-header field"),
        }
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), &'static str> {
    let value = value.ok_or("a pseudo-header field with an invalid value")?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("a pseudo-header field that is there twice"),
    }
}

fn parsed<T: FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok().filter(|value| !value.is_empty())?.parse().ok()
}

fn add(headers: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
    // Refuses capital letters.
    let name = HeaderName::from_lowercase(name).map_err(|_invalid| "the name of a header")?;
    let value = HeaderValue::from_bytes(value).map_err(|_invalid| "the value of a header")?;
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
            return Err("a header that is about the connection");
        }
        "te" if value != "trailers" => return Err("`te` that is not `trailers`"),
        "content-length" | "host" if headers.contains_key(&name) => {
            return Err("a header that may be there only once");
        }
        _ => {}
    }
    headers.try_append(name, value).map_err(|_full| "too many headers")?;
    Ok(())
}

fn build(pseudo: Pseudo, headers: HeaderMap) -> Result<Request, &'static str> {
    let Pseudo { method, scheme, authority, path } = pseudo;
    let method = method.ok_or("no `:method`")?;
    let uri = if method == Method::CONNECT {
        if scheme.is_some() || path.is_some() {
            return Err("CONNECT with `:scheme` or `:path`");
        }
        Uri::from(authority.ok_or("no `:authority`")?)
    } else {
        let scheme = scheme.ok_or("no `:scheme`")?;
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP {
            return Err("a scheme that is not `https`");
        }
        let path = path.ok_or("no `:path`")?;
        if path == "*" && method != Method::OPTIONS {
            return Err("`*` is for OPTIONS");
        }
        match (authority, headers.get(HOST)) {
            (None, None) => return Err("neither `:authority` nor `host`"),
            (None, Some(_)) => Uri::from(path),
            (Some(authority), host) => {
                let named = authority.as_str().as_bytes();
                if host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(named)) {
                    return Err("`:authority` and `host` differ");
                }
                let mut parts = ::http::uri::Parts::default();
                parts.scheme = Some(scheme);
                parts.authority = Some(authority);
                parts.path_and_query = Some(path);
                Uri::from_parts(parts).map_err(|_invalid| "the request target")?
            }
        }
    };
    let length = match headers.get(CONTENT_LENGTH) {
        Some(value) => Some(h1::parse_length(value).ok_or("`content-length` that is no length")?),
        None => None,
    };
    let mut parts = ::http::Request::new(()).into_parts().0;
    parts.method = method;
    parts.uri = uri;
    parts.version = Version::HTTP_3;
    parts.headers = headers;
    Ok(Request { parts: Box::new(parts), length })
}

/// A response's head as a frame.
pub(super) fn response(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    frame(|section| {
        qpack::put(section, ":status", status.as_str().as_bytes());
        put_all(section, headers);
    })
}

/// Trailers as a frame.
pub(super) fn trailer_frame(trailers: &HeaderMap) -> Vec<u8> {
    frame(|section| put_all(section, trailers))
}

fn put_all(section: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        qpack::put(section, name.as_str(), value.as_bytes());
    }
}

fn frame(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut section = Vec::with_capacity(256);
    qpack::begin(&mut section);
    fill(&mut section);
    let mut frame = Vec::with_capacity(section.len() + 1 + varint::BYTES_MAX);
    varint::put(&mut frame, frames::HEADERS);
    varint::put(&mut frame, section.len() as u64);
    frame.extend_from_slice(&section);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x?y")];

    fn read(fields: &[(&str, &str)]) -> Result<Request, qpack::Error> {
        let mut section = Vec::new();
        qpack::begin(&mut section);
        for (name, value) in fields {
            qpack::put(&mut section, name, value.as_bytes());
        }
        request(&section, 10_000)
    }

    /// The request of `GET` with `more` behind it.
    fn with(more: &[(&str, &str)]) -> Result<Request, qpack::Error> {
        read(&[&GET, more].concat())
    }

    /// Without one of the pseudo-header fields, and with `more` behind the others.
    fn without(name: &str, more: &[(&str, &str)]) -> Result<Request, qpack::Error> {
        let mut fields: Vec<_> = GET.into_iter().filter(|(known, _)| *known != name).collect();
        fields.extend(more);
        read(&fields)
    }

    #[test]
    fn a_request_is_what_its_fields_say() {
        let Request { parts, length } = with(&[
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("content-length", "7"),
            ("te", "trailers"),
        ])
        .unwrap();
        assert_eq!((&parts.method, parts.version), (&Method::GET, Version::HTTP_3));
        assert_eq!(parts.uri, "https://a.test/x?y");
        assert_eq!(parts.headers.get_all("cookie").iter().count(), 2);
        assert_eq!(length, Some(7));
        let named = without(":authority", &[("host", "b.test")]).unwrap();
        assert_eq!(
            (named.parts.uri.to_string(), &named.parts.headers[HOST]),
            ("/x?y".into(), &HeaderValue::from_static("b.test"))
        );
        assert!(with(&[("host", "A.test")]).is_ok());
        let connect = read(&[(":method", "CONNECT"), (":authority", "a.test:443")]).unwrap();
        assert_eq!(connect.parts.uri, "a.test:443");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (problem, result) in [
            ("about the connection", with(&[("connection", "close")])),
            ("about the connection", with(&[("transfer-encoding", "chunked")])),
            ("about the connection", with(&[("upgrade", "websocket")])),
            ("not `trailers`", with(&[("te", "gzip")])),
            ("name of a header", with(&[("X-Capital", "1")])),
            ("name of a header", with(&[("x y", "1")])),
            ("name of a header", with(&[("", "1")])),
            ("value of a header", with(&[("x", "1\r\nhost: b")])),
            ("value of a header", with(&[("x", "1\0")])),
            ("only once", with(&[("content-length", "1"), ("content-length", "1")])),
            ("only once", with(&[("host", "a.test"), ("host", "a.test")])),
            ("no length", with(&[("content-length", "+1")])),
            ("differ", with(&[("host", "b.test")])),
            ("behind others", with(&[("x", "1"), (":path", "/")])),
            ("twice", with(&[(":path", "/")])),
            ("unknown pseudo", with(&[(":protocol", "websocket")])),
            ("unknown pseudo", with(&[(":status", "200")])),
            ("no `:method`", without(":method", &[])),
            ("no `:scheme`", without(":scheme", &[])),
            ("not `https`", without(":scheme", &[(":scheme", "ftp")])),
            ("no `:path`", without(":path", &[])),
            ("invalid value", without(":path", &[(":path", "")])),
            ("invalid value", without(":path", &[(":path", "x")])),
            ("for OPTIONS", without(":path", &[(":path", "*")])),
            ("neither", without(":authority", &[])),
            ("invalid value", without(":authority", &[(":authority", "")])),
            ("CONNECT with", read(&[(":method", "CONNECT"), (":authority", "a"), (":path", "/")])),
        ] {
            match result {
                Err(qpack::Error::Refused(reason)) => assert!(reason.contains(problem), "{reason}"),
                other => panic!("{problem}: {other:?}"),
            }
        }
    }

    #[test]
    fn trailers_have_no_pseudo_header_fields() {
        let mut section = Vec::new();
        qpack::begin(&mut section);
        qpack::put(&mut section, "grpc-status", b"0");
        assert_eq!(trailers(&section, 1000).unwrap()["grpc-status"], "0");
        qpack::put(&mut section, ":path", b"/");
        assert!(trailers(&section, 1000).is_err());
    }
}
