//! The server's connection over a pipe in memory: what goes in, what comes out.
#![expect(clippy::disallowed_methods, reason = "a test waits for the tasks that it starts")]

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::http::{Informational, OnUpgrade};
use http_body::Frame;

/// What the path says is done.
struct Paths;

impl Service for Paths {
    async fn call(
        &self,
        mut parts: Box<Parts>,
        body: Body,
        interim: Option<Informational>,
    ) -> Response {
        let mut response = Response::new(Body::Empty);
        match parts.uri.path() {
            "/hello" => *response.body_mut() = Body::from("hello"),
            "/echo" => {
                let collected = body.collect().await;
                *response.body_mut() = match collected {
                    Ok(all) => {
                        let sum = all.trailers().and_then(|it| it.get("x-sum")).cloned();
                        response.headers_mut().extend(sum.map(|sum| (http::header::ETAG, sum)));
                        Body::from(all.to_bytes())
                    }
                    Err(error) => {
                        *response.status_mut() = StatusCode::BAD_REQUEST;
                        Body::from(error.to_string())
                    }
                };
            }
            "/through" => *response.body_mut() = body,
            "/ignore" => *response.body_mut() = Body::from("ignored"),
            "/stream" => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", HeaderValue::from_static("7"));
                trailers.insert("content-length", HeaderValue::from_static("7"));
                let frames = [
                    Ok(Frame::data(Bytes::from_static(b"ab"))),
                    Ok(Frame::data(Bytes::new())),
                    Ok(Frame::data(Bytes::from_static(b"c"))),
                    Ok(Frame::trailers(trailers)),
                ];
                let frames = futures_util::stream::iter(frames);
                *response.body_mut() = Body::stream(StreamBody::new(frames));
            }
            "/broken" => {
                let frames = [Ok(Frame::data(Bytes::from_static(b"ab"))), Err("gone".into())];
                let frames = futures_util::stream::iter(frames);
                *response.body_mut() = Body::stream(StreamBody::new(frames));
            }
            "/hints" => {
                let informational = interim.unwrap();
                let mut headers = HeaderMap::new();
                headers.insert("link", HeaderValue::from_static("</a>"));
                informational.send(StatusCode::EARLY_HINTS, &headers);
                informational.send(StatusCode::CONTINUE, &headers);
                *response.body_mut() = Body::from("done");
            }
            "/socket" => {
                let on_upgrade = parts.extensions.remove::<OnUpgrade>().unwrap();
                drop(tokio::task::spawn(async move {
                    let mut stream = on_upgrade.await.unwrap();
                    let mut four = [0; 4];
                    stream.read_exact(&mut four).await.unwrap();
                    stream.write_all(&four).await.unwrap();
                }));
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert("upgrade", HeaderValue::from_static("x"));
                response.headers_mut().insert("connection", HeaderValue::from_static("Upgrade"));
            }
            "/unasked" => *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
            "/204" => *response.status_mut() = StatusCode::NO_CONTENT,
            "/host" => {
                let host = parts.headers.get("host").unwrap().to_str().unwrap();
                *response.body_mut() = Body::from(format!("{host} {}", parts.uri));
            }
            path => panic!("unknown path {path}"),
        }
        response
    }
}

fn settings() -> Settings {
    Settings { head_bytes_max: 4096, read_timeout: None, idle_timeout: None, ..Settings::default() }
}

/// Starts a server with an end of a pipe.
fn open(
    settings: Settings,
    drain: &CancellationToken,
) -> (DuplexStream, tokio::task::JoinHandle<Ended>) {
    let (far, near) = tokio::io::duplex(64 * 1024);
    let serving = serve(near, Bytes::new(), Arc::new(settings), Paths, drain.clone());
    (far, tokio::task::spawn(serving))
}

fn without_dates(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let kept = text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: "));
    kept.collect()
}

/// Sends `text`, and returns all that comes until the server closes. The client waits with closing, since a client
/// that closes is one that has gone.
async fn talk(text: &str) -> (String, Ended) {
    let (mut far, serving) = open(settings(), &CancellationToken::new());
    far.write_all(text.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.unwrap();
    drop(far);
    (without_dates(&all), serving.await.unwrap())
}

/// Reads until the text ends with `end`.
async fn read_until(far: &mut DuplexStream, end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        let count = far.read_buf(&mut all).await.unwrap();
        assert!(count > 0, "ended with {:?}", String::from_utf8_lossy(&all));
    }
    without_dates(&all)
}

const CLOSE: &str = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";

#[tokio::test]
async fn requests_follow_each_other_also_without_waiting() {
    let (text, ended) = talk(&format!(
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\nX-Sum: 9\r\n\r\n\
         HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /204 HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /hello {CLOSE}\r\n"
    ))
    .await;
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
         HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
         HTTP/1.1 200 OK\r\nEtag: 9\r\nContent-Length: 2\r\n\r\nxy\
         HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\
         HTTP/1.1 204 No Content\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    );
    assert_eq!(ended, Ended::Closed);
}

