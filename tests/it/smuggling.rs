//! Requests that two readers would take for two different ones, against a server that keeps every byte: what reaches it
//! is one request, framed in one way, or nothing.
//!
//! RFC 9112 §2.2, §3.2, §5, §6, §7.1, §11.2; RFC 9113 §8.2, §10.3; http.md §3.

use tokio::io::AsyncWriteExt as _;

use crate::support::h1::Reader;
use crate::support::h2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Peer, block, frame, post, request,
};
use crate::support::recorder::{OK, Recorder};
use crate::support::running::{Running, STARTUP, everything_to, get, raw};

/// What would be smuggled behind each of the requests.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn scene() -> (Recorder, Running) {
    let server = Recorder::start(OK).await;
    let running = Running::before(&format!("http://{}", server.address)).await;
    server.take();
    (server, running)
}

fn status_of(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}

fn responses(answer: &[u8]) -> usize {
    String::from_utf8_lossy(answer).matches("HTTP/1.1 ").count()
}

/// Requests with one line in the head that makes it ambiguous; the status.
const BAD_LINES: &[(&str, u16)] = &[
    // How long the body is (RFC 9112 §6.1, §6.3).
    ("Content-Length: 5\r\nContent-Length: 5", 400),
    ("Content-Length: 5, 5", 400),
    ("Content-Length: 5 5", 400),
    ("Content-Length: 5\r\nContent-Length:", 400),
    ("Content-Length:", 400),
    ("Content-Length: ", 400),
    ("Content-Length: 5\x0b", 400),
    ("Content-Length: \x0c5", 400),
    ("Content-Length: 5.0", 400),
    ("Content-Length: 5e0", 400),
    ("Content-Length: 0x5", 400),
    ("Content-Length: 0b101", 400),
    ("Content-Length: 5_", 400),
    ("Content-Length: ５", 400),
    ("Content-Length: 9223372036854775808", 400),
    ("Content-Length: 99999999999999999999999999", 400),
    ("Content-Length: 5;", 400),
    ("Content-Length: \"5\"", 400),
    ("Content-Length\x0b: 5", 400),
    ("Content-Length\0: 5", 400),
    ("Content-Length:5\r\nTransfer-Encoding: chunked", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length:5", 400),
    ("Transfer-Encoding: identity\r\nContent-Length: 5", 400),
    ("Transfer-Encoding: identity", 501),
    ("Transfer-Encoding: gzip, chunked", 501),
    ("Transfer-Encoding: chunked, gzip", 501),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 501),
    ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501),
    ("Transfer-Encoding:\r\nTransfer-Encoding: chunked", 501),
    ("Transfer-Encoding: ,chunked", 501),
    ("Transfer-Encoding: chunked,", 501),
    ("Transfer-Encoding: chunked;q=1", 501),
    ("Transfer-Encoding: \"chunked\"", 501),
    ("Transfer-Encoding: 'chunked'", 501),
    ("Transfer-Encoding: chunk", 501),
    ("Transfer-Encoding: xchunked", 501),
    ("Transfer-Encoding: chunked x", 501),
    ("Transfer-Encoding:", 501),
    ("Transfer-Encoding: chun\u{212a}ed", 501),
    ("Transfer-Encoding: chunked\x0b", 400),
    ("Transfer-Encoding: \x0cchunked", 400),
    ("Transfer-Encoding: chunked\0", 400),
    ("Transfer-Encoding : chunked", 400),
    ("Transfer-Encoding\t: chunked", 400),
    ("Transfer-Encoding\x0b: chunked", 400),
    (" Transfer-Encoding: chunked", 400),
    ("X: y\r\n Transfer-Encoding: chunked", 400),
    ("X: y\r\n\tTransfer-Encoding: chunked", 400),
    ("Transfer-Encoding:\r\n chunked", 400),
    ("Transfer\rEncoding: chunked", 400),
    ("Transfer-\r\nEncoding: chunked", 400),
    ("X: y\rTransfer-Encoding: chunked", 400),
    ("X: y\nTransfer-Encoding: chunked", 400),
    ("X: y\r\n\rTransfer-Encoding: chunked", 400),
    ("Transfer-Encoding chunked", 400),
    ("Transfer Encoding: chunked", 400),
    ("Transfer-Encod\u{131}ng: chunked", 400),
    (":chunked", 400),
    // Whose the request is (RFC 9112 §3.2).
    ("Host: b", 400),
    ("host:localhost", 400),
    ("Host : b", 400),
    (" Host: b", 400),
    // What a server would be asked to wait for.
    ("Expect: 100-continue, x", 417),
    ("Expect: 200-ok", 417),
];

