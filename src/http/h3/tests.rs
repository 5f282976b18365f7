//! Clients of quinn and of h3, which is another implementation, against the server over loopback.

#![expect(clippy::disallowed_methods, reason = "tasks end with the runtime of their test")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use ::h3::client::SendRequest;
use ::http::header::{CONTENT_LENGTH, HeaderValue};
use ::http::{HeaderMap, Method, Request, StatusCode};
use bytes::{Buf, Bytes};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, ServerConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::http::BodyError;

fn settings() -> Settings {
    Settings {
        head_bytes_max: 16 * 1024,
        read_timeout: None,
        write_timeout: None,
        idle_timeout: None,
        requests_max: None,
        connection_time_max: None,
    }
}

/// What the service shares with the test.
#[derive(Default)]
struct Service {
    /// `/gate` waits for it.
    gate: Notify,
    /// Requests to `/gate` and to `/read` that have begun, and those to `/gate` that have been dropped.
    begun: Mutex<usize>,
    dropped: Mutex<usize>,
    /// Why a body was not whole, by path.
    broken: Mutex<HashMap<String, String>>,
}

struct Counted(Arc<Service>);

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.dropped.lock().unwrap() += 1;
    }
}

fn frames<const N: usize>(frames: [Result<Frame<Bytes>, BodyError>; N]) -> Response {
    Response::new(Body::stream(StreamBody::new(futures_util::stream::iter(frames))))
}

async fn answer(
    parts: Box<Parts>,
    body: Body,
    interim: Option<Informational>,
    shared: Arc<Service>,
) -> Response {
    match parts.uri.path() {
        "/gate" => {
            let _counted = Counted(shared.clone());
            *shared.begun.lock().unwrap() += 1;
            shared.gate.notified().await;
            Response::new(Body::from("open"))
        }
        "/large" => Response::new(Body::from("x".repeat(5_000_000))),
        "/echo" => Response::new(body),
        "/early" => {
            let mut headers = HeaderMap::new();
            headers.insert("link", HeaderValue::from_static("</a.css>"));
            headers.insert("connection", HeaderValue::from_static("close"));
            let interim = interim.unwrap();
            interim.send(StatusCode::EARLY_HINTS, &headers);
            interim.send(StatusCode::SWITCHING_PROTOCOLS, &headers);
            tokio::task::yield_now().await;
            interim.send(StatusCode::PROCESSING, &HeaderMap::new());
            Response::new(Body::from("late"))
        }
        "/hint" => Response::new(Body::from(format!("{:?}", body.size_hint().exact()))),
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let data = Frame::data(Bytes::from_static(b"data"));
            frames([Ok(data), Ok(Frame::trailers(trailers))])
        }
        "/broken" => frames([Ok(Frame::data(Bytes::from_static(b"data"))), Err("broken".into())]),
        "/panic" => panic!("a service of the test"),
        path if path.starts_with("/read") => {
            *shared.begun.lock().unwrap() += 1;
            let read = body.collect().await;
            let answer = match &read {
                Ok(all) => all.trailers().map_or(0, HeaderMap::len).to_string(),
                Err(error) => {
                    let mut broken = shared.broken.lock().unwrap();
                    broken.insert(path.to_owned(), error.to_string());
                    error.to_string()
                }
            };
            Response::new(Body::from(answer))
        }
        _ => {
            let mut response = Response::new(Body::from("hello"));
            response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            response
        }
    }
}

struct Fixture {
    connection: Connection,
    client: SendRequest<h3_quinn::OpenStreams, Bytes>,
    driver: JoinHandle<()>,
    serving: JoinHandle<()>,
    drain: CancellationToken,
    shared: Arc<Service>,
    _ends: [Endpoint; 2],
}

/// A client's end and ours of a QUIC connection.
async fn connected(transport: TransportConfig) -> ([Endpoint; 2], Connection, Connection) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(super::transport()));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Endpoint::server(config, any).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    let client = Endpoint::client(any).unwrap();
    let address = server.local_addr().unwrap();
    let connecting = client.connect_with(config, address, "localhost").unwrap();
    let (theirs, ours) =
        tokio::join!(connecting, async { server.accept().await.unwrap().await.unwrap() });
    ([server, client], theirs.unwrap(), ours)
}

