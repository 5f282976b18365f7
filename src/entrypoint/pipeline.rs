//! What an entry point does with each request before a router sees it.
//!
//! Traefik: the entry point's handlers, in their order (http.md §3). Differs: the fragment of an HTTP/2 `:path` is
//! dropped by the codec, where Traefik answers 400; HTTP/1 refuses it while it reads the head.

use std::borrow::Cow;

use ::http::header::{HOST, HeaderMap, HeaderName};
use ::http::request::Parts;
use ::http::uri::PathAndQuery;
use ::http::{Method, Uri};

use super::options::{EncodedCharacters, Options, UnderscoreHeadersStrategy};
use crate::http::forwarded::Forwarded;
use crate::http::{Connection, ProxyError, path};

/// `Host` and what says where a request comes from.
const ADDED_FIELDS: usize = 8;
/// Up to so many fields, a new map is made in place of one without room.
const FEW_FIELDS: usize = 16;

/// The steps, with their options.
#[derive(Debug)]
pub(super) struct Pipeline {
    underscores: UnderscoreHeadersStrategy,
    sanitize_path: bool,
    encode_semicolons: bool,
    forwarded: Forwarded,
    /// What may not stand behind a `%` in a path.
    denied: Vec<&'static str>,
}

impl Pipeline {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            underscores: options.http.underscore_headers_strategy,
            sanitize_path: options.http.sanitize_path,
            encode_semicolons: options.http.encode_query_semicolons,
            forwarded: Forwarded::new(&options.forwarded_headers.connection),
            denied: options.http.encoded_characters.as_ref().map(denied).unwrap_or_default(),
        }
    }

    /// Brings a request into the form that routers and servers see. `trusted`: the client's `X-Forwarded-*` are
    /// believed.
    pub(super) fn prepare(
        &self,
        parts: &mut Parts,
        connection: &Connection,
        trusted: bool,
    ) -> Result<(), ProxyError> {
        make_room(&mut parts.headers)?;
        self.treat_underscores(&mut parts.headers)?;
        settle_host(parts, connection)?;
        self.clean_target(&mut parts.uri)?;
        self.forwarded.apply(&mut parts.headers, connection, trusted);
        Ok(())
    }

    /// Refuses encoded characters that are not allowed. Behind the choice of a router, so that an unknown path stays
    /// unknown.
    pub(super) fn check_encoded_characters(&self, path: &str) -> Result<(), ProxyError> {
        let refused = !self.denied.is_empty()
            && path.split('%').skip(1).any(|rest| {
                rest.get(..2).is_some_and(|hex| {
                    self.denied.iter().any(|denied| denied.eq_ignore_ascii_case(hex))
                })
            });
        if refused { Err(ProxyError::BadRequest("encoded character in path")) } else { Ok(()) }
    }

    fn treat_underscores(&self, headers: &mut HeaderMap) -> Result<(), ProxyError> {
        if self.underscores == UnderscoreHeadersStrategy::Keep {
            return Ok(());
        }
        let found: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
        if self.underscores == UnderscoreHeadersStrategy::Reject && !found.is_empty() {
            return Err(ProxyError::BadRequest("underscore in header name"));
        }
        for name in found {
            headers.remove(name);
        }
        Ok(())
    }

    fn clean_target(&self, uri: &mut Uri) -> Result<(), ProxyError> {
        let path = uri.path();
        if !path.starts_with('/') {
            return Ok(()); // `OPTIONS *`, CONNECT
        }
        let normal = normalized(path)?;
        let clean = match path::clean(normal.as_deref().unwrap_or(path)) {
            Cow::Owned(clean) if self.sanitize_path => Some(clean),
            _ => None,
        };
        let query = uri
            .query()
            .filter(|query| query.contains(';'))
            .map(|query| query.replace(';', if self.encode_semicolons { "%3B" } else { "&" }));
        let changed = clean.or(normal);
        if changed.is_none() && query.is_none() {
            return Ok(());
        }
        let path = changed.as_deref().unwrap_or(path);
        let target = match query.as_deref().or(uri.query()) {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let target = PathAndQuery::try_from(target);
        *uri = target.map_err(|_invalid| ProxyError::BadRequest("request target"))?.into();
        Ok(())
    }
}

