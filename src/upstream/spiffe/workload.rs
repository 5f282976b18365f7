//! The client of the Workload API: one call, whose stream says who we are whenever that changes.
//!
//! SPIFFE Workload API, X.509-SVID profile: service and messages are the standard's. gRPC is spoken over h2 itself: one
//! call without arguments needs no client library.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, TE};
use ::http::{HeaderMap, Request, StatusCode};
use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message as _;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Svid, id};
use crate::tls::certificate::provider;

/// Longest wait for the connection and for the first answer; later ones come when they come.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Largest message, as gRPC's clients have it.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Trust domains whose authorities are kept.
const BUNDLES_MAX: usize = 1024;
/// gRPC's frame: a flag and the length of the message.
const FRAME_HEAD_BYTES: usize = 5;
const CALL: &str = "http://localhost/SpiffeWorkloadAPI/FetchX509SVID";

/// `X509SVIDResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct SvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<SvidMessage>,
    /// Bundles of other trust domains: certificates in DER, one behind the other.
    #[prost(map = "string, bytes", tag = "3")]
    federated_bundles: HashMap<String, Vec<u8>>,
}

/// `X509SVID`
#[derive(Clone, PartialEq, prost::Message)]
struct SvidMessage {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    /// Leaf first, in DER, one behind the other.
    #[prost(bytes = "vec", tag = "2")]
    x509_svid: Vec<u8>,
    /// PKCS#8 in DER.
    #[prost(bytes = "vec", tag = "3")]
    x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bundle: Vec<u8>,
}

/// Why the stream has ended, or never began.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("`{0}` is no address of it: write unix:///PATH or tcp://IP:PORT")]
    Address(String),
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    #[error("no answer within {CONNECT_MAX:?}")]
    Timeout,
    #[error("talking: {0}")]
    Protocol(#[from] h2::Error),
    #[error("it answers with status {0}")]
    Status(StatusCode),
    #[error("it refuses: gRPC status {code} {message}")]
    Refused { code: String, message: String },
    #[error("a message of {0} bytes")]
    TooLarge(usize),
    #[error("its message cannot be used: {0}")]
    Message(String),
    #[error("it has ended the stream")]
    Ended,
}

/// Where the Workload API is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Endpoint {
    pub(super) fn parse(address: &str) -> Result<Self, Error> {
        let wrong = || Error::Address(address.to_owned());
        if let Some(rest) = address.strip_prefix("unix:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return path.starts_with('/').then(|| Self::Unix(path.into())).ok_or_else(wrong);
        }
        let rest = address.strip_prefix("tcp://").ok_or_else(wrong)?;
        rest.trim_end_matches('/').parse().map(Self::Tcp).map_err(|_error| wrong())
    }
}

/// Calls `delivered` with each identity that is sent, until the stream ends, which it does only by a failure.
pub(super) async fn follow(
    endpoint: &Endpoint,
    delivered: impl FnMut(Svid, &str),
) -> Result<(), Error> {
    match endpoint {
        Endpoint::Unix(path) => {
            let connected = tokio::time::timeout(CONNECT_MAX, UnixStream::connect(path)).await;
            let stream = connected.map_err(|_elapsed| Error::Timeout)?.map_err(Error::Connect)?;
            call(stream, delivered).await
        }
        Endpoint::Tcp(address) => {
            let connected = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await;
            let stream = connected.map_err(|_elapsed| Error::Timeout)?.map_err(Error::Connect)?;
            call(stream, delivered).await
        }
    }
}

async fn call<IO>(io: IO, delivered: impl FnMut(Svid, &str)) -> Result<(), Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = tokio::time::timeout(CONNECT_MAX, h2::client::handshake(io)).await;
    let (sender, connection) = handshake.map_err(|_elapsed| Error::Timeout)??;
    // Both are polled here: the connection lives no longer than the call.
    tokio::select! {
        ended = connection => {
            ended?;
            Err(Error::Ended)
        }
        ended = converse(sender, delivered) => ended,
    }
}