/// Serves one end of a connection; the other end is a client's that says nothing by itself.
async fn raw(settings: Settings) -> (Fixture2, Connection) {
    raw_with(settings, TransportConfig::default()).await
}

/// A server, without a client.
struct Fixture2 {
    serving: JoinHandle<()>,
    drain: CancellationToken,
    shared: Arc<Service>,
    ends: [Endpoint; 2],
}

async fn raw_with(settings: Settings, transport: TransportConfig) -> (Fixture2, Connection) {
    let (ends, theirs, ours) = connected(transport).await;
    let shared = Arc::new(Service::default());
    let drain = CancellationToken::new();
    let of_service = shared.clone();
    let service = move |parts, body, interim| answer(parts, body, interim, of_service.clone());
    let serving = tokio::task::spawn(serve(ours, Arc::new(settings), service, drain.clone()));
    (Fixture2 { serving, drain, shared, ends }, theirs)
}

async fn fixture(settings: Settings) -> Fixture {
    fixture_with(settings, TransportConfig::default()).await
}

async fn fixture_with(settings: Settings, transport: TransportConfig) -> Fixture {
    let (server, connection) = raw_with(settings, transport).await;
    let ours = h3_quinn::Connection::new(connection.clone());
    let (mut driver, client) = ::h3::client::new(ours).await.unwrap();
    let driver = tokio::task::spawn(async move {
        poll_fn(|cx| driver.poll_close(cx)).await;
    });
    let Fixture2 { serving, drain, shared, ends } = server;
    Fixture { connection, client, driver, serving, drain, shared, _ends: ends }
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).unwrap()
}

type Answer = (::http::response::Parts, Vec<u8>, Option<HeaderMap>);

impl Fixture {
    /// Sends a request with `body` and gives head, body and trailers of the response.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<Answer, ::h3::error::StreamError> {
        let stream = self.client.send_request(request(method, path)).await?;
        let (mut send, mut receive) = stream.split();
        let data = Bytes::copy_from_slice(body);
        let sending = tokio::task::spawn(async move {
            if !data.is_empty() {
                send.send_data(data).await?;
            }
            send.finish().await
        });
        let head = receive.recv_response().await?.into_parts().0;
        let mut all = Vec::new();
        while let Some(mut data) = receive.recv_data().await? {
            all.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        let trailers = receive.recv_trailers().await?;
        sending.abort();
        Ok((head, all, trailers))
    }

    async fn get(&mut self, path: &str) -> Result<Answer, ::h3::error::StreamError> {
        self.ask(Method::GET, path, b"").await
    }
}

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "it does not come");
        tick.tick().await;
    }
}

#[tokio::test]
async fn a_response_gets_date_and_length_and_loses_what_is_for_http1() {
    let mut fixture = fixture(settings()).await;
    let (head, body, _) = fixture.get("/").await.unwrap();
    assert_eq!((head.status, &body[..]), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(head.headers[CONTENT_LENGTH], "5");
    assert!(head.headers.contains_key("date") && !head.headers.contains_key("connection"));
    let (head, body, _) = fixture.ask(Method::HEAD, "/", b"").await.unwrap();
    assert_eq!(head.headers[CONTENT_LENGTH], "5");
    assert_eq!(body, b"");
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one() {
    let (_server, connection) = raw(settings()).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&head(&[(":path", "/early")])).await.unwrap();
    send.finish().unwrap();
    let answer = receive.read_to_end(10_000).await.unwrap();
    let mut rest = &answer[..];
    let mut heads = Vec::new();
    while let [kind, length, more @ ..] = rest {
        let (payload, more) = more.split_at(usize::from(*length));
        rest = more;
        let mut text = String::new();
        if *kind == 1 {
            qpack::decode(payload, 10_000, |name, value| {
                if name == b":status" || name == b"link" || name == b"connection" {
                    text += &String::from_utf8_lossy(value);
                }
                Ok(())
            })
            .unwrap();
        }
        heads.push(text);
    }
    assert_eq!(heads, ["103</a.css>", "102", "200", ""]);
    assert!(answer.ends_with(b"late"));
}

#[tokio::test]
async fn who_sends_no_body_says_so_with_its_head() {
    let (_server, connection) = raw(settings()).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&head(&[(":path", "/hint")])).await.unwrap();
    send.finish().unwrap();
    assert!(receive.read_to_end(1000).await.unwrap().ends_with(b"Some(0)"));
}

