//! A client of h2 against the server, over memory.

#![expect(clippy::disallowed_methods, reason = "tasks end with the runtime of their test")]

use std::sync::Mutex;

use ::h2::client::{self, SendRequest};
use ::http::header::{CONTENT_LENGTH, HeaderValue};
use ::http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::http::{BodyError, OnUpgrade};

fn settings() -> Settings {
    Settings {
        streams_max: 250,
        decoder_table_bytes: 4096,
        head_bytes_max: 64 * 1024,
        read_timeout: None,
        write_timeout: None,
        idle_timeout: None,
        requests_max: None,
        connection_time_max: None,
    }
}

/// What the service shares with the test.
#[derive(Default)]
struct Shared {
    /// `/gate` waits for it.
    gate: Notify,
    /// Requests to `/gate` that have been dropped.
    dropped: Mutex<usize>,
}

struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.dropped.lock().unwrap() += 1;
    }
}

async fn answer(
    parts: Box<Parts>,
    body: Body,
    interim: Option<Informational>,
    shared: Arc<Shared>,
) -> Response {
    match parts.uri.path() {
        "/early" => {
            let mut headers = HeaderMap::new();
            for (name, value) in [("link", "</a.css>"), ("connection", "x-y"), ("x-y", "1")] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let interim = interim.unwrap();
            for status in [StatusCode::CONTINUE, StatusCode::EARLY_HINTS] {
                interim.send(status, &headers);
            }
            shared.gate.notified().await;
            Response::new(Body::from("late"))
        }
        "/panic" => {
            let frames = futures_util::stream::poll_fn(
                |_| -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
                    panic!("a body of the test")
                },
            );
            Response::new(Body::stream(StreamBody::new(frames)))
        }
        "/gate" => {
            let _counted = Counted(shared.clone());
            shared.gate.notified().await;
            Response::new(Body::from("open"))
        }
        "/large" => Response::new(Body::from(vec![b'x'; 200_000].escape_ascii().to_string())),
        "/echo" => Response::new(body),
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let frames = [Frame::data(Bytes::from_static(b"data")), Frame::trailers(trailers)];
            let frames = futures_util::stream::iter(frames.map(Ok::<_, BodyError>));
            Response::new(Body::stream(StreamBody::new(frames)))
        }
        "/broken" => {
            let frames = [Ok(Frame::data(Bytes::from_static(b"data"))), Err("broken".into())];
            let frames = futures_util::stream::iter(frames);
            Response::new(Body::stream(StreamBody::new(frames)))
        }
        _ if parts.method == Method::CONNECT => {
            let mut parts = parts;
            let upgrade = parts.extensions.remove::<OnUpgrade>().unwrap();
            tokio::task::spawn(async move {
                let mut stream = upgrade.await.unwrap();
                let mut text = [0; 4];
                stream.read_exact(&mut text).await.unwrap();
                stream.write_all(&text.map(|byte| byte.to_ascii_uppercase())).await.unwrap();
                stream.shutdown().await.unwrap();
            });
            Response::new(Body::Empty)
        }
        _ => {
            let mut response = Response::new(Body::from("hello"));
            response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            response
        }
    }
}

struct Fixture {
    client: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), ::h2::Error>>,
    serving: JoinHandle<()>,
    drain: CancellationToken,
    shared: Arc<Shared>,
}

async fn fixture(settings: Settings) -> Fixture {
    fixture_with(settings, &client::Builder::new()).await
}

async fn fixture_with(settings: Settings, builder: &client::Builder) -> Fixture {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let shared = Arc::new(Shared::default());
    let drain = CancellationToken::new();
    let serving = tokio::task::spawn(serving(near, settings, &shared, &drain));
    let (client, connection) = builder.handshake(far).await.unwrap();
    Fixture { client, connection: tokio::task::spawn(connection), serving, drain, shared }
}

