//! curl: every version of HTTP that it speaks, uploads, trailers, the PROXY protocol.

use serde_json::Value;
use tokio::process::Command;

use super::{output, program};
use crate::support::h1::joined;
use crate::support::running::{Running, STARTUP, echo, everything_to, raw};

/// curl, quiet, with an answer's head and body on its output.
fn curl(arguments: &[&str]) -> Command {
    let mut command = program("curl", "curl");
    command.args(["--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--include"]);
    command.args(arguments);
    command
}

/// The echo server's JSON at the end of an answer.
fn echoed(text: &str) -> Value {
    let body = text.rsplit("\r\n\r\n").next().unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn every_version_of_http_gets_its_answer() {
    let (_backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let plain = format!("http://{}/a?b=c", running.address("web"));
    let port = running.address("secure").port();
    let secure = format!("https://localhost:{port}/a?b=c");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let authority = running.path("tls/cert.pem");
    let tls = ["--resolve", &resolve, "--cacert", authority.to_str().unwrap()];
    let cases: [(&[&str], &str, &str); 6] = [
        (&["--http1.1"], &plain, "HTTP/1.1 200"),
        (&["--http1.0"], &plain, "HTTP/1.0 200"),
        (&["--http2-prior-knowledge"], &plain, "HTTP/2 200"),
        (&["--http1.1"], &secure, "HTTP/1.1 200"),
        (&["--http2"], &secure, "HTTP/2 200"),
        (&["--http2", "--tlsv1.2", "--tls-max", "1.2"], &secure, "HTTP/2 200"),
    ];
    for (arguments, url, start) in cases {
        let tls: &[&str] = if url.starts_with("https") { &tls } else { &[] };
        let text = output(&mut curl(&[arguments, tls, &[url]].concat())).await;
        assert!(text.starts_with(start), "{arguments:?} {url}: {text}");
        let seen = echoed(&text);
        let scheme = url.split(':').next().unwrap();
        assert_eq!(seen["uri"], "/a?b=c");
        assert_eq!(seen["headers"]["X-Forwarded-Proto"][0], scheme, "{text}");
        assert_eq!(seen["headers"]["X-Forwarded-For"][0], "127.0.0.1", "{text}");
    }
}

#[tokio::test]
async fn http2_carries_several_requests_and_a_large_body() {
    let (backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    // Over TLS: curl 7.88 does not share a connection without it that it has not spoken on yet.
    let port = running.address("secure").port();
    let mark = backend.count();
    let (range, large) = (
        format!("https://localhost:{port}/[1-50]"),
        format!("https://localhost:{port}/__bytes/3000000"),
    );
    let text = output(
        program("curl", "curl")
            .args(["-sS", "--http2", "--parallel", "--max-time", "10", "--noproxy", "*"])
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1"), "--cacert"])
            .arg(running.path("tls/cert.pem"))
            .args(["--write-out", "%{http_version} %{http_code} %{size_download}\n"])
            .args(["--output", "/dev/null", &range, "--output", "/dev/null", &large]),
    )
    .await;
    assert_eq!(text.matches("2 200 ").count(), 51, "{text}");
    assert!(text.contains("2 200 3000000\n"), "{text}");
    assert_eq!(backend.count() - mark, 51);
}

#[tokio::test]
async fn an_upload_waits_for_100_continue() {
    let (backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let body = running.path("body");
    std::fs::write(&body, "u".repeat(200_000)).unwrap();
    let url = format!("http://{}/upload", running.address("web"));
    let file = format!("@{}", body.display());
    let expect = ["--header", "Expect: 100-continue", "--expect100-timeout", "8"];
    let chunked = ["--header", "Transfer-Encoding: chunked"];
    for more in [&expect[..], &[&expect[..], &chunked].concat(), &chunked] {
        let mark = backend.count();
        let arguments = [&["--http1.1", "--data-binary", &file][..], more, &[&url]].concat();
        let text = output(&mut curl(&arguments)).await;
        let continues = text.starts_with("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(continues, more.contains(&"--expect100-timeout"), "{more:?}: {text}");
        let records = backend.all(mark);
        assert_eq!(records[0].body.len(), 200_000);
        let length = joined(&records[0].headers, "content-length");
        assert_eq!(length.is_none(), more.contains(&"Transfer-Encoding: chunked"));
    }
}

#[tokio::test]
async fn trailers_of_a_chunked_response_arrive() {
    let (_backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let url = format!("http://{}/__grpc/7", running.address("web"));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let headers = running.path("headers");
        let file = headers.to_str().unwrap();
        output(&mut curl(&[version, "--dump-header", file, "--output", "/dev/null", &url])).await;
        let text = std::fs::read_to_string(&headers).unwrap();
        assert!(text.to_lowercase().contains("grpc-status: 7\r\n"), "{version}: {text}");
    }
}

#[tokio::test]
async fn trailers_of_a_chunked_request_arrive() {
    let (backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let mark = backend.count();
    // By hand: curl's command line has no trailers.
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTrailer: X-Check\r\n\
        Transfer-Encoding: chunked\r\n\r\n4;a=b\r\nbody\r\n0\r\nX-Check: 42\r\n\r\n";
    let answer = raw(running.address("web"), request).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let records = backend.all(mark);
    assert_eq!(records[0].body, b"body");
    assert_eq!(joined(&records[0].trailers, "x-check").as_deref(), Some("42"));
}

#[tokio::test]
async fn proxy_protocol_version_1_is_believed_where_it_is_trusted() {
    let (_backend, address) = echo("app", "http").await;
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', proxyProtocol: {trustedIPs: [127.0.0.1/32]}}\n  \
         other: {address: '127.0.0.1:0', proxyProtocol: {trustedIPs: [192.0.2.1]}}",
    );
    let app = everything_to(&format!("http://{address}"));
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    let url = format!("http://{}/", running.address("web"));
    let seen = echoed(&output(&mut curl(&["--haproxy-protocol", &url])).await);
    assert_eq!(seen["headers"]["X-Forwarded-For"][0], "127.0.0.1");
    let h2 = ["--haproxy-protocol", "--http2-prior-knowledge", &url];
    assert!(output(&mut curl(&h2)).await.starts_with("HTTP/2 200"));
    // By hand: curl tells only its own address.
    let head = b"PROXY TCP4 203.0.113.9 127.0.0.1 5555 80\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (entry_point, client) in [("web", "203.0.113.9"), ("other", "127.0.0.1")] {
        let answer = raw(running.address(entry_point), head).await;
        let seen = echoed(&String::from_utf8_lossy(&answer));
        assert_eq!(seen["headers"]["X-Forwarded-For"][0], client, "{entry_point}");
    }
}

#[tokio::test]
async fn digest_logins_pass_again_and_again() {
    let (backend, address) = echo("app", "http").await;
    let app = everything_to(&format!("http://{address}"))
        .replace("service: app", "service: app, middlewares: [vault]")
        + "  middlewares:\n    vault: {digestAuth: {realm: vault, users: ['vic:vault:fb4c718971b5140b18fe1641799383be'], \
           headerField: X-User, removeHeader: true}}\n";
    let running = Running::start(STARTUP, &[("app.yml", &app)]).await;
    let url = |path: &str| format!("http://{}{path}", running.address("web"));
    let (first, second) = (url("/a?x=1;y=2"), url("/%7Eb"));
    let text = output(&mut curl(&["--digest", "-u", "vic:letmein", &first, &second])).await;
    assert_eq!(text.matches("HTTP/1.1 200").count(), 2, "{text}");
    let seen = backend.hits(0);
    assert_eq!(seen.len(), 2);
    for record in seen {
        assert_eq!(joined(&record.headers, "x-user").as_deref(), Some("vic"));
        assert_eq!(joined(&record.headers, "authorization"), None);
    }
    let text = output(&mut curl(&["--digest", "-u", "vic:wrong", &first])).await;
    assert_eq!(text.matches("HTTP/1.1 401").count(), 2, "{text}");
}