#[tokio::test]
async fn bodies_and_trailers_cross() {
    let mut fixture = fixture(settings()).await;
    let sent = vec![b'e'; 5_000_000];
    let (_, body, _) = fixture.ask(Method::POST, "/echo", &sent).await.unwrap();
    assert!(body == sent, "{} bytes", body.len());
    let (_, body, trailers) = fixture.get("/trailers").await.unwrap();
    assert_eq!(body, b"data");
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    let (_, body, _) = fixture.get("/large").await.unwrap();
    assert_eq!(body.len(), 5_000_000);
    let mut stream = fixture.client.send_request(request(Method::POST, "/read")).await.unwrap();
    stream.send_data(Bytes::from_static(b"data")).await.unwrap();
    let trailers =
        ["x-check", "x-forwarded-for"].map(|name| (name.parse().unwrap(), "1".parse().unwrap()));
    let trailers = HeaderMap::from_iter(trailers);
    stream.send_trailers(trailers).await.unwrap();
    stream.finish().await.unwrap();
    stream.recv_response().await.unwrap();
    let mut data = stream.recv_data().await.unwrap().unwrap();
    assert_eq!(data.copy_to_bytes(data.remaining()), "1", "one of the two may be a trailer");
}

#[tokio::test]
async fn what_breaks_off_or_panics_resets_its_stream_alone() {
    let mut fixture = fixture(settings()).await;
    for path in ["/broken", "/panic"] {
        let error = fixture.get(path).await.unwrap_err().to_string();
        assert!(error.contains("H3_INTERNAL_ERROR"), "{error}");
        assert!(fixture.get("/").await.is_ok());
    }
}

#[tokio::test]
async fn a_request_that_is_taken_back_is_dropped() {
    let mut fixture = fixture(settings()).await;
    let mut stream = fixture.client.send_request(request(Method::GET, "/gate")).await.unwrap();
    stream.finish().await.unwrap();
    until(|| *fixture.shared.begun.lock().unwrap() == 1).await;
    stream.stop_sending(::h3::error::Code::H3_REQUEST_CANCELLED);
    until(|| *fixture.shared.dropped.lock().unwrap() == 1).await;
    assert!(fixture.get("/").await.is_ok());
}

