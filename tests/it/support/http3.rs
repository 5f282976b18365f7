//! A client of HTTP/3: quinn and h3, which the program does not use for HTTP/3 itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use h3::client::SendRequest;
use h3::error::StreamError;
use http::{HeaderMap, Request};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::JoinHandle;

use super::certificates::Identity;
use super::running::{Answer, PATIENCE};

/// What clients need to know: whom they trust and who they are. Clones share their TLS sessions.
#[derive(Clone)]
pub(crate) struct Trust(ClientConfig);

impl Trust {
    /// Trusts the certificate of the installation in `folder`.
    pub(crate) fn of(folder: &Path) -> Self {
        Self::with(folder, None)
    }

    pub(crate) fn with(folder: &Path, identity: Option<Identity>) -> Self {
        let certificate = CertificateDer::from_pem_file(folder.join("tls/cert.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let mut config = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h3".to_vec()];
        // Would send requests at once if it were allowed to.
        config.enable_early_data = true;
        Self(ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap())))
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    /// It had a session to resume, and was allowed to send requests before the handshake.
    pub(crate) early: bool,
    send: SendRequest<h3_quinn::OpenStreams, Bytes>,
    /// Ends with the connection.
    driver: JoinHandle<h3::error::ConnectionError>,
}

/// Connects without speaking HTTP/3.
pub(crate) async fn connect(
    address: SocketAddr,
    name: &str,
    trust: &Trust,
) -> Result<(Endpoint, Connection, bool), ConnectionError> {
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let connecting = endpoint.connect_with(trust.0.clone(), address, name).unwrap();
    let (connection, early) = match connecting.into_0rtt() {
        Ok((connection, _)) => (connection, true),
        Err(connecting) => {
            let connected = tokio::time::timeout(PATIENCE, connecting);
            (connected.await.expect("a handshake in time")?, false)
        }
    };
    Ok((endpoint, connection, early))
}

impl Client {
    pub(crate) async fn connect(
        address: SocketAddr,
        name: &str,
        trust: &Trust,
    ) -> Result<Self, String> {
        let (endpoint, connection, early) =
            connect(address, name, trust).await.map_err(|error| error.to_string())?;
        let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(connection.clone()))
            .await
            .map_err(|error| error.to_string())?;
        let driver =
            tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Ok(Self { endpoint, connection, early, send, driver })
    }

    /// Sends a request with its body and its trailers; the response and its trailers.
    pub(crate) async fn send(
        &mut self,
        request: Request<()>,
        body: Bytes,
        trailers: Option<HeaderMap>,
    ) -> Result<(Answer, HeaderMap), StreamError> {
        let stream = self.send.send_request(request).await?;
        let (mut send, mut receive) = stream.split();
        if body.is_empty() && trailers.is_none() {
            send.finish().await?;
        }
        let sending = tokio::spawn(async move {
            if !body.is_empty() {
                send.send_data(body).await?;
            }
            if let Some(trailers) = trailers {
                send.send_trailers(trailers).await?;
            }
            send.finish().await
        });
        let head = receive.recv_response().await?;
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        let headers = head.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        let mut answer = Answer {
            status: head.status().as_u16(),
            headers: headers.collect(),
            ..Answer::default()
        };
        while let Some(mut data) = receive.recv_data().await? {
            answer.body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        let trailers = receive.recv_trailers().await?;
        sending.abort();
        Ok((answer, trailers.unwrap_or_default()))
    }

    pub(crate) async fn get(&mut self, url: &str) -> Result<Answer, StreamError> {
        let request = Request::get(url).body(()).unwrap();
        Ok(self.send(request, Bytes::new(), None).await?.0)
    }

    /// Waits until the server has ended the connection; what it has said.
    pub(crate) async fn ended(self) -> String {
        let ended = tokio::time::timeout(PATIENCE, self.driver).await;
        ended.expect("the connection ends").unwrap().to_string()
    }
}
