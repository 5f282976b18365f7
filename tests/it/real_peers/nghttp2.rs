//! nghttp and h2load: many streams, trailers.

use super::{output, program};
use crate::support::h1::joined;
use crate::support::running::{Running, echo};

#[tokio::test]
async fn h2load_gets_every_answer() {
    for kind in ["http", "h2c"] {
        let (backend, address) = echo("app", kind).await;
        let running = Running::before(&format!("{kind}://{address}")).await;
        let mark = backend.count();
        let urls = [
            format!("http://{}/", running.address("web")),
            format!("https://{}/", running.address("secure")),
        ];
        for url in urls {
            let text = output(
                program("h2load", "nghttp2-client")
                    .args(["-n", "1000", "-c", "4", "-m", "50", "-T", "10", &url]),
            )
            .await;
            assert!(text.contains("1000 succeeded, 0 failed, 0 errored"), "{kind} {url}: {text}");
            assert!(text.contains("1000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{kind} {url}: {text}");
        }
        assert_eq!(backend.count() - mark, 2000);
    }
}

#[tokio::test]
async fn trailers_of_requests_and_responses_pass() {
    for kind in ["http", "h2c"] {
        let (backend, address) = echo("app", kind).await;
        let running = Running::before(&format!("{kind}://{address}")).await;
        let body = running.path("body");
        std::fs::write(&body, "b".repeat(100_000)).unwrap();
        let mark = backend.count();
        let url = format!("http://{}/__grpc/5", running.address("web"));
        // With a length, a server of HTTP/1 could not be told of trailers.
        let text = output(
            program("nghttp", "nghttp2-client")
                .args(["-v", "--no-dep", "--timeout=10", "--no-content-length"])
                .args(["--trailer=x-check: 42", "-d"])
                .arg(&body)
                .arg(url),
        )
        .await;
        let records = backend.all(mark);
        assert_eq!(records[0].body.len(), 100_000);
        assert_eq!(joined(&records[0].trailers, "x-check").as_deref(), Some("42"), "{kind}");
        assert!(text.contains("grpc-status: 5"), "{kind}: {text}");
    }
}