#[tokio::test]
async fn who_takes_back_request_after_request_is_cut_off() {
    let (server, connection) = raw(settings()).await;
    let taken_back = async {
        loop {
            let Ok((mut send, mut receive)) = connection.open_bi().await else { return };
            drop(send.write_all(b"\x01").await);
            drop(send.reset(code::NO_ERROR));
            drop(receive.stop(code::NO_ERROR));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken_back).await.expect("somebody stops it");
    assert_eq!(closed(&connection).await, code::EXCESSIVE_LOAD);
    server.serving.await.unwrap();
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_takes_no_more() {
    let mut fixture = fixture(settings()).await;
    let mut stream = fixture.client.send_request(request(Method::GET, "/gate")).await.unwrap();
    stream.finish().await.unwrap();
    until(|| *fixture.shared.begun.lock().unwrap() == 1).await;
    fixture.drain.cancel();
    while fixture.get("/").await.is_ok() {}
    assert!(!fixture.serving.is_finished());
    fixture.shared.gate.notify_one();
    stream.recv_response().await.unwrap();
    let mut data = stream.recv_data().await.unwrap().unwrap();
    assert_eq!(data.copy_to_bytes(data.remaining()), "open");
    fixture.serving.await.unwrap();
    fixture.driver.await.unwrap();
    assert_eq!(closed(&fixture.connection).await, code::NO_ERROR);
}

#[tokio::test]
async fn requests_behind_the_last_one_are_rejected_so_that_they_may_be_sent_again() {
    let (server, connection) = raw(settings()).await;
    let (mut gate, _keep) = connection.open_bi().await.unwrap();
    gate.write_all(&head(&[(":path", "/gate")])).await.unwrap();
    until(|| *server.shared.begun.lock().unwrap() == 1).await;
    server.drain.cancel();
    let error = loop {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        // The server may have refused it before it was written.
        drop(send.write_all(&head(&[])).await);
        drop(send.finish());
        if let Err(error) = receive.read_to_end(10_000).await {
            break error;
        }
    };
    let quinn::ReadToEndError::Read(quinn::ReadError::Reset(code)) = error else {
        panic!("{error}")
    };
    assert_eq!(code, code::REQUEST_REJECTED);
    let mut control = connection.accept_uni().await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(&[7, 1, 4]) {
        assert!(said.len() < 1000, "{said:?}");
        said.extend(control.read_chunk(1, true).await.unwrap().unwrap().bytes);
        if said.ends_with(&[7, 2]) {
            // GOAWAY with an id of two bytes: more than 15 requests were answered.
            break;
        }
    }
    let announced = [7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc];
    assert!(said.windows(10).any(|part| part == announced), "{said:?}");
}

#[tokio::test]
async fn the_last_request_of_a_connection_ends_it() {
    let mut fixture = fixture(Settings { requests_max: Some(2), ..settings() }).await;
    assert!(fixture.get("/").await.is_ok());
    assert!(fixture.get("/").await.is_ok());
    fixture.serving.await.unwrap();
    assert_eq!(closed(&fixture.connection).await, code::NO_ERROR);
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
        assert!(fixture.get("/").await.is_ok());
        fixture.serving.await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(100));
    }
}

#[tokio::test]
async fn a_response_that_is_not_taken_in_time_is_given_up() {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(1000_u32.into());
    let limited = Settings { write_timeout: Some(Duration::from_millis(100)), ..settings() };
    let mut fixture = fixture_with(limited, transport).await;
    let mut stream = fixture.client.send_request(request(Method::GET, "/large")).await.unwrap();
    stream.finish().await.unwrap();
    until(|| fixture.connection.stats().frame_rx.reset_stream > 0).await;
    let received = async {
        stream.recv_response().await?;
        while stream.recv_data().await?.is_some() {}
        Ok::<_, ::h3::error::StreamError>(())
    };
    let error = received.await.unwrap_err().to_string();
    assert!(error.contains("H3_INTERNAL_ERROR"), "{error}");
    let error = fixture.get("/gate").await.unwrap_err().to_string();
    assert!(error.contains("H3_INTERNAL_ERROR"), "{error}");
}

#[tokio::test]
async fn heads_and_bodies_that_do_not_come_in_time_fail() {
    let limited = Settings { read_timeout: Some(Duration::from_millis(100)), ..settings() };
    let (_server, connection) = raw(limited).await;
    let whole = head(&[(":path", "/read")]);
    let (mut slow, mut receive) = connection.open_bi().await.unwrap();
    slow.write_all(&whole[..3]).await.unwrap();
    assert_eq!(reset(&mut receive).await, code::REQUEST_INCOMPLETE);
    let (mut slow, mut receive) = connection.open_bi().await.unwrap();
    slow.write_all(&[&whole[..], b"\x00\x09half"].concat()).await.unwrap();
    let answer = receive.read_to_end(1000).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains(body::LATE));
}

