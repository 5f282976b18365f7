//! The client's connection against a server that is a script.
#![expect(clippy::disallowed_methods, reason = "a test waits for the tasks that it starts")]

use std::sync::{Arc, Mutex};

use ::http::{Request, Uri};
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

type Returned = Arc<Mutex<Option<Connection<DuplexStream>>>>;

fn get(path: &str) -> Parts {
    let request = Request::get(path.parse::<Uri>().unwrap()).header("host", "a");
    request.body(()).unwrap().into_parts().0
}

fn post(path: &str) -> Parts {
    let mut parts = get(path);
    parts.method = Method::POST;
    parts
}

fn extras(body: impl Into<Body>) -> Extras {
    Extras { body: body.into(), informational: None, head_timeout: None }
}

fn streamed(pieces: &'static [&'static str]) -> Body {
    let frames = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

fn keeper() -> (Returned, impl FnOnce(Connection<DuplexStream>) + Send + Unpin) {
    let returned = Returned::default();
    let slot = returned.clone();
    (returned, move |connection| *slot.lock().unwrap() = Some(connection))
}

fn pair() -> (Connection<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    (Connection::new(near), far)
}

fn response(answer: Result<Answer, Failure>) -> Response {
    match answer {
        Ok(Answer::Response(response)) => response,
        Ok(Answer::Switched(..)) => panic!("switched"),
        Err(failure) => panic!("{failure:?}"),
    }
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Sends one request to a server that has already answered with `answer`; then closes if `close`.
async fn ask(
    parts: Parts,
    answer: &str,
    close: bool,
) -> (Result<Answer, Failure>, Returned, String) {
    let (connection, mut far) = pair();
    far.write_all(answer.as_bytes()).await.unwrap();
    let (returned, keep) = keeper();
    if close {
        far.shutdown().await.unwrap();
    }
    let result = connection.send(&parts, extras(Body::Empty), keep).await;
    let mut sent = vec![0; 4096];
    let count = far.read(&mut sent).await.unwrap();
    sent.truncate(count);
    (result, returned, String::from_utf8(sent).unwrap())
}

#[tokio::test]
async fn a_request_is_written_as_go_writes_it() {
    let mut parts = get("/a?b");
    parts.headers.insert("sec-websocket-key", "x".parse().unwrap());
    parts.headers.insert("content-length", "7".parse().unwrap());
    let (result, returned, sent) =
        ask(parts, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false).await;
    assert_eq!(sent, "GET /a?b HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: x\r\n\r\n");
    assert!(matches!(response(result).body(), Body::Full(_)));
    assert!(returned.lock().unwrap().is_some());
}

#[tokio::test]
async fn bodies_are_read_by_each_framing() {
    for (answer, expected, comes_back) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nA: b\r\n\r\n",
            "abc",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", "abc", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcEXTRA", "abc", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "", true),
    ] {
        let (result, returned, _) = ask(get("/"), answer, false).await;
        assert_eq!(text(response(result)).await, expected, "{answer:?}");
        assert_eq!(returned.lock().unwrap().is_some(), comes_back, "{answer:?}");
    }
    let (result, returned, _) = ask(get("/"), "HTTP/1.1 200 OK\r\n\r\nabc", true).await;
    assert_eq!(text(response(result)).await, "abc");
    assert!(returned.lock().unwrap().is_none());
}

#[tokio::test]
async fn trailers_come_through() {
    let answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n";
    let (result, _, _) = ask(get("/"), answer, false).await;
    let all = response(result).into_body().collect().await.unwrap();
    assert_eq!(all.trailers().unwrap().get("x-sum").unwrap(), "7");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let (result, returned, _) = ask(get("/"), answer, true).await;
        assert!(response(result).into_body().collect().await.is_err(), "{answer:?}");
        assert!(returned.lock().unwrap().is_none());
    }
}

#[tokio::test]
async fn interim_responses_are_passed_over() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (result, _, _) = ask(get("/"), answer, false).await;
    assert_eq!(response(result).status(), 200);
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50);
    let (result, _, _) = ask(get("/"), &many, false).await;
    assert!(matches!(result.err().unwrap().error, Error::Head(_)));
}

