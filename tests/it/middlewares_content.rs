//! Middlewares that look at bodies: `buffering`, `compress`, `contentType`, `grpcWeb`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client::decoded;
use crate::support::h1::Reader;
use crate::support::running::{Answer, Running, STARTUP, echo, eventually, get, send};

/// A router `PathPrefix(/)` through one middleware to the server at `url`.
async fn through(middleware: &str, url: &str) -> Running {
    let dynamic = format!(
        "
http:
  routers:
    app: {{rule: 'PathPrefix(`/`)', service: app, middlewares: [it]}}
  middlewares:
    it: {middleware}
  services:
    app: {{loadBalancer: {{servers: [{{url: '{url}'}}]}}}}
"
    );
    Running::start(STARTUP, &[("app.yml", &dynamic)]).await
}

/// The answer to a request on a connection of its own; `head` has no empty line at its end.
async fn answer(running: &Running, head: &str, body: &[u8]) -> Answer {
    let stream = TcpStream::connect(running.address("web")).await.unwrap();
    let length = body.len();
    let mut request = format!(
        "{head}\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    send(&mut Reader::new(stream), &request).await.unwrap()
}

/// A server that answers each connection with the same bytes.
async fn fixed(response: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if matches!(stream.read(&mut request).await, Ok(1..)) {
                    drop(stream.write_all(response).await);
                }
            });
        }
    });
    format!("http://{address}")
}

/// Temporary files that the program holds open.
fn temporary_files(running: &Running) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().ends_with("(deleted)")).count()
}

#[tokio::test]
async fn large_bodies_go_through_files_that_are_gone_afterwards() {
    let (backend, address) = echo("app", "http").await;
    let middleware = "{buffering: {memRequestBodyBytes: 1000, memResponseBodyBytes: 1000}}";
    let running = through(middleware, &format!("http://{address}")).await;
    let body = vec![b'x'; 700_000];
    let answer = answer(&running, "POST /large HTTP/1.1", &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string()));
    assert!(answer.body.windows(body.len()).any(|window| window == body));
    assert_eq!(backend.hits(0).last().unwrap().body.len(), body.len());
    let running = &running;
    eventually("no temporary file is open", || async move {
        (temporary_files(running) == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn buffering_tries_again_as_its_expression_says() {
    let (backend, address) = echo("app", "http").await;
    let middleware = "{buffering: {retryExpression: 'ResponseCode() == 503 && Attempts() <= 2'}}";
    let running = through(middleware, &format!("http://{address}")).await;
    for (path, status, tries) in [("/a/__flaky/2/503", 200, 3), ("/b/__flaky/9/503", 503, 3)] {
        let before = backend.count();
        let answer = answer(&running, &format!("POST {path} HTTP/1.1"), b"order").await;
        assert_eq!(answer.status, status);
        let hits = backend.hits(before);
        assert_eq!(hits.len(), tries);
        assert!(hits.iter().all(|hit| hit.body == b"order"));
    }
}

#[tokio::test]
async fn compressed_events_arrive_when_they_happen() {
    let (_backend, address) = echo("app", "http").await;
    let running = through("{compress: {}}", &format!("http://{address}")).await;
    for encoding in ["gzip", "br", "zstd"] {
        let head = format!("GET /__sse/3/200 HTTP/1.1\r\nAccept-Encoding: {encoding}");
        let answer = answer(&running, &head, b"").await;
        assert_eq!(answer.header("content-encoding").as_deref(), Some(encoding));
        let (first, last) = (answer.arrivals.first().unwrap(), answer.arrivals.last().unwrap());
        assert!(last.1 - first.1 >= Duration::from_millis(300), "{encoding} came at once");
        let text = String::from_utf8(decoded(encoding, &answer.body).unwrap()).unwrap();
        assert_eq!(text.matches("data:").count(), 3, "{text}");
    }
}

#[tokio::test]
async fn a_large_body_can_be_uncompressed_again() {
    let (_backend, address) = echo("app", "http").await;
    let running = through("{compress: {}}", &format!("http://{address}")).await;
    for encoding in ["gzip", "br", "zstd"] {
        let head = format!("GET /__bytes/3000000 HTTP/1.1\r\nAccept-Encoding: {encoding}");
        let answer = answer(&running, &head, b"").await;
        assert!(answer.body.len() < 100_000, "{encoding}: {}", answer.body.len());
        assert_eq!(decoded(encoding, &answer.body).unwrap(), vec![b'a'; 3_000_000]);
    }
}

#[tokio::test]
async fn ranges_are_not_compressed() {
    const PART: &[u8] =
        b"HTTP/1.1 206 X\r\nContent-Type: text/css\r\nContent-Range: bytes 0-1499/9000\r\n\
        Content-Length: 1500\r\nConnection: close\r\n\r\n";
    static RESPONSE: std::sync::LazyLock<Vec<u8>> =
        std::sync::LazyLock::new(|| [PART, &[b'a'; 1500]].concat());
    let url = fixed(RESPONSE.as_slice()).await;
    let running = through("{compress: {}}", &url).await;
    let head = "GET / HTTP/1.1\r\nAccept-Encoding: gzip\r\nRange: bytes=0-1499";
    let answer = answer(&running, head, b"").await;
    assert_eq!((answer.status, answer.body.len()), (206, 1500));
    assert_eq!(answer.header("content-encoding"), None);
}

#[tokio::test]
async fn a_type_is_guessed_where_the_middleware_is() {
    let url = fixed(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html><p>Hello</p></html>").await;
    for (middleware, wanted) in [
        ("{contentType: {}}", Some("text/html; charset=utf-8")),
        ("{contentType: {autoDetect: false}}", None),
    ] {
        let running = through(middleware, &url).await;
        let answer = get(running.address("web"), "/").await.unwrap();
        assert_eq!(answer.text(), "<html><p>Hello</p></html>");
        assert_eq!(answer.header("content-type").as_deref(), wanted);
    }
}

#[tokio::test]
async fn browsers_call_grpc_services() {
    let (backend, address) = echo("greeter", "h2c").await;
    let middleware = "{grpcWeb: {allowOrigins: ['https://app.test']}}";
    let running = through(middleware, &format!("h2c://{address}")).await;
    let trailers = b"\x80\0\0\0\x10grpc-status: 0\r\n";
    for kind in ["application/grpc-web", "application/grpc-web-text"] {
        let is_text = kind.ends_with("text");
        let head =
            format!("POST /s.S/M HTTP/1.1\r\nOrigin: https://app.test\r\nContent-Type: {kind}");
        let message = b"\0\0\0\0\x02hi";
        let sent = if is_text { STANDARD.encode(message).into_bytes() } else { message.to_vec() };
        let answer = answer(&running, &head, &sent).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type").as_deref(), Some(kind));
        let origin = answer.header("access-control-allow-origin");
        assert_eq!(origin.as_deref(), Some("https://app.test"));
        let body = if is_text { without_base64(&answer.body) } else { answer.body.clone() };
        assert_eq!(body, [&message[..], trailers].concat(), "{kind}");
        let hit = backend.hits(0).pop().unwrap();
        assert_eq!((hit.proto.as_str(), hit.body.as_slice()), ("HTTP/2.0", &message[..]));
    }
    let preflight = "OPTIONS /s.S/M HTTP/1.1\r\nOrigin: https://app.test\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-grpc-web";
    let answer = answer(&running, preflight, b"").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-methods").as_deref(), Some("POST"));
}

/// Undoes base64 that may end several times.
fn without_base64(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
}
