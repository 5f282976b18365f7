//! TLS options as clients see them (tcp-udp-tls.md §6, `tls.options`): a handshake for each row.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CipherSuite, ClientConfig, DigitallySignedStruct, HandshakeKind, NamedGroup,
    ProtocolVersion, SignatureScheme, SupportedProtocolVersion,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::backend::Backend;
use crate::support::h1::Reader;
use crate::support::running::{CERTIFICATE, Running, STARTUP, echo, eventually, send};

/// Names of hosts, each with the options of that name.
const OPTIONS: &str = "
  options:
    min: {minVersion: VersionTLS13}
    max: {maxVersion: VersionTLS12}
    suites: {maxVersion: VersionTLS12, cipherSuites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305]}
    curves: {curvePreferences: [CurveP384]}
    alpn: {alpnProtocols: [http/1.1]}
    tickets: {disableSessionTickets: true}
    order: {preferServerCipherSuites: true}
    strict: {sniStrict: true}
    no: {clientAuth: {clientAuthType: NoClientCert}}
    request: {clientAuth: {clientAuthType: RequestClientCert}}
    any: {clientAuth: {clientAuthType: RequireAnyClientCert}}
    given: {clientAuth: {clientAuthType: VerifyClientCertIfGiven, caFiles: [tls/authority.pem]}}
    both: {clientAuth: {clientAuthType: RequireAndVerifyClientCert, caFiles: [tls/authority.pem]}}
    files: {clientAuth: {caFiles: [tls/authority.pem]}}
    badsuite: {cipherSuites: [TLS_NONSENSE]}
    badcurve: {curvePreferences: [P1]}
    badauth: {clientAuth: {clientAuthType: Sometimes}}
    noca: {clientAuth: {clientAuthType: RequireAndVerifyClientCert}}
";

const NAMES: [&str; 18] = [
    "min", "max", "suites", "curves", "alpn", "tickets", "order", "strict", "no", "request", "any",
    "given", "both", "files", "badsuite", "badcurve", "badauth", "noca",
];

