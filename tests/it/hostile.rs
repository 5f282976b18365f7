//! Clients that mean harm: requests that two readers would read differently, and ones that never end.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::h2::{DATA, END_HEADERS, END_STREAM, HEADERS, Peer, block, frame};
use crate::support::running::{
    CERTIFICATE, PATIENCE, Running, STARTUP, echo, eventually, everything_to, get, raw,
};

/// What would be smuggled behind each of the requests.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Requests that are refused, and the status.
const REFUSED: &[(&str, &str, u16)] = &[
    (
        "length and chunks",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunks and length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "two lengths that differ",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\n",
        400,
    ),
    (
        "a list of lengths that differ",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 4\r\n\r\n",
        400,
    ),
    ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n", 400),
    ("a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    ("a length in hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n", 400),
    (
        "a length beyond all numbers",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        400,
    ),
    ("lines that end with LF only", "GET / HTTP/1.1\nHost: a\n\n", 400),
    ("one header that ends with LF only", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    ("a bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n", 400),
    ("a folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    ("a folded header by tab", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", 400),
    ("space before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n", 400),
    ("tab before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 0\r\n\r\n", 400),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400),
    ("NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
    ("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a header without a colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    ("a header without a name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
    ("a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    (
        "chunks in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "an unknown coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "chunks twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "chunks and then something else",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "a coding behind a vertical tab",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("an unknown version", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
];

/// Requests whose head is good and whose body is not: they may begin to go on, and never end well.
const BROKEN_BODIES: &[(&str, &str)] = &[
    ("a chunk size with a sign", "+4\r\nbody\r\n0\r\n\r\n"),
    ("a chunk size with 0x", "0x4\r\nbody\r\n0\r\n\r\n"),
    ("a chunk size that overflows", "10000000000000004\r\nbody\r\n0\r\n\r\n"),
    ("a chunk size line that ends with LF", "4\nbody\r\n0\r\n\r\n"),
    ("a chunk longer than its size", "4\r\nbody!\r\n0\r\n\r\n"),
    ("a chunk that ends with LF", "4\r\nbody\n0\r\n\r\n"),
    ("a bare CR in an extension", "4;a\rb\r\nbody\r\n0\r\n\r\n"),
    ("a trailer with space before the colon", "4\r\nbody\r\n0\r\nX : y\r\n\r\n"),
    ("a folded trailer", "4\r\nbody\r\n0\r\nX: y\r\n z\r\n\r\n"),
];

fn status_of(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn responses(answer: &[u8]) -> usize {
    String::from_utf8_lossy(answer).matches("HTTP/1.1 ").count()
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_nothing_of_them_reaches_a_server() {
    let (backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let (web, mark) = (running.address("web"), backend.count());
    let mut wrong = Vec::new();
    for (name, request, status) in REFUSED {
        let answer = raw(web, format!("{request}{SMUGGLED}").as_bytes()).await;
        if status_of(&answer) != Some(*status) || responses(&answer) != 1 {
            wrong
                .push(format!("{name}: {status} expected: {:?}", String::from_utf8_lossy(&answer)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(backend.count(), mark, "{:?}", backend.all(mark));
}

#[tokio::test]
async fn broken_chunks_never_make_a_whole_request() {
    let (backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let (web, mark) = (running.address("web"), backend.count());
    let mut wrong = Vec::new();
    for (name, body) in BROKEN_BODIES {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = raw(web, format!("{head}{body}{SMUGGLED}").as_bytes()).await;
        if status_of(&answer) != Some(400) || responses(&answer) != 1 {
            wrong.push(format!("{name}: {:?}", String::from_utf8_lossy(&answer)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(backend.count(), mark, "{:?}", backend.all(mark));
    assert_eq!(get(web, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_head_of_ten_megabytes_is_refused_and_not_kept() {
    let (backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let (web, mark, before) = (running.address("web"), backend.count(), running.memory());
    let one = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(10_000_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(1_700_000));
    let clients = [&one, &many].map(|request| async move {
        let asked = (0..8).map(|_| raw(web, request.as_bytes()));
        futures_util::future::join_all(asked).await
    });
    for answer in futures_util::future::join_all(clients).await.concat() {
        assert_eq!(status_of(&answer), Some(431), "{:?}", String::from_utf8_lossy(&answer));
    }
    // 16 clients sent 160 MB; 1 MiB each is allowed.
    let grown = running.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    assert_eq!(backend.count(), mark);
}

/// Sends `start`, then a byte now and then, until the other side closes; what it said and when.
async fn dribble(running: &Running, start: &str) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    let (mut read, mut write) =
        TcpStream::connect(running.address("web")).await.unwrap().into_split();
    write.write_all(start.as_bytes()).await.unwrap();
    let dribbling = async {
        // The attack is the slowness: a byte comes well before any reader would call this idle.
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            if write.write_all(b"a").await.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = dribbling => {}
        read = read.read_to_end(&mut answer) => drop(read),
        () = tokio::time::sleep(PATIENCE) => panic!("the connection stays open"),
    }
    (answer, began.elapsed())
}

#[tokio::test]
async fn slow_clients_are_ended_by_the_read_timeout() {
    let (backend, address) = echo("app", "http").await;
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', transport: {respondingTimeouts: {readTimeout: 1s}}}",
    );
    let app = everything_to(&format!("http://{address}"));
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    let mark = backend.count();
    let starts = [
        "",
        "GET /",
        "GET / HTTP/1.1\r\nHost: a\r\nX: ",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
    ];
    let clients = starts.map(|start| dribble(&running, start));
    for (start, (answer, took)) in starts.iter().zip(futures_util::future::join_all(clients).await)
    {
        assert_ne!(status_of(&answer), Some(200), "{start:?}");
        assert!(
            (Duration::from_millis(800)..Duration::from_secs(5)).contains(&took),
            "{start:?}: {took:?}"
        );
    }
    assert_eq!(backend.count(), mark, "{:?}", backend.all(mark));
    assert_eq!(get(running.address("web"), "/").await.unwrap().status, 200);
}

/// Fields and body of a request.
type Case<'a> = (Vec<(&'a str, &'a str)>, &'a [u8]);

/// What came on stream 1: whether it was answered with 200, whether it was refused or reset.
async fn h2_exchange(
    running: &Running,
    fields: &[(&str, &str)],
    data: Option<&[u8]>,
) -> (bool, bool) {
    let mut peer = Peer::connect(running.address("web")).await;
    let flags = if data.is_some() { END_HEADERS } else { END_HEADERS | END_STREAM };
    let mut bytes = frame(HEADERS, flags, 1, &block(fields));
    if let Some(data) = data {
        bytes.extend(frame(DATA, END_STREAM, 1, data));
    }
    peer.send(&bytes).await;
    let seen = peer
        .until("an answer over HTTP/2", |seen| {
            seen.heads.contains_key(&1) || seen.resets.contains_key(&1) || !seen.goaways.is_empty()
        })
        .await;
    (seen.status(1, 200), !seen.status(1, 200))
}

#[tokio::test]
async fn http2_cannot_inject_what_http1_would_read_differently() {
    let (backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let good = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    assert_eq!(h2_exchange(&running, &good, Some(b"body")).await, (true, false));
    let mark = backend.count();
    let with = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
    let instead = |name: &str, value: &'static str| {
        good.map(|(key, old)| (key, if key == name { value } else { old })).to_vec()
    };
    let cases: Vec<Case<'_>> = vec![
        (with(&[("x", "a\r\ntransfer-encoding: chunked")]), b""),
        (with(&[("x", "a\nb: c")]), b""),
        (with(&[("x", "a\0b")]), b""),
        (with(&[("x: y\r\nz", "a")]), b""),
        (with(&[("x y", "a")]), b""),
        (with(&[("x:", "a")]), b""),
        (with(&[("X-Upper", "a")]), b""),
        (with(&[("transfer-encoding", "chunked")]), b"0\r\n\r\n"),
        (with(&[("connection", "close")]), b""),
        (with(&[("upgrade", "h2c")]), b""),
        (with(&[("content-length", "10")]), b"body"),
        (with(&[("content-length", "2")]), b"body"),
        (with(&[("content-length", "4"), ("content-length", "5")]), b"body"),
        (with(&[("content-length", "+4")]), b"body"),
        (with(&[(":path", "/other")]), b""),
        (with(&[("x", "a"), (":scheme", "https")]), b""),
        (with(&[(":status", "200")]), b""),
        (instead(":method", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nPOST"), b""),
        (instead(":method", "GE T"), b""),
        (instead(":path", "/ HTTP/1.1\r\nHost: b\r\n\r\nGET /smuggled"), b""),
        (instead(":path", "/a b"), b""),
        (instead(":path", ""), b""),
        (instead(":authority", "a\r\nX: b"), b""),
        (instead(":authority", "a/b"), b""),
        (instead(":authority", "user@a"), b""),
        (instead(":scheme", "http\r\nX: b"), b""),
    ];
    let mut wrong = Vec::new();
    for (fields, data) in &cases {
        if h2_exchange(&running, fields, Some(data)).await != (false, true) {
            wrong.push(format!("{fields:?}"));
        }
    }
    assert!(wrong.is_empty(), "accepted:\n{}", wrong.join("\n"));
    assert_eq!(backend.count(), mark, "{:?}", backend.all(mark));
}

/// Connects and sends `start`; the socket takes no more than a little ahead.
async fn sluggish(address: std::net::SocketAddr, start: &[u8]) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(start).await.unwrap();
    stream
}

/// static.md §2 `writeTimeout`: who does not read what it has asked for is ended, and costs little until then.
#[tokio::test]
async fn clients_that_do_not_read_are_ended_by_the_write_timeout() {
    let (backend, address) = echo("app", "http").await;
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', transport: {respondingTimeouts: {writeTimeout: 3s}}}",
    );
    let app = everything_to(&format!("http://{address}"));
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    let (web, before) = (running.address("web"), running.memory());
    let request = b"GET /__bytes/8000000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let clients = futures_util::future::join_all((0..20).map(|_| sluggish(web, request))).await;
    let began = Instant::now();
    eventually("all requests at the server", || async {
        let large = backend.all(0).into_iter().filter(|record| record.target.contains("bytes"));
        (large.count() == 20).then_some(())
    })
    .await;
    assert_eq!(get(web, "/").await.unwrap().status, 200, "others are served meanwhile");
    // The attack is that nothing is read until the time is over: then what the system holds is left, and the end.
    tokio::time::sleep_until(began + Duration::from_millis(3500)).await;
    // 160 MB were asked for.
    let grown = running.memory().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more");
    for mut client in clients {
        let mut taken = Vec::new();
        let end = tokio::time::timeout(PATIENCE, client.read_to_end(&mut taken)).await;
        drop(end.expect("the connection is closed"));
        assert!(taken.len() < 8_000_000, "a whole response although its time was over");
    }
}

/// static.md §2 `readTimeout`, `idleTimeout`: many slow clients at once cost some kilobytes each, others are served, and
/// all are ended.
#[tokio::test]
async fn hundreds_of_slow_clients_cost_little_and_are_ended() {
    let (backend, address) = echo("app", "http").await;
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', transport: {respondingTimeouts: {readTimeout: 3s, idleTimeout: 3s}}}",
    );
    let app = everything_to(&format!("http://{address}"));
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    let (web, before, mark) = (running.address("web"), running.memory(), backend.count());
    let starts: [&[u8]; 5] = [
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nsome of it",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nsome of it",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let mut clients = Vec::new();
    for start in starts.iter().cycle().take(400) {
        clients.push(sluggish(web, start).await);
    }
    assert_eq!(get(web, "/").await.unwrap().status, 200, "others are served meanwhile");
    let grown = running.memory().saturating_sub(before);
    assert!(grown < 400 * 100_000, "{grown} bytes more for 400 clients");
    for client in &mut clients {
        let mut answer = Vec::new();
        let end = tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await;
        drop(end.expect("the connection is closed"));
        assert_ne!(status_of(&answer), Some(200));
    }
    let served = backend.all(mark).iter().filter(|record| record.method == "POST").count();
    assert_eq!(served, 0, "half a body is no request");
    assert_eq!(get(web, "/").await.unwrap().status, 200);
}

/// tcp-udp-tls.md §6: a handshake that does not go on is ended, too.
#[tokio::test]
async fn slow_handshakes_are_ended() {
    let (_backend, address) = echo("app", "http").await;
    let startup = STARTUP.replace(
        "secure: {address: '127.0.0.1:0'}",
        "secure: {address: '127.0.0.1:0', transport: {respondingTimeouts: {readTimeout: 1s}}}",
    );
    let app = everything_to(&format!("http://{address}")) + CERTIFICATE;
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    let secure = running.address("secure");
    // A record that says that it holds 500 bytes of a ClientHello, and ends early; one that has not begun.
    for start in [
        &[0x16, 3, 1, 1, 0xf4, 1, 0, 1, 0xf0, 3, 3][..],
        &[0x16],
        &[0x16, 3, 1, 0, 4, 1, 0, 1, 0xf0],
    ] {
        let mut client = sluggish(secure, start).await;
        let mut answer = Vec::new();
        let end = tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await;
        drop(end.expect("the connection is closed"));
    }
}
