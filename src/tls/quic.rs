//! TLS inside QUIC (RFC 9001): certificate and options by SNI, as over TCP.
//!
//! QUIC wants to know its configuration before the client has said a word. So a session of ours stands in for the one
//! of rustls until the `ClientHello` is there.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use quinn_proto::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig as QuicCrypto,
    Session as QuicSession, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::server::{Acceptor, ResolvesServerCertUsingSni};
use rustls::{AlertDescription, CipherSuite, ServerConfig};
use rustls_pki_types::CertificateDer;

use super::accept::{Session, cipher_name};
use super::certificate::provider;
pub(crate) use super::config::Error;
use super::hello::{HANDSHAKE_RECORD, HELLO_BYTES_MAX};
use super::tables::{Choice, Tables};

/// What a TLS record may hold.
const RECORD_BYTES_MAX: usize = 1 << 14;
/// Before the cipher suite of a `ServerHello` stand its header, the version and the random; then the session's id.
const SESSION_ID_AT: usize = 4 + 2 + 32;

/// What is the same for all connections: the keys of first packets and of retries.
#[derive(Clone)]
pub(crate) struct Common(Arc<QuicServerConfig>);

impl Common {
    pub(crate) fn new() -> Result<Self, Error> {
        let config = ServerConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| Error::Rustls(error.to_string()))?
            .with_no_client_auth()
            // No handshake gets as far as that.
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        let config = QuicServerConfig::try_from(config);
        Ok(Self(Arc::new(config.map_err(|error| Error::Rustls(error.to_string()))?)))
    }

    /// For connections whose handshakes are all refused.
    pub(crate) fn crypto(&self) -> Arc<dyn QuicCrypto> {
        self.0.clone()
    }
}

/// The handshake of one connection to `local`, which speaks `protocol`. `tables` is asked when the client has said
/// whom it wants.
pub(crate) struct Handshake<T> {
    pub(crate) common: Common,
    pub(crate) tables: T,
    pub(crate) local: IpAddr,
    pub(crate) protocol: &'static [u8],
}

impl<T: Fn() -> Arc<Tables> + Send + Sync + 'static> QuicCrypto for Handshake<T> {
    fn initial_keys(&self, version: u32, id: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.common.0.initial_keys(version, id)
    }

    fn retry_tag(&self, version: u32, id: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.common.0.retry_tag(version, id, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        parameters: &TransportParameters,
    ) -> Box<dyn QuicSession> {
        let waiting = Waiting { version, parameters: *parameters, hello: Vec::new() };
        Box::new(Lazy { handshake: self, state: State::Waiting(Box::new(waiting)) })
    }
}

/// A session that begins with the `ClientHello`.
struct Lazy<T> {
    handshake: Arc<Handshake<T>>,
    state: State,
}

enum State {
    Waiting(Box<Waiting>),
    Begun(Begun),
}

struct Waiting {
    version: u32,
    parameters: TransportParameters,
    hello: Vec<u8>,
}

struct Begun {
    session: Box<dyn QuicSession>,
    options: Arc<str>,
    /// From our `ServerHello`: nobody else tells.
    cipher: Option<CipherSuite>,
}

/// What [`settled`] finds in a connection.
struct Settled {
    data: Box<HandshakeData>,
    options: Arc<str>,
    cipher: &'static str,
}

/// What a handshake has settled. `data` and `identity` are what quinn's connection has of it.
pub(crate) fn settled(
    data: Option<Box<dyn Any>>,
    identity: Option<Box<dyn Any>>,
) -> Option<Session> {
    let settled = data?.downcast::<Settled>().ok()?;
    let peer_certificates = identity
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .map(|certificates| *certificates);
    Some(Session {
        version: "1.3",
        cipher: settled.cipher,
        server_name: settled.data.server_name.map(|name| name.to_ascii_lowercase().into()),
        options: settled.options,
        peer_certificates: peer_certificates.unwrap_or_default(),
    })
}

impl<T: Fn() -> Arc<Tables>> Handshake<T> {
    /// The session that `hello` asks for.
    fn begin(&self, waiting: &Waiting) -> Result<Begun, TransportError> {
        let server_name = server_name(&waiting.hello)?;
        let choice = (self.tables)().choose(server_name.as_deref(), self.local);
        let Choice::Accept { config, options } = choice else {
            return Err(alert(AlertDescription::UnrecognisedName, "no TLS options for this name"));
        };
        let config = quic_config(&config, self.protocol).ok_or_else(|| {
            alert(AlertDescription::ProtocolVersion, "the TLS options leave TLS 1.3 out")
        })?;
        let session = Arc::new(config).start_session(waiting.version, &waiting.parameters);
        Ok(Begun { session, options, cipher: None })
    }
}

/// `config` for QUIC; `None` where it leaves TLS 1.3 out.
fn quic_config(config: &ServerConfig, protocol: &[u8]) -> Option<QuicServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![protocol.to_vec()];
    config.max_early_data_size = 0;
    let config = Arc::new(config);
    // Nothing else tells which versions a configuration has.
    let version = rustls::quic::Version::V1;
    rustls::quic::ServerConnection::new(config.clone(), version, Vec::new()).ok()?;
    QuicServerConfig::try_from(config).ok()
}

