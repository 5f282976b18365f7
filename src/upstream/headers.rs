//! Which headers cross the proxy: hop-by-hop rules (RFC 9110, 7.6.1) as Go's `ReverseProxy` applies them.

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::http::ProxyError;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Removes what was meant for us from a request. Gives the protocol that the client wants to switch to.
///
/// `Trailer` stays, as it does in effect in Go: it announces what crosses the proxy.
pub(super) fn clean_request(headers: &mut HeaderMap) -> Result<Option<HeaderValue>, ProxyError> {
    if !has_hop_by_hop(headers) {
        return Ok(None);
    }
    let upgrade = requested_upgrade(headers).filter(|protocol| !names_h2c(protocol));
    if upgrade.as_ref().is_some_and(|protocol| protocol.to_str().is_err()) {
        return Err(ProxyError::BadRequest("the Upgrade header is not printable"));
    }
    let takes_trailers = lists(headers, &TE, "trailers");
    remove_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = &upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    Ok(upgrade)
}

/// Removes what was meant for us from a final response.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    if has_hop_by_hop(headers) {
        remove_hop_by_hop(headers);
    }
}

/// True for the upgrade to HTTP/2, which RFC 9113, section 3.1, has taken back. A server that still knows it would read
/// the next requests past all routers and middlewares.
///
/// Differs: Traefik passes it on like any other.
fn names_h2c(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().split(|&byte| byte == b',').any(|name| {
        let name = name.split(|&byte| byte == b'/').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"h2c")
    })
}

/// The protocol in `Upgrade`, where `Connection` lists it.
pub(super) fn requested_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    if lists(headers, &CONNECTION, "upgrade") { headers.get(UPGRADE).cloned() } else { None }
}

/// Adds the client's address to `X-Forwarded-For`, folding several lines into one.
pub(super) fn append_forwarded_for(headers: &mut HeaderMap, client: &HeaderValue) {
    let mut all = Vec::new();
    for line in headers.get_all(&FORWARDED_FOR).iter().filter(|line| !line.is_empty()) {
        all.extend_from_slice(line.as_bytes());
        all.extend_from_slice(b", ");
    }
    let folded = if all.is_empty() {
        client.clone()
    } else {
        all.extend_from_slice(client.as_bytes());
        // Values joined by a comma are a value again.
        HeaderValue::from_maybe_shared(Bytes::from(all)).unwrap_or_else(|_error| client.clone())
    };
    headers.insert(FORWARDED_FOR, folded);
}

/// Joins what clients of HTTP/2 and HTTP/3 send as several `Cookie` lines (RFC 9113, 8.2.3; RFC 9114, 4.2.1).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(b"; ".as_slice())) {
        headers.insert(COOKIE, joined);
    }
}

/// One pass over the names, since most messages have none of them.
fn has_hop_by_hop(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        matches!(
            name.as_str(),
            "connection"
                | "keep-alive"
                | "te"
                | "transfer-encoding"
                | "upgrade"
                | "proxy-connection"
                | "proxy-authenticate"
                | "proxy-authorization"
        )
    })
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // Whose message it is and where it ends is not for `Connection` to say.
        .filter(|name| name != HOST && name != CONTENT_LENGTH)
        .collect();
    for name in listed {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
}

/// True if a comma-separated header has `token`, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = [(&'static str, &'static str)];

    fn map(lines: &Lines) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn requests_lose_what_was_meant_for_the_proxy() {
        let table: [(&Lines, &Lines); 7] = [
            (&[("host", "a"), ("accept", "*")], &[("host", "a"), ("accept", "*")]),
            (&[("connection", "keep-alive"), ("keep-alive", "timeout=5")], &[]),
            (
                &[("connection", "X-A, x-b"), ("x-a", "1"), ("x-b", "2"), ("x-c", "3")],
                &[("x-c", "3")],
            ),
            (
                &[("connection", "Host, Content-Length"), ("host", "a"), ("content-length", "3")],
                &[("host", "a"), ("content-length", "3")],
            ),
            (&[("te", "gzip, Trailers")], &[("te", "trailers")]),
            (&[("te", "gzip"), ("proxy-authorization", "x"), ("proxy-connection", "close")], &[]),
            (
                &[("upgrade", "h2c"), ("trailer", "x"), ("transfer-encoding", "chunked")],
                &[("trailer", "x")],
            ),
        ];
        for (given, left) in table {
            let mut headers = map(given);
            assert_eq!(clean_request(&mut headers).unwrap(), None);
            assert_eq!(headers, map(left), "{given:?}");
        }
    }

    #[test]
    fn an_upgrade_is_passed_on_alone() {
        let mut headers = map(&[("connection", "keep-alive, upgrade"), ("upgrade", "websocket")]);
        let upgrade = clean_request(&mut headers).unwrap().unwrap();
        assert_eq!(upgrade, "websocket");
        assert_eq!(headers, map(&[("connection", "Upgrade"), ("upgrade", "websocket")]));
    }

    #[test]
    fn the_upgrade_to_http2_is_not_passed_on() {
        for protocol in ["h2c", "H2C", "websocket, h2c", "h2c/1"] {
            let mut headers = map(&[
                ("connection", "upgrade"),
                ("upgrade", protocol),
                ("http2-settings", "AAMAAABk"),
                ("x", "y"),
            ]);
            assert_eq!(clean_request(&mut headers).unwrap(), None, "{protocol}");
            assert_eq!(headers, map(&[("x", "y")]));
        }
    }

    #[test]
    fn the_client_is_added_behind_those_before_it() {
        let client = HeaderValue::from_static("9.9.9.9");
        let line = |value| ("x-forwarded-for", value);
        let table: [(&Lines, &str); 4] = [
            (&[], "9.9.9.9"),
            (&[line("1.1.1.1")], "1.1.1.1, 9.9.9.9"),
            (&[line("1.1.1.1"), line("2.2.2.2")], "1.1.1.1, 2.2.2.2, 9.9.9.9"),
            (&[line("")], "9.9.9.9"),
        ];
        for (given, expected) in table {
            let mut headers = map(given);
            append_forwarded_for(&mut headers, &client);
            let got: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
            assert_eq!(got, [expected]);
        }
    }

    #[test]
    fn cookies_in_several_lines_become_one() {
        let mut headers = map(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]);
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; b=2"), ("x", "y")]));
    }
}
