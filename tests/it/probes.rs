//! Health checks by their options, as servers and the API see them (http.md §4, tcp-udp-tls.md §4).

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::h1::Reader;
use crate::support::running::{PATIENCE, Running, echo, eventually, get};

const STARTUP: &str = "
entryPoints:
  web: {address: '127.0.0.1:0'}
  traefik: {address: '127.0.0.1:0'}
api: {insecure: true}
providers:
  providersThrottleDuration: 20ms
  file: {directory: dynamic}
";

/// What a server was asked for, and when.
type Asked = Arc<Mutex<Vec<(String, Instant)>>>;

/// A server that leads from `/start` to `/end`, which fails.
async fn leading() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Asked::default();
    let record = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let record = record.clone();
            tokio::spawn(async move {
                let mut reader = Reader::new(stream);
                while let Ok(Some(head)) = reader.head().await {
                    record.lock().unwrap().push((head.start.clone(), Instant::now()));
                    let answer = if head.start.contains("/start") {
                        "HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n"
                    } else {
                        "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"
                    };
                    drop(reader.stream.write_all(answer.as_bytes()).await);
                }
            });
        }
    });
    (address, asked)
}

/// Waits until the API tells `status` of the only server of a service.
async fn until(running: &Running, path: &str, status: &str) {
    let traefik = running.address("traefik");
    eventually(&format!("{path} {status}"), || async {
        let text = get(traefik, &format!("/api/{path}")).await.ok()?.text();
        let service: Value = serde_json::from_str(&text).ok()?;
        let all = service["serverStatus"].as_object()?;
        all.values().all(|one| one == status).then_some(())
    })
    .await;
}

/// `healthCheck.followRedirects`, `healthCheck.timeout`, `healthCheck.unhealthyInterval` over HTTP.
#[tokio::test]
async fn probes_follow_wait_and_repeat_as_they_are_told() {
    let ((follows, followed), (stays, stayed)) = (leading().await, leading().await);
    let (slow_backend, slow) = echo("slow", "http").await;
    let (ill_backend, ill) = echo("ill", "http").await;
    ill_backend.set_health(500);
    let service = |name: &str, address: &str, check: &str| {
        format!(
            "    {name}: {{loadBalancer: {{healthCheck: {{{check}}}, servers: [{{url: 'http://{address}'}}]}}}}\n"
        )
    };
    let document = [
        "http:\n  routers:\n",
        "    a: {rule: 'Path(`/a`)', service: follows}\n    b: {rule: 'Path(`/b`)', service: stays}\n",
        "    c: {rule: 'Path(`/c`)', service: slow}\n    d: {rule: 'Path(`/d`)', service: ill}\n  services:\n",
        &service("follows", &follows, "path: /start, interval: 50ms"),
        &service("stays", &stays, "path: /start, interval: 50ms, followRedirects: false"),
        &service("slow", &slow, "path: /__delay/60000, interval: 50ms, timeout: 100ms"),
        &service("ill", &ill, "path: /__health, interval: 1s, unhealthyInterval: 20ms"),
    ]
    .concat();
    let running = Running::start_in(Running::prepare(STARTUP, &[("app.yml", &document)])).await;
    until(&running, "http/services/follows@file", "DOWN").await;
    assert!(followed.lock().unwrap().iter().any(|(start, _)| start.contains("/end")));
    eventually("probes", || async { (stayed.lock().unwrap().len() > 2).then_some(()) }).await;
    until(&running, "http/services/stays@file", "UP").await;
    assert!(stayed.lock().unwrap().iter().all(|(start, _)| start == "GET /start HTTP/1.1"));
    until(&running, "http/services/slow@file", "DOWN").await;
    assert!(slow_backend.count() > 0);
    // With the interval of a second ten probes would take nine.
    eventually("the first probe", || async { (ill_backend.count() > 0).then_some(()) }).await;
    let first = Instant::now();
    eventually("ten probes", || async { (ill_backend.count() > 9).then_some(()) }).await;
    assert!(first.elapsed() < PATIENCE / 3, "{:?}", first.elapsed());
    ill_backend.set_health(200);
    until(&running, "http/services/ill@file", "UP").await;
}