/// Whether `hello` is a whole `ClientHello`.
fn is_whole(hello: &[u8]) -> Result<bool, TransportError> {
    let Some(&[_, high, middle, low]) = hello.get(..4) else { return Ok(false) };
    let length = u32::from_be_bytes([0, high, middle, low]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > HELLO_BYTES_MAX {
        return Err(alert(AlertDescription::DecodeError, "the ClientHello is too long"));
    }
    Ok(hello.len() >= length + 4)
}

/// The server that the client names, as rustls understands it.
fn server_name(hello: &[u8]) -> Result<Option<String>, TransportError> {
    let wrong = || alert(AlertDescription::DecodeError, "no ClientHello");
    let mut acceptor = Acceptor::default();
    for part in hello.chunks(RECORD_BYTES_MAX) {
        let length = u16::try_from(part.len()).map_err(|_too_long| wrong())?;
        let [high, low] = length.to_be_bytes();
        let record = [&[HANDSHAKE_RECORD, 3, 1, high, low][..], part].concat();
        let mut rest = record.as_slice();
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).map_err(|_error| wrong())?;
        }
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => {
            Ok(accepted.client_hello().server_name().map(str::to_ascii_lowercase))
        }
        Ok(None) | Err(_) => Err(wrong()),
    }
}

fn alert(alert: AlertDescription, reason: &str) -> TransportError {
    let code = TransportErrorCode::crypto(alert.into());
    TransportError { code, frame: None, reason: reason.to_owned() }
}

/// The suite that a `ServerHello` names.
fn suite(hello: &[u8]) -> Option<CipherSuite> {
    let session_id = usize::from(*hello.get(SESSION_ID_AT)?);
    let at = SESSION_ID_AT + 1 + session_id;
    let &[high, low] = hello.get(at..at + 2)? else { return None };
    Some(CipherSuite::from(u16::from_be_bytes([high, low])))
}

impl<T: Fn() -> Arc<Tables> + Send + Sync + 'static> Lazy<T> {
    fn session(&self) -> Option<&dyn QuicSession> {
        match &self.state {
            State::Waiting(_) => None,
            State::Begun(begun) => Some(&*begun.session),
        }
    }
}

impl<T: Fn() -> Arc<Tables> + Send + Sync + 'static> QuicSession for Lazy<T> {
    fn initial_keys(&self, id: &ConnectionId, _: Side) -> Keys {
        match &self.state {
            State::Waiting(waiting) => {
                let keys = self.handshake.common.0.initial_keys(waiting.version, id);
                keys.expect("no session begins with a version that is not supported")
            }
            State::Begun(begun) => begun.session.initial_keys(id, Side::Server),
        }
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let State::Begun(begun) = &self.state else { return None };
        let data = begun.session.handshake_data()?.downcast::<HandshakeData>().ok()?;
        let cipher = begun.cipher.map_or("", cipher_name);
        Some(Box::new(Settled { data, options: begun.options.clone(), cipher }))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.session()?.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.session()?.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.session()?.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.session().is_none_or(QuicSession::is_handshaking)
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        match &mut self.state {
            State::Begun(begun) => begun.session.read_handshake(bytes),
            State::Waiting(waiting) => {
                waiting.hello.extend_from_slice(bytes);
                if !is_whole(&waiting.hello)? {
                    return Ok(false);
                }
                let mut begun = self.handshake.begin(waiting)?;
                let ready = begun.session.read_handshake(&waiting.hello);
                self.state = State::Begun(begun);
                ready
            }
        }
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.session().map_or(Ok(None), QuicSession::transport_parameters)
    }

    fn write_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<Keys> {
        let State::Begun(begun) = &mut self.state else { return None };
        let before = bytes.len();
        let keys = begun.session.write_handshake(bytes);
        if begun.cipher.is_none() {
            begun.cipher = suite(bytes.get(before..).unwrap_or_default());
        }
        keys
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        match &mut self.state {
            State::Waiting(_) => None,
            State::Begun(begun) => begun.session.next_1rtt_keys(),
        }
    }

    /// Only clients are told to retry.
    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        let session = self.session().ok_or(ExportKeyingMaterialError)?;
        session.export_keying_material(output, label, context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::ServerName;

    use super::*;

    /// The `ClientHello` of a real client.
    fn hello(name: &'static str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let version = rustls::quic::Version::V1;
        let mut client =
            rustls::quic::ClientConnection::new(Arc::new(config), version, name, Vec::new())
                .unwrap();
        let mut hello = Vec::new();
        assert!(client.write_hs(&mut hello).is_none());
        hello
    }

    #[test]
    fn a_hello_is_waited_for_and_its_name_read() {
        let whole = hello("Some.test");
        assert!((0..whole.len()).all(|end| !is_whole(&whole[..end]).unwrap()));
        assert!(is_whole(&whole).unwrap());
        assert_eq!(server_name(&whole).unwrap().as_deref(), Some("some.test"));
        assert_eq!(server_name(&hello("127.0.0.1")).unwrap(), None);
        assert!(is_whole(&[1, 1, 0, 0]).is_err(), "too long");
        assert!(server_name(b"no hello at all").is_err());
    }

    #[test]
    fn the_suite_is_read_from_the_answer() {
        let mut answer = vec![0; SESSION_ID_AT];
        answer.extend([2, 9, 9, 0x13, 0x02, 0]);
        assert_eq!(suite(&answer), Some(CipherSuite::TLS13_AES_256_GCM_SHA384));
        assert_eq!(suite(&answer[..SESSION_ID_AT + 4]), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in any::<Vec<u8>>()) {
            let _ = suite(&bytes);
            if is_whole(&bytes).unwrap_or(true) {
                prop_assert!(server_name(&bytes).is_err() || bytes.len() > 40);
            }
        }
    }
}
