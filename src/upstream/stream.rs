//! Connections to servers of TCP services: bytes both ways, with or without TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::Options;
use super::connector::{Scheme, Stream, Target};
use super::spiffe::Identity;
use super::tls::Configs;
use super::transport::BuildError;

/// As in Traefik, not an option.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How connections to TCP servers are made.
pub(crate) struct StreamTransport {
    /// `None`: as long as the system tries.
    dial_timeout: Option<Duration>,
    /// Time between two probes; `None`: none are sent.
    keep_alive: Option<Duration>,
    tls: Arc<ClientConfig>,
    /// For SNI and certificates, in place of the server's host.
    server_name: Option<ServerName<'static>>,
}

impl StreamTransport {
    /// Of `tls`, what belongs to TLS counts. It does no I/O but for reading the system's authorities, once per process.
    pub(crate) fn build(
        dial_timeout: Option<Duration>,
        keep_alive: Option<Duration>,
        tls: &Options,
    ) -> Result<Self, BuildError> {
        Self::build_with(dial_timeout, keep_alive, tls, None)
    }

    /// The same, where `identity` is ours if the options ask for SPIFFE.
    pub(crate) fn build_with(
        dial_timeout: Option<Duration>,
        keep_alive: Option<Duration>,
        tls: &Options,
        identity: Option<&Identity>,
    ) -> Result<Self, BuildError> {
        let server_name = match tls.server_name.as_str() {
            "" => None,
            name => Some(ServerName::try_from(name.to_owned()).map_err(|_error| {
                BuildError::option("serverName", format!("`{name}` is no host name"))
            })?),
        };
        let mut config = ClientConfig::clone(&Configs::build(tls, identity)?.http1);
        config.alpn_protocols.clear();
        Ok(Self { dial_timeout, keep_alive, tls: Arc::new(config), server_name })
    }

    fn prepare(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        match self.keep_alive {
            Some(time) => {
                let keep_alive = TcpKeepalive::new().with_time(time).with_interval(time);
                socket.set_tcp_keepalive(&keep_alive)
            }
            None => socket.set_keepalive(false),
        }
    }
}

/// A server of a TCP service.
pub(crate) struct StreamServer {
    target: Target,
    transport: Arc<StreamTransport>,
}

impl StreamServer {
    /// The server at `address`, which is `host:port`; `port` stands in for its own. With `tls`, TLS is spoken to it.
    pub(crate) fn new(
        address: &str,
        port: Option<u16>,
        tls: bool,
        transport: Arc<StreamTransport>,
    ) -> Result<Self, BuildError> {
        let (host, own_port) =
            host_and_port(address).ok_or(BuildError::Address("write `host:port`"))?;
        let port = port.unwrap_or(own_port);
        let server_name =
            match &transport.server_name {
                _ if !tls => None,
                Some(name) => Some(name.clone()),
                None => Some(ServerName::try_from(host.to_owned()).map_err(|_error| {
                    BuildError::Address("the host cannot stand in a certificate")
                })?),
            };
        let address = host.parse().ok().map(|ip| std::net::SocketAddr::new(ip, port));
        let target =
            Target { scheme: Scheme::Http, host: host.to_owned(), port, address, server_name };
        Ok(Self { target, transport })
    }

    /// Connects, sends `first`, and shakes hands where TLS is spoken.
    pub(crate) async fn connect(&self, first: &[u8]) -> io::Result<Stream> {
        let limit = self.transport.dial_timeout;
        let dialing = self.target.dial(limit.map(|limit| Instant::now() + limit));
        let mut tcp = match limit {
            Some(limit) => {
                timeout(limit, dialing).await.map_err(|_elapsed| timed_out("connecting"))??
            }
            None => dialing.await?,
        };
        self.transport.prepare(&tcp)?;
        if !first.is_empty() {
            tcp.write_all(first).await?;
        }
        let Some(name) = &self.target.server_name else { return Ok(Stream::Plain(tcp)) };
        let connector = TlsConnector::from(self.transport.tls.clone());
        let shaking = connector.connect(name.clone(), tcp);
        let stream = timeout(TLS_HANDSHAKE_TIMEOUT, shaking)
            .await
            .map_err(|_elapsed| timed_out("shaking hands"))??;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long"))
}

/// Host, without brackets, and port.
pub(crate) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    fn transport() -> Arc<StreamTransport> {
        let limit = Some(Duration::from_secs(5));
        Arc::new(StreamTransport::build(limit, limit, &Options::default()).unwrap())
    }

    #[test]
    fn addresses_are_hosts_with_ports() {
        for (address, expected) in [
            ("10.0.0.1:53", Some(("10.0.0.1", 53))),
            ("[::1]:5432", Some(("::1", 5432))),
            ("db.internal:1", Some(("db.internal", 1))),
            ("db.internal", None),
            (":80", None),
            ("::1:80", None),
            ("a:70000", None),
        ] {
            assert_eq!(host_and_port(address), expected, "{address}");
        }
        let refused = StreamServer::new("db", None, false, transport()).err().unwrap();
        assert_eq!(refused.to_string(), "write `host:port`");
    }

    #[tokio::test]
    async fn what_comes_first_is_sent_first_and_probes_are_set() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let transport = transport();
        let server = StreamServer::new("127.0.0.1:1", Some(address.port()), false, transport);
        let Stream::Plain(tcp) = server.unwrap().connect(b"PROXY").await.unwrap() else {
            panic!("TLS was not asked for");
        };
        assert_eq!(SockRef::from(&tcp).tcp_keepalive_time().unwrap(), Duration::from_secs(5));
        let mut seen = [0; 5];
        listener.accept().await.unwrap().0.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"PROXY");
    }
}
