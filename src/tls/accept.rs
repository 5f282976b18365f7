//! The server side of a handshake: reads the `ClientHello`, chooses by the plan's tables, shakes hands.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::server::Acceptor;
use rustls::{CipherSuite, ProtocolVersion, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::config::Acceptance;
use super::tables::{Choice, Tables};

/// Why there is no TLS connection. The client has its alert by then, or a closed connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("reading the client hello: {0}")]
    Hello(#[source] io::Error),
    #[error("the TLS options of server name `{0}` cannot be used")]
    Refused(String),
    #[error("the TLS options `{0}` cannot be used")]
    Unusable(Arc<str>),
    #[error("no certificate is for server name `{0}` (sniStrict)")]
    Unrecognized(String),
    #[error("shaking hands: {0}")]
    Handshake(#[source] io::Error),
}

/// The alert `unrecognized_name` (RFC 6066 §3), fatal, in a record of its own: nothing has been agreed on yet.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A connection after its handshake.
pub(crate) struct Accepted<IO> {
    pub(crate) stream: TlsStream<IO>,
    pub(crate) session: Session,
    /// The client and we have agreed on HTTP/2.
    pub(crate) http2: bool,
}

/// What a handshake settled.
#[derive(Debug)]
pub(crate) struct Session {
    /// `1.2`, `1.3`
    pub(crate) version: &'static str,
    /// The IANA name.
    pub(crate) cipher: &'static str,
    /// In lower case.
    pub(crate) server_name: Option<Arc<str>>,
    /// Qualified name of the TLS options.
    pub(crate) options: Arc<str>,
    /// Leaf first.
    pub(crate) peer_certificates: Vec<CertificateDer<'static>>,
}

/// Shakes hands on `io`. Takes as long as the client does: the caller sets the time limit.
pub(crate) async fn accept<IO>(
    io: IO,
    tables: &Tables,
    local: IpAddr,
) -> Result<Accepted<IO>, AcceptError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let start =
        LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(AcceptError::Hello)?;
    let server_name: Option<Arc<str>> =
        start.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
    let (config, options) = match tables.choose(server_name.as_deref(), local) {
        Choice::Accept { config, options } => (config, options),
        Choice::Close => {
            return Err(AcceptError::Refused(server_name.as_deref().unwrap_or("").to_owned()));
        }
    };
    let stream = shake(start, config).await?;
    let connection = stream.get_ref().1;
    let http2 = connection.alpn_protocol() == Some(b"h2");
    let session = Session {
        version: version_name(connection.protocol_version()),
        cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
        server_name,
        options,
        peer_certificates: connection.peer_certificates().unwrap_or_default().to_vec(),
    };
    Ok(Accepted { stream, session, http2 })
}

/// Shakes hands on `io` with options that are settled already.
pub(crate) async fn accept_as<IO>(
    io: IO,
    acceptance: &Acceptance,
) -> Result<TlsStream<IO>, AcceptError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Some(config) = &acceptance.config else {
        return Err(AcceptError::Unusable(acceptance.options.clone()));
    };
    let start =
        LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(AcceptError::Hello)?;
    shake(start, config.clone()).await
}

/// With `sniStrict` there is no certificate for some names: rustls would say `access_denied`, Traefik says why.
async fn shake<IO>(
    mut start: StartHandshake<IO>,
    config: Arc<ServerConfig>,
) -> Result<TlsStream<IO>, AcceptError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if config.cert_resolver.resolve(start.client_hello()).is_none() {
        let name = start.client_hello().server_name().unwrap_or_default().to_owned();
        start.io.write_all(&UNRECOGNIZED_NAME).await.map_err(AcceptError::Handshake)?;
        start.io.shutdown().await.map_err(AcceptError::Handshake)?;
        return Err(AcceptError::Unrecognized(name));
    }
    start.into_stream(config).await.map_err(AcceptError::Handshake)
}

fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => "",
    }
}

/// rustls prefixes the suites of TLS 1.3 in its own way.
pub(super) fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::ServerName;
    use rustls_pki_types::pem::PemObject;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::tls::{Acceptance, Certificates, Pair, Resumption, build};

    /// Tables where `other.test` has options that do not work, and what trusts their certificate.
    fn tables() -> (Tables, RootCertStore) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["good.test".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()).unwrap();
        let pair = Pair::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap();
        let certificates = Arc::new(Certificates::new(&[], Arc::new(pair)));
        let options = crate::tls::options::Options::default();
        let config = build(&options, certificates, &Resumption::new().unwrap()).unwrap();
        let good = Acceptance { options: "default".into(), config: Some(config) };
        let broken = Acceptance { options: "broken@file".into(), config: None };
        let hosts = [("other.test".to_owned(), Arc::new(broken))];
        (Tables::new(hosts, Arc::new(good)), roots)
    }

    async fn shake(
        name: &'static str,
        protocols: &[&[u8]],
    ) -> Result<Accepted<tokio::io::DuplexStream>, AcceptError> {
        let (tables, roots) = tables();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let (client, server) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(name).unwrap();
        let connect = TlsConnector::from(Arc::new(config)).connect(name, client);
        let accept = accept(server, &tables, IpAddr::from([127, 0, 0, 1]));
        let (accepted, _connected) = tokio::join!(accept, connect);
        accepted
    }

    #[tokio::test]
    async fn a_handshake_settles_name_options_and_protocol() {
        let accepted = shake("Good.test", &[b"h2", b"http/1.1"]).await.unwrap();
        assert!(accepted.http2);
        assert_eq!(accepted.session.version, "1.3");
        assert!(accepted.session.cipher.starts_with("TLS_"), "{}", accepted.session.cipher);
        assert_eq!(accepted.session.server_name.as_deref(), Some("good.test"));
        assert_eq!(&*accepted.session.options, "default");
        assert!(!shake("good.test", &[b"http/1.1"]).await.unwrap().http2);
        assert!(!shake("good.test", &[]).await.unwrap().http2);
    }

    #[tokio::test]
    async fn names_with_broken_options_are_refused() {
        let error = shake("other.test", &[]).await.err().unwrap();
        assert_eq!(error.to_string(), "the TLS options of server name `other.test` cannot be used");
    }
}