fn serving(
    near: DuplexStream,
    settings: Settings,
    shared: &Arc<Shared>,
    drain: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let shared = shared.clone();
    let service = move |parts, body, interim| answer(parts, body, interim, shared.clone());
    serve(near, Arc::new(settings), service, drain.clone())
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://a{path}")).body(()).unwrap()
}

impl Fixture {
    /// Sends a request with `body` and gives head, body and trailers of the response.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: &'static str,
    ) -> Result<(::http::response::Parts, Vec<u8>, Option<HeaderMap>), ::h2::Error> {
        self.client = self.client.clone().ready().await?;
        let (response, mut send) =
            self.client.send_request(request(method, path), body.is_empty())?;
        if !body.is_empty() {
            send.send_data(Bytes::from_static(body.as_bytes()), true)?;
        }
        let (head, mut body) = response.await?.into_parts();
        let mut all = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            all.extend_from_slice(&data);
        }
        Ok((head, all, body.trailers().await?))
    }
}

#[tokio::test]
async fn a_response_gets_date_and_length_and_loses_what_is_for_http1() {
    let mut fixture = fixture(settings()).await;
    let (head, body, _) = fixture.ask(Method::GET, "/", "").await.unwrap();
    assert_eq!((head.status, &body[..]), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(head.headers[CONTENT_LENGTH], "5");
    assert!(head.headers.contains_key("date") && !head.headers.contains_key("connection"));
    let (head, body, _) = fixture.ask(Method::HEAD, "/", "").await.unwrap();
    assert_eq!(head.headers[CONTENT_LENGTH], "5");
    assert_eq!(body, b"");
}

#[tokio::test]
async fn bodies_and_trailers_cross() {
    let mut fixture = fixture(settings()).await;
    let (_, body, _) = fixture.ask(Method::POST, "/echo", "to and fro").await.unwrap();
    assert_eq!(body, b"to and fro");
    let (_, body, trailers) = fixture.ask(Method::GET, "/trailers", "").await.unwrap();
    assert_eq!(body, b"data");
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    let (_, body, _) = fixture.ask(Method::GET, "/large", "").await.unwrap();
    assert_eq!(body.len(), 200_000);
}

#[tokio::test]
async fn a_body_that_breaks_off_resets_its_stream_alone() {
    let mut fixture = fixture(settings()).await;
    let error = fixture.ask(Method::GET, "/broken", "").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert!(fixture.ask(Method::GET, "/", "").await.is_ok());
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one() {
    let mut fixture = fixture(settings()).await;
    let (mut response, _) =
        fixture.client.send_request(request(Method::GET, "/early"), true).unwrap();
    let early = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!(early.status(), StatusCode::EARLY_HINTS);
    assert_eq!(early.headers()["link"], "</a.css>");
    assert_eq!(early.headers().len(), 1);
    fixture.shared.gate.notify_one();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "late");
}

#[tokio::test]
async fn a_body_that_panics_ends_its_stream_alone() {
    let mut fixture = fixture(settings()).await;
    assert!(fixture.ask(Method::GET, "/panic", "").await.is_err());
    assert!(fixture.ask(Method::GET, "/", "").await.is_ok());
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let mut fixture = fixture(settings()).await;
    let connect = Request::builder().method(Method::CONNECT).uri("a:80").body(()).unwrap();
    let (response, mut send) = fixture.client.send_request(connect, false).unwrap();
    let response = response.await.unwrap();
    assert!(!response.headers().contains_key(CONTENT_LENGTH));
    send.send_data(Bytes::from_static(b"ping"), false).unwrap();
    let mut body = response.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "PING");
    while let Some(data) = body.data().await {
        assert_eq!(data.unwrap(), "");
    }
}

#[tokio::test]
async fn a_request_that_is_taken_back_is_dropped() {
    let mut fixture = fixture(settings()).await;
    let (response, _) = fixture.client.send_request(request(Method::GET, "/gate"), true).unwrap();
    assert!(fixture.ask(Method::GET, "/", "").await.is_ok());
    drop(response);
    while *fixture.shared.dropped.lock().unwrap() == 0 {
        assert!(fixture.ask(Method::GET, "/", "").await.is_ok());
    }
}

