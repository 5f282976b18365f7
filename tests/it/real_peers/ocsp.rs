//! OCSP stapling (tcp-udp-tls.md §6; static.md §2, `ocsp`): openssl answers as responder and looks at what is stapled.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    SerialNumber,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use super::program;
use crate::support::running::{PATIENCE, Running, STARTUP, eventually, free_address};

/// DER of `AuthorityInfoAccess` with one responder. All lengths are below 128.
fn access(responder: &str) -> CustomExtension {
    let wrap =
        |tag: u8, inside: Vec<u8>| [vec![tag, inside.len().try_into().unwrap()], inside].concat();
    let method = vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 48, 1];
    let location = wrap(0x86, responder.as_bytes().to_vec());
    let access = wrap(0x30, wrap(0x30, [method, location].concat()));
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)
}

/// An authority, its responder, and certificates `direct.test`, `moved.test` (whose responder has another address)
/// and `revoked.test`.
fn write(folder: &std::path::Path, responder: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    std::fs::write(folder.join("tls/authority.pem"), &authority).unwrap();
    std::fs::write(folder.join("tls/authority.key"), key.serialize_pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let mut index = String::new();
    let mut dynamic = "tls:\n  certificates:\n".to_owned();
    for (serial, name, url, state) in [
        (0x1001_u64, "direct.test", format!("http://{responder}/"), "V\t401231000000Z\t"),
        (0x1002, "moved.test", "http://moved.invalid/ocsp".to_owned(), "V\t401231000000Z\t"),
        (0x1003, "revoked.test", format!("http://{responder}/"), "R\t401231000000Z\t240101000000Z"),
    ] {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.custom_extensions = vec![access(&url)];
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &issuer).unwrap().pem() + &authority;
        std::fs::write(folder.join(format!("tls/{name}.pem")), chain).unwrap();
        std::fs::write(folder.join(format!("tls/{name}.key")), key.serialize_pem()).unwrap();
        index += &format!("{state}\t{serial:X}\tunknown\t/CN={name}\n");
        dynamic += &format!("  - {{certFile: tls/{name}.pem, keyFile: tls/{name}.key}}\n");
    }
    std::fs::write(folder.join("index.txt"), index).unwrap();
    dynamic
}

/// It must not be asked whether it listens: a connection without a request makes it wait for ever.
async fn responder(folder: &std::path::Path, address: &str) -> Child {
    let port = address.rsplit(':').next().unwrap();
    let mut child = program("openssl", "openssl")
        .args(["ocsp", "-index", "index.txt", "-port", port, "-nmin", "10", "-ignore_err"])
        .args(["-CA", "tls/authority.pem", "-rsigner", "tls/authority.pem"])
        .args(["-rkey", "tls/authority.key"])
        .current_dir(folder)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    assert!(first.is_some_and(|line| line.starts_with("ACCEPT")));
    child
}

/// What openssl says of the handshake for `name`.
async fn shake(running: &Running, name: &str) -> String {
    let connect = running.address("secure").to_string();
    let authority = running.path("tls/authority.pem").display().to_string();
    let output = program("openssl", "openssl")
        .args(["s_client", "-connect", &connect, "-servername", name, "-status"])
        .args(["-CAfile", &authority])
        .output()
        .await
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn good_responses_are_stapled_and_revoked_certificates_get_none() {
    let address = free_address();
    let startup = format!(
        "{STARTUP}\nocsp: {{responderOverrides: {{'http://moved.invalid/ocsp': 'http://{address}/'}}}}\n"
    );
    let folder = Running::prepare(&startup, &[]);
    let dynamic = write(folder.path(), &address);
    std::fs::write(folder.path().join("dynamic/tls.yml"), dynamic).unwrap();
    let _responder = responder(folder.path(), &address).await;
    let running = Running::start_in(folder).await;
    for name in ["direct.test", "moved.test"] {
        let text = eventually(name, || async {
            Some(shake(&running, name).await).filter(|text| text.contains("OCSP Response Status"))
        })
        .await;
        assert!(text.contains("Response Status: successful"), "{text}");
        assert!(text.contains("Cert Status: good"), "{text}");
        assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
    }
    eventually("the answer about revoked.test", || async {
        running.output().contains("a certificate in use is revoked").then_some(())
    })
    .await;
    let text = shake(&running, "revoked.test").await;
    assert!(text.contains("OCSP response: no response sent"), "{text}");
}