/// `healthCheck.path`, `method`, `hostname`, `headers`, `status`, `port`, `scheme`, `mode` over HTTP.
#[tokio::test]
async fn probes_ask_for_what_they_are_told() {
    let (probed, address) = echo("probed", "http").await;
    let (_server, server) = echo("server", "http").await;
    let (grpc, grpc_address) = echo("grpc", "h2c").await;
    probed.set_health(418);
    let port = address.rsplit(':').next().unwrap();
    let document = format!(
        "
http:
  routers:
    a: {{rule: 'Path(`/a`)', service: asked}}
    b: {{rule: 'Path(`/b`)', service: grpc}}
  services:
    asked:
      loadBalancer:
        healthCheck: {{path: '/__health?deep', method: OPTIONS, hostname: probe.test, headers: {{X-Probe: 'yes'}}, status: 418, port: {port}, scheme: http, interval: 50ms}}
        servers: [{{url: 'https://{server}'}}]
    grpc: {{loadBalancer: {{healthCheck: {{mode: grpc, interval: 50ms}}, servers: [{{url: 'h2c://{grpc_address}'}}]}}}}
"
    );
    let running = Running::start_in(Running::prepare(STARTUP, &[("app.yml", &document)])).await;
    let record = eventually("a probe", || async { probed.all(0).pop() }).await;
    assert_eq!((record.method.as_str(), record.target.as_str()), ("OPTIONS", "/__health?deep"));
    let told = |name: &str| crate::support::h1::joined(&record.headers, name);
    assert_eq!(told("host").as_deref(), Some("probe.test"));
    assert_eq!(told("x-probe").as_deref(), Some("yes"));
    until(&running, "http/services/asked@file", "UP").await;
    probed.set_health(200);
    until(&running, "http/services/asked@file", "DOWN").await;
    // The echo server answers with the question, which does not say that it serves.
    until(&running, "http/services/grpc@file", "DOWN").await;
    let record = grpc.all(0).pop().unwrap();
    assert_eq!((record.method.as_str(), record.proto.as_str()), ("POST", "HTTP/2.0"));
    assert_eq!(record.target, "/grpc.health.v1.Health/Check");
}

/// `healthCheck.port`, `timeout`, `unhealthyInterval` over TCP.
#[tokio::test]
async fn tcp_probes_go_to_their_port_wait_and_repeat_as_they_are_told() {
    let (_app, app) = echo("app", "tcp").await;
    let (ill_backend, ill) = echo("ill", "tcp").await;
    let port = ill.rsplit(':').next().unwrap();
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap();
    let document = format!(
        "
tcp:
  routers:
    a: {{rule: 'ClientIP(`127.0.0.2`)', entryPoints: [web], service: ill}}
    b: {{rule: 'ClientIP(`127.0.0.3`)', entryPoints: [web], service: silent}}
  services:
    ill: {{loadBalancer: {{healthCheck: {{port: {port}, send: \"PING\\n\", expect: PONG, interval: 1s, unhealthyInterval: 20ms}}, servers: [{{address: '{app}'}}]}}}}
    silent: {{loadBalancer: {{healthCheck: {{expect: PONG, interval: 50ms, timeout: 100ms}}, servers: [{{address: '{silent_address}'}}]}}}}
"
    );
    let running = Running::start_in(Running::prepare(STARTUP, &[("app.yml", &document)])).await;
    eventually("the first probe", || async { (ill_backend.count() > 0).then_some(()) }).await;
    let first = Instant::now();
    eventually("ten probes", || async { (ill_backend.count() > 9).then_some(()) }).await;
    assert!(first.elapsed() < PATIENCE / 3, "{:?}", first.elapsed());
    until(&running, "tcp/services/ill@file", "DOWN").await;
    until(&running, "tcp/services/silent@file", "DOWN").await;
    drop(silent);
}