#[tokio::test]
async fn who_takes_back_request_after_request_is_cut_off() {
    let fixture = fixture(settings()).await;
    let mut taken_back = 0;
    let error = loop {
        let sent = match fixture.client.clone().ready().await {
            Ok(mut client) => client.send_request(request(Method::GET, "/gate"), true),
            Err(error) => break error,
        };
        match sent {
            Ok((response, _)) => drop(response),
            Err(error) => break error,
        }
        taken_back += 1;
        assert!(taken_back < 100_000, "nobody stopped it");
        tokio::task::yield_now().await;
    };
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM), "{error}");
    fixture.serving.await.unwrap();
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_takes_no_more() {
    let mut fixture = fixture(settings()).await;
    let (response, _) = fixture.client.send_request(request(Method::GET, "/gate"), true).unwrap();
    assert!(fixture.ask(Method::GET, "/", "").await.is_ok());
    fixture.drain.cancel();
    while fixture.ask(Method::GET, "/", "").await.is_ok() {}
    fixture.shared.gate.notify_one();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "open");
    fixture.serving.await.unwrap();
    fixture.connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_last_request_of_a_connection_ends_it() {
    let mut fixture = fixture(Settings { requests_max: Some(2), ..settings() }).await;
    assert!(fixture.ask(Method::GET, "/", "").await.is_ok());
    assert!(fixture.ask(Method::GET, "/", "").await.is_ok());
    fixture.serving.await.unwrap();
}

#[tokio::test]
async fn idle_and_old_connections_end() {
    let short = Some(Duration::from_millis(100));
    for settings in [
        Settings { idle_timeout: short, ..settings() },
        Settings { connection_time_max: short, ..settings() },
    ] {
        let mut fixture = fixture(settings).await;
        let started = Instant::now();
        assert!(fixture.ask(Method::GET, "/", "").await.is_ok());
        fixture.serving.await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(100));
    }
}

#[tokio::test]
async fn a_response_that_is_not_taken_in_time_is_given_up() {
    let mut builder = client::Builder::new();
    builder.initial_window_size(10);
    let limited = Settings { write_timeout: Some(Duration::from_millis(100)), ..settings() };
    let mut fixture = fixture_with(limited, &builder).await;
    let (response, _) = fixture.client.send_request(request(Method::GET, "/large"), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap().len(), 10);
    let error = body.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    let (response, _) = fixture.client.send_request(request(Method::GET, "/gate"), true).unwrap();
    assert_eq!(response.await.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_fails() {
    let limited = Settings { read_timeout: Some(Duration::from_millis(100)), ..settings() };
    let (near, far) = tokio::io::duplex(64 * 1024);
    let service = |_: Box<Parts>, body: Body, _: Option<Informational>| async {
        let error = body.collect().await.err().map(|error| error.to_string());
        Response::new(Body::from(error.unwrap_or_default()))
    };
    tokio::task::spawn(serve(near, Arc::new(limited), service, CancellationToken::new()));
    let (mut client, connection) = client::handshake(far).await.unwrap();
    tokio::task::spawn(connection);
    let (response, mut send) = client.send_request(request(Method::POST, "/"), false).unwrap();
    send.send_data(Bytes::from_static(b"half"), false).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), body::LATE);
}

#[test]
fn a_silent_client_is_pinged_once_and_then_given_up() {
    let start = Instant::now();
    let mut pulse = Pulse { pings: None, due: start, pinged: false, begun: 0 };
    assert!(pulse.beat(start, 1).is_ok());
    assert_eq!(pulse.due, start + PING_INTERVAL, "it has asked something");
    assert!(pulse.beat(start, 1).is_ok(), "not yet");
    pulse.pinged = true;
    assert!(matches!(pulse.beat(start + PING_INTERVAL, 1), Err(Error::Dead)));
}
