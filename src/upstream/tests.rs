//! The client side against small servers on the loopback interface.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::fetch::FetchError;
use super::*;
use crate::config::value::{Duration as Setting, FileOrContent};
use crate::http::{Body, Connection, Exchange};

const SECOND: Duration = Duration::from_secs(1);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn server(scheme: &str, address: SocketAddr, options: &Options) -> Server {
    let transport = Transport::build(options).unwrap();
    Server::new(&format!("{scheme}://{address}"), false, true, transport).unwrap()
}

/// Reads one head.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

async fn get(server: &Server, path: &str) -> Result<::http::Response<Bytes>, FetchError> {
    let request = ::http::Request::get(path).body(Bytes::new()).unwrap();
    server.fetch(request, true, SECOND * 10, 64).await
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let (listener, address) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heads = Vec::new();
        for _ in 0..2 {
            heads.push(head(&mut stream).await);
            stream.write_all(OK).await.unwrap();
        }
        heads
    };
    let server = server("http", address, &Options::default());
    let ask = async {
        for path in ["/a?b=c", "/d"] {
            let response = get(&server, path).await.unwrap();
            assert_eq!(response.body().as_ref(), b"ok");
            tokio::task::yield_now().await;
        }
    };
    let (heads, ()) = tokio::join!(serve, ask);
    assert!(heads[0].starts_with("GET /a?b=c HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].to_lowercase().contains(&format!("\r\nhost: {address}\r\n")), "{heads:?}");
    assert!(heads[1].starts_with("GET /d HTTP/1.1\r\n"), "{heads:?}");
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_replaced() {
    let (listener, address) = listen().await;
    let serve = async {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
        }
    };
    let server = server("http", address, &Options::default());
    let ask = async {
        get(&server, "/").await.unwrap();
        get(&server, "/").await.unwrap();
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let (listener, address) = listen().await;
    let options = Options {
        forwarding_timeouts: Some(ForwardingTimeouts {
            response_header_timeout: Setting::from_millis(20),
            ..ForwardingTimeouts::default()
        }),
        ..Options::default()
    };
    let late = get(&server("http", address, &options), "/").await.unwrap_err();
    assert!(matches!(&late, FetchError::Broken { reason, .. } if reason.contains("in time")));
    drop(listener.accept().await.unwrap());
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
    };
    let server = server("http", address, &Options::default());
    let (broken, ()) = tokio::join!(get(&server, "/"), serve);
    assert!(matches!(broken, Err(FetchError::Broken { .. })), "{broken:?}");
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n").await.unwrap();
        stream.write_all(&[b'x'; 65]).await.unwrap();
    };
    let (large, ()) = tokio::join!(get(&server, "/"), serve);
    assert!(matches!(large, Err(FetchError::TooLarge(64))), "{large:?}");
    drop(listener);
    let refused = get(&server, "/").await;
    assert!(matches!(refused, Err(FetchError::Connect { .. })), "{refused:?}");
}

#[tokio::test]
async fn redirects_are_followed_to_other_servers() {
    let (first, first_address) = listen().await;
    let (second, second_address) = listen().await;
    let serve = async {
        let (mut stream, _) = first.accept().await.unwrap();
        head(&mut stream).await;
        let answer = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://{second_address}/there\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut stream, _) = second.accept().await.unwrap();
        let head = head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        head
    };
    let server = server("http", first_address, &Options::default());
    let request = ::http::Request::get("/here")
        .header("authorization", "secret")
        .header("host", "a.test")
        .body(Bytes::new())
        .unwrap();
    let (head, response) = tokio::join!(serve, server.fetch(request, true, SECOND * 10, 64));
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    assert!(head.starts_with("GET /there "), "{head}");
    assert!(!head.contains("secret") && !head.contains("a.test"), "{head}");
}

/// Serves HTTP/2 that answers with the request's authority and, as gRPC does, a trailer.
async fn serve_http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request: ::http::Request<Incoming>| async move {
        let authority = request.uri().authority().unwrap().to_string();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [
            Ok::<_, Infallible>(Frame::data(Bytes::from(authority))),
            Ok(Frame::trailers(trailers)),
        ];
        let body = StreamBody::new(futures_util::stream::iter(frames));
        Ok::<_, Infallible>(Response::new(body))
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await
        .unwrap();
}