#[tokio::test]
async fn a_head_that_could_be_read_in_two_ways_is_refused() {
    let (server, running) = scene().await;
    let mut wrong = Vec::new();
    for (line, status) in BAD_LINES {
        let request =
            format!("POST / HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        let answer = raw(running.address("web"), request.as_bytes()).await;
        let reached = server.take();
        if status_of(&answer) != *status || responses(&answer) != 1 || !reached.is_empty() {
            wrong.push(format!(
                "{line:?}: {:?}, at the server {reached:?}",
                String::from_utf8_lossy(&answer)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(get(running.address("web"), "/").await.unwrap().status, 200);
}

/// Request lines that are none (RFC 9112 §3).
const BAD_STARTS: &[(&str, u16)] = &[
    ("GET  / HTTP/1.1", 400),
    ("GET\t/\tHTTP/1.1", 400),
    (" GET / HTTP/1.1", 400),
    ("GET / HTTP/1.1 ", 400),
    ("GET /  HTTP/1.1", 400),
    ("GET / x HTTP/1.1", 400),
    ("GET / HTTP/1.10", 400),
    ("GET / HTTP/01.1", 400),
    ("GET / HTTP/1.1\r", 400),
    ("GET / HTTP/1,1", 400),
    ("GET / HTTP/2.0", 505),
    ("GET / HTTP/0.9", 505),
    ("GET / http/1.1", 400),
    ("GET / HTTPS/1.1", 400),
    ("GET /", 400),
    ("GET", 400),
    ("/ HTTP/1.1", 400),
    ("G(T / HTTP/1.1", 400),
    ("GET /\x0b HTTP/1.1", 400),
    ("GET /\x7f HTTP/1.1", 400),
    ("GET /a\rb HTTP/1.1", 400),
    ("GET /a#b HTTP/1.1", 400),
    ("GET a HTTP/1.1", 400),
    ("GET * HTTP/1.1", 400),
    ("GET @evil HTTP/1.1", 400),
    ("GET http:// HTTP/1.1", 400),
    ("GET http:///x HTTP/1.1", 400),
    ("GET http://user@localhost/ HTTP/1.1", 400),
    ("GET http://a b/ HTTP/1.1", 400),
    ("CONNECT / HTTP/1.1", 400),
    ("CONNECT localhost HTTP/1.1", 400),
    ("CONNECT http://localhost:80/ HTTP/1.1", 400),
    ("\r\n\r\nGET / HTTP/1.1", 400),
    ("\nGET / HTTP/1.1", 400),
];

#[tokio::test]
async fn a_request_line_that_is_none_is_refused() {
    let (server, running) = scene().await;
    let mut wrong = Vec::new();
    for (start, status) in BAD_STARTS {
        let request = format!("{start}\r\nHost: localhost\r\n\r\n{SMUGGLED}");
        let answer = raw(running.address("web"), request.as_bytes()).await;
        let reached = server.take();
        if status_of(&answer) != *status || responses(&answer) != 1 || !reached.is_empty() {
            wrong.push(format!(
                "{start:?}: {:?}, at the server {reached:?}",
                String::from_utf8_lossy(&answer)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Bodies in chunks that end nowhere for sure (RFC 9112 §7.1).
const BAD_CHUNKS: &[&str] = &[
    "",
    "\r\n",
    "5\r\nhello\r\n\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhell\r\n0\r\n\r\n",
    "5\r\nhelloo\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello\r0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5\r\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5_0\r\nhello\r\n0\r\n\r\n",
    "5 5\r\nhello\r\n0\r\n\r\n",
    "5\0\r\nhello\r\n0\r\n\r\n",
    "5,\r\nhello\r\n0\r\n\r\n",
    "５\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "8000000000000000\r\nhello\r\n0\r\n\r\n",
    "00000000000000005\r\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5;\0\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\n\r\n",
    "5\r\nhello\r\n0\r\nX\r\n\r\n",
    "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
    "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\n\r\n",
    "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n",
];

#[tokio::test]
async fn a_body_in_bad_chunks_never_becomes_a_whole_request() {
    let (server, running) = scene().await;
    let mut wrong = Vec::new();
    for chunks in BAD_CHUNKS {
        let request = format!(
            "POST /chunks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{SMUGGLED}"
        );
        let answer = raw(running.address("web"), request.as_bytes()).await;
        let reached = server.take();
        // A part of it may have gone on: never its end, and never what stands behind it.
        let whole = reached.contains("\r\n0\r\n") || reached.contains("smuggled");
        if status_of(&answer) == 200 || responses(&answer) > 1 || whole {
            wrong.push(format!(
                "{chunks:?}: {:?}, at the server {reached:?}",
                String::from_utf8_lossy(&answer)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(get(running.address("web"), "/").await.unwrap().status, 200);
}

/// The extension of a chunk may be long, and all of them together; not without end (CVE-2023-39326).
#[tokio::test]
async fn chunk_extensions_and_trailers_are_bounded() {
    let (server, running) = scene().await;
    let long = format!("5;a={}\r\nhello\r\n0\r\n\r\n", "x".repeat(10_000));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "y".repeat(1000)).repeat(100));
    let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(1000));
    let large = format!("0\r\nX: {}\r\n\r\n", "y".repeat(20_000));
    for chunks in [long, many, trailers, large] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{SMUGGLED}"
        );
        let answer = raw(running.address("web"), request.as_bytes()).await;
        assert_eq!((status_of(&answer), responses(&answer)), (400, 1), "{:?}", chunks.get(..20));
        assert!(!server.take().contains("smuggled"));
    }
}

/// Lines of the head that reached the server, in lower case.
fn lines_of(reached: &str) -> Vec<String> {
    let head = reached.split("\r\n\r\n").next().unwrap_or_default();
    head.split("\r\n").map(str::to_ascii_lowercase).collect()
}

fn values<'a>(lines: &'a [String], name: &str) -> Vec<&'a str> {
    let pairs = lines.iter().filter_map(|line| line.split_once(": "));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).collect()
}

/// What is written loosely and still means one thing goes on in the one way that all servers read alike.
#[tokio::test]
async fn what_goes_on_is_framed_in_one_way() {
    let (server, running) = scene().await;
    let chunked = "5;x=y\r\nhello\r\n05\r\nworld\r\n000\r\n\r\n";
    for (lines, body, expected) in [
        ("Content-Length:5", "hello", Some("hello")),
        ("content-length: \t 5 \t", "hello", Some("hello")),
        ("Content-Length: 0005", "hello", Some("hello")),
        ("TRANSFER-ENCODING:\tCHUNKED ", chunked, None),
        ("Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding", chunked, None),
        ("Content-Length: 5\r\nConnection: Content-Length, Host", "hello", Some("hello")),
        ("Content-Length: 5\r\nTransfer_Encoding: chunked", "hello", Some("hello")),
        ("Content-Length: 5\r\nX-Transfer-Encoding: chunked", "hello", Some("hello")),
        ("Content-Length: 5\r\nTrailer: Content-Length", "hello", Some("hello")),
    ] {
        let request =
            format!("POST /one HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n{body}{SMUGGLED}");
        let answer = raw(running.address("web"), request.as_bytes()).await;
        assert_eq!((status_of(&answer), responses(&answer)), (200, 2), "{lines:?}");
        let all = server.take();
        let (one, second) = all.split_at(all.find("GET /smuggled").expect("the second request"));
        let head = lines_of(one);
        let (lengths, codings) =
            (values(&head, "content-length"), values(&head, "transfer-encoding"));
        assert_eq!(values(&head, "host"), ["localhost"], "{lines:?}");
        assert_eq!(values(&head, "connection"), [""; 0], "{lines:?}");
        let (_, sent) = one.split_once("\r\n\r\n").unwrap();
        if let Some(expected) = expected {
            assert_eq!((lengths, codings, sent), (vec!["5"], vec![], expected), "{lines:?}");
        } else {
            assert_eq!((lengths, codings), (vec![], vec!["chunked"]), "{lines:?}");
            assert!(!sent.contains(';') && sent.ends_with("\r\n0\r\n\r\n"), "{sent:?}");
            assert_eq!(sent.matches("hello").count() + sent.matches("world").count(), 2);
        }
        // It is a request of its own: with all that the program adds to one.
        assert!(
            second.contains("X-Forwarded-For: ") || second.contains("x-forwarded-for: "),
            "{second:?}"
        );
    }
}

/// RFC 9112 §3.2.2: a target with a host decides, and the `Host` beside it does not.
#[tokio::test]
async fn the_host_of_an_absolute_target_wins_for_routing_and_for_the_server() {
    let server = Recorder::start(OK).await;
    let inner = "
http:
  routers:
    public: {rule: 'Host(`public.test`)', service: app}
    secret: {rule: 'Host(`secret.test`)', service: nobody}
    other: {rule: 'Path(`/`)', service: app}
  services:
    app: {loadBalancer: {servers: [{url: 'http://ADDRESS'}]}}
    nobody: {loadBalancer: {servers: []}}
";
    let inner = inner.replace("ADDRESS", &server.address);
    let running = Running::start(STARTUP, &[("app.yml", &inner)]).await;
    server.take();
    let web = running.address("web");
    let asked = |target: &str, host: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    let answer = raw(web, asked("http://public.test/x", "secret.test").as_bytes()).await;
    assert_eq!(status_of(&answer), 200);
    let reached = server.take();
    assert!(reached.starts_with("GET /x HTTP/1.1\r\nHost: public.test\r\n"), "{reached:?}");
    assert!(!reached.contains("secret.test"), "{reached:?}");
    let answer = raw(web, asked("http://secret.test/x", "public.test").as_bytes()).await;
    assert_eq!((status_of(&answer), server.take().as_str()), (503, ""));
}

/// RFC 9110 §6.5.1: trailers cannot say what only a head may.
#[tokio::test]
async fn trailers_do_not_bring_in_what_the_head_was_checked_for() {
    let (server, running) = scene().await;
    let names = [
        "Transfer-Encoding",
        "Content-Length",
        "Host",
        "Connection",
        "Trailer",
        "Upgrade",
        "TE",
        "Expect",
        "Content-Encoding",
        "Content-Type",
        "Authorization",
        "Cookie",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X_Forwarded_Host",
        "X-Real-Ip",
    ];
    let trailers = names.map(|name| format!("{name}: 7\r\n")).concat();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Sum\r\n\
         Connection: close\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 7\r\n{trailers}\r\n"
    );
    let answer = raw(running.address("web"), request.as_bytes()).await;
    assert_eq!(status_of(&answer), 200);
    let over_h1 = server.take();
    let mut peer = Peer::connect(running.address("web")).await;
    let fields: Vec<(String, &str)> = names
        .iter()
        .filter(|name| {
            !["Transfer-Encoding", "Connection", "Upgrade", "TE", "Content-Length"].contains(name)
        })
        .map(|name| (name.to_ascii_lowercase(), "7"))
        .chain([("x-sum".to_owned(), "7")])
        .collect();
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let flags = END_HEADERS | END_STREAM;
    peer.send(
        &[post(1, "/"), frame(DATA, 0, 1, b"x"), frame(HEADERS, flags, 1, &block(&fields))]
            .concat(),
    )
    .await;
    assert!(peer.until("an answer", |seen| seen.heads.contains_key(&1)).await.status(1, 200));
    for reached in [over_h1, server.take()] {
        let (_, tail) = reached.rsplit_once("\r\n0\r\n").expect("chunks");
        assert_eq!(tail.to_ascii_lowercase(), "x-sum: 7\r\n\r\n", "{reached:?}");
    }
}

/// A request that asks for another protocol and has a body: the body is not taken for the other protocol, nor what
/// follows for the body.
#[tokio::test]
async fn an_upgrade_with_a_body_is_one_request_and_the_next_is_another() {
    let (server, running) = scene().await;
    for upgrade in ["websocket", "h2c", "TLS/1.0", "x"] {
        let request = format!(
            "POST /up HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\nContent-Length: 5\r\n\r\nhello{SMUGGLED}"
        );
        let answer = raw(running.address("web"), request.as_bytes()).await;
        assert_eq!((status_of(&answer), responses(&answer)), (200, 2), "{upgrade}");
        let all = server.take();
        assert_eq!(
            all.matches("X-Forwarded-For").count() + all.matches("x-forwarded-for").count(),
            2,
            "{all:?}"
        );
    }
}

/// RFC 9113 §3.1: the upgrade to h2c is no more, and a server that still knows it would open a way past all routers.
#[tokio::test]
async fn h2c_is_not_asked_for_behind_our_back() {
    let switching =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let server = Recorder::start(switching).await;
    let running = Running::start_in(Running::prepare(
        STARTUP,
        &[("app.yml", &everything_to(&format!("http://{}", server.address)))],
    ))
    .await;
    running.until("/", |answer| answer.status == 502).await;
    server.take();
    for (connection, upgrade) in [
        ("Upgrade, HTTP2-Settings, close", "h2c"),
        ("Upgrade, close", "h2c"),
        ("upgrade, close", "H2C"),
        ("Upgrade, close", "websocket, h2c"),
        ("Upgrade, close", "h2c/1"),
    ] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        let answer = raw(running.address("web"), request.as_bytes()).await;
        assert_eq!(status_of(&answer), 502, "{upgrade}");
        let reached = server.take().to_ascii_lowercase();
        assert!(!reached.contains("h2c") && !reached.contains("http2-settings"), "{reached:?}");
    }
}

/// From HTTP/2 to HTTP/1: the frames say where the body ends, whatever stands in it.
#[tokio::test]
async fn a_body_of_http2_is_framed_anew() {
    let (server, running) = scene().await;
    let end = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = end.len().to_string();
    let mut told = request("POST", "/");
    told.push(("content-length", &length));
    let told = frame(HEADERS, END_HEADERS, 1, &block(&told));
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    for frames in [
        vec![post(1, "/"), data(END_STREAM, end.as_bytes())],
        vec![
            post(1, "/"),
            data(0, b""),
            data(0, end.as_bytes()),
            data(0, b""),
            data(END_STREAM, b""),
        ],
        vec![told.clone(), data(END_STREAM, end.as_bytes())],
        vec![
            told.clone(),
            data(0, b""),
            data(0, &end.as_bytes()[..7]),
            data(END_STREAM, &end.as_bytes()[7..]),
        ],
    ] {
        let mut peer = Peer::connect(running.address("web")).await;
        peer.send(&frames.concat()).await;
        assert!(peer.until("an answer", |seen| seen.heads.contains_key(&1)).await.status(1, 200));
        let reached = server.take();
        let (head, body) = reached.split_once("\r\n\r\n").unwrap();
        let head = lines_of(head);
        match (
            values(&head, "content-length")[..].first(),
            values(&head, "transfer-encoding")[..].first(),
        ) {
            (Some(told), None) => {
                assert_eq!((*told, body), (length.as_str(), end));
            }
            (None, Some(&"chunked")) => assert_eq!(unchunked(body), end),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.bytes().len(), 0);
}

/// The data of a body in chunks that is whole and has nothing behind it.
fn unchunked(mut body: &str) -> String {
    let mut data = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size in hex");
        if size == 0 {
            assert_eq!(rest, "\r\n");
            return data;
        }
        let (chunk, rest) = rest.split_at(size);
        data.push_str(chunk);
        body = rest.strip_prefix("\r\n").expect("the end of a chunk");
    }
}

/// What a server adds to its answer unasked is not the answer to the next request of somebody else.
#[tokio::test]
async fn a_server_that_says_more_than_it_was_asked_poisons_nothing() {
    let (server, running) = scene().await;
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for answer in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{extra}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{extra}"),
        format!("HTTP/1.1 204 No Content\r\n\r\n{extra}"),
        format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n{extra}"),
    ] {
        server.answer_with(answer.as_bytes());
        let stream = tokio::net::TcpStream::connect(running.address("web")).await.unwrap();
        let mut kept = Reader::new(stream);
        for _ in 0..5 {
            kept.stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let head = kept.head().await.unwrap().unwrap();
            // The other two have no body.
            if head.start.contains(" 200 ") {
                let body = kept.body(&head, false).await.unwrap();
                assert_eq!(body.bytes, b"ok", "{answer:?}");
            }
        }
        assert!(kept.buffer.is_empty(), "{answer:?}");
    }
}

/// Heads of servers that could be read in two ways: 502, and nothing of them.
#[tokio::test]
async fn an_answer_that_could_be_read_in_two_ways_is_refused() {
    let (server, running) = scene().await;
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nok",
        "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "\0\0\0\0\r\n\r\n",
    ] {
        server.answer_with(head);
        let answer = get(running.address("web"), "/").await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (502, "Bad Gateway"), "{head:?}");
    }
}

/// A server that never comes to the point: heads of 1xx, and a head without end.
#[tokio::test]
async fn a_server_without_end_is_cut_off() {
    let (server, running) = scene().await;
    for answer in [
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n".repeat(200_000),
        [b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(2_000_000)].concat(),
        [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), b"y".repeat(12_000_000)].concat(),
    ] {
        server.answer_with(answer);
        let before = running.memory();
        for _ in 0..4 {
            let answer = raw(running.address("web"), SMUGGLED.as_bytes()).await;
            let text = String::from_utf8_lossy(&answer);
            assert!(text.contains("HTTP/1.1 502"), "{:?}", text.get(..300));
        }
        let grown = running.memory().saturating_sub(before);
        assert!(grown < 40 << 20, "{grown} bytes more");
    }
}
