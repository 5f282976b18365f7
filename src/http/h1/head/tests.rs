//! What is accepted as a head, what is refused, and what it is understood to say.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits { head_bytes_max: 8192, headers_max: 200 };

fn read(text: &str) -> Result<Option<RequestHead>, Refusal> {
    request(&mut BytesMut::from(text), &mut 0, &LIMITS)
}

fn good(text: &str) -> RequestHead {
    read(text).unwrap_or_else(|error| panic!("{text:?}: {error:?}")).expect("a whole head")
}

fn refused(text: &str) -> u16 {
    match read(text) {
        Err(refusal) => refusal.status.as_u16(),
        Ok(head) => panic!("{text:?} was read as {head:?}"),
    }
}

/// A request with these lines behind `Host`.
fn with(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

#[test]
fn shapes_that_smuggle_are_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 9223372036854775808",
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        "A: b\r\n folded",
        "A: b\r\n\tfolded",
        " Content-Length: 5",
        "A: b\nContent-Length: 5",
        "A: b\rContent-Length: 5",
        "A: b\0c",
        "A: b\x01c",
        "A: b\x7fc",
        "A\0: b",
        "A b: c",
        "A",
        ": b",
        "Host: b",
        "Host: a",
    ] {
        assert_eq!(refused(&with(lines)), 400, "{lines:?}");
    }
    for lines in [
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \x0bchunked".trim_start(),
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
    ] {
        let status = refused(&with(lines));
        assert!(status == 501 || status == 400, "{lines:?}: {status}");
    }
}

#[test]
fn lines_that_are_not_http_are_refused() {
    for text in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/x.1\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(refused(text), 400, "{text:?}");
    }
    assert_eq!(refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
    assert_eq!(refused("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505);
    assert_eq!(refused(&with("Expect: 200-maybe")), 417);
}

#[test]
fn heads_that_are_too_large_are_refused_whether_whole_or_not() {
    let long = with(&format!("A: {}", "b".repeat(9000)));
    assert_eq!(refused(&long), 431);
    assert_eq!(refused(long.get(..8300).unwrap()), 431);
    assert_eq!(refused(&with(&"A: b\r\n".repeat(201))), 431);
    assert_eq!(good(&with("A: b\r\n".repeat(150).trim_end())).parts.headers.len(), 151);
}

#[test]
fn framing_is_what_the_fields_say() {
    assert_eq!(good(&with("Content-Length: 17")).framing, Framing::Length(17));
    assert_eq!(good(&with("Content-Length: 0")).framing, Framing::Empty);
    assert_eq!(good(&with("Transfer-Encoding: Chunked")).framing, Framing::Chunked);
    assert_eq!(good(&with("A: b")).framing, Framing::Empty);
}

#[test]
fn connections_stay_as_the_versions_say() {
    assert!(good(&with("A: b")).keep_alive);
    assert!(!good(&with("Connection: foo, Close")).keep_alive);
    assert!(!good("GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(good("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
    assert!(good(&with("Connection: Upgrade\r\nUpgrade: x")).upgrade);
    assert!(!good(&with("Upgrade: x")).upgrade);
    assert!(good(&with("Expect: 100-continue")).expect_continue);
}

#[test]
fn an_absolute_target_gives_the_host() {
    let head = good("GET http://b.example:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.parts.headers.get("host").unwrap(), "b.example:81");
    assert_eq!(head.parts.uri, "/x?y");
    let head = good("GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.parts.uri, "/?y");
}

#[test]
fn values_lose_their_outer_blanks_only() {
    let head = good(&with("A: \t b  c \t\r\nB: \u{e9}\r\nC:"));
    assert_eq!(head.parts.headers.get("a").unwrap().as_bytes(), b"b  c");
    assert_eq!(head.parts.headers.get("b").unwrap().as_bytes(), "\u{e9}".as_bytes());
    assert_eq!(head.parts.headers.get("c").unwrap().as_bytes(), b"");
}

#[test]
fn other_targets_hold() {
    assert_eq!(good("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").parts.uri, "*");
    assert_eq!(good("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n").parts.uri, "a:443");
    assert_eq!(
        good("\r\nGET //x/../y HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").parts.uri.path(),
        "//x/../y"
    );
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let text = with("Content-Length: 3") + "abc";
    let (mut input, mut scanned) = (BytesMut::new(), 0);
    for (at, byte) in text.bytes().enumerate() {
        input.extend_from_slice(&[byte]);
        if let Some(head) = request(&mut input, &mut scanned, &LIMITS).unwrap() {
            assert_eq!(at, text.len() - 4);
            assert_eq!(head.framing, Framing::Length(3));
            return;
        }
    }
    panic!("never whole");
}

fn answer(text: &str, method: &Method) -> Result<ResponseHead, &'static str> {
    Ok(response(&mut BytesMut::from(text), &mut 0, &LIMITS, method)?.expect("a whole head"))
}

#[test]
fn responses_are_framed_by_request_and_status() {
    let framing = |text: &str, method: Method| answer(text, &method).map(|head| head.framing);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(framing(chunked, Method::GET), Ok(Framing::Chunked));
    assert_eq!(framing(chunked, Method::HEAD), Ok(Framing::Empty));
    assert_eq!(framing(length, Method::GET), Ok(Framing::Length(3)));
    assert_eq!(framing(length, Method::HEAD), Ok(Framing::Empty));
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", Method::GET), Ok(Framing::UntilClose));
    assert_eq!(framing("HTTP/1.1 204 No Content\r\n\r\n", Method::GET), Ok(Framing::Empty));
    assert_eq!(
        framing("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", Method::GET),
        Ok(Framing::Empty)
    );
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    let both = answer(both, &Method::GET).unwrap();
    assert_eq!(both.framing, Framing::Chunked);
    assert!(!both.keep_alive && !both.headers.contains_key("content-length"));
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        assert!(answer(bad, &Method::GET).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(request(&mut BytesMut::from(&input[..]), &mut 0, &LIMITS));
        drop(response(&mut BytesMut::from(&input[..]), &mut 0, &LIMITS, &Method::GET));
    }

    #[test]
    fn any_fields_never_panic(lines in "[A-Za-z:, \r\n\t0-9-]{0,200}", target in "[ -~]{0,40}") {
        drop(read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")));
    }

    #[test]
    fn what_is_accepted_has_one_framing(lines in proptest::collection::vec(
        prop_oneof![
            Just("Content-Length: 3"), Just("Content-Length: 4"), Just("Transfer-Encoding: chunked"),
            Just("A: b"), Just("transfer-encoding:chunked"), Just("content-length:\t3 "),
        ], 0..5)) {
        let framed = lines.iter().filter(|line| !line.starts_with('A')).count();
        let fields = lines.join("\r\n") + if lines.is_empty() { "" } else { "\r\n" };
        let result = read(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        prop_assert_eq!(result.is_ok(), framed <= 1);
    }
}
