//! Which certificate a client gets: `tls.certificates`, `tls.stores` (tcp-udp-tls.md §6).

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::certificates::Certificates;
use crate::support::client::Client;
use crate::support::running::{Running, STARTUP, echo, everything_to};

/// Writes a certificate for `name`, and gives the part of a configuration that names it.
fn made(folder: &Path, name: &str) -> String {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let file = |end: &str| format!("tls/{}.{end}", name.replace('*', "any"));
    fs::write(folder.join(file("crt")), made.cert.pem()).unwrap();
    fs::write(folder.join(file("key")), made.signing_key.serialize_pem()).unwrap();
    format!("certFile: {}, keyFile: {}", file("crt"), file("key"))
}

async fn names(running: &Running, certificates: &Certificates, sni: &str) -> Vec<String> {
    let request = json!({"headers": {"Host": "localhost"}, "sni": sni});
    let client = Client {
        address: running.address("secure"),
        secure: true,
        request: &request,
        certificates,
        extra: Vec::new(),
    };
    client.send().await.tls.expect("a handshake").names
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