/// Takes any certificate: the server's is signed by itself and for another name.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A certificate with its key, to show.
type Shown<'a> = Option<&'a (CertificateDer<'static>, KeyPair)>;

fn client(
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
    shown: Shown<'_>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
            builder.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn any_version(protocols: &[&str]) -> Arc<ClientConfig> {
    client(rustls::ALL_VERSIONS, protocols, None)
}

async fn shake(
    running: &Running,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(running.address("secure")).await.unwrap();
    let name = ServerName::try_from(format!("{name}.test")).unwrap();
    TlsConnector::from(config.clone()).connect(name, tcp).await
}

/// The status of the answer to a request, which also brings what comes after the handshake.
async fn request(name: &str, stream: TlsStream<TcpStream>) -> Option<u16> {
    let request = format!("GET / HTTP/1.1\r\nHost: {name}.test\r\nConnection: close\r\n\r\n");
    send(&mut Reader::new(stream), request.as_bytes()).await.ok().map(|answer| answer.status)
}

fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// An authority, and a certificate of it.
fn signed() -> (String, (CertificateDer<'static>, KeyPair)) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["client".to_owned()]).unwrap();
    (pem, (leaf.signed_by(&key, &issuer).unwrap().der().clone(), key))
}

async fn start(authority: &str) -> (Backend, Running) {
    let (backend, address) = echo("app", "http").await;
    let mut dynamic = "http:\n  routers:\n".to_owned();
    for name in NAMES {
        dynamic += &format!(
            "    {name}: {{rule: 'Host(`{name}.test`)', service: app, tls: {{options: {name}}}}}\n"
        );
    }
    dynamic += &format!(
        "    plain: {{rule: 'PathPrefix(`/`)', service: app, entryPoints: [web]}}\n  \
         services: {{app: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}}}\n"
    );
    dynamic += CERTIFICATE;
    dynamic += OPTIONS;
    let folder = Running::prepare(STARTUP, &[("app.yml", &dynamic)]);
    std::fs::write(folder.path().join("tls/authority.pem"), authority).unwrap();
    let running = Running::start_in(folder).await;
    running.until("/", |answer| answer.status == 200).await;
    (backend, running)
}

#[tokio::test]
async fn versions_suites_and_groups_are_those_of_the_options() {
    let (_backend, running) = start(&signed().0).await;
    let old = client(&[&rustls::version::TLS12], &[], None);
    let new = any_version(&[]);
    // `minVersion`, `maxVersion`
    let error = shake(&running, "min", &old).await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::ProtocolVersion), "{error}");
    let version = |stream: &TlsStream<TcpStream>| stream.get_ref().1.protocol_version();
    let stream = shake(&running, "min", &new).await.unwrap();
    assert_eq!(version(&stream), Some(ProtocolVersion::TLSv1_3));
    let stream = shake(&running, "max", &new).await.unwrap();
    assert_eq!(version(&stream), Some(ProtocolVersion::TLSv1_2));
    // `cipherSuites`
    let stream = shake(&running, "suites", &new).await.unwrap();
    let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    // `curvePreferences`; without, post-quantum hybrids first.
    for (name, group) in [("curves", NamedGroup::secp384r1), ("order", NamedGroup::X25519MLKEM768)]
    {
        let stream = shake(&running, name, &new).await.unwrap();
        let negotiated = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(negotiated, group, "{name}");
    }
    // `preferServerCipherSuites`: deprecated, no effect.
    assert_eq!(request("order", shake(&running, "order", &new).await.unwrap()).await, Some(200));
}

#[tokio::test]
async fn protocols_and_tickets_are_those_of_the_options() {
    let (_backend, running) = start(&signed().0).await;
    // `alpnProtocols`
    let protocol = |stream: &TlsStream<TcpStream>| {
        stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    };
    let stream = shake(&running, "order", &any_version(&["h2", "http/1.1"])).await.unwrap();
    assert_eq!(protocol(&stream).as_deref(), Some("h2"));
    let stream = shake(&running, "alpn", &any_version(&["h2", "http/1.1"])).await.unwrap();
    assert_eq!(protocol(&stream).as_deref(), Some("http/1.1"));
    let error = shake(&running, "alpn", &any_version(&["h2"])).await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::NoApplicationProtocol), "{error}");
    // `disableSessionTickets`
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        for (name, again) in [("order", HandshakeKind::Resumed), ("tickets", HandshakeKind::Full)] {
            let config = client(versions, &[], None);
            let first = shake(&running, name, &config).await.unwrap();
            assert_eq!(request(name, first).await, Some(200));
            let second = shake(&running, name, &config).await.unwrap();
            assert_eq!(second.get_ref().1.handshake_kind(), Some(again), "{name} {versions:?}");
        }
    }
}

#[tokio::test]
async fn a_name_without_certificate_is_refused_where_sni_is_strict() {
    let (_backend, running) = start(&signed().0).await;
    let config = any_version(&[]);
    let error = shake(&running, "strict", &config).await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{error}");
    // Elsewhere the default certificate stands in.
    assert_eq!(request("order", shake(&running, "order", &config).await.unwrap()).await, Some(200));
}

#[tokio::test]
async fn clients_show_certificates_as_the_type_wants_them() {
    let (authority, known) = signed();
    let (_, stranger) = signed();
    let (_backend, running) = start(&authority).await;
    let clients = [None, Some(&stranger), Some(&known)];
    for (name, passes) in [
        ("no", [true, true, true]),
        ("request", [true, true, true]),
        ("any", [false, true, true]),
        ("given", [true, false, true]),
        ("both", [false, false, true]),
        ("files", [false, false, true]),
    ] {
        for (shown, passes) in clients.iter().zip(passes) {
            for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
                let config = client(versions, &["http/1.1"], *shown);
                let status = match shake(&running, name, &config).await {
                    Ok(stream) => request(name, stream).await,
                    Err(_) => None,
                };
                let wanted = passes.then_some(200);
                assert_eq!(status, wanted, "{name}, shown: {} {versions:?}", shown.is_some());
            }
        }
    }
}

#[tokio::test]
async fn options_that_cannot_be_built_close_their_names_and_are_named() {
    let (_backend, running) = start(&signed().0).await;
    for (name, text) in [
        ("badsuite", "invalid CipherSuite: TLS_NONSENSE"),
        ("badcurve", "invalid CurveID in curvePreferences: P1"),
        ("badauth", "unknown client auth type \"Sometimes\""),
        ("noca", "TLS options noca@file"),
    ] {
        assert!(shake(&running, name, &any_version(&[])).await.is_err(), "{name}");
        eventually(name, || async { running.output().contains(text).then_some(()) }).await;
    }
}
