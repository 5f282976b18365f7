//! The clients before the program: HTTP/1 byte for byte, HTTP/2, WebSocket, TCP lines, UDP datagrams.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::certificates::{Certificates, Identity};
use super::h1::{Reader, Stream};

/// Longest wait for one request.
const REQUEST_MAX: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) arrivals: Vec<(usize, Instant)>,
    pub(crate) tls: Option<TlsSeen>,
    /// `tls` or `closed`.
    pub(crate) error: Option<&'static str>,
    /// What went wrong, for people.
    pub(crate) reason: String,
    pub(crate) replies: Vec<String>,
}

/// What a handshake settled.
#[derive(Debug)]
pub(crate) struct TlsSeen {
    pub(crate) names: Vec<String>,
    pub(crate) version: String,
    pub(crate) alpn: Option<String>,
}

impl Outcome {
    fn failed(error: &'static str, reason: impl ToString) -> Self {
        Self { error: Some(error), reason: reason.to_string(), ..Self::default() }
    }
}

/// Undoes gzip, brotli and zstd; other encodings are left as they are.
pub(crate) fn decoded(encoding: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut out = Vec::new();
    match encoding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut out),
        "zstd" => zstd::stream::read::Decoder::new(body)?.read_to_end(&mut out),
        _ => return Ok(body.to_vec()),
    }?;
    Ok(out)
}

#[derive(Debug)]
struct TrustsAll(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn tls_config(request: &Value, alpn: Vec<Vec<u8>>, identity: Option<Identity>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let number = |name: &Value, otherwise: &str| match name.as_str().unwrap_or(otherwise) {
        "TLSv1.2" => 2,
        _ => 3,
    };
    let range = number(&request["tlsMin"], "TLSv1.2")..=number(&request["tlsMax"], "TLSv1.3");
    let mut versions = Vec::new();
    if range.contains(&3) {
        versions.push(&rustls::version::TLS13);
    }
    if range.contains(&2) {
        versions.push(&rustls::version::TLS12);
    }
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAll(provider)));
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn;
    config
}

/// One request of a case, ready to be sent several times.
pub(crate) struct Client<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) secure: bool,
    pub(crate) request: &'a Value,
    pub(crate) certificates: &'a Certificates,
    /// Headers to add to those of the request.
    pub(crate) extra: Vec<(String, String)>,
}

/// The headers of a request as the case lists them.
pub(crate) fn headers(request: &Value) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        match value {
            Value::Array(list) => {
                headers.extend(
                    list.iter().map(|one| (name.clone(), one.as_str().unwrap().to_owned())),
                );
            }
            one => headers.push((name.clone(), one.as_str().unwrap().to_owned())),
        }
    }
    headers
}

fn body(request: &Value) -> Option<Vec<u8>> {
    let sized = request["bodySize"].as_u64().map(|size| vec![b'a'; usize::try_from(size).unwrap()]);
    sized.or_else(|| request["body"].as_str().map(|text| text.as_bytes().to_vec()))
}

