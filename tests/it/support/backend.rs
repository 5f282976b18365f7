//! The echo servers behind the program, as tests/fixtures/traefik/README.md describes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use serde_json::json;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::certificates::Identity;
use super::h1::{Reader, Stream, joined};

/// One request as a server saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) proto: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) sni: Option<String>,
    pub(crate) probe: bool,
}

#[derive(Debug)]
struct State {
    name: String,
    records: Mutex<Vec<Record>>,
    flaky: Mutex<HashMap<String, usize>>,
    health: Mutex<u16>,
}

/// A running server.
#[derive(Debug, Clone)]
pub(crate) struct Backend(Arc<State>);

/// What a server answers.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Pieces, the pause between them.
    stream: Option<(usize, u64, bool)>,
    trailers: Vec<(String, String)>,
    close: bool,
}

impl Backend {
    /// Starts the server `name` of `kind` at `address`.
    pub(crate) async fn start(
        name: &str,
        kind: &str,
        address: &str,
        identity: Option<Identity>,
        banner: Option<String>,
    ) -> Self {
        let state = State {
            name: name.to_owned(),
            records: Mutex::default(),
            flaky: Mutex::default(),
            health: Mutex::new(200),
        };
        let backend = Self(Arc::new(state));
        if kind == "down" {
            return backend;
        }
        if kind == "udp" {
            let socket = UdpSocket::bind(address).await.expect("a free port");
            tokio::spawn(backend.clone().serve_udp(socket));
            return backend;
        }
        let listener = TcpListener::bind(address).await.expect("a free port");
        let acceptor = identity.map(|(chain, key)| {
            let mut config = rustls::ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            if kind == "https" {
                config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            }
            TlsAcceptor::from(Arc::new(config))
        });
        let accepting = backend.clone();
        let kind = kind.to_owned();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream.set_nodelay(true));
                let (backend, acceptor) = (accepting.clone(), acceptor.clone());
                let (kind, banner) = (kind.clone(), banner.clone());
                tokio::spawn(
                    async move { backend.connection(stream, &kind, acceptor, banner).await },
                );
            }
        });
        backend
    }

    /// Requests but probes, since `from`.
    pub(crate) fn hits(&self, from: usize) -> Vec<Record> {
        self.all(from).into_iter().filter(|record| !record.probe).collect()
    }

    /// All records since `from`.
    pub(crate) fn all(&self, from: usize) -> Vec<Record> {
        self.0.records.lock().unwrap().iter().skip(from).cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.records.lock().unwrap().len()
    }

    pub(crate) fn set_health(&self, status: u16) {
        *self.0.health.lock().unwrap() = status;
    }

    /// Forgets records, flaky counters and health.
    pub(crate) fn reset(&self) {
        self.0.records.lock().unwrap().clear();
        self.0.flaky.lock().unwrap().clear();
        self.set_health(200);
    }

    async fn connection(
        &self,
        stream: TcpStream,
        kind: &str,
        acceptor: Option<TlsAcceptor>,
        banner: Option<String>,
    ) {
        let Some(acceptor) = acceptor else {
            return match kind {
                "h2c" => self.serve_h2(stream, None).await,
                "tcp" => self.serve_lines(stream, banner).await,
                "tcp-proxy" => self.serve_proxied_lines(stream).await,
                _ => self.serve_h1(stream, None).await,
            };
        };
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let sni = stream.get_ref().1.server_name().map(ToOwned::to_owned).unwrap_or_default();
        match (kind, stream.get_ref().1.alpn_protocol()) {
            ("tcp-tls", _) => self.serve_lines(stream, banner).await,
            (_, Some(b"h2")) => self.serve_h2(stream, Some(sni)).await,
            _ => self.serve_h1(stream, Some(sni)).await,
        }
    }

    async fn serve_lines(&self, stream: impl Stream, banner: Option<String>) {
        let mut stream = BufReader::new(stream);
        if let Some(banner) = banner {
            drop(stream.write_all(format!("{banner}\n").as_bytes()).await);
        }
        self.echo_lines(&mut stream, "").await;
    }

    async fn echo_lines<S: Stream>(&self, stream: &mut BufReader<S>, mark: &str) {
        let mut line = String::new();
        while matches!(stream.read_line(&mut line).await, Ok(1..)) {
            let text = line.trim_end().to_owned();
            self.0
                .records
                .lock()
                .unwrap()
                .push(Record { body: text.clone().into(), ..Record::default() });
            let reply = format!("{}: {mark}{text}\n", self.0.name);
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
            line.clear();
        }
    }

    async fn serve_proxied_lines(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let Ok(start) = stream.fill_buf().await else { return };
        let mark = if start.starts_with(b"\r\n\r\n\0") {
            let mut head = [0; 16];
            if stream.read_exact(&mut head).await.is_err() {
                return;
            }
            let mut rest = vec![0; usize::from(u16::from_be_bytes([head[14], head[15]]))];
            if stream.read_exact(&mut rest).await.is_err() || rest.len() < 12 {
                return;
            }
            let ip = |at: usize| {
                format!("{}.{}.{}.{}", rest[at], rest[at + 1], rest[at + 2], rest[at + 3])
            };
            let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
            format!("v2 {}:{} {}:{}", ip(0), port(8), ip(4), port(10))
        } else {
            let mut line = String::new();
            if stream.read_line(&mut line).await.is_err() {
                return;
            }
            line.trim_end().to_owned()
        };
        self.echo_lines(&mut stream, &format!("[{mark}] ")).await;
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut buffer = vec![0; 65536];
        while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
            let mut reply = format!("{}: ", self.0.name).into_bytes();
            reply.extend_from_slice(&buffer[..count]);
            self.0
                .records
                .lock()
                .unwrap()
                .push(Record { body: buffer[..count].to_vec(), ..Record::default() });
            drop(socket.send_to(&reply, from).await);
        }
    }

    /// Notes the request and makes its answer.
    async fn answer(&self, record: Record) -> Answer {
        let path = record.target.split(['?', '#']).next().unwrap_or_default().to_owned();
        let mut answer = Answer {
            status: 200,
            headers: vec![("X-Backend".into(), self.0.name.clone())],
            body: Vec::new(),
            stream: None,
            trailers: Vec::new(),
            close: false,
        };
        let mut content_type = None;
        let mut body = None;
        let mut delay = 0;
        let parts: Vec<&str> = path.split('/').collect();
        let mut at = 0;
        let mut mine = true;
        let mut probe = false;
        while at < parts.len() {
            let next = |offset: usize| parts.get(at + offset).copied().unwrap_or_default();
            let number = |offset: usize| next(offset).parse::<u64>().unwrap_or(0);
            match parts[at] {
                "__on" => mine = next(1) == self.0.name,
                _ if !mine => {}
                "__status" => answer.status = u16::try_from(number(1)).unwrap_or(500),
                "__delay" => delay = number(1),
                "__close" => answer.close = true,
                "__flaky" => {
                    let mut flaky = self.0.flaky.lock().unwrap();
                    let seen = flaky.entry(path.clone()).or_default();
                    *seen += 1;
                    if *seen as u64 <= number(1) {
                        answer.status = u16::try_from(number(2)).unwrap_or(500);
                    }
                }
                "__header" => answer.headers.push((next(1).into(), next(2).into())),
                "__type" => content_type = Some(format!("{}/{}", next(1), next(2))),
                "__bytes" => body = Some(vec![b'a'; usize::try_from(number(1)).unwrap_or(0)]),
                "__sse" => {
                    answer.stream =
                        Some((usize::try_from(number(1)).unwrap_or(0), number(2), true));
                }
                "__chunks" => {
                    answer.stream =
                        Some((usize::try_from(number(1)).unwrap_or(0), number(2), false));
                }
                "__grpc" => answer.trailers.push(("grpc-status".into(), next(1).into())),
                "__health" => {
                    probe = true;
                    answer.status = *self.0.health.lock().unwrap();
                }
                "__auth" => body = Some(authenticate(&record, &mut answer)),
                _ => {}
            }
            at += 1;
        }
        let grpc =
            joined(&record.headers, "content-type").is_some_and(|kind| kind == "application/grpc");
        if grpc && record.proto == "HTTP/2.0" {
            content_type = Some("application/grpc".into());
            body = Some(record.body.clone());
            if answer.trailers.is_empty() {
                answer.trailers.push(("grpc-status".into(), "0".into()));
            }
        }
        self.0.records.lock().unwrap().push(Record { probe, ..record.clone() });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let default_type = match (&body, answer.stream) {
            (_, Some((_, _, true))) => "text/event-stream",
            (Some(_), _) | (_, Some(_)) => "text/plain",
            _ => "application/json",
        };
        answer.headers.push(("Content-Type".into(), content_type.unwrap_or(default_type.into())));
        answer.body = body.unwrap_or_else(|| self.echo(&record));
        answer
    }

    fn echo(&self, record: &Record) -> Vec<u8> {
        let mut headers = serde_json::Map::new();
        for (name, value) in &record.headers {
            let list = headers.entry(name.clone()).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().push(json!(value));
        }
        json!({
            "backend": self.0.name, "proto": record.proto, "method": record.method, "uri": record.target,
            "host": joined(&record.headers, "host"), "headers": headers,
            "body": String::from_utf8_lossy(&record.body),
        })
        .to_string()
        .into_bytes()
    }

    async fn serve_h1(&self, stream: impl Stream + 'static, sni: Option<String>) {
        let mut reader = Reader::new(stream);
        while let Ok(Some(head)) = reader.head().await {
            let mut start = head.start.split(' ');
            let (method, target) =
                (start.next().unwrap_or_default(), start.next().unwrap_or_default());
            if head.get("expect").is_some() {
                drop(reader.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await);
            }
            let Ok(body) = reader.body(&head, false).await else { return };
            let record = Record {
                method: method.into(),
                target: target.into(),
                proto: "HTTP/1.1".into(),
                headers: head.headers.clone(),
                body: body.bytes,
                trailers: body.trailers,
                sni: sni.clone(),
                probe: false,
            };
            if let Some(key) = head.get("sec-websocket-key") {
                self.0.records.lock().unwrap().push(record);
                return self
                    .serve_websocket(reader, &key, head.get("sec-websocket-protocol"))
                    .await;
            }
            let head_only = method == "HEAD";
            let answer = self.answer(record).await;
            if answer.close || self.write_h1(&mut reader.stream, answer, head_only).await.is_err() {
                return;
            }
        }
    }

    async fn write_h1(
        &self,
        stream: &mut impl Stream,
        answer: Answer,
        head_only: bool,
    ) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let Some((count, pause, events)) = answer.stream else {
            if answer.trailers.is_empty() {
                head.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len()));
                let mut all = head.into_bytes();
                if !head_only {
                    all.extend_from_slice(&answer.body);
                }
                return stream.write_all(&all).await;
            }
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            let mut all = head.into_bytes();
            all.extend_from_slice(format!("{:x}\r\n", answer.body.len()).as_bytes());
            all.extend_from_slice(&answer.body);
            all.extend_from_slice(b"\r\n0\r\n");
            for (name, value) in &answer.trailers {
                all.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            all.extend_from_slice(b"\r\n");
            return stream.write_all(&all).await;
        };
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        for number in 0..count {
            let piece =
                if events { format!("data: {number}\n\n") } else { format!("chunk {number}\n") };
            stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await?;
            stream.flush().await?;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        stream.write_all(b"0\r\n\r\n").await
    }

    async fn serve_websocket(
        &self,
        mut reader: Reader<impl Stream + 'static>,
        key: &str,
        offered: Option<String>,
    ) {
        use futures_util::{SinkExt as _, StreamExt as _};
        use tokio_tungstenite::tungstenite::{Message, protocol::Role};
        let hash = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accept = base64::engine::general_purpose::STANDARD.encode(hash);
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Backend: {}\r\n\
             Sec-WebSocket-Accept: {accept}\r\n",
            self.0.name
        );
        if let Some(first) = offered.as_deref().and_then(|list| list.split(',').next()) {
            head.push_str(&format!("Sec-WebSocket-Protocol: {}\r\n", first.trim()));
        }
        head.push_str("\r\n");
        if reader.stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        let mut socket = tokio_tungstenite::WebSocketStream::from_partially_read(
            reader.stream,
            reader.buffer,
            Role::Server,
            None,
        )
        .await;
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                let reply = Message::text(format!("{}: {text}", self.0.name));
                if socket.send(reply).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn serve_h2(&self, stream: impl Stream + 'static, sni: Option<String>) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            let (backend, sni) = (self.clone(), sni.clone());
            tokio::spawn(async move { backend.h2_request(request, respond, sni).await });
        }
    }

    async fn h2_request(
        &self,
        request: http::Request<h2::RecvStream>,
        mut respond: h2::server::SendResponse<Bytes>,
        sni: Option<String>,
    ) {
        let (parts, mut incoming) = request.into_parts();
        let mut body = Vec::new();
        while let Some(Ok(data)) = incoming.data().await {
            drop(incoming.flow_control().release_capacity(data.len()));
            body.extend_from_slice(&data);
        }
        let trailers = incoming.trailers().await.ok().flatten().unwrap_or_default();
        let mut headers = pairs(&parts.headers);
        if let Some(authority) =
            parts.uri.authority().filter(|_| !parts.headers.contains_key("host"))
        {
            headers.push(("host".into(), authority.to_string()));
        }
        let target = parts.uri.path_and_query().map_or("/".into(), ToString::to_string);
        let record = Record {
            method: parts.method.to_string(),
            target,
            proto: "HTTP/2.0".into(),
            headers,
            body,
            trailers: pairs(&trailers),
            sni,
            probe: false,
        };
        let answer = self.answer(record).await;
        if answer.close {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            return;
        }
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        let Ok(mut send) = respond.send_response(response.body(()).unwrap(), false) else { return };
        let ends = answer.trailers.is_empty();
        drop(send.send_data(answer.body.into(), ends));
        if !ends {
            let mut trailers = http::HeaderMap::new();
            for (name, value) in &answer.trailers {
                let name: http::HeaderName = name.parse().unwrap();
                trailers.insert(name, value.parse().unwrap());
            }
            drop(send.send_trailers(trailers));
        }
    }
}

fn pairs(headers: &http::HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

/// `/__auth`: `Bearer good-NAME` is let in.
fn authenticate(record: &Record, answer: &mut Answer) -> Vec<u8> {
    for (header, seen) in [
        ("x-forwarded-method", "Method"),
        ("x-forwarded-uri", "Uri"),
        ("x-forwarded-host", "Host"),
        ("x-forwarded-proto", "Proto"),
        ("x-forwarded-for", "For"),
        ("cookie", "Cookie"),
    ] {
        if let Some(value) = joined(&record.headers, header) {
            answer.headers.push((format!("X-Auth-Seen-{seen}"), value));
        }
    }
    let token = joined(&record.headers, "authorization").unwrap_or_default();
    if let Some(name) = token.strip_prefix("Bearer good-") {
        answer.headers.push(("X-Auth-User".into(), name.to_owned()));
        return Vec::new();
    }
    answer.status = 401;
    answer.headers.push(("WWW-Authenticate".into(), "Bearer realm=\"auth\"".into()));
    b"denied".to_vec()
}
