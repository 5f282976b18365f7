//! UDP routers: sessions, changes of the configuration, what the API shows. Folder 21 of the fixtures has the rest.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::support::running::{PATIENCE, Running, echo, eventually, get};

const STARTUP: &str = "
entryPoints:
  dns: {address: '127.0.0.1:0/udp', udp: {timeout: 300ms}}
  log: {address: '127.0.0.1:0/UDP', udp: {timeout: 1h}}
  traefik: {address: '127.0.0.1:0'}
api: {insecure: true}
providers:
  providersThrottleDuration: 20ms
  file: {directory: dynamic}
";

fn to(servers: &[&str]) -> String {
    let servers: Vec<_> = servers.iter().map(|one| format!("{{address: '{one}'}}")).collect();
    format!(
        "
udp:
  routers: {{all: {{service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{}]}}}}}}
",
        servers.join(", ")
    )
}

async fn client(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(address).await.unwrap();
    socket
}

/// Says something until it is answered: datagrams may get lost while nothing is configured yet.
async fn say(socket: &UdpSocket, text: &str) -> Option<String> {
    let mut buffer = [0; 2048];
    socket.send(text.as_bytes()).await.ok()?;
    let heard = timeout(Duration::from_millis(500), socket.recv(&mut buffer)).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&buffer[..heard]).into_owned())
}

async fn start(dynamic: &str) -> Running {
    let running = Running::start_in(Running::prepare(STARTUP, &[("app.yml", dynamic)])).await;
    let traefik = running.address("traefik");
    eventually("the document", || async {
        let overview = get(traefik, "/api/overview").await.ok()?.text();
        (!overview.contains("\"udp\":{\"routers\":{\"total\":0")).then_some(())
    })
    .await;
    running
}

#[tokio::test]
async fn a_session_survives_a_change_and_ends_when_it_is_silent() {
    let ((_one, first), (_two, second)) = (echo("one", "udp").await, echo("two", "udp").await);
    let running = start(&to(&[&first])).await;
    let (dns, log) = (client(running.address("dns")).await, client(running.address("log")).await);
    for socket in [&dns, &log] {
        eventually("an answer", || async {
            say(socket, "a").await.filter(|heard| heard == "one: a")
        })
        .await;
    }
    fs::write(running.path("dynamic/app.yml"), to(&[&second])).unwrap();
    eventually("the second server", || async {
        let fresh = client(running.address("dns")).await;
        say(&fresh, "b").await.filter(|heard| heard == "two: b")
    })
    .await;
    assert_eq!(say(&log, "c").await.as_deref(), Some("one: c"), "its session goes on");
    eventually("the end of the short session", || async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        say(&dns, "d").await.filter(|heard| heard == "two: d")
    })
    .await;
}

#[tokio::test]
async fn datagrams_of_every_size_pass_both_ways() {
    let (_one, address) = echo("one", "udp").await;
    let running = start(&to(&[&address])).await;
    let socket = client(running.address("log")).await;
    let mut buffer = vec![0; 70_000];
    // The longest that UDP over IPv4 has, less the name that the server puts before it.
    for size in [0, 1, 1472, 9000, 65_507 - "one: ".len()] {
        let sent = vec![b'a'; size];
        eventually("an answer", || async { socket.send(&sent).await.ok() }).await;
        let heard = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(heard, size + "one: ".len());
    }
}

#[tokio::test]
async fn a_dead_server_ends_the_session_and_the_next_one_gets_another() {
    let (_one, address) = echo("one", "udp").await;
    let dead = crate::support::running::free_address();
    let running = start(&to(&[&dead, &address])).await;
    let socket = client(running.address("log")).await;
    eventually("the server that lives", || async { say(&socket, "x").await }).await;
}

#[tokio::test]
async fn the_api_shows_what_became_of_udp_objects() {
    let running = start(
        "
udp:
  routers:
    alpha: {entryPoints: [dns], service: app}
    omega: {entryPoints: [dns], service: app}
    lost: {entryPoints: [dns], service: nowhere}
    none: {entryPoints: [log]}
    far: {entryPoints: [traefik], service: app}
  services:
    app: {loadBalancer: {servers: [{address: '127.0.0.1:1'}]}}
    odd: {loadBalancer: {}, weighted: {}}
",
    )
    .await;
    let traefik = running.address("traefik");
    let json = async |path: &str| -> serde_json::Value {
        serde_json::from_str(&get(traefik, path).await.unwrap().text()).unwrap()
    };
    assert_eq!(
        json("/api/udp/routers/omega@file").await,
        serde_json::json!({
            "entryPoints": ["dns"], "service": "app", "status": "enabled", "using": ["dns"],
            "name": "omega@file", "provider": "file",
        })
    );
    for (name, status, error) in [
        (
            "alpha",
            "warning",
            "entryPoint \"dns\" belongs to router omega@file: a UDP entry point has one router",
        ),
        ("lost", "disabled", "the UDP service \"nowhere@file\" does not exist"),
        ("none", "disabled", "the service is missing on the udp router"),
        ("far", "disabled", "entryPoint \"traefik\" doesn't exist"),
    ] {
        let router = json(&format!("/api/udp/routers/{name}@file")).await;
        assert_eq!((&router["status"], &router["error"][0]), (&status.into(), &error.into()));
    }
    let app = json("/api/udp/services/app@file").await;
    assert_eq!((&app["type"], app.get("serverStatus")), (&"loadbalancer".into(), None));
    assert!(app["usedBy"].as_array().unwrap().contains(&"omega@file".into()));
    assert_eq!(
        json("/api/overview").await["udp"]["routers"],
        serde_json::json!({"total": 5, "warnings": 1, "errors": 3})
    );
}
