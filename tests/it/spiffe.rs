//! SPIFFE (static.md §2, §4; http.md, `serversTransports.spiffe`; tcp-udp-tls.md §4): identity from a Workload API,
//! servers verified by their ids, rotation.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::support::running::{PATIENCE, Running, eventually, get};

const STARTUP: &str = "
entryPoints:
  web: {address: '127.0.0.1:0'}
  tcp: {address: '127.0.0.1:0'}
spiffe: {workloadAPIAddr: 'unix://FOLDER/agent.sock'}
serversTransport: {spiffe: {}}
providers:
  providersThrottleDuration: 20ms
  file: {directory: dynamic}
";

/// The authority of `example.test`.
struct TrustDomain {
    issuer: Issuer<'static, KeyPair>,
    bundle: CertificateDer<'static>,
}

impl TrustDomain {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = vec![SanType::URI("spiffe://example.test".try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let bundle = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), bundle }
    }

    fn svid(&self, path: &str) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::default();
        let id = format!("spiffe://example.test/{path}");
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().der().clone(), key)
    }

    /// `X509SVIDResponse` with one identity, in gRPC's frame.
    fn message(&self, path: &str) -> Bytes {
        let (certificate, key) = self.svid(path);
        let id = format!("spiffe://example.test/{path}");
        let svid = [
            field(1, id.as_bytes()),
            field(2, &certificate),
            field(3, &key.serialize_der()),
            field(4, &self.bundle),
        ];
        let message = field(1, &svid.concat());
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend(message);
        framed.into()
    }

    /// A server of this identity that says, on each connection, who the client is; over HTTP if it is asked in it.
    async fn serve(&self, path: &str) -> String {
        let (certificate, key) = self.svid(path);
        let mut roots = RootCertStore::empty();
        roots.add(self.bundle.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![certificate],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                    let client = uri(&tls.get_ref().1.peer_certificates().unwrap()[0]);
                    let mut request = [0; 4096];
                    let length = tls.read(&mut request).await.unwrap_or(0);
                    let answer = if request[..length].starts_with(b"GET") {
                        let length = client.len();
                        format!(
                            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{client}"
                        )
                    } else {
                        client
                    };
                    drop(tls.write_all(answer.as_bytes()).await);
                    drop(tls.shutdown().await);
                });
            }
        });
        address
    }
}

/// A length-delimited field of protobuf.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(content);
    bytes
}

fn uri(certificate: &CertificateDer<'_>) -> String {
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let uri = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    uri.unwrap()
}

/// A Workload API that delivers what is in `messages`, and whatever comes later.
fn agent(path: PathBuf, messages: watch::Receiver<Bytes>) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let messages = messages.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().path(), "/SpiffeWorkloadAPI/FetchX509SVID");
                    assert_eq!(request.headers()["workload.spiffe.io"], "true");
                    assert_eq!(request.headers()["content-type"], "application/grpc");
                    let head = http::Response::builder().header("content-type", "application/grpc");
                    let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
                    let mut messages = messages.clone();
                    tokio::spawn(async move {
                        loop {
                            let message = messages.borrow_and_update().clone();
                            body.send_data(message, false).unwrap();
                            if messages.changed().await.is_err() {
                                return;
                            }
                        }
                    });
                }
            });
        }
    });
}

async fn start(server: &str) -> Running {
    let dynamic = format!(
        "
http:
  routers:
    any: {{rule: 'Path(`/any`)', service: any}}
    member: {{rule: 'Path(`/member`)', service: member}}
    other: {{rule: 'Path(`/other`)', service: other}}
    both: {{rule: 'Path(`/both`)', service: both}}
  services:
    any: {{loadBalancer: {{servers: [{{url: 'https://{server}'}}]}}}}
    member: {{loadBalancer: {{serversTransport: member, servers: [{{url: 'https://{server}'}}]}}}}
    other: {{loadBalancer: {{serversTransport: other, servers: [{{url: 'https://{server}'}}]}}}}
    both: {{loadBalancer: {{serversTransport: both, servers: [{{url: 'https://{server}'}}]}}}}
  serversTransports:
    member: {{spiffe: {{trustDomain: example.test}}}}
    other: {{spiffe: {{ids: ['spiffe://example.test/other']}}}}
    both: {{serverName: a.test, spiffe: {{}}}}
tcp:
  routers:
    tcp: {{rule: 'HostSNI(`*`)', entryPoints: [tcp], service: tcp}}
  services:
    tcp: {{loadBalancer: {{serversTransport: exact, servers: [{{address: '{server}', tls: true}}]}}}}
  serversTransports:
    exact: {{tls: {{spiffe: {{ids: ['spiffe://example.test/app']}}}}}}
"
    );
    let folder = Running::prepare("", &[("app.yml", &dynamic)]);
    let startup = STARTUP.replace("FOLDER", &folder.path().display().to_string());
    std::fs::write(folder.path().join("pontoon.yml"), startup).unwrap();
    let running = Running::start_in(folder).await;
    running.until("/any", |answer| answer.status != 404).await;
    running
}

async fn over_tcp(running: &Running) -> String {
    let mut stream = TcpStream::connect(running.address("tcp")).await.unwrap();
    stream.write_all(b"who am I?").await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap();
    drop(read);
    answer
}

#[tokio::test]
async fn servers_are_verified_by_their_ids_and_shown_ours() {
    let domain = TrustDomain::new();
    let server = domain.serve("app").await;
    let running = start(&server).await;
    let web = running.address("web");
    let early = get(web, "/any").await.unwrap();
    assert!(early.status >= 500, "there is no identity yet: {}", early.status);
    let (deliver, messages) = watch::channel(domain.message("first"));
    agent(running.path("agent.sock"), messages);
    for path in ["/any", "/member"] {
        let answer = running.until(path, |answer| answer.status == 200).await;
        assert_eq!(answer.text(), "spiffe://example.test/first", "{path}");
    }
    assert!(get(web, "/other").await.unwrap().status >= 500, "a server of another id");
    assert_eq!(over_tcp(&running).await, "spiffe://example.test/first");
    // Rotation: connections that begin from now on show the new one.
    deliver.send(domain.message("second")).unwrap();
    running.until("/any", |answer| answer.text() == "spiffe://example.test/second").await;
    assert_eq!(over_tcp(&running).await, "spiffe://example.test/second");
    // The authority of another trust domain says nothing about this one.
    deliver.send(TrustDomain::new().message("third")).unwrap();
    running.until("/any", |answer| answer.status >= 500).await;
    eventually("the log names the mistake", || async {
        running.output().contains("cannot be defined at the same time").then_some(())
    })
    .await;
}
