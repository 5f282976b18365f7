//! The head of a response as HTTP/2 and HTTP/3 want it.

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};

use crate::http::date;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes what is only for HTTP/1 (RFC 9113, 8.2.2; RFC 9114, 4.2), and adds `Date` and, where `length` is known,
/// `Content-Length`, unless they are there.
pub(in crate::http) fn complete(headers: &mut HeaderMap, length: Option<u64>) {
    let (mut foreign, mut dated, mut measured) = (false, false, false);
    for name in headers.keys() {
        match name.as_str() {
            "date" => dated = true,
            "content-length" => measured = true,
            "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding"
            | "upgrade" => foreign = true,
            _ => {}
        }
    }
    if foreign {
        remove_foreign(headers);
    }
    if let Some(length) = length.filter(|_| !measured) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if !dated && let Some(date) = date::today() {
        headers.insert(DATE, date);
    }
}

/// Removes what is only for HTTP/1.
pub(super) fn remove_foreign(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| name != CONTENT_LENGTH)
        .collect();
    let always = [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];
    for name in listed.into_iter().chain(always) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_http1_goes_and_what_is_missing_comes() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-private"),
            ("transfer-encoding", "chunked"),
            ("x-private", "1"),
            ("x-public", "2"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        complete(&mut headers, Some(3));
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "date", "x-public"]);
        assert!(headers["date"].to_str().unwrap().ends_with(" GMT"));
    }

    #[test]
    fn what_is_there_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("yesterday"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
        complete(&mut headers, Some(3));
        assert_eq!(headers[DATE], "yesterday");
        assert_eq!(headers[CONTENT_LENGTH], "7");
    }
}