async fn converse(
    sender: h2::client::SendRequest<Bytes>,
    mut delivered: impl FnMut(Svid, &str),
) -> Result<(), Error> {
    let mut sender = sender.ready().await?;
    let request = Request::post(CALL)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        // Without it the API answers nobody: a browser cannot be made to send it.
        .header("workload.spiffe.io", "true")
        .body(())
        .map_err(|error| Error::Message(error.to_string()))?;
    let (response, mut body) = sender.send_request(request, false)?;
    body.send_data(Bytes::from_static(&[0; FRAME_HEAD_BYTES]), true)?;
    let response = tokio::time::timeout(CONNECT_MAX, response).await;
    let (head, mut body) = response.map_err(|_elapsed| Error::Timeout)??.into_parts();
    if head.status != StatusCode::OK {
        return Err(Error::Status(head.status));
    }
    refusal(&head.headers)?;
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
        while let Some(message) = message(&mut received)? {
            let (svid, id) = read(&message)?;
            delivered(svid, &id);
        }
    }
    if let Some(trailers) = body.trailers().await? {
        refusal(&trailers)?;
    }
    Err(Error::Ended)
}

/// An error where gRPC's status is one.
fn refusal(headers: &HeaderMap) -> Result<(), Error> {
    let text = |name: &str| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match text("grpc-status") {
        Some(code) if code != "0" => {
            Err(Error::Refused { code, message: text("grpc-message").unwrap_or_default() })
        }
        _ => Ok(()),
    }
}

/// Takes a whole message off what was received.
fn message(received: &mut BytesMut) -> Result<Option<Bytes>, Error> {
    let Some([compressed, length @ ..]) = received.first_chunk::<FRAME_HEAD_BYTES>() else {
        return Ok(None);
    };
    if *compressed != 0 {
        return Err(Error::Message("it is compressed, which nobody has asked for".to_owned()));
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err(Error::TooLarge(length));
    }
    if received.len() < FRAME_HEAD_BYTES + length {
        return Ok(None);
    }
    received.advance(FRAME_HEAD_BYTES);
    Ok(Some(received.split_to(length).freeze()))
}

/// The first identity of a message, which is the default one, and its id.
fn read(message: &[u8]) -> Result<(Svid, String), Error> {
    let wrong = |what: &str| Error::Message(what.to_owned());
    let response =
        SvidResponse::decode(message).map_err(|error| Error::Message(error.to_string()))?;
    let svid = response.svids.into_iter().next().ok_or_else(|| wrong("there is no identity"))?;
    let id = id::Id::parse(&svid.spiffe_id).ok_or_else(|| wrong("its id is none"))?;
    let chain = certificates(&svid.x509_svid).ok_or_else(|| wrong("its chain is none"))?;
    if chain.first().and_then(|leaf| id::of_certificate(leaf)).as_ref() != Some(&id) {
        return Err(wrong("its certificate is of another id"));
    }
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(svid.x509_svid_key));
    let key = CertifiedKey::from_der(chain, key, provider())
        .map_err(|error| Error::Message(format!("its key: {error}")))?;
    let mut bundles = HashMap::new();
    for (domain, bundle) in response.federated_bundles.into_iter().take(BUNDLES_MAX) {
        // The standard's keys are ids of trust domains, some write only the name.
        let name = domain.strip_prefix("spiffe://").unwrap_or(&domain).trim_end_matches('/');
        bundles.insert(name.to_owned(), roots(&bundle).ok_or_else(|| wrong("a federated bundle"))?);
    }
    let own = roots(&svid.bundle).ok_or_else(|| wrong("its bundle is none"))?;
    bundles.insert(id.trust_domain().to_owned(), own);
    Ok((Svid { key: Arc::new(key), bundles }, svid.spiffe_id))
}