/// The frame of a head: a GET for `/`, or with other pseudo-header fields and more fields.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = Vec::new();
    qpack::begin(&mut section);
    let usual = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")];
    for (name, value) in usual {
        let other = fields.iter().find(|(known, _)| *known == name);
        qpack::put(&mut section, name, other.map_or(value, |(_, value)| value).as_bytes());
    }
    for (name, value) in
        fields.iter().filter(|(name, _)| !usual.iter().any(|(known, _)| known == name))
    {
        qpack::put(&mut section, name, value.as_bytes());
    }
    frame(frames::HEADERS, &section)
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    varint::put(&mut frame, kind);
    varint::put(&mut frame, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// The code with which the server has closed the connection.
async fn closed(connection: &Connection) -> VarInt {
    let closed = tokio::time::timeout(Duration::from_secs(10), connection.closed());
    match closed.await.expect("the connection is closed") {
        ConnectionError::ApplicationClosed(close) => close.error_code,
        other => panic!("{other}"),
    }
}

/// The code with which the server has reset the stream.
async fn reset(receive: &mut RecvStream) -> VarInt {
    match receive.read_to_end(100_000).await {
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn malformed_requests_end_their_stream() {
    let (server, connection) = raw(settings()).await;
    let post = head(&[(":path", "/read"), ("content-length", "4")]);
    let mut begun = 0;
    for (problem, bytes, expected) in [
        ("no head", vec![], code::REQUEST_INCOMPLETE),
        ("only an unknown frame", frame(0x21, b"grease"), code::REQUEST_INCOMPLETE),
        ("a header about the connection", head(&[("connection", "close")]), code::MESSAGE_ERROR),
        ("two hosts", head(&[("host", "b")]), code::MESSAGE_ERROR),
    ] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        assert_eq!(reset(&mut receive).await, expected, "{problem}");
    }
    for (path, body) in [
        ("too short", frame(frames::DATA, b"abc")),
        ("too long", frame(frames::DATA, b"abcde")),
        ("too long in two", [frame(frames::DATA, b"abc"), frame(frames::DATA, b"de")].concat()),
        ("empty", vec![]),
    ] {
        server.shared.broken.lock().unwrap().clear();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&post).await.unwrap();
        // Apart from the head: the request has been handed on by then.
        begun += 1;
        until(|| *server.shared.begun.lock().unwrap() == begun).await;
        send.write_all(&body).await.unwrap();
        send.finish().unwrap();
        receive.read_to_end(1000).await.unwrap();
        let broken = server.shared.broken.lock().unwrap().clone();
        assert!(broken["/read"].contains("content-length"), "{path}: {broken:?}");
    }
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let good =
        [&frame(0x21, b"grease")[..], &post, &frame(0x40, b""), &frame(frames::DATA, b"abcd")];
    send.write_all(&good.concat()).await.unwrap();
    send.finish().unwrap();
    assert!(receive.read_to_end(1000).await.unwrap().ends_with(b"0"), "all is well");
}

#[tokio::test]
async fn who_does_not_speak_http3_is_cut_off() {
    let cut = [&head(&[(":path", "/read")])[..], &[0, 10], b"half"].concat();
    let twice = [head(&[(":path", "/read")]), frame(frames::HEADERS, &[0, 0]), frame(0, b"")];
    let on_requests = [
        ("data before the head", frame(frames::DATA, b"x"), code::FRAME_UNEXPECTED),
        ("settings", frame(frames::SETTINGS, b""), code::FRAME_UNEXPECTED),
        ("a frame of HTTP/2", frame(0x8, b""), code::FRAME_UNEXPECTED),
        ("a cut head", head(&[])[..9].to_vec(), code::FRAME_ERROR),
        ("a cut body", cut, code::FRAME_ERROR),
        ("data behind trailers", twice.concat(), code::FRAME_UNEXPECTED),
        ("a dynamic table", frame(frames::HEADERS, &[2, 0, 0x80]), code::DECOMPRESSION_FAILED),
    ];
    for (problem, bytes, expected) in on_requests {
        let (_server, connection) = raw(settings()).await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        assert_eq!(closed(&connection).await, expected, "{problem}");
    }
    let settings_frame = frame(frames::SETTINGS, &[]);
    let on_others: [(&str, &[&[u8]], VarInt); 12] = [
        ("no settings", &[&[0], &frame(frames::GOAWAY, &[0])], code::MISSING_SETTINGS),
        ("settings twice", &[&[0], &settings_frame, &settings_frame], code::FRAME_UNEXPECTED),
        ("wrong settings", &[&[0], &frame(frames::SETTINGS, &[2, 0])], code::SETTINGS_ERROR),
        ("long settings", &[&[0, 4, 0x80, 1, 0, 0]], code::EXCESSIVE_LOAD),
        ("data", &[&[0], &settings_frame, &frame(frames::DATA, b"")], code::FRAME_UNEXPECTED),
        ("no push", &[&[0], &settings_frame, &frame(frames::CANCEL_PUSH, &[0])], code::ID_ERROR),
        ("no id", &[&[0], &settings_frame, &frame(frames::GOAWAY, &[])], code::FRAME_ERROR),
        ("closed", &[&[0], &settings_frame, b"end"], code::CLOSED_CRITICAL_STREAM),
        ("a push", &[&[1, 0]], code::STREAM_CREATION_ERROR),
        ("an entry of a table", &[&[2, 0x20, 0xc0]], code::ENCODER_STREAM_ERROR),
        ("an acknowledgement", &[&[3, 0x41, 0x7f, 0x81, 1, 0x80]], code::DECODER_STREAM_ERROR),
        ("QPACK ends", &[&[2], b"end"], code::CLOSED_CRITICAL_STREAM),
    ];
    for (problem, pieces, expected) in on_others {
        let (_server, connection) = raw(settings()).await;
        let mut send = connection.open_uni().await.unwrap();
        let (ends, pieces) = match pieces.split_last() {
            Some((&b"end", pieces)) => (true, pieces),
            _ => (false, pieces),
        };
        send.write_all(&pieces.concat()).await.unwrap();
        if ends {
            send.finish().unwrap();
        }
        assert_eq!(closed(&connection).await, expected, "{problem}");
    }
    let (_server, connection) = raw(settings()).await;
    for _ in 0..2 {
        connection.open_uni().await.unwrap().write_all(&[0, 4, 0]).await.unwrap();
    }
    assert!(matches!(
        closed(&connection).await,
        code::STREAM_CREATION_ERROR | code::CLOSED_CRITICAL_STREAM
    ));
}

#[tokio::test]
async fn unknown_streams_and_frames_mean_nothing_but_only_so_many() {
    let (_server, connection) = raw(settings()).await;
    let mut control = connection.open_uni().await.unwrap();
    let unknown = frame(0x21, &vec![0; 100_000]);
    control
        .write_all(&[&[0, 4, 0][..], &unknown, &frame(frames::MAX_PUSH_ID, &[3])].concat())
        .await
        .unwrap();
    let opening = async {
        let mut opened = 0;
        while let Ok(mut stream) = connection.open_uni().await {
            drop(stream.write_all(&[0x21]).await);
            opened += 1;
        }
        opened
    };
    let opened = tokio::time::timeout(Duration::from_secs(20), opening).await.unwrap();
    assert!(opened > UNKNOWN_STREAMS_MAX, "{opened}");
    assert_eq!(closed(&connection).await, code::EXCESSIVE_LOAD);
}

#[tokio::test]
async fn heads_are_bounded_each_and_together() {
    let (server, connection) = raw(settings()).await;
    // Said to be long, and decoded long.
    let said = [&[1][..], &[0x80, 0x10, 0, 0]].concat();
    let decoded = head(&[("x", &"a".repeat(16 * 1024 - 100))]);
    assert!(decoded.len() < 16 * 1024);
    for bytes in [said, decoded] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        let answer = receive.read_to_end(1000).await.unwrap();
        assert!(answer.ends_with(b"Request Header Fields Too Large\n"), "{answer:?}");
    }
    // Many that come in part share one budget.
    let mut streams = Vec::new();
    for _ in 0..10 {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        let part = [&[1, 0x80, 0, 0x30, 0][..], &[0; 10_000]].concat();
        send.write_all(&part).await.unwrap();
        streams.push((send, receive));
    }
    let mut refused = FuturesUnordered::new();
    for (_, receive) in &mut streams {
        refused.push(reset(receive));
    }
    let first = tokio::time::timeout(Duration::from_secs(10), refused.next()).await.unwrap();
    assert_eq!(first, Some(code::EXCESSIVE_LOAD));
    drop(server.ends);
}

#[tokio::test]
async fn connect_is_refused() {
    let mut section = Vec::new();
    qpack::begin(&mut section);
    qpack::put(&mut section, ":method", b"CONNECT");
    qpack::put(&mut section, ":authority", b"a:443");
    let (_server, connection) = raw(settings()).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&frame(frames::HEADERS, &section)).await.unwrap();
    assert!(receive.read_to_end(1000).await.unwrap().ends_with(b"Not Implemented\n"));
}