#[tokio::test]
async fn unknown_lengths_are_chunked_with_trailers_or_end_with_the_connection() {
    let (text, _) = talk(&format!("GET /stream {CLOSE}\r\n")).await;
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         2\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 7\r\n\r\n"
    );
    let (text, _) = talk("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!(text, "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nabc");
    let (text, _) =
        talk("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /hello HTTP/1.0\r\n\r\n")
            .await;
    assert_eq!(
        text,
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello\
         HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    );
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_ended_as_if_whole() {
    let (text, ended) = talk("GET /broken HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!text.contains("0\r\n\r\n"), "{text:?}");
    assert_eq!(ended, Ended::Aborted);
}

#[tokio::test]
async fn refusals_say_their_status_and_close() {
    let (text, ended) =
        talk("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\nGET /hello HTTP/1.1\r\n").await;
    assert_eq!(
        text,
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 15\r\n\
         Connection: close\r\n\r\n400 Bad Request"
    );
    assert_eq!(ended, Ended::Refused(400));
    let (text, ended) = talk(&format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(5000))).await;
    assert!(text.ends_with("\r\n\r\n431 Request Header Fields Too Large"), "{text}");
    assert_eq!(ended, Ended::Refused(431));
}

#[tokio::test]
async fn a_bad_body_reaches_the_handler_as_an_error_and_nothing_behind_it_is_read() {
    let (text, _) = talk(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabXX\
         GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.contains("Connection: close\r\n") && !text.contains("hello"), "{text}");
}

#[tokio::test]
async fn a_hundred_is_written_once_the_body_is_asked_for() {
    let (mut far, _serving) = open(settings(), &CancellationToken::new());
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    far.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut far, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    far.write_all(b"abc").await.unwrap();
    assert!(read_until(&mut far, "abc").await.starts_with("HTTP/1.1 200 OK"));
    // Not asked for: the client may send it or not, so the connection ends.
    far.write_all(head.replace("echo", "ignore").as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK") && rest.contains("Connection: close"), "{rest}");
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_discarded_up_to_a_limit() {
    let body = "x".repeat(100_000);
    let (mut far, serving) = open(settings(), &CancellationToken::new());
    let head = "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let next = format!("{head}{body}GET /hello {CLOSE}\r\n");
    let (mut reader, mut writer) = tokio::io::split(far);
    let sending = tokio::task::spawn(async move { writer.write_all(next.as_bytes()).await });
    let mut all = String::new();
    reader.read_to_string(&mut all).await.unwrap();
    assert!(all.contains("ignored") && all.ends_with("hello"), "{all}");
    sending.await.unwrap().unwrap();
    assert_eq!(serving.await.unwrap(), Ended::Closed);

    (far, _) = open(settings(), &CancellationToken::new());
    let head = "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
    far.write_all(head.as_bytes()).await.unwrap();
    let text = read_until(&mut far, "ignored").await;
    assert!(text.contains("Connection: close"), "{text}");
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let (mut far, _serving) = open(settings(), &CancellationToken::new());
    far.write_all(
        b"POST /through HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    )
    .await
    .unwrap();
    let text = read_until(&mut far, "1\r\na\r\n").await;
    assert!(text.contains("Transfer-Encoding: chunked"), "{text}");
    far.write_all(b"2\r\nbc\r\n").await.unwrap();
    assert_eq!(read_until(&mut far, "\r\nbc\r\n").await, "2\r\nbc\r\n");
    far.write_all(b"0\r\nX-Sum: 1\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut far, "\r\n\r\n").await, "0\r\nX-Sum: 1\r\n\r\n");
    far.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut far, "hello").await;
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one() {
    let (text, _) = talk(&format!("GET /hints {CLOSE}\r\n")).await;
    assert_eq!(
        text,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone"
    );
}

#[tokio::test]
async fn an_upgrade_hands_over_what_was_read_ahead() {
    let (text, ended) =
        talk("GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nping")
            .await;
    assert_eq!(
        text,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nping"
    );
    assert_eq!(ended, Ended::Upgraded);
    let (text, _) = talk(&format!("GET /unasked {CLOSE}\r\n")).await;
    assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
}

#[tokio::test]
async fn an_absolute_target_replaces_the_host() {
    let request = "GET http://b/x?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (text, _) = talk(&request.replace("/x", "/host")).await;
    assert!(text.ends_with("b /host?y"), "{text}");
}

/// Never answers; counts who is dropped.
struct Never(Arc<AtomicUsize>);

impl Service for Never {
    async fn call(&self, _: Box<Parts>, _: Body, _: Option<Informational>) -> Response {
        struct Count(Arc<AtomicUsize>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let _count = Count(self.0.clone());
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_handler() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (mut far, near) = tokio::io::duplex(1024);
    let service = Never(dropped.clone());
    let serving = tokio::task::spawn(serve(
        near,
        Bytes::from_static(b"GET / HTTP/1.1\r\n"),
        Arc::new(settings()),
        service,
        CancellationToken::new(),
    ));
    far.write_all(b"Host: a\r\n\r\n").await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(far);
    assert_eq!(serving.await.unwrap(), Ended::ClientGone);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn limits_of_the_connection_end_it_with_a_response() {
    let mut settings = settings();
    settings.requests_max = Some(2);
    let (mut far, _serving) = open(settings, &CancellationToken::new());
    let request = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    far.write_all(request).await.unwrap();
    assert!(!read_until(&mut far, "hello").await.contains("close"));
    far.write_all(request).await.unwrap();
    assert!(read_until(&mut far, "hello").await.contains("Connection: close"));
    assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_drain_ends_idle_connections_at_once_and_others_with_their_response() {
    let drain = CancellationToken::new();
    let (mut idle, idle_serving) = open(settings(), &drain);
    let (mut busy, busy_serving) = open(settings(), &drain);
    idle.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut idle, "hello").await;
    busy.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab").await.unwrap();
    tokio::task::yield_now().await;
    drain.cancel();
    assert_eq!(idle_serving.await.unwrap(), Ended::Closed);
    busy.write_all(b"c").await.unwrap();
    assert!(read_until(&mut busy, "abc").await.contains("Connection: close"));
    assert_eq!(busy_serving.await.unwrap(), Ended::Closed);
}

#[tokio::test]
async fn slow_requests_and_idle_connections_are_cut() {
    let mut short = settings();
    short.read_timeout = Some(Duration::from_millis(1));
    let (mut far, serving) = open(short.clone(), &CancellationToken::new());
    far.write_all(b"GET / HT").await.unwrap();
    assert_eq!(serving.await.unwrap(), Ended::TimedOut);

    let (mut far, _serving) = open(short, &CancellationToken::new());
    far.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab").await.unwrap();
    let text = read_until(&mut far, "read timeout").await;
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");

    let mut idle = settings();
    idle.idle_timeout = Some(Duration::from_millis(1));
    let (_far, serving) = open(idle, &CancellationToken::new());
    assert_eq!(serving.await.unwrap(), Ended::TimedOut);

    let mut slow = settings();
    slow.write_timeout = Some(Duration::from_millis(1));
    let (mut far, serving) = open(slow, &CancellationToken::new());
    far.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab").await.unwrap();
    assert_eq!(serving.await.unwrap(), Ended::TimedOut);
}

/// A handler that outlives its welcome: another task reads the body, and the interim handle is used too late.
struct Elsewhere;

impl Service for Elsewhere {
    async fn call(&self, _: Box<Parts>, body: Body, interim: Option<Informational>) -> Response {
        let reading = tokio::task::spawn(body.collect());
        let all = reading.await.unwrap().unwrap().to_bytes();
        let informational = interim.unwrap();
        drop(tokio::task::spawn(async move {
            tokio::task::yield_now().await;
            informational.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
        }));
        Response::new(Body::from(all))
    }
}

#[tokio::test]
async fn another_task_may_read_the_body() {
    let (mut far, near) = tokio::io::duplex(1024);
    let drain = CancellationToken::new();
    let serving = serve(near, Bytes::new(), Arc::new(settings()), Elsewhere, drain);
    let serving = tokio::task::spawn(serving);
    for body in ["abc", "def"] {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
        far.write_all(head.as_bytes()).await.unwrap();
        for byte in body.as_bytes() {
            tokio::task::yield_now().await;
            far.write_all(&[*byte]).await.unwrap();
        }
        let text = read_until(&mut far, body).await;
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    }
    drop(far);
    assert_eq!(serving.await.unwrap(), Ended::Closed);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_never_panic(input in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async move {
            let (mut far, near) = tokio::io::duplex(4096);
            far.write_all(&input).await.unwrap();
            far.shutdown().await.unwrap();
            let drain = CancellationToken::new();
            serve(near, Bytes::new(), Arc::new(settings()), Never(Arc::default()), drain).await;
        });
    }

    #[test]
    fn how_the_bytes_arrive_changes_nothing(pieces in proptest::collection::vec(1usize..60, 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let text = format!(
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
             POST /ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\nA: b\r\n\r\n\
             POST /through HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /\
             GET /hello {CLOSE}\r\n"
        );
        let seen = runtime.block_on(async move {
            let (mut far, _serving) = open(settings(), &CancellationToken::new());
            let (mut rest, mut pieces) = (text.as_bytes(), pieces.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
                far.write_all(now).await.unwrap();
                tokio::task::yield_now().await;
                rest = later;
            }
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            without_dates(&all)
        });
        proptest::prop_assert_eq!(
            seen,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
             HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nignored\
             HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nGET /\
             HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        );
    }
}
