//! `Idempotency-Key`: a write that is sent again is answered as it was first, whatever it would do by now.
//!
//! A key belongs to one request of one token: method, path, condition and body. `wait` may differ.

use http::header;
use pontoon_cluster::Idempotency;
use sha2::{Digest as _, Sha256};

use super::calls::Head;
use super::problem::Problem;
use super::route::Call;

/// Longest key.
const KEY_BYTES_MAX: usize = 256;

/// The key of a write, and what makes it the same write. None for a dry run: it does nothing.
pub(super) fn of(call: &Call, head: &Head, body: &[u8]) -> Result<Option<Idempotency>, Problem> {
    let Some(key) = head.headers.get("idempotency-key") else { return Ok(None) };
    let key = match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => key.to_owned(),
        _ => return Err(Problem::bad_request("Idempotency-Key has 1 to 256 visible characters")),
    };
    if head.query.get("dryRun") == Some("true") {
        return Ok(None);
    }
    let request = request(call, head, body);
    Ok(Some(Idempotency { key, request }))
}

/// A digest of all that decides what the call does.
fn request(call: &Call, head: &Head, body: &[u8]) -> bytes::Bytes {
    let mut digest = Sha256::new();
    // Each part with its length, so that none can be taken for a piece of another.
    let mut add = |part: &[u8]| {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    };
    let (name, object) = match call {
        Call::PutObject(object) => ("put", object.key.as_str()),
        Call::DeleteObject(object) => ("delete", object.key.as_str()),
        Call::PutDocument => ("put", ""),
        Call::PatchDocument => ("patch", ""),
        Call::Rollback => ("rollback", head.query.get("revision").unwrap_or_default()),
        Call::Restore => ("restore", head.query.get("force").unwrap_or_default()),
        Call::ReadDocument
        | Call::ReadObject(_)
        | Call::History
        | Call::Watch
        | Call::Check
        | Call::Status
        | Call::Backup
        | Call::Explain
        | Call::Ready => ("read", ""),
    };
    add(name.as_bytes());
    add(object.as_bytes());
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
        for value in head.headers.get_all(&name) {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
    }
    add(body);
    digest.finalize().to_vec().into()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::api::document::Object;
    use crate::api::list::Query;

    fn head(query: &str, headers: &[(&'static str, &str)]) -> Head {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Head { headers: map, query: Query::parse(query), author: "ann".to_owned() }
    }

    #[test]
    fn what_decides_what_is_done_makes_another_request() {
        let key = ("idempotency-key", "k");
        let of = |call: &Call, query: &str, more: &[(&'static str, &str)], body: &str| {
            let headers: Vec<_> = more.iter().copied().chain([key]).collect();
            of(call, &head(query, &headers), body.as_bytes()).unwrap().unwrap()
        };
        let object =
            |name| Call::PutObject(Object::parse("http", "routers", name).unwrap().unwrap());
        let first = of(&object("a"), "", &[], "1");
        assert_eq!(first, of(&object("a"), "wait=all", &[], "1"));
        for other in [
            of(&object("b"), "", &[], "1"),
            of(&object("a"), "", &[], "2"),
            of(&object("a"), "", &[("if-match", "*")], "1"),
            of(&Call::PutDocument, "", &[], "1"),
            of(&Call::Rollback, "revision=7", &[], "1"),
        ] {
            assert_eq!(other.key, "k");
            assert_ne!(first.request, other.request);
        }
    }

    #[test]
    fn a_dry_run_has_no_key_and_a_bad_key_is_refused() {
        let of = |query, key: &str| {
            of(&Call::PutDocument, &head(query, &[("idempotency-key", key)]), b"")
        };
        assert_eq!(of("dryRun=true", "k").unwrap(), None);
        assert!(of("", "k").unwrap().is_some());
        assert_eq!(of("", "").unwrap_err().status(), 400);
        assert_eq!(of("", &"k".repeat(257)).unwrap_err().status(), 400);
    }
}