/// Room for what is added. At once, while there is little to move, and in a new map where that is cheaper than to let the
/// old one grow. HTTP/1 has left room already.
fn make_room(headers: &mut HeaderMap) -> Result<(), ProxyError> {
    if headers.len() > FEW_FIELDS {
        let room = headers.try_reserve(ADDED_FIELDS);
        return room.map_err(|_full| ProxyError::BadRequest("too many headers"));
    }
    let wanted = headers.len() + ADDED_FIELDS;
    if headers.capacity() < wanted {
        let mut roomy = HeaderMap::with_capacity(wanted);
        roomy.extend(std::mem::take(headers));
        *headers = roomy;
    }
    Ok(())
}

/// Codes of the characters that `options` does not allow.
fn denied(options: &EncodedCharacters) -> Vec<&'static str> {
    [
        (options.allow_encoded_slash, "2F"),
        (options.allow_encoded_back_slash, "5C"),
        (options.allow_encoded_null_character, "00"),
        (options.allow_encoded_semicolon, "3B"),
        (options.allow_encoded_percent, "25"),
        (options.allow_encoded_question_mark, "3F"),
        (options.allow_encoded_hash, "23"),
    ]
    .into_iter()
    .filter_map(|(allowed, code)| (!allowed).then_some(code))
    .collect()
}

/// Makes `Host` the one place that names the host: an authority in the target (HTTP/2, absolute form) wins, and the
/// target becomes path and query.
fn settle_host(parts: &mut Parts, connection: &Connection) -> Result<(), ProxyError> {
    let Some(authority) = parts.uri.authority() else {
        return check_host(&parts.headers, connection);
    };
    let host = connection.host(authority.as_str().as_bytes(), is_host);
    parts.headers.insert(HOST, host.ok_or(ProxyError::BadRequest("authority"))?);
    if parts.method != Method::CONNECT {
        let uri = std::mem::take(&mut parts.uri).into_parts();
        parts.uri = uri.path_and_query.unwrap_or(PathAndQuery::from_static("/")).into();
    }
    Ok(())
}

fn check_host(headers: &HeaderMap, connection: &Connection) -> Result<(), ProxyError> {
    let mut hosts = headers.get_all(HOST).iter();
    let valid = hosts.next().is_none_or(|host| connection.host(host.as_bytes(), is_host).is_some());
    if !valid || hosts.next().is_some() {
        return Err(ProxyError::BadRequest("host header"));
    }
    Ok(())
}

/// True for what may stand in a host, by Go's measure: RFC 3986's `reg-name`, addresses in brackets, a port. Not `@`.
fn is_host(text: &[u8]) -> bool {
    text.iter().copied().all(is_host_byte)
}

fn is_host_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'$'..=b'.' | b':' | b';' | b'=' | b'[' | b']'
            | b'_' | b'~'
    )
}

