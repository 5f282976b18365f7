//! openssl: session resumption, versions that are refused.

use super::{output, program};
use crate::support::running::{Running, echo};

#[tokio::test]
async fn sessions_are_resumed() {
    let (_backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let secure = running.address("secure");
    for version in ["-tls1_3", "-tls1_2"] {
        let session = running.path("session.pem");
        let client = |option: &str| {
            // In TLS 1.3 tickets come after the handshake: the answer to a request comes behind them.
            let script = format!(
                "printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' | \
                 openssl s_client -connect {secure} -servername localhost {version} -ign_eof {option} {}",
                session.display()
            );
            let mut command = program("/bin/sh", "dash");
            command.args(["-c", &script]);
            command
        };
        program("openssl", "openssl");
        let first = output(&mut client("-sess_out")).await;
        assert!(first.contains("\nNew, TLSv1"), "{version}: {first}");
        let second = output(&mut client("-sess_in")).await;
        assert!(second.contains("\nReused, TLSv1"), "{version}: {second}");
        assert!(second.contains("HTTP/1.1 200"), "{version}: {second}");
    }
}

#[tokio::test]
async fn versions_before_tls_1_2_are_refused() {
    let (_backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let connect = running.address("secure").to_string();
    let ended = program("openssl", "openssl")
        .args(["s_client", "-connect", &connect, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && text.contains("alert"), "{text}");
}
