//! gtlsclient of ngtcp2, with nghttp3: HTTP/3 by others than quinn and h3; also on a bad network.

use super::{output, program};
use crate::support::running::{CERTIFICATE, Running, STARTUP, echo, everything_to};

/// tcp-udp-tls.md §8.
#[tokio::test]
async fn gtlsclient_gets_every_answer_also_where_packets_are_lost() {
    let (backend, address) = echo("app", "http").await;
    let startup = STARTUP
        .replace("secure: {address: '127.0.0.1:0'}", "secure: {address: '127.0.0.1:0', http3: {}}");
    let app = everything_to(&format!("http://{address}")) + CERTIFICATE;
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    let port = running.address("secure").port().to_string();
    let client = || {
        let mut client = program("gtlsclient", "ngtcp2-client");
        client.args(["-q", "--exit-on-all-streams-close"]);
        client
    };

    let mark = backend.count();
    let url = format!("https://localhost:{port}/many");
    output(client().args(["-n", "500", "127.0.0.1", &port, &url])).await;
    assert_eq!(backend.count() - mark, 500, "on one connection");
    assert!(backend.all(mark).iter().all(|seen| seen.target == "/many"));

    for loss in ["0", "0.1"] {
        let folder = running.path("download");
        std::fs::create_dir_all(&folder).unwrap();
        let url = format!("https://localhost:{port}/__bytes/1000000");
        output(
            client()
                .args(["-t", loss, "-r", loss, "127.0.0.1", &port, &url])
                .arg(format!("--download={}", folder.display())),
        )
        .await;
        let downloaded = std::fs::read(folder.join("1000000")).unwrap();
        assert_eq!(downloaded.len(), 1_000_000, "with a loss of {loss}");
        std::fs::remove_dir_all(&folder).unwrap();

        let upload = running.path("upload");
        std::fs::write(&upload, "b".repeat(1_000_000)).unwrap();
        let mark = backend.count();
        let url = format!("https://localhost:{port}/upload");
        output(client().args(["-m", "POST", "-t", loss, "-r", loss, "-d"]).arg(&upload).args([
            "127.0.0.1",
            &port,
            &url,
        ]))
        .await;
        assert_eq!(backend.all(mark)[0].body.len(), 1_000_000, "with a loss of {loss}");
    }
}