#[tokio::test]
async fn one_h2c_connection_carries_many_requests_and_trailers() {
    let (listener, address) = listen().await;
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve_http2(stream).await;
    };
    let ask = async {
        let server = server("h2c", address, &Options::default());
        let (first, second) = tokio::join!(get(&server, "/"), get(&server, "/"));
        for response in [first.unwrap(), second.unwrap()] {
            assert_eq!(response.body().as_ref(), address.to_string().as_bytes());
            assert_eq!(response.extensions().get::<Trailers>().unwrap().0["grpc-status"], "0");
        }
    };
    // Only one connection is accepted, and it ends when the server (and with it the pool) is dropped.
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn https_speaks_http2_where_the_server_does_and_checks_its_certificate() {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config =
        rustls::ServerConfig::builder_with_provider(crate::tls::certificate::provider().clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listen().await;
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.unwrap_err();
        let (stream, _) = listener.accept().await.unwrap();
        serve_http2(acceptor.accept(stream).await.unwrap()).await;
    };
    let ask = async {
        let distrusting = server("https", address, &Options::default());
        let refused = get(&distrusting, "/").await.unwrap_err().to_string();
        assert!(refused.contains("certificate"), "{refused}");
        let options =
            Options { root_cas: vec![FileOrContent(certificate.pem())], ..Options::default() };
        let response = get(&server("https", address, &options), "/").await.unwrap();
        assert_eq!(response.body().as_ref(), address.to_string().as_bytes());
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_server_that_goes_away_gets_no_more_requests() {
    let (listener, address) = listen().await;
    let serve = async {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|_: ::http::Request<Incoming>| async {
                Ok::<_, Infallible>(Response::new(Body::from("ok")))
            });
            let mut connection = std::pin::pin!(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
            );
            // One request each: the connection says at once that it goes away.
            connection.as_mut().graceful_shutdown();
            connection.await.unwrap();
        }
    };
    let ask = async {
        let server = server("h2c", address, &Options::default());
        for _ in 0..2 {
            assert_eq!(get(&server, "/").await.unwrap().body().as_ref(), b"ok");
        }
    };
    tokio::join!(serve, ask);
}

/// A request as it comes from a client at 9.9.9.9.
fn request(builder: ::http::request::Builder, body: Body) -> crate::http::Request {
    let remote = "9.9.9.9:9".parse().unwrap();
    let connection = Connection::new(remote, "web".into(), None);
    let exchange = Exchange::new(Arc::new(connection), Instant::now());
    let parts = builder.body(()).unwrap().into_parts().0;
    crate::http::Request::new(Box::new(parts), body, Arc::new(exchange))
}

#[tokio::test]
async fn requests_are_forwarded_and_recorded() {
    let (listener, address) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        let mut body = [0; 3];
        stream.read_exact(&mut body).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nconnection: x-a\r\nx-a: 1\r\nx-b: 2\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        (head, body)
    };
    let builder = ::http::Request::post("/path?x=1")
        .header("host", "public.test")
        .header("connection", "close, x-hop")
        .header("x-hop", "1")
        .header("x-forwarded-for", "1.1.1.1");
    let request = request(builder, Body::from("abc"));
    let exchange = request.exchange().clone();
    let server = server("http", address, &Options::default());
    let (response, (head, body)) = tokio::join!(server.send(request), serve);
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(!response.headers().contains_key("x-a") && response.headers().contains_key("x-b"));
    assert_eq!(&body, b"abc");
    let head = head.to_lowercase();
    assert!(head.starts_with("post /path?x=1 http/1.1\r\nhost: public.test\r\n"), "{head}");
    assert!(head.contains("x-forwarded-for: 1.1.1.1, 9.9.9.9\r\n"), "{head}");
    assert!(head.contains("content-length: 3\r\n"), "{head}");
    assert!(!head.contains("x-hop") && !head.contains("connection"), "{head}");
    let record = exchange.record();
    assert_eq!(record.origin_status, 404);
    assert_eq!(record.server_address.as_deref(), Some(address.to_string().as_str()));
    assert_eq!(record.server_url.as_ref(), Some(server.url()));
}

#[tokio::test]
async fn a_switch_of_protocols_becomes_a_tunnel() {
    let (listener, address) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        assert!(head.contains("Upgrade: websocket\r\n"), "{head}");
        assert!(head.contains("Sec-WebSocket-Key: k\r\n"), "{head}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nhello ")
            .await
            .unwrap();
        let mut said = [0; 4];
        stream.read_exact(&mut said).await.unwrap();
        stream.write_all(&said).await.unwrap();
    };
    let ask = async {
        let builder = ::http::Request::get("/")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "k");
        let mut request = request(builder, Body::Empty);
        let (sender, on_upgrade) = crate::http::upgrade::channel();
        request.extensions_mut().insert(on_upgrade);
        let server = server("http", address, &Options::default());
        let response = server.send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["connection"], "Upgrade");
        let (mut client, near) = tokio::io::duplex(64);
        sender.give(crate::http::Upgraded::new(near, Bytes::from_static(b"pi")));
        client.write_all(b"ng").await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello ping");
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_switch_to_something_else_is_refused() {
    let (listener, address) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
            .await
            .unwrap();
    };
    let builder =
        ::http::Request::get("/").header("connection", "upgrade").header("upgrade", "websocket");
    let mut request = request(builder, Body::Empty);
    let (_sender, on_upgrade) = crate::http::upgrade::channel();
    request.extensions_mut().insert(on_upgrade);
    let server = server("http", address, &Options::default());
    let (response, ()) = tokio::join!(server.send(request), serve);
    assert_eq!(response.unwrap_err().status(), StatusCode::BAD_GATEWAY);
}
