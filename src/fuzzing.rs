//! What must hold for any bytes that strangers send: the same properties for proptest, in every build, and for the
//! fuzz targets of `tests/fuzz`, which run for long.
//!
//! Each function takes bytes as they could come from outside and fails on the first property that does not hold. None
//! of this is in the program.

mod config;
mod heads;
mod http1;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::entrypoint::proxy_protocol::{self, Parsed};
use crate::router::{Rule, Syntax, Target, tcp};
use crate::tls::hello::{self, HELLO_BYTES_MAX, Peeked};

pub use config::{dynamic_config, startup_config};
pub use heads::{cookie, forwarded};
pub use http1::{http1_body, http1_request, http1_response};

/// A rule of a router, in both languages, for requests and for connections: it parses or tells why not, and
/// what says why it does not match agrees with what matches.
pub fn rule(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let headers: HeaderMap = [
        (header::HOST, HeaderValue::from_static("a.test:80")),
        (HeaderName::from_static("x-a"), HeaderValue::from_static("b")),
    ]
    .into_iter()
    .collect();
    let uri = Uri::from_static("/a/b%20c?d=e&f");
    let client = IpAddr::from([10, 0, 0, 1]);
    let target =
        Target::new(&Method::GET, &uri, &headers, client).expect("the path has no bad escape");
    let protocols = [Box::from(b"h2".as_slice())];
    let connection = tcp::Target { server_name: "a.test", protocols: &protocols, client };
    for syntax in [Syntax::V3, Syntax::V2] {
        if let Ok(rule) = Rule::parse(text, syntax) {
            assert_eq!(rule.matches(&target), rule.refusal(&target).is_none(), "{text:?}");
            for host in rule.hosts() {
                assert_eq!(host, host.to_ascii_lowercase(), "{text:?}");
            }
        }
        if let Ok(rule) = tcp::Rule::parse(text, syntax) {
            assert!(!rule.is_catch_all() || rule.matches(&connection), "{text:?}");
            assert!(rule.default_priority(text) >= -1);
        }
    }
}

/// A PROXY header: never longer than what has come, the same whatever follows it, and never seen before it is whole.
pub fn proxy_header(bytes: &[u8]) {
    let parsed = proxy_protocol::parse(bytes);
    match parsed {
        Parsed::Header { bytes: length, .. } => {
            let (header, _) =
                bytes.split_at_checked(length).expect("a header is not longer than the input");
            assert_eq!(proxy_protocol::parse(header), parsed);
            for cut in 0..length {
                let part = header.get(..cut).unwrap_or_default();
                assert_eq!(proxy_protocol::parse(part), Parsed::Incomplete, "{cut} of {length}");
            }
        }
        // What is undecided is a beginning: of no more than the longest header.
        Parsed::Incomplete => assert!(bytes.len() < 4096, "waits for ever"),
        Parsed::Absent | Parsed::Malformed => {
            let longer = [bytes, b"\r\n"].concat();
            assert_eq!(proxy_protocol::parse(&longer), parsed, "a verdict is final");
        }
    }
}

/// The field section of a request over HTTP/3.
pub fn http3_head(bytes: &[u8]) {
    crate::http::h3::fuzzing::head(bytes);
}

/// A `ClientHello`: what is found in its first bytes stays so whatever follows, and an end is put to waiting.
pub fn client_hello(bytes: &[u8]) {
    let peeked = hello::peek(bytes);
    if let Peeked::Hello(hello) = &peeked {
        let name = &hello.server_name;
        assert_eq!(*name, name.to_ascii_lowercase());
        assert!(!name.ends_with('.'));
    }
    if peeked == Peeked::Incomplete {
        assert!(bytes.len() < HELLO_BYTES_MAX, "waits for ever");
    } else {
        for next in [&b"\x16\x03\x01\x00\x01\x01"[..], b"\x14\x03\x03\x00\x01\x01", b"x"] {
            assert_eq!(hello::peek(&[bytes, next].concat()), peeked, "a verdict is final");
        }
    }
    let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
    let early = hello::peek(half);
    assert!(early == Peeked::Incomplete || early == peeked, "{early:?}, then {peeked:?}");
}