impl Client<'_> {
    fn proto(&self) -> &str {
        self.request["proto"].as_str().unwrap_or("http/1.1")
    }

    /// Sends the request once.
    pub(crate) async fn send(&self) -> Outcome {
        let sending = async {
            match self.proto() {
                "udp" => self.udp().await,
                "tcp" | "tls" => self.lines().await,
                "ws" => self.websocket().await,
                "h2" | "h2c" => self.h2().await,
                _ => self.h1().await,
            }
        };
        tokio::time::timeout(REQUEST_MAX, sending)
            .await
            .unwrap_or_else(|_elapsed| Outcome::failed("timeout", "no answer in 20 s"))
    }

    fn source(&self) -> IpAddr {
        self.request["from"].as_str().unwrap_or("127.0.0.1").parse().unwrap()
    }

    async fn connect(&self) -> Result<(Box<dyn Stream>, Option<TlsSeen>), Outcome> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(self.source(), 0)).unwrap();
        let mut stream =
            socket.connect(self.address).await.map_err(|error| Outcome::failed("closed", error))?;
        drop(stream.set_nodelay(true));
        if let Some(header) = self.request.get("proxyProtocol") {
            drop(stream.write_all(&proxy_header(header)).await);
        }
        if self.request["starttls"].as_str() == Some("postgres") {
            drop(stream.write_all(&[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]).await);
            let mut answer = [0];
            if stream.read_exact(&mut answer).await.is_err() || answer != *b"S" {
                return Err(Outcome::failed("closed", "no `S` for the SSLRequest"));
            }
        } else if !self.secure {
            return Ok((Box::new(stream), None));
        }
        let alpn = match self.request["alpn"].as_array() {
            Some(list) => list.iter().map(|one| one.as_str().unwrap().into()).collect(),
            None if self.proto() == "h2" => vec![b"h2".to_vec()],
            None if self.proto() == "tls" => Vec::new(),
            None => vec![b"http/1.1".to_vec()],
        };
        let identity =
            self.request["clientCert"].as_str().map(|name| self.certificates.client(name));
        let mut config = tls_config(self.request, alpn, identity);
        let host = headers(self.request)
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("host"))
            .map(|(_, host)| host);
        let host = host.as_deref().and_then(|host| host.split(':').next()).unwrap_or_default();
        let sni = self.request["sni"].as_str().unwrap_or(host).to_owned();
        config.enable_sni = !sni.is_empty();
        let name = if sni.is_empty() { "none.test".to_owned() } else { sni };
        let name = ServerName::try_from(name).map_err(|error| Outcome::failed("tls", error))?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| Outcome::failed(kind(&error), error))?;
        let session = stream.get_ref().1;
        let seen = TlsSeen {
            names: session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(names)
                .unwrap_or_default(),
            version: match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".into(),
                _ => "TLSv1.3".into(),
            },
            alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        };
        Ok((Box::new(stream), Some(seen)))
    }

    fn head(&self, more: &[(&str, &str)], length: Option<usize>) -> Vec<u8> {
        let method = self.request["method"].as_str().unwrap_or("GET");
        let path = self.request["path"].as_str().unwrap_or("/");
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        for (name, value) in headers(self.request).iter().chain(&self.extra) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        for (name, value) in more {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = length {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    async fn h1(&self) -> Outcome {
        let (stream, tls) = match self.connect().await {
            Ok(connected) => connected,
            Err(outcome) => return outcome,
        };
        let body = body(self.request);
        let mut bytes = self.head(&[], body.as_ref().map(Vec::len));
        bytes.extend(body.unwrap_or_default());
        let mut reader = Reader::new(stream);
        // The answer may come before all is sent.
        drop(reader.stream.write_all(&bytes).await);
        let mut outcome = self.h1_answer(&mut reader).await;
        outcome.tls = tls;
        outcome
    }

    async fn h1_answer(&self, reader: &mut Reader<Box<dyn Stream>>) -> Outcome {
        let head = loop {
            match reader.head().await {
                Ok(Some(head))
                    if head.start.starts_with("HTTP/1.1 10") && !head.start.contains(" 101") => {}
                Ok(Some(head)) => break head,
                Ok(None) => {
                    return Outcome::failed("closed", "the connection ends without an answer");
                }
                Err(error) => return Outcome::failed(kind(&error), error),
            }
        };
        let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
        let bodyless = self.request["method"].as_str() == Some("HEAD")
            || matches!(status, Some(100..200 | 204 | 304));
        let body =
            if bodyless { Ok(super::h1::Body::default()) } else { reader.body(&head, true).await };
        match body {
            Ok(body) => Outcome {
                status,
                headers: head.headers,
                trailers: body.trailers,
                body: body.bytes,
                arrivals: body.arrivals,
                ..Outcome::default()
            },
            Err(error) => Outcome {
                status,
                headers: head.headers,
                error: Some("closed"),
                reason: error.to_string(),
                ..Outcome::default()
            },
        }
    }

    async fn h2(&self) -> Outcome {
        let (stream, tls) = match self.connect().await {
            Ok(connected) => connected,
            Err(outcome) => return outcome,
        };
        match self.h2_exchange(stream).await {
            Ok(outcome) => Outcome { tls, ..outcome },
            Err(error) => Outcome { tls, ..Outcome::failed("closed", error) },
        }
    }

    async fn h2_exchange(&self, stream: Box<dyn Stream>) -> Result<Outcome, h2::Error> {
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        let mut sender = sender.ready().await?;
        let path = self.request["path"].as_str().unwrap_or("/");
        let scheme = if self.secure { "https" } else { "http" };
        let mut list = headers(self.request);
        list.extend(self.extra.iter().cloned());
        let host = list.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = host.map_or("localhost", |(_, host)| host);
        let mut request = http::Request::builder()
            .method(self.request["method"].as_str().unwrap_or("GET"))
            .uri(format!("{scheme}://{host}{path}"));
        for (name, value) in list.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            request = request.header(name.to_ascii_lowercase(), value);
        }
        let body = body(self.request);
        let (response, mut send) =
            sender.send_request(request.body(()).unwrap(), body.is_none())?;
        if let Some(body) = body {
            // A server that needs no body may have answered and closed the stream already (RFC 9113, 8.1): what counts
            // is the response.
            drop(send.send_data(Bytes::from(body), true));
        }
        let (parts, mut incoming) = response.await?.into_parts();
        let mut outcome = Outcome { status: Some(parts.status.as_u16()), ..Outcome::default() };
        outcome.headers = list_of(&parts.headers);
        while let Some(data) = incoming.data().await {
            let data = data?;
            drop(incoming.flow_control().release_capacity(data.len()));
            outcome.body.extend_from_slice(&data);
            outcome.arrivals.push((outcome.body.len(), Instant::now()));
        }
        outcome.trailers = incoming.trailers().await?.as_ref().map(list_of).unwrap_or_default();
        Ok(outcome)
    }

    async fn websocket(&self) -> Outcome {
        use futures_util::{SinkExt as _, StreamExt as _};
        use tokio_tungstenite::tungstenite::{Message, protocol::Role};
        let (stream, tls) = match self.connect().await {
            Ok(connected) => connected,
            Err(outcome) => return outcome,
        };
        let mut reader = Reader::new(stream);
        let given = headers(self.request);
        let all = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let more: Vec<_> = all
            .into_iter()
            .filter(|(name, _)| !given.iter().any(|(key, _)| key.eq_ignore_ascii_case(name)))
            .collect();
        drop(reader.stream.write_all(&self.head(&more, None)).await);
        let mut outcome = self.h1_answer(&mut reader).await;
        outcome.tls = tls;
        if outcome.status != Some(101) {
            return outcome;
        }
        let mut socket = tokio_tungstenite::WebSocketStream::from_partially_read(
            reader.stream,
            reader.buffer,
            Role::Client,
            None,
        )
        .await;
        for message in self.messages() {
            drop(socket.send(Message::text(message)).await);
            match socket.next().await {
                Some(Ok(Message::Text(text))) => outcome.replies.push(text.to_string()),
                other => {
                    outcome.reason = format!("{other:?}");
                    break;
                }
            }
        }
        outcome
    }

    fn messages(&self) -> Vec<String> {
        let sized = self.request["sendSize"].as_u64();
        let sized = sized.map(|size| "a".repeat(usize::try_from(size).unwrap()));
        let listed = self.request["send"].as_array().into_iter().flatten();
        listed.map(|one| one.as_str().unwrap().to_owned()).chain(sized).collect()
    }

    async fn lines(&self) -> Outcome {
        let (stream, tls) = match self.connect().await {
            Ok(connected) => connected,
            Err(outcome) => return outcome,
        };
        let mut outcome = Outcome { tls, ..Outcome::default() };
        let mut stream = BufReader::new(stream);
        let messages = self.messages();
        // A server that speaks first is heard first.
        let count = messages.len().max(1);
        for message in &messages {
            drop(stream.write_all(format!("{message}\n").as_bytes()).await);
        }
        let wait =
            if messages.is_empty() { Duration::from_secs(5) } else { Duration::from_secs(3) };
        while outcome.replies.len() < count + 1 {
            let mut line = String::new();
            let limit =
                if outcome.replies.len() < count { wait } else { Duration::from_millis(100) };
            match tokio::time::timeout(limit, stream.read_line(&mut line)).await {
                Ok(Ok(0)) if outcome.replies.is_empty() => {
                    outcome.error = Some("closed");
                    break;
                }
                Ok(Ok(0)) | Err(_) => break,
                Ok(Ok(_)) => outcome.replies.push(line.trim_end().to_owned()),
                Ok(Err(error)) => {
                    outcome.error = Some(kind(&error));
                    outcome.reason = error.to_string();
                    break;
                }
            }
        }
        outcome
    }

    async fn udp(&self) -> Outcome {
        let socket = UdpSocket::bind(SocketAddr::new(self.source(), 0)).await.unwrap();
        drop(socket.connect(self.address).await);
        let mut outcome = Outcome::default();
        let mut buffer = vec![0; 65536];
        for message in self.messages() {
            drop(socket.send(message.as_bytes()).await);
            match tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await {
                Ok(Ok(count)) => {
                    outcome.replies.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
                }
                other => {
                    outcome.error = Some("closed");
                    outcome.reason = format!("{other:?}");
                    break;
                }
            }
        }
        outcome
    }
}

/// `tls` for an alert, `closed` for everything else.
fn kind(error: &std::io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if matches!(inner, Some(rustls::Error::AlertReceived(_))) { "tls" } else { "closed" }
}

fn list_of(headers: &http::HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

fn proxy_header(header: &Value) -> Vec<u8> {
    let address = |key: &str| -> SocketAddr { header[key].as_str().unwrap().parse().unwrap() };
    let (source, destination) = (address("source"), address("destination"));
    if header["version"].as_u64() == Some(1) {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        return format!(
            "PROXY {family} {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        )
        .into_bytes();
    }
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let mut addresses = Vec::new();
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(ip) => addresses.extend(ip.octets()),
            IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    addresses.extend(source.port().to_be_bytes());
    addresses.extend(destination.port().to_be_bytes());
    bytes.push(if source.is_ipv4() { 0x11 } else { 0x21 });
    bytes.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
    bytes.extend(addresses);
    bytes
}