/// The path with unreserved characters decoded and the other codes in capitals; `None` where that is as it was.
fn normalized(path: &str) -> Result<Option<String>, ProxyError> {
    if !path.contains('%') {
        return Ok(None);
    }
    let mut pieces = path.split('%');
    let mut normal = String::with_capacity(path.len());
    normal.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2).ok_or(BAD_ESCAPE)?;
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(BAD_ESCAPE);
        }
        match u8::from_str_radix(code, 16) {
            Ok(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                normal.push(char::from(byte));
            }
            _ => {
                normal.push('%');
                normal.extend(code.chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        normal.push_str(rest);
    }
    Ok((normal != path).then_some(normal))
}

const BAD_ESCAPE: ProxyError = ProxyError::BadRequest("percent-encoding of the path");

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn connection() -> Connection {
        let address = "10.1.2.3:4000".parse().unwrap();
        Connection::new(address, "web".into(), None)
    }

    fn prepared(options: &str, request: ::http::request::Builder) -> Result<Parts, ProxyError> {
        let options: Options = serde_json::from_str(options).unwrap();
        let mut parts = request.body(()).unwrap().into_parts().0;
        Pipeline::new(&options).prepare(&mut parts, &connection(), false)?;
        Ok(parts)
    }

    fn target(options: &str, target: &str) -> String {
        let request = ::http::Request::builder().uri(target);
        prepared(options, request)
            .map_or_else(|error| error.to_string(), |parts| parts.uri.to_string())
    }

    #[test]
    fn targets_are_brought_into_one_form() {
        for (from, to) in [
            ("/", "/"),
            ("/a/b?c=d", "/a/b?c=d"),
            ("/a/../b", "/b"),
            ("/../../a", "/a"),
            ("/a/%2e%2E/b", "/b"),
            ("//a//b/", "/a/b/"),
            ("/a/.", "/a"),
            ("/a/./", "/a/"),
            ("/a/..", "/"),
            ("/.well-known", "/.well-known"),
            ("/a%2fb%7e", "/a%2Fb~"),
            ("/a%2F..%2Fb", "/a%2F..%2Fb"),
            ("/a?x=1;y=2", "/a?x=1&y=2"),
            ("/a?x=%zz", "/a?x=%zz"),
            ("*", "*"),
            ("http://example.org", "/"),
            ("http://example.org//a?b", "/a?b"),
            ("/%", "bad request: percent-encoding of the path"),
            ("/%4", "bad request: percent-encoding of the path"),
            ("/%+1", "bad request: percent-encoding of the path"),
        ] {
            assert_eq!(target("{}", from), to, "{from}");
        }
    }

    #[test]
    fn options_change_the_form() {
        let loose = r#"{"http":{"sanitizePath":false,"encodeQuerySemicolons":true}}"#;
        assert_eq!(target(loose, "//a/%2e%2e/b?x=1;y"), "//a/../b?x=1%3By");
    }

    #[test]
    fn the_authority_becomes_the_host() {
        let request =
            ::http::Request::builder().uri("https://Example.org:1/a").header("host", "other");
        let parts = prepared("{}", request).unwrap();
        assert_eq!(parts.headers["host"], "Example.org:1");
        assert_eq!(parts.headers["x-forwarded-host"], "Example.org:1");
        assert_eq!(parts.uri, "/a");
        let request = ::http::Request::builder().method("CONNECT").uri("a.b:443");
        let parts = prepared("{}", request).unwrap();
        assert_eq!(
            (parts.uri.to_string().as_str(), &parts.headers["host"]),
            ("a.b:443", &HeaderValue::from_static("a.b:443"))
        );
    }

    #[test]
    fn odd_hosts_are_refused() {
        for host in ["a b", "a/b", "user@a", "a\\b"] {
            let request = ::http::Request::builder().uri("/").header("host", host);
            assert!(prepared("{}", request).is_err(), "{host}");
        }
        let request = ::http::Request::builder().uri("/").header("host", "a").header("host", "a");
        assert!(prepared("{}", request).is_err());
        assert!(prepared("{}", ::http::Request::builder().uri("http://u:p@a/")).is_err());
    }

    #[test]
    fn underscores_are_kept_dropped_or_refused() {
        let with = |strategy: &str| {
            let options = format!(r#"{{"http":{{"underscoreHeadersStrategy":"{strategy}"}}}}"#);
            let request = ::http::Request::builder().uri("/").header("a_b", "1").header("a-b", "1");
            prepared(&options, request).map(|parts| parts.headers.contains_key("a_b"))
        };
        assert!(with("keep").unwrap());
        assert!(!with("delete").unwrap());
        assert!(with("reject").is_err());
    }

    #[test]
    fn encoded_characters_are_denied_only_where_asked() {
        let pipeline = |options: &str| Pipeline::new(&serde_json::from_str(options).unwrap());
        let path = "/a%2Fb%5c";
        assert!(pipeline("{}").check_encoded_characters(path).is_ok());
        let all = r#"{"http":{"encodedCharacters":{}}}"#;
        assert!(pipeline(all).check_encoded_characters(path).is_ok());
        let slash = r#"{"http":{"encodedCharacters":{"allowEncodedSlash":false}}}"#;
        assert!(pipeline(slash).check_encoded_characters(path).is_err());
        let back = r#"{"http":{"encodedCharacters":{"allowEncodedBackSlash":false}}}"#;
        assert!(pipeline(back).check_encoded_characters(path).is_err());
        assert!(pipeline(back).check_encoded_characters("/a%2F%").is_ok());
    }

    proptest! {
        #[test]
        fn a_clean_path_stays_and_never_climbs(path in "/[a./%2eEfF]{0,20}") {
            let Ok(normal) = normalized(&path) else { return Ok(()) };
            let normal = normal.unwrap_or(path);
            let clean = path::clean(&normal).into_owned();
            prop_assert!(clean.starts_with('/'));
            prop_assert!(clean.split('/').all(|segment| segment != ".." && segment != "."));
            prop_assert_eq!(normalized(&clean).unwrap(), None);
            prop_assert!(matches!(path::clean(&clean), Cow::Borrowed(_)));
        }
    }
}
