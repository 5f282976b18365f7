//! Messages of HTTP/1: heads and bodies mean the same in one piece and in many, and nothing in them is ambiguous.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Version, header};

use crate::http::h1::{
    Decoder, Framing, Limits, Refusal, RequestHead, parse_request, parse_response,
};

const LIMITS: Limits = Limits { head_bytes_max: 8192, headers_max: 120 };

/// A request's head; how it is cut comes first.
pub fn http1_request(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    // Empty lines in front are dropped as they come, and a connection may begin with one only.
    if bytes.starts_with(b"\r\n\r") {
        return;
    }
    let mut whole = BytesMut::from(bytes);
    let at_once = parse_request(&mut whole, &mut 0, &LIMITS);
    let in_pieces = request_in_pieces(bytes, usize::from(piece).max(1));
    let Ok(Some(head)) = at_once else {
        assert!(!matches!(in_pieces, Ok(Some(_))), "refused at once, and taken in pieces");
        return;
    };
    let in_pieces = in_pieces.expect("taken at once, and so in pieces");
    let (other, rest) = in_pieces.expect("whole at once, and so in pieces");
    assert_eq!(rest, whole);
    let facts = |head: &RequestHead| {
        let parts = &head.parts;
        let request_line = (parts.method.clone(), parts.uri.clone(), parts.version);
        (request_line, parts.headers.clone(), head.framing, head.keep_alive, head.upgrade)
    };
    assert_eq!(facts(&head), facts(&other));
    check_values(&head.parts.headers);
    let parts = &head.parts;
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    assert!(hosts == 1 || (hosts == 0 && parts.version == Version::HTTP_10), "{hosts} hosts");
    check_framing(&parts.headers, head.framing);
    assert!(parts.method != Method::CONNECT || head.framing == Framing::Empty);
    let target = parts.uri.to_string();
    assert!(!target.bytes().any(|byte| byte <= b' ' || byte == 0x7f), "{target:?}");
}

type Request = Option<(RequestHead, BytesMut)>;

fn request_in_pieces(bytes: &[u8], size: usize) -> Result<Request, Refusal> {
    let (mut input, mut scanned) = (BytesMut::new(), 0);
    let mut pieces = bytes.chunks(size);
    for piece in pieces.by_ref() {
        input.extend_from_slice(piece);
        if let Some(head) = parse_request(&mut input, &mut scanned, &LIMITS)? {
            pieces.for_each(|piece| input.extend_from_slice(piece));
            return Ok(Some((head, input)));
        }
    }
    Ok(None)
}

/// A message that two readers could end at different places is none.
fn check_framing(headers: &HeaderMap, framing: Framing) {
    let lines = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let (lengths, codings) = (lines(header::CONTENT_LENGTH), lines(header::TRANSFER_ENCODING));
    match framing {
        Framing::Chunked => {
            assert!(lengths.is_empty() && codings.len() == 1);
            assert!(codings.concat().eq_ignore_ascii_case(b"chunked"));
        }
        Framing::Length(length) => {
            let text = std::str::from_utf8(lengths.first().copied().unwrap_or_default());
            assert_eq!(text.ok().and_then(|text| text.parse().ok()), Some(length));
            assert!(lengths.len() == 1 && codings.is_empty());
        }
        Framing::Empty => {
            let zero = |line: &&[u8]| line.iter().all(|&byte| byte == b'0') && !line.is_empty();
            assert!(codings.is_empty() && lengths.len() <= 1 && lengths.iter().all(zero));
        }
        Framing::UntilClose => assert_ne!(framing, Framing::UntilClose, "a request ends"),
    }
}

/// Nothing that could end a line, or be cut off by one who reads it.
fn check_values(headers: &HeaderMap) {
    for (name, value) in headers {
        let value = value.as_bytes();
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}");
        assert_eq!(value, value.trim_ascii(), "{name}");
    }
}

/// A server's response head: found or refused, never with a value that splits it.
pub fn http1_response(bytes: &[u8]) {
    let mut whole = BytesMut::from(bytes);
    let parsed = parse_response(&mut whole, &mut 0, &LIMITS, &Method::GET);
    if let Ok(Some(head)) = parsed {
        assert!(whole.len() < bytes.len());
        check_values(&head.headers);
        if head.framing == Framing::Chunked {
            assert!(!head.headers.contains_key(header::CONTENT_LENGTH), "two ends");
        }
        assert!(head.status.as_u16() >= 100);
    }
}

/// A chunked body; how it is cut comes first. In one piece and in many it gives the same data, the same trailers and
/// the same rest, or the same refusal.
pub fn http1_body(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let at_once = decoded(bytes, bytes.len().max(1));
    let in_pieces = decoded(bytes, usize::from(piece).max(1));
    assert_eq!(at_once, in_pieces);
    assert!(at_once.data.len() <= bytes.len());
    if let Some(trailers) = &at_once.trailers {
        check_values(trailers);
        for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST] {
            assert!(!trailers.contains_key(&name), "{name} in a trailer");
        }
    }
}

#[derive(Debug, PartialEq)]
struct Decoded {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    done: bool,
    refused: bool,
    /// Of a body that has ended.
    rest: Option<Bytes>,
}

fn decoded(bytes: &[u8], size: usize) -> Decoded {
    let mut decoder = Decoder::new(Framing::Chunked);
    let mut input = BytesMut::new();
    let mut got =
        Decoded { data: Vec::new(), trailers: None, done: false, refused: false, rest: None };
    for piece in bytes.chunks(size) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(None) => break,
                Err(_) => {
                    got.refused = true;
                    return got;
                }
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) => got.data.extend_from_slice(&data),
                    Err(frame) => got.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }
    got.done = decoder.is_done();
    got.rest = got.done.then(|| input.freeze());
    got
}
