//! What matchers look at: a request's head, prepared once for all rules.

use std::borrow::Cow;
use std::net::IpAddr;

use ::http::header::HOST;
use ::http::{HeaderMap, Method, Uri};

/// The head of a request as matchers see it. Preparing it allocates only where something must be changed.
pub(crate) struct Target<'a> {
    host: Cow<'a, str>,
    /// The name that the host is an alias of.
    flat_host: Option<&'a str>,
    path: Cow<'a, [u8]>,
    query: &'a str,
    method: &'a Method,
    headers: &'a HeaderMap,
    client: IpAddr,
}

/// A path with an escape that is none. To be answered with 400 and an empty body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path has an invalid percent escape")]
pub(crate) struct InvalidPath;

impl<'a> Target<'a> {
    /// `headers` hold the `Host` of the request, whatever its protocol. `client` is the socket's peer or what the
    /// PROXY header said, never `X-Forwarded-For`.
    pub(crate) fn new(
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        client: IpAddr,
    ) -> Result<Self, InvalidPath> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        Ok(Self {
            host: canonical_host(host),
            flat_host: None,
            path: routing_path(uri.path())?,
            query: uri.query().unwrap_or_default(),
            method,
            headers,
            client: client.to_canonical(),
        })
    }

    /// The host in lower case, without port, brackets and trailing dot; empty when the client sent none.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// With the name that the host is an alias of, in lower case; `None` where it was not looked up.
    pub(crate) fn with_flat_host(self, flat_host: Option<&'a str>) -> Self {
        Self { flat_host, ..self }
    }

    /// The name that the host is an alias of, or the host itself; `None` without `hostResolver`.
    pub(crate) fn flat_host(&self) -> Option<&str> {
        self.flat_host
    }

    /// The routing path: decoded, except for reserved characters and `%`.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The query as it came, without `?`.
    pub(crate) fn query(&self) -> &str {
        self.query
    }

    pub(crate) fn method(&self) -> &Method {
        self.method
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.headers
    }

    pub(crate) fn client(&self) -> IpAddr {
        self.client
    }
}

/// Lower case, without port, brackets of IPv6, and one trailing dot.
pub(crate) fn canonical_host(host: &str) -> Cow<'_, str> {
    if let Some(host) = plain_host(host) {
        return Cow::Borrowed(host);
    }
    let host = without_port(host.trim());
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The host where it is a name in lower case or an IPv4 address, with or without a port: found in one pass, as nearly
/// all are.
fn plain_host(host: &str) -> Option<&str> {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    let end = host.bytes().position(|byte| !is_plain(byte)).unwrap_or(host.len());
    let (name, rest) = host.split_at_checked(end)?;
    let is_port = match rest.as_bytes() {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    (is_port && !name.ends_with('.')).then_some(name)
}

/// Anything that is not `name`, `name:port`, `[ip]` or `[ip]:port` is left as it is.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((ip, "")) => ip,
            Some((ip, port)) if port.starts_with(':') => ip,
            Some(_) | None => host,
        };
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        Some(_) | None => host,
    }
}

/// Decodes what RFC 3986 does not reserve. Reserved characters and `%` stay escaped, in upper-case hex, so that
/// an escaped slash never becomes a separator.
fn routing_path(path: &str) -> Result<Cow<'_, [u8]>, InvalidPath> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (octet, tail) = escaped_octet(rest).ok_or(InvalidPath)?;
        if is_reserved(octet) {
            let [high, low] = rest.first_chunk::<2>().ok_or(InvalidPath)?;
            decoded.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
        } else {
            decoded.push(octet);
        }
        rest = tail;
    }
    Ok(Cow::Owned(decoded))
}

/// The octet that the two hex digits at the start of `text` stand for, and what follows them.
pub(super) fn escaped_octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], tail) = text.split_first_chunk::<2>()?;
    Some((hex_digit(high)? << 4 | hex_digit(low)?, tail))
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986 §2.2, and `%`.
fn is_reserved(octet: u8) -> bool {
    b":/?#[]@!$&'()*+,;=%".contains(&octet)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Requests for tests of matchers.

    use super::*;

    /// A request head that owns its parts.
    pub(crate) struct Head {
        pub(crate) method: Method,
        pub(crate) uri: Uri,
        pub(crate) headers: HeaderMap,
        pub(crate) client: IpAddr,
    }

    /// `GET uri` with `Host: host` (none where empty) from 192.0.2.1.
    pub(crate) fn get(host: &str, uri: &str) -> Head {
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert(HOST, host.parse().unwrap());
        }
        let client = "192.0.2.1".parse().unwrap();
        Head { method: Method::GET, uri: uri.parse().unwrap(), headers, client }
    }

    impl Head {
        pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
            self.headers.append(name, value.parse().unwrap());
            self
        }

        pub(crate) fn target(&self) -> Target<'_> {
            Target::new(&self.method, &self.uri, &self.headers, self.client).unwrap()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_loses_case_port_brackets_and_trailing_dot() {
        for (host, canonical) in [
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("[::1]:80", "::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[::1", "[::1"),
            ("[::1]x", "[::1]x"),
            (" a ", "a"),
            (":80", ""),
            (".", ""),
            ("", ""),
        ] {
            assert_eq!(canonical_host(host), canonical, "{host}");
        }
        assert!(matches!(canonical_host("example.com:80"), Cow::Borrowed(_)));
    }

    #[test]
    fn path_is_decoded_except_for_reserved_characters() {
        for (path, routed) in [
            ("/a%20b", &b"/a b"[..]),
            ("/a%2fb", b"/a%2Fb"),
            ("/%41%7e", b"/A~"),
            ("/%25%32%35", b"/%2525"),
            ("/%3a%2F%3f%23%5b%5d%40%21", b"/%3A%2F%3F%23%5B%5D%40%21"),
            ("/%24%26%27%28%29%2a%2b%2c%3b%3d", b"/%24%26%27%28%29%2A%2B%2C%3B%3D"),
            ("/caf%C3%A9", "/café".as_bytes()),
            ("/%ff%00", b"/\xff\0"),
        ] {
            assert_eq!(routing_path(path).unwrap(), routed, "{path}");
        }
        assert!(matches!(routing_path("/plain"), Ok(Cow::Borrowed(b"/plain"))));
    }

    #[test]
    fn invalid_escapes_are_an_error() {
        for path in ["/%", "/%4", "/%zz", "/%4g", "/a%2", "/%+1"] {
            assert_eq!(routing_path(path), Err(InvalidPath), "{path}");
        }
    }
}
