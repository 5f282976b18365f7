//! Edits the path of a request while it stays percent-encoded and valid (RFC 3986), as Go's `net/url` and `path` do.

use std::borrow::Cow;

use ::http::Uri;
use ::http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{ProxyError, Request};

/// What cannot stand in a path as it is. A `%` is taken for the start of an escape.
const NOT_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}');

const UNRESERVED_IS_PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What Go's `EscapedPath` escapes in a path that it encodes itself.
const ESCAPED_BY_GO: &AsciiSet = &UNRESERVED_IS_PLAIN
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// Puts `path`, which is percent-encoded, in the place of the request's; the query stays. What cannot stand in a
/// path is escaped, an empty path becomes `/`. A request without a path (CONNECT) stays as it is.
pub(crate) fn replace(request: &mut Request, path: &str) -> Result<(), ProxyError> {
    let uri = request.uri();
    if uri.path_and_query().is_none() {
        return Ok(());
    }
    let path: Cow<'_, str> = utf8_percent_encode(path, NOT_IN_PATH).into();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let target = match uri.query() {
        Some(query) => format!("{slash}{path}?{query}"),
        None => format!("{slash}{path}"),
    };
    let invalid = |error: &dyn std::fmt::Display| {
        ProxyError::Internal(format!("rewriting the path to `{target}`: {error}"))
    };
    let target = PathAndQuery::try_from(target.as_str()).map_err(|error| invalid(&error))?;
    let rewritten = if uri.authority().is_none() {
        Uri::from(target)
    } else {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(target);
        Uri::from_parts(parts)
            .map_err(|error| ProxyError::Internal(format!("rewriting the path: {error}")))?
    };
    *request.uri_mut() = rewritten;
    Ok(())
}

/// The path, with a `/` put before it where there is none.
pub(crate) fn with_leading_slash(path: String) -> String {
    if path.starts_with('/') { path } else { format!("/{path}") }
}

/// Percent-encodes a path that is not encoded yet, as Go's `EscapedPath` does.
pub(crate) fn encode(path: &str) -> Cow<'_, str> {
    utf8_percent_encode(path, ESCAPED_BY_GO).into()
}

/// Takes the escapes out of a path; `None` where one is broken.
pub(crate) fn decode(escaped: &str) -> Option<Cow<'_, [u8]>> {
    let bytes = escaped.as_bytes();
    let broken = bytes.iter().enumerate().any(|(at, &byte)| {
        byte == b'%'
            && !bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    });
    (!broken).then(|| percent_encoding::percent_decode_str(escaped).into())
}

/// What stays of an escaped path behind `prefix`, which is not escaped; `None` where the path begins otherwise.
pub(crate) fn strip_prefix<'a>(escaped: &'a str, prefix: &[u8]) -> Option<&'a str> {
    let mut rest = escaped.as_bytes();
    for &wanted in prefix {
        let (byte, length) = match rest {
            [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [byte, ..] => (*byte, 1),
            [] => return None,
        };
        if byte != wanted {
            return None;
        }
        rest = rest.get(length..)?;
    }
    escaped.get(escaped.len() - rest.len()..)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// True where Go's `path.Clean` would change nothing but a slash at the end: no `.`, `..` or empty segment. Escaped
/// dots count as dots, since servers take them so.
pub(crate) fn is_clean(path: &str) -> bool {
    let Some(relative) = path.strip_prefix('/') else { return path.is_empty() };
    // One pass is enough for most: nothing but a dot, an escape or a slash behind a slash can be unclean.
    let suspects = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.' | b'%']);
    if !path.as_bytes().windows(2).any(suspects) {
        return true;
    }
    let mut segments = relative.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if (segment.is_empty() && !last) || is_dots(segment) {
            return false;
        }
    }
    true
}

/// `.` or `..`, each dot plain or escaped.
fn is_dots(segment: &str) -> bool {
    let mut rest = segment;
    for _ in 0..2 {
        let next = rest
            .strip_prefix('.')
            .or_else(|| rest.strip_prefix("%2e").or_else(|| rest.strip_prefix("%2E")));
        match next {
            Some("") => return true,
            Some(tail) => rest = tail,
            None => return false,
        }
    }
    false
}

/// Go's `path.Clean`, which takes out `.`, `..` and empty segments; a slash at the end stays, as in Go's `JoinPath`.
pub(crate) fn clean(path: &str) -> Cow<'_, str> {
    if is_clean(path) && !path.is_empty() {
        return Cow::Borrowed(path);
    }
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => drop(kept.pop()),
            ".." if rooted => {}
            other => kept.push(other),
        }
    }
    let mut cleaned = String::with_capacity(path.len() + 1);
    if rooted {
        cleaned.push('/');
    }
    cleaned.push_str(&kept.join("/"));
    if path.ends_with('/') && !kept.is_empty() {
        cleaned.push('/');
    }
    if cleaned.is_empty() {
        cleaned.push('.');
    }
    Cow::Owned(cleaned)
}

/// Takes `.` and `..` out of an absolute path (RFC 3986, section 5.2.4).
pub(crate) fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut folder = false;
    for segment in path.trim_start_matches('/').split('/') {
        folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut result = format!("/{}", kept.join("/"));
    if folder && !kept.is_empty() {
        result.push('/');
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cleaning_is_go_s() {
        for (path, cleaned) in [
            ("/a//b/./c/../d/", "/a/b/d/"),
            ("/../a", "/a"),
            ("/", "/"),
            ("//", "/"),
            ("/a/..", "/"),
            ("", "."),
            ("a/../..", ".."),
            ("../a", "../a"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn escaped_dots_are_not_clean() {
        for path in ["/%2e%2E/a", "/.%2e", "/a/%2e/", "/..", "a", "//a", "/a//b"] {
            assert!(!is_clean(path), "{path}");
        }
        for path in ["/", "/a/", "/a/b", "/...", "/.a", "/%2ea", "/..a", ""] {
            assert!(is_clean(path), "{path}");
        }
    }

    #[test]
    fn prefixes_match_decoded_and_leave_the_rest_escaped() {
        assert_eq!(strip_prefix("/a%20b/c%2Fd", b"/a b"), Some("/c%2Fd"));
        assert_eq!(strip_prefix("/%61b", b"/a"), Some("b"));
        assert_eq!(strip_prefix("/a", b"/ab"), None);
        assert_eq!(strip_prefix("/%zz", b"/%z"), Some("z"));
        assert_eq!(strip_prefix("/é", "/é".as_bytes()), Some(""));
    }

    #[test]
    fn escapes_are_go_s() {
        assert_eq!(encode("/a b/[é]?%"), "/a%20b/%5B%C3%A9%5D%3F%25");
        assert_eq!(decode("/%41%2f").as_deref(), Some(b"/A/".as_slice()));
        assert_eq!(decode("/%4"), None);
        assert_eq!(decode("/%4g"), None);
    }

    proptest! {
        #[test]
        fn clean_paths_stay_as_they_are(path in "(/[a.%2e]{0,4}){0,6}/?") {
            let once = clean(&path).into_owned();
            prop_assert_eq!(clean(&once), once.as_str());
        }

        #[test]
        fn prefixes_never_panic(path in "\\PC*", prefix in any::<Vec<u8>>()) {
            let _rest = strip_prefix(&path, &prefix);
            let _decoded = decode(&path);
            let _cleaned = clean(&path);
        }
    }
}
