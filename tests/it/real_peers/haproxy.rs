//! `HAProxy` in front, which tells the client's address by the PROXY protocol, version 2.

use tokio::net::TcpStream;

use super::program;
use crate::support::running::{
    CERTIFICATE, Running, STARTUP, echo, eventually, everything_to, free_address, get,
};

#[tokio::test]
async fn proxy_protocol_version_2_tells_the_client() {
    let (_backend, address) = echo("app", "http").await;
    let startup = STARTUP.replace(
        "{address: '127.0.0.1:0'}",
        "{address: '127.0.0.1:0', proxyProtocol: {trustedIPs: [127.0.0.1/32]}}",
    );
    let app = everything_to(&format!("http://{address}")) + CERTIFICATE;
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    let (web, secure) = (running.address("web"), running.address("secure"));
    let (plain_front, secure_front) = (free_address(), free_address());
    let config = format!(
        "
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 10s
    timeout server 10s
listen plain
    bind {plain_front}
    source 127.0.0.1
    # As if the client were elsewhere: 127.0.0.1 would also be seen without the header.
    tcp-request connection set-src ipv4(203.0.113.9)
    server pontoon {web} send-proxy-v2
listen secure
    bind {secure_front}
    source 127.0.0.1
    tcp-request connection set-src ipv4(203.0.113.9)
    server pontoon {secure} send-proxy-v2 ssl verify none alpn http/1.1
"
    );
    std::fs::write(running.path("haproxy.cfg"), config).unwrap();
    let log = std::fs::File::create(running.path("haproxy.out")).unwrap();
    let _haproxy = program("haproxy", "haproxy")
        .arg("-db")
        .arg("-f")
        .arg(running.path("haproxy.cfg"))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    for (front, scheme) in [(plain_front, "http"), (secure_front, "https")] {
        let front = front.parse().unwrap();
        eventually("HAProxy", || async { TcpStream::connect(front).await.ok() }).await;
        let answer = get(front, "/").await.unwrap();
        assert_eq!(answer.status, 200, "{}", running.output());
        let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(seen["headers"]["X-Forwarded-For"][0], "203.0.113.9", "{scheme}");
        assert_eq!(seen["headers"]["X-Forwarded-Proto"][0], scheme);
    }
}
