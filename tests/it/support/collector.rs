//! Collectors of telemetry: they take what is pushed, and keep it.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};
use tokio_rustls::TlsAcceptor;

use super::h1::{Head, Reader, Stream};
use super::running::eventually;

/// A message as it came, unpacked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        super::h1::joined(&self.headers, name)
    }
}

/// A running collector.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    messages: Arc<Mutex<Vec<Message>>>,
    /// How many are refused before the first is taken.
    refusals: Arc<Mutex<usize>>,
}

impl Collector {
    async fn bind(refusals: usize) -> (TcpListener, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let refusals = Arc::new(Mutex::new(refusals));
        (listener, Self { address, messages: Arc::default(), refusals })
    }

    /// Takes POST requests over HTTP/1, after so many refusals with 503.
    pub(crate) async fn http(refusals: usize) -> Self {
        let (listener, collector) = Self::bind(refusals).await;
        let accepting = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let collector = accepting.clone();
                tokio::spawn(async move { collector.requests(stream).await });
            }
        });
        collector
    }

    /// The same over TLS.
    pub(crate) async fn https(config: rustls::ServerConfig) -> Self {
        let (listener, collector) = Self::bind(0).await;
        let (accepting, acceptor) = (collector.clone(), TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (collector, acceptor) = (accepting.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        collector.requests(stream).await;
                    }
                });
            }
        });
        collector
    }

    async fn requests<S: Stream>(&self, stream: S) {
        let mut reader = Reader::new(stream);
        while let Ok(Some(head)) = reader.head().await {
            let Ok(body) = reader.body(&head, false).await else { return };
            let status = if self.refuses() {
                "503 Service Unavailable"
            } else {
                self.keep(message(&head, &body.bytes));
                "200 OK"
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            if reader.stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// Takes gRPC calls over HTTP/2 without TLS.
    pub(crate) async fn grpc() -> Self {
        let (listener, collector) = Self::bind(0).await;
        let accepting = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let collector = accepting.clone();
                tokio::spawn(async move { collector.calls(stream).await });
            }
        });
        collector
    }

    async fn calls(&self, stream: TcpStream) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let collector = self.clone();
            tokio::spawn(async move {
                let (head, mut body) = request.into_parts();
                let mut bytes = Vec::new();
                while let Some(Ok(data)) = body.data().await {
                    drop(body.flow_control().release_capacity(data.len()));
                    bytes.extend_from_slice(&data);
                }
                let headers = head.headers.iter();
                let headers = headers.map(|(name, value)| {
                    (name.to_string(), value.to_str().unwrap_or_default().to_owned())
                });
                let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
                assert_eq!((bytes[0], length), (1, bytes.len() - 5), "one compressed message");
                collector.keep(Message {
                    path: head.uri.path().to_owned(),
                    headers: headers.collect(),
                    body: unpacked(&bytes[5..]),
                });
                let answer = http::Response::builder().header("content-type", "application/grpc");
                let mut stream = respond.send_response(answer.body(()).unwrap(), false).unwrap();
                stream.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
                let trailers = [("grpc-status", "0")].map(|(name, value)| {
                    (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
                });
                stream.send_trailers(trailers.into_iter().collect()).unwrap();
            });
        }
    }

    fn refuses(&self) -> bool {
        let mut refusals = self.refusals.lock().unwrap();
        let refuses = *refusals > 0;
        *refusals = refusals.saturating_sub(1);
        refuses
    }

    fn keep(&self, message: Message) {
        self.messages.lock().unwrap().push(message);
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    /// Waits until `look` finds something in what has come.
    pub(crate) async fn until<T>(&self, what: &str, look: impl Fn(&[Message]) -> Option<T>) -> T {
        eventually(what, || async { look(&self.messages()) }).await
    }
}

fn message(head: &Head, body: &[u8]) -> Message {
    let packed = head.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
    Message {
        path: head.start.split(' ').nth(1).unwrap_or_default().to_owned(),
        headers: head.headers.clone(),
        body: if packed { unpacked(body) } else { body.to_vec() },
    }
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).unwrap();
    plain
}

/// An agent that takes lines in datagrams.
pub(crate) struct Agent {
    pub(crate) address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    pub(crate) async fn udp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = lines.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 65536];
            while let Ok(length) = socket.recv(&mut buffer).await {
                keep_lines(&kept, &buffer[..length]);
            }
        });
        Self { address, lines }
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = lines.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 65536];
            while let Ok(length) = socket.recv(&mut buffer).await {
                keep_lines(&kept, &buffer[..length]);
            }
        });
        Self { address: format!("unix://{}", path.display()), lines }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line.
    pub(crate) async fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        let found = || self.lines().into_iter().find(|line| wanted(line));
        eventually("the line", || async { found() }).await
    }
}

fn keep_lines(lines: &Mutex<Vec<String>>, packet: &[u8]) {
    let text = String::from_utf8(packet.to_vec()).unwrap();
    lines.lock().unwrap().extend(text.lines().map(ToOwned::to_owned));
}