fn roots(bundle: &[u8]) -> Option<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle)? {
        roots.add(authority).ok()?;
    }
    Some(Arc::new(roots))
}

/// Certificates in DER that stand one behind the other; at least one.
fn certificates(mut der: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut all = Vec::new();
    while !der.is_empty() {
        let (rest, _) = X509Certificate::from_der(der).ok()?;
        all.push(CertificateDer::from(der.get(..der.len() - rest.len())?.to_vec()));
        der = rest;
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_standard() {
        let unix = |path: &str| Endpoint::Unix(path.into());
        for (address, endpoint) in [
            ("unix:///run/agent.sock", unix("/run/agent.sock")),
            ("unix:/run/agent.sock", unix("/run/agent.sock")),
            ("tcp://127.0.0.1:8000", Endpoint::Tcp("127.0.0.1:8000".parse().unwrap())),
        ] {
            assert_eq!(Endpoint::parse(address).unwrap(), endpoint);
        }
        for address in ["", "/run/agent.sock", "unix://run", "tcp://localhost:1", "tcp://127.0.0.1"]
        {
            assert!(Endpoint::parse(address).is_err(), "{address}");
        }
    }

    #[test]
    fn messages_come_in_any_pieces_and_have_a_limit() {
        let mut whole = BytesMut::from(&[0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0][..]);
        assert_eq!(message(&mut whole).unwrap().unwrap(), &[7, 8][..]);
        assert_eq!(message(&mut whole).unwrap().unwrap(), &[][..]);
        assert!(message(&mut whole).unwrap().is_none());
        let mut part = BytesMut::from(&[0, 0, 0, 0, 2, 7][..]);
        assert!(message(&mut part).unwrap().is_none());
        assert!(message(&mut BytesMut::from(&[1, 0, 0, 0, 0][..])).is_err());
        assert!(matches!(
            message(&mut BytesMut::from(&[0, 1, 0, 0, 0][..])),
            Err(Error::TooLarge(_))
        ));
    }

    /// An identity that signs for itself.
    fn svid(id: &str) -> SvidMessage {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().unwrap())];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        SvidMessage {
            spiffe_id: id.to_owned(),
            x509_svid: certificate.clone(),
            x509_svid_key: key.serialize_der(),
            bundle: certificate,
        }
    }

    fn response(svid: SvidMessage) -> SvidResponse {
        SvidResponse { svids: vec![svid], federated_bundles: HashMap::new() }
    }

    #[test]
    fn the_first_identity_counts_with_its_bundles() {
        let own = svid("spiffe://a.test/me");
        let mut message = response(own.clone());
        message.svids.push(svid("spiffe://a.test/other"));
        message.federated_bundles.insert("spiffe://b.test".to_owned(), own.bundle.repeat(2));
        let (svid, id) = read(&message.encode_to_vec()).unwrap();
        assert_eq!(id, "spiffe://a.test/me");
        assert_eq!(svid.bundles.len(), 2);
        assert_eq!(svid.bundles["b.test"].len(), 2);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let good = svid("spiffe://a.test/me");
        let other = svid("spiffe://a.test/other");
        let broken = [
            SvidMessage { spiffe_id: other.spiffe_id.clone(), ..good.clone() },
            SvidMessage { x509_svid_key: other.x509_svid_key.clone(), ..good.clone() },
            SvidMessage { x509_svid: Vec::new(), ..good.clone() },
            SvidMessage { bundle: b"nonsense".to_vec(), ..good.clone() },
            SvidMessage { spiffe_id: "a.test".to_owned(), ..good.clone() },
        ];
        for one in broken {
            assert!(read(&response(one).encode_to_vec()).is_err());
        }
        assert!(read(&[]).is_err());
        let bytes = response(good).encode_to_vec();
        assert!(read(&bytes).is_ok());
        for end in 0..bytes.len() {
            drop(read(&bytes[..end]));
        }
    }
}
