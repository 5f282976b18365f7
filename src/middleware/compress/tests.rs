//! What is compressed, and what is left alone.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::*;
use crate::middleware::testing::{answered, header, refused, request};

/// Headers of a response and what became of it: the encoding, or nothing.
async fn encoding(options: &str, asked: &[(&str, &str)], answer: Answer) -> String {
    let response = through(options, request("GET", "/", asked), answer).await;
    header(response.headers(), "content-encoding").to_owned()
}

#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    size: usize,
    streams: bool,
}

const CSS: Answer =
    Answer { status: 200, headers: &[("content-type", "text/css")], size: 5000, streams: false };

async fn through(options: &str, request: Request, answer: Answer) -> Response {
    let options: Compress = serde_json::from_str(options).unwrap();
    let response = answered(&options, request, move |_| {
        let data = Bytes::from(vec![b'a'; answer.size]);
        let body = if answer.streams {
            let frames = futures_util::stream::iter([Ok(Frame::data(data))]);
            Body::stream(StreamBody::new(frames))
        } else {
            Body::from(data)
        };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status.try_into().unwrap();
        for (name, value) in answer.headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        Ok(response)
    });
    response.await.unwrap()
}

const GZIP: &[(&str, &str)] = &[("accept-encoding", "gzip")];

#[tokio::test]
async fn a_compressed_response_says_so() {
    const HEADERS: &[(&str, &str)] = &[
        ("content-type", "text/css; charset=utf-8"),
        ("content-length", "5000"),
        ("accept-ranges", "bytes"),
        ("etag", "\"1\""),
        ("vary", "Origin"),
    ];
    let answer = Answer { headers: HEADERS, ..CSS };
    let response = through("{}", request("GET", "/", GZIP), answer).await;
    let headers = response.headers();
    assert_eq!(header(headers, "content-encoding"), "gzip");
    assert_eq!(header(headers, "etag"), "\"1\"");
    assert!(!headers.contains_key("content-length") && !headers.contains_key("accept-ranges"));
    let vary: Vec<_> = headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Origin", "Accept-Encoding"]);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.starts_with(&[0x1f, 0x8b]) && bytes.len() < 200, "{}", bytes.len());
}

#[tokio::test]
async fn what_may_not_be_changed_is_left_alone() {
    for headers in [
        &[("content-encoding", "deflate")][..],
        &[("content-range", "bytes 0-4999/9000")],
        &[("cache-control", "public, no-transform")],
        &[("content-type", "application/grpc")],
        &[("content-type", "application/grpc+proto")],
        &[("content-type", "a b")],
    ] {
        let response = through("{}", request("GET", "/", GZIP), Answer { headers, ..CSS }).await;
        let before = headers.iter().find(|(name, _)| *name == "content-encoding");
        let after = header(response.headers(), "content-encoding");
        assert_eq!(after, before.map_or("", |(_, value)| value), "{headers:?}");
        assert_eq!(header(response.headers(), "vary"), "Accept-Encoding");
        assert!(matches!(response.body(), Body::Full(_)));
    }
    for status in [204, 206, 304] {
        assert_eq!(encoding("{}", GZIP, Answer { status, ..CSS }).await, "", "{status}");
    }
    let switched = through("{}", request("GET", "/", GZIP), Answer { status: 101, ..CSS }).await;
    assert!(!switched.headers().contains_key("vary"));
}

#[tokio::test]
async fn what_is_not_asked_for_is_left_alone() {
    for (method, headers) in [
        ("HEAD", GZIP),
        ("GET", &[]),
        ("GET", &[("accept-encoding", "identity")]),
        ("POST", &[("accept-encoding", "gzip"), ("content-type", "application/grpc")]),
    ] {
        let response = through("{}", request(method, "/", headers), CSS).await;
        assert!(!response.headers().contains_key("vary"), "{method} {headers:?}");
        assert!(!response.headers().contains_key("content-encoding"), "{method} {headers:?}");
    }
}

#[tokio::test]
async fn small_bodies_are_left_alone_unless_their_length_is_unknown() {
    for (size, streams, options, wanted) in [
        (1023, false, "{}", ""),
        (1024, false, "{}", "gzip"),
        (1024, false, r#"{"minResponseBodyBytes": 1025}"#, ""),
        (100, false, r#"{"minResponseBodyBytes": 100}"#, "gzip"),
        (0, false, r#"{"minResponseBodyBytes": 1}"#, ""),
        (10, true, "{}", "gzip"),
    ] {
        let answer = Answer { size, streams, ..CSS };
        assert_eq!(encoding(options, GZIP, answer).await, wanted, "{size} {options}");
    }
}

#[tokio::test]
async fn media_types_can_be_included_or_excluded() {
    const NONE: Answer = Answer { headers: &[], ..CSS };
    let only = r#"{"includedContentTypes": ["Text/CSS"]}"#;
    let but = r#"{"excludedContentTypes": ["text/css"]}"#;
    const HTML: Answer = Answer { headers: &[("content-type", "text/HTML; a=b")], ..CSS };
    for (options, answer, wanted) in [
        (only, CSS, "gzip"),
        (only, HTML, ""),
        (only, NONE, ""),
        (but, CSS, ""),
        (but, HTML, "gzip"),
        (but, NONE, "gzip"),
    ] {
        assert_eq!(encoding(options, GZIP, answer).await, wanted, "{options} {:?}", answer.headers);
    }
    let asked = [("accept-encoding", "gzip"), ("content-type", "text/css")];
    assert_eq!(encoding(but, &asked, HTML).await, "", "the request's type counts too");
}

#[tokio::test]
async fn the_list_and_the_default_choose() {
    let options = r#"{"encodings": ["br", "gzip"], "defaultEncoding": "gzip"}"#;
    assert_eq!(encoding(options, &[], CSS).await, "gzip");
    assert_eq!(encoding(options, &[("accept-encoding", "gzip, br")], CSS).await, "br");
    assert_eq!(encoding(options, &[("accept-encoding", "zstd")], CSS).await, "");
}

#[test]
fn mistakes_are_refused() {
    let refused = |json: &str| refused(&serde_json::from_str::<Compress>(json).unwrap());
    for (json, wanted) in [
        (
            r#"{"excludedContentTypes": ["a/b"], "includedContentTypes": ["a/b"]}"#,
            "excludedContentTypes and includedContentTypes options are mutually exclusive",
        ),
        (r#"{"encodings": []}"#, "at least one encoding must be specified"),
        (r#"{"encodings": ["deflate"]}"#, "unsupported encoding: deflate"),
        (
            r#"{"encodings": ["br"], "defaultEncoding": "gzip"}"#,
            "unsupported default encoding: gzip",
        ),
        (
            r#"{"includedContentTypes": ["text/"]}"#,
            "option `includedContentTypes`: `text/` is no media type",
        ),
    ] {
        assert_eq!(refused(json), wanted);
    }
}