#[tokio::test]
async fn bodies_are_sent_with_their_length_or_chunked() {
    for (body, expected) in [
        (Body::from("abc"), "Content-Length: 3\r\n\r\nabc"),
        (Body::Empty, "Content-Length: 0\r\n\r\n"),
        (
            streamed(&["ab", "c"]),
            "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ),
    ] {
        let (connection, mut far) = pair();
        let (returned, keep) = keeper();
        let serving = tokio::task::spawn(async move {
            let mut all = Vec::new();
            while !all.ends_with(expected.as_bytes()) {
                assert!(far.read_buf(&mut all).await.unwrap() > 0);
            }
            far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            (far, String::from_utf8(all).unwrap())
        });
        response(connection.send(&post("/"), extras(body), keep).await);
        let (_far, sent) = serving.await.unwrap();
        assert_eq!(sent, format!("POST / HTTP/1.1\r\nHost: a\r\n{expected}"));
        assert!(returned.lock().unwrap().is_some());
    }
}

#[tokio::test]
async fn a_body_that_waits_for_a_hundred_is_kept_back() {
    let mut parts = post("/");
    parts.headers.insert("expect", "100-continue".parse().unwrap());
    let (connection, mut far) = pair();
    let (returned, keep) = keeper();
    far.write_all(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let answer = connection.send(&parts, extras("abc"), keep).await;
    assert_eq!(response(answer).status(), 417);
    assert!(returned.lock().unwrap().is_none(), "the server may still wait for the body");
    let mut sent = String::new();
    far.read_to_string(&mut sent).await.unwrap();
    assert!(sent.ends_with("\r\n\r\n") && sent.contains("Expect: 100-continue"), "{sent}");

    let (connection, mut far) = pair();
    let (_returned, keep) = keeper();
    far.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    let serving = tokio::task::spawn(async move {
        let mut all = Vec::new();
        while !all.ends_with(b"abc") {
            far.read_buf(&mut all).await.unwrap();
        }
        far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        far
    });
    assert_eq!(response(connection.send(&parts, extras("abc"), keep).await).status(), 200);
    drop(serving.await);
}

#[tokio::test]
async fn only_a_stale_connection_gives_the_body_back() {
    let (connection, far) = pair();
    drop(far);
    let (_, keep) = keeper();
    let failure = connection.send(&post("/"), extras("abc"), keep).await.err().unwrap();
    assert!(matches!(failure.unsent, Some(Body::Full(_))), "nothing was written: {failure:?}");

    for (parts, used, expected) in
        [(get("/"), true, true), (get("/"), false, false), (post("/"), true, false)]
    {
        let (mut connection, mut far) = pair();
        connection.used = used;
        let (_, keep) = keeper();
        let serving = tokio::task::spawn(async move { far.read(&mut [0; 1000]).await });
        let failure = connection.send(&parts, extras("abc"), keep).await.err().unwrap();
        assert_eq!(failure.unsent.is_some(), expected, "{} {used}", parts.method);
        serving.await.unwrap().unwrap();
    }
    let (result, _, _) = ask(get("/"), "HTTP/1.1 2", true).await;
    let failure = result.err().unwrap();
    assert!(failure.unsent.is_none() && matches!(failure.error, Error::Closed), "{failure:?}");
}

#[tokio::test]
async fn a_closed_or_talking_idle_connection_is_not_alive() {
    let (mut connection, mut far) = pair();
    assert!(connection.is_alive());
    far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    assert!(!connection.is_alive());
    let (mut connection, far) = pair();
    drop(far);
    assert!(!connection.is_alive());
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let (connection, _far) = pair();
    let (_, keep) = keeper();
    let mut extras = extras("abc");
    extras.head_timeout = Some(Duration::from_millis(1));
    let failure = connection.send(&post("/"), extras, keep).await.err().unwrap();
    assert!(matches!(failure.error, Error::HeadTimeout) && failure.unsent.is_none());
}

#[tokio::test]
async fn an_upgrade_hands_the_stream_over() {
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello";
    let (result, _, _) = ask(get("/"), answer, false).await;
    assert!(matches!(result.err().unwrap().error, Error::Head(_)), "not asked for");
    let mut parts = get("/");
    parts.headers.insert("upgrade", "x".parse().unwrap());
    let (result, _, _) = ask(parts, answer, false).await;
    let Ok(Answer::Switched(response, mut stream)) = result else { panic!("not switched") };
    assert_eq!(response.status(), 101);
    let mut five = [0; 5];
    stream.read_exact(&mut five).await.unwrap();
    assert_eq!(&five, b"hello");
}

#[tokio::test]
async fn a_response_that_comes_early_is_not_lost() {
    let (connection, mut far) = pair();
    let (returned, keep) = keeper();
    far.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let never = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>());
    let answer = connection.send(&post("/"), extras(Body::Stream(Box::pin(never))), keep).await;
    assert_eq!(response(answer).status(), 413);
    assert!(returned.lock().unwrap().is_none());
}
