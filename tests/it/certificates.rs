//! Which certificate a client gets, and whether its session may go on: `tls.certificates`, `tls.stores`, `tls.options`
//! (tcp-udp-tls.md §6).

use std::fs;
use std::path::Path;

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::certificates::Certificates;
use crate::support::client::{Client, Outcome};
use crate::support::h1::Reader;
use crate::support::running::{Running, STARTUP, ask, echo, everything_to};

/// Writes a certificate for `name`, and gives the part of a configuration that names it.
fn made(folder: &Path, name: &str) -> String {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let file = |end: &str| format!("tls/{}.{end}", name.replace('*', "any"));
    fs::write(folder.join(file("crt")), made.cert.pem()).unwrap();
    fs::write(folder.join(file("key")), made.signing_key.serialize_pem()).unwrap();
    format!("certFile: {}, keyFile: {}", file("crt"), file("key"))
}

async fn handshake(running: &Running, certificates: &Certificates, sni: &str) -> Outcome {
    let request = json!({"headers": {"Host": "localhost"}, "sni": sni});
    let client = Client {
        address: running.address("secure"),
        secure: true,
        request: &request,
        certificates,
        extra: Vec::new(),
    };
    client.send().await
}

async fn names(running: &Running, certificates: &Certificates, sni: &str) -> Vec<String> {
    handshake(running, certificates, sni).await.tls.expect("a handshake").names
}

/// `certificates[].stores`: what is in another store than `default` is never served; `stores.default.defaultCertificate`:
/// what those get whose name nobody has. Without it, there is one that signs itself.
#[tokio::test]
async fn a_client_gets_the_certificate_of_its_name_or_the_default_one() {
    let (_backend, address) = echo("app", "http").await;
    let certificates = Certificates::make(Path::new("."), &json!([]));
    for has_default in [true, false] {
        let folder = Running::prepare(STARTUP, &[]);
        let (own, star, stored, default) = (
            made(folder.path(), "own.test"),
            made(folder.path(), "*.star.test"),
            made(folder.path(), "stored.test"),
            made(folder.path(), "default.test"),
        );
        let mut document = everything_to(&format!("http://{address}"));
        document.push_str(&format!(
            "tls:\n  certificates: [{{{own}}}, {{{star}, stores: [default]}}, {{{stored}, stores: [other]}}]\n"
        ));
        if has_default {
            document.push_str(&format!(
                "  stores: {{default: {{defaultCertificate: {{{default}}}}}}}\n"
            ));
        }
        fs::write(folder.path().join("dynamic/app.yml"), document).unwrap();
        let running = Running::start_in(folder).await;
        running.until("/", |answer| answer.status == 200).await;
        for (sni, name) in [
            ("own.test", Some("own.test")),
            ("OWN.test", Some("own.test")),
            ("a.star.test", Some("*.star.test")),
            ("a.b.star.test", None),
            ("stored.test", None),
            ("nobody.test", None),
        ] {
            let got = names(&running, &certificates, sni).await;
            match name.or(has_default.then_some("default.test")) {
                Some(name) => assert_eq!(got, [name], "{sni}"),
                None => assert!(got[0].ends_with(".traefik.default"), "{sni}: {got:?}"),
            }
        }
    }
}

/// `options.NAME.sniStrict`: names without a certificate are refused with an alert. `disableSessionTickets`: no session
/// goes on. `preferServerCipherSuites` changes nothing.
#[tokio::test]
async fn strict_names_and_sessions_follow_the_options() {
    let (_backend, address) = echo("app", "http").await;
    let certificates = Certificates::make(Path::new("."), &json!([]));
    for (options, is_strict, resumes) in [
        ("preferServerCipherSuites: true", false, true),
        ("sniStrict: true, disableSessionTickets: true", true, false),
    ] {
        let document = everything_to(&format!("http://{address}"))
            + crate::support::running::CERTIFICATE
            + &format!("  options: {{default: {{{options}}}}}\n");
        let running = Running::start(STARTUP, &[("app.yml", &document)]).await;
        for (sni, passes) in [("localhost", true), ("nobody.test", !is_strict), ("", !is_strict)] {
            let outcome = handshake(&running, &certificates, sni).await;
            let error = if passes { None } else { Some("tls") };
            assert_eq!(outcome.error, error, "{options}, `{sni}`: {}", outcome.reason);
        }
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let pem = fs::read(running.path("tls/cert.pem")).unwrap();
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
            let config = rustls::ClientConfig::builder_with_protocol_versions(&[version])
                .with_root_certificates(roots)
                .with_no_client_auth();
            let connector = TlsConnector::from(Arc::new(config));
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let stream = TcpStream::connect(running.address("secure")).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let stream = connector.connect(name, stream).await.unwrap();
                let mut reader = Reader::new(stream);
                // Tickets of TLS 1.3 come behind the handshake.
                assert_eq!(ask(&mut reader, "/").await.unwrap().status, 200);
                kinds.push(reader.stream.get_ref().1.handshake_kind().unwrap());
            }
            let second = if resumes { HandshakeKind::Resumed } else { HandshakeKind::Full };
            assert_eq!(kinds, [HandshakeKind::Full, second], "{options} {version:?}");
        }
    }
}
