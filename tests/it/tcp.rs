//! TCP routers: dispatch beside HTTP, TLS, ends of connections, middlewares, changes of the configuration, shutdown.
//!
//! The fixtures of folders 20, 22 and 29 are the first line; here is what they cannot say.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::backend::Backend;
use crate::support::h1::Stream;
use crate::support::running::{
    CERTIFICATE, PATIENCE, Running, echo, eventually, free_address, get, raw,
};

const STARTUP: &str = "
entryPoints:
  web: {address: '127.0.0.1:0', transport: {respondingTimeouts: {readTimeout: 2s}}}
  db: {address: '127.0.0.1:0', transport: {respondingTimeouts: {readTimeout: 2s}}}
  traefik: {address: '127.0.0.1:0'}
api: {insecure: true}
metrics: {prometheus: {addEntryPointsLabels: true}}
providers:
  providersThrottleDuration: 20ms
  file: {directory: dynamic}
";

/// What `pg` asks first.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];

/// A connection on which lines are said and heard.
struct Lines<S>(BufReader<S>);

impl<S: Stream> Lines<S> {
    fn over(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    /// Says a line; what is heard then, or `None` at the end.
    async fn say(&mut self, line: &str) -> Option<String> {
        self.0.write_all(format!("{line}\n").as_bytes()).await.ok()?;
        self.0.flush().await.ok()?;
        self.hear().await
    }

    async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let heard =
            timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("an answer or an end");
        (heard.ok()? > 0).then(|| line.trim_end().to_owned())
    }
}

async fn connect(running: &Running, entry_point: &str) -> Lines<TcpStream> {
    Lines::over(TcpStream::connect(running.address(entry_point)).await.unwrap())
}

async fn connect_from(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

/// A client that takes only the certificate of the installation.
fn client(running: &Running, protocols: &[&str]) -> TlsConnector {
    let pem = fs::read(running.path("tls/cert.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn tls(
    running: &Running,
    stream: TcpStream,
    name: &str,
    protocols: &[&str],
) -> std::io::Result<Lines<tokio_rustls::client::TlsStream<TcpStream>>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    client(running, protocols).connect(name, stream).await.map(Lines::over)
}

/// The acceptor of a server that has the certificate of the installation.
fn acceptor(running: &Running) -> TlsAcceptor {
    let read = |name: &str| fs::read(running.path(name)).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&read("tls/cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&read("tls/key.pem")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()))
}

/// Starts the program with one document.
async fn start(dynamic: &str) -> Running {
    let running = Running::start_in(Running::prepare(STARTUP, &[("app.yml", dynamic)])).await;
    let traefik = running.address("traefik");
    eventually("the document", || async {
        let routers = get(traefik, "/api/overview").await.ok()?.text();
        (!routers.contains("\"tcp\":{\"routers\":{\"total\":0")).then_some(())
    })
    .await;
    running
}

/// Everything that comes without TLS at `db` to one server.
fn plain_to(address: &str) -> String {
    format!(
        "
tcp:
  routers:
    all: {{entryPoints: [db], rule: 'HostSNI(`*`)', service: app}}
  services:
    app: {{loadBalancer: {{servers: [{{address: '{address}'}}]}}}}
"
    )
}

async fn lines(name: &str) -> (Backend, String) {
    echo(name, "tcp").await
}

/// The number behind a line of the metrics.
async fn metric(running: &Running, line: &str) -> Option<String> {
    let text = get(running.address("traefik"), "/metrics").await.ok()?.text();
    text.lines().find_map(|one| one.strip_prefix(line)).map(|rest| rest.trim().to_owned())
}

#[tokio::test]
async fn open_connections_survive_a_change_and_are_counted() {
    let ((_one, first), (_two, second)) = (lines("one").await, lines("two").await);
    let running = start(&plain_to(&first)).await;
    let mut kept = connect(&running, "db").await;
    assert_eq!(kept.say("a").await.as_deref(), Some("one: a"));
    let open = "traefik_open_connections{entrypoint=\"db\",protocol=\"TCP\"}";
    assert_eq!(metric(&running, open).await.as_deref(), Some("1"));
    fs::write(running.path("dynamic/app.yml"), plain_to(&second)).unwrap();
    eventually("the second server", || async {
        (connect(&running, "db").await.say("b").await? == "two: b").then_some(())
    })
    .await;
    assert_eq!(kept.say("c").await.as_deref(), Some("one: c"), "it stays where it is");
    let elsewhere = plain_to(&second).replace("HostSNI(`*`)", "ClientIP(`127.0.0.9`)");
    fs::write(running.path("dynamic/app.yml"), elsewhere).unwrap();
    // The server would answer with a line of its own.
    eventually("an answer over HTTP", || async {
        let heard = connect(&running, "db").await.say("GET / HTTP/1.1\r\nHost: a\r\n\r").await?;
        heard.starts_with("HTTP/1.1 404").then_some(())
    })
    .await;
    assert_eq!(kept.say("d").await.as_deref(), Some("one: d"), "even without a router");
    drop(kept);
    eventually("no open connection", || async {
        (metric(&running, open).await? == "0").then_some(())
    })
    .await;
}

/// A server that answers once it has heard all.
async fn answers_at_the_end() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = String::new();
            if stream.read_to_string(&mut heard).await.is_ok() {
                drop(stream.write_all(format!("heard {heard}").as_bytes()).await);
            }
        }
    });
    address
}

async fn half_closed(running: &Running) -> String {
    let mut stream = TcpStream::connect(running.address("db")).await.unwrap();
    stream.write_all(b"all").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    drop(timeout(PATIENCE, reading).await.expect("an answer or an end"));
    answer
}

#[tokio::test]
async fn an_end_is_passed_on_and_the_transport_says_how_long_the_answer_may_take() {
    let address = answers_at_the_end().await;
    let with = |transport: &str| {
        plain_to(&address).replace("servers:", "serversTransport: t, servers:")
            + &format!("  serversTransports: {{t: {transport}}}\n")
    };
    let running = start(&with("{terminationDelay: 10s}")).await;
    assert_eq!(half_closed(&running).await, "heard all");
    fs::write(running.path("dynamic/app.yml"), with("{terminationDelay: -1ms}")).unwrap();
    assert_eq!(half_closed(&running).await, "heard all", "for ever");
    // Without a transport of its own, a service cuts at once: Traefik's quirk.
    fs::write(running.path("dynamic/app.yml"), plain_to(&address)).unwrap();
    eventually("the cut", || async { half_closed(&running).await.is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn the_startup_configuration_sets_the_default_transport() {
    let address = answers_at_the_end().await;
    let startup = STARTUP.to_owned() + "tcpServersTransport: {terminationDelay: 10s}\n";
    let folder = Running::prepare(&startup, &[("app.yml", &plain_to(&address))]);
    let running = Running::start_in(folder).await;
    eventually("an answer", || async {
        (half_closed(&running).await == "heard all").then_some(())
    })
    .await;
}

#[tokio::test]
async fn http_and_tcp_share_an_entry_point() {
    let ((_named, named), (_star, star)) = (lines("named").await, lines("star").await);
    let (_web, web) = echo("web", "http").await;
    let running = start(&format!(
        "
tcp:
  routers:
    named: {{entryPoints: [web], rule: 'HostSNI(`localhost`) && ALPN(`line`)', service: named, tls: {{options: line}}}}
    star: {{entryPoints: [web], rule: 'HostSNI(`*`)', service: star, tls: {{passthrough: true}}}}
    mine: {{entryPoints: [web], rule: 'ClientIP(`127.0.0.7`)', service: star}}
  services:
    named: {{loadBalancer: {{servers: [{{address: '{named}'}}]}}}}
    star: {{loadBalancer: {{servers: [{{address: '{star}'}}]}}}}
http:
  routers:
    plain: {{entryPoints: [web], rule: 'Path(`/`)', service: web}}
    page: {{entryPoints: [web], rule: 'Host(`www.localhost`)', service: web, tls: {{}}}}
  services:
    web: {{loadBalancer: {{servers: [{{url: 'http://{web}'}}]}}}}
tls:
  certificates: [{{certFile: tls/cert.pem, keyFile: tls/key.pem}}]
  options: {{line: {{alpnProtocols: [line]}}}}
"
    ))
    .await;
    let address = running.address("web");
    let answer = running.until("/", |answer| answer.status == 200).await;
    assert_eq!(answer.header("x-backend").as_deref(), Some("web"), "plain HTTP falls through");
    let stream = || async { TcpStream::connect(address).await.unwrap() };
    let mut line = tls(&running, stream().await, "localhost", &["line"]).await.unwrap();
    assert_eq!(line.0.get_ref().get_ref().1.alpn_protocol(), Some(&b"line"[..]));
    assert_eq!(line.say("x").await.as_deref(), Some("named: x"));
    // The catch-all passes on what we cannot end: the server behind it speaks no TLS, and hears the hello.
    assert!(tls(&running, stream().await, "localhost", &[]).await.is_err());
    let mut own = Lines::over(connect_from("127.0.0.7", address).await);
    assert_eq!(own.say("GET / HTTP/1.1").await.as_deref(), Some("star: GET / HTTP/1.1"));
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_hello_is_closed() {
    let (_one, address) = lines("one").await;
    let running =
        start(&plain_to(&address).replace("service: app}", "service: app, tls: {}}")).await;
    let db = running.address("db");
    let started = tokio::time::Instant::now();
    assert_eq!(raw(db, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").await, b"", "half a hello");
    assert!(started.elapsed() < PATIENCE);
    let mut endless = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff".to_vec();
    endless.resize(40_000, 0);
    raw(db, &endless).await;
    let mut crumbs = Vec::new();
    for _ in 0..10_000 {
        crumbs.extend(b"\x16\x03\x01\x00\x01\x01");
    }
    raw(db, &crumbs).await;
    assert_eq!(raw(db, b"\0\0\0").await, b"", "half a request for TLS");
}

#[tokio::test]
async fn in_flight_conn_closes_one_too_many() {
    let (_one, address) = lines("one").await;
    let document = plain_to(&address).replace("service: app}", "service: app, middlewares: [two]}")
        + "  middlewares: {two: {inFlightConn: {amount: 2}}}\n";
    let running = start(&document).await;
    let (mut first, mut second) = (connect(&running, "db").await, connect(&running, "db").await);
    assert!(first.say("a").await.is_some() && second.say("a").await.is_some());
    assert_eq!(connect(&running, "db").await.say("a").await, None);
    // The count survives a change of something else.
    fs::write(
        running.path("dynamic/more.yml"),
        plain_to(&address)
            .replace("all:", "more:")
            .replace("HostSNI(`*`)", "ClientIP(`127.0.0.9`)")
            .replace("app", "more"),
    )
    .unwrap();
    let traefik = running.address("traefik");
    eventually("the other router", || async {
        (get(traefik, "/api/tcp/routers/more@file").await.ok()?.status == 200).then_some(())
    })
    .await;
    assert_eq!(connect(&running, "db").await.say("a").await, None);
    drop(first);
    eventually("a free place", || async { connect(&running, "db").await.say("a").await }).await;
    assert!(second.say("b").await.is_some());
}

#[tokio::test]
async fn postgresql_is_passed_through_with_its_own_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let document = plain_to(&address.to_string())
        .replace("service: app}", "service: app, tls: {passthrough: true}}");
    let running = start(&document).await;
    let acceptor = acceptor(&running);
    tokio::spawn(async move {
        let mut refuses = false;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, SSL_REQUEST);
            drop(stream.write_all(if refuses { b"N" } else { b"S" }).await);
            refuses = true;
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            stream.write_all(format!("pg: {line}").as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    for passes in [true, false] {
        let mut stream = TcpStream::connect(running.address("db")).await.unwrap();
        stream.write_all(&SSL_REQUEST).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'S');
        let mut heard = None;
        if let Ok(mut lines) = tls(&running, stream, "localhost", &[]).await {
            heard = lines.say("select").await;
        }
        assert_eq!(heard.as_deref(), passes.then_some("pg: select"), "a server may refuse");
    }
}

#[tokio::test]
async fn servers_are_spoken_to_over_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let document = |transport: &str| {
        plain_to(&address.to_string())
            .replace("servers: [{", "serversTransport: t, servers: [{tls: true, ")
            + &format!("  serversTransports: {{t: {{tls: {transport}}}}}\n")
    };
    let trusted = document("{serverName: localhost, rootCAs: [tls/cert.pem]}");
    let running = start(&trusted).await;
    let acceptor = acceptor(&running);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
            let mut stream = BufReader::new(stream);
            drop(stream.write_all(format!("{name}\n").as_bytes()).await);
            drop(stream.flush().await);
        }
    });
    assert_eq!(connect(&running, "db").await.hear().await.as_deref(), Some("localhost"));
    let refused = document("{serverName: localhost}");
    fs::write(running.path("dynamic/app.yml"), refused).unwrap();
    eventually("no trust", || async {
        connect(&running, "db").await.hear().await.is_none().then_some(())
    })
    .await;
    fs::write(running.path("dynamic/app.yml"), document("{insecureSkipVerify: true}")).unwrap();
    eventually("any certificate", || async { connect(&running, "db").await.hear().await }).await;
}

#[tokio::test]
async fn a_health_check_leaves_a_server_out_and_the_api_shows_it() {
    let (_one, address) = lines("one").await;
    let dead = free_address();
    let document = plain_to(&address).replace(
        "servers: [",
        &format!("healthCheck: {{interval: 50ms, send: 'PING\n', expect: 'one: PING'}}, servers: [{{address: '{dead}'}}, "),
    );
    let document = document.replace("'PING\n'", "\"PING\\n\"");
    let running = start(&document).await;
    let traefik = running.address("traefik");
    let shown = |service: &serde_json::Value| service["serverStatus"].clone();
    let statuses = eventually("the dead server", || async {
        let text = get(traefik, "/api/tcp/services/app@file").await.ok()?.text();
        let service: serde_json::Value = serde_json::from_str(&text).ok()?;
        (shown(&service)[&dead] == "DOWN").then(|| shown(&service))
    })
    .await;
    assert_eq!(statuses[&address], "UP");
    for _ in 0..4 {
        assert!(connect(&running, "db").await.say("x").await.is_some());
    }
}

#[tokio::test]
async fn the_api_shows_what_became_of_tcp_objects() {
    let running = start(
        "
tcp:
  routers:
    good: {entryPoints: [db], rule: 'HostSNI(`*`)', service: app, middlewares: [office]}
    no-tls: {entryPoints: [db], rule: 'HostSNI(`a.test`)', service: app}
    no-rule: {entryPoints: [db], service: app}
    no-service: {entryPoints: [db], rule: 'HostSNI(`*`)'}
    lost: {entryPoints: [db], rule: 'HostSNI(`*`)', service: nowhere}
    odd: {entryPoints: [db, dns], rule: 'ALPN(`acme-tls/1`)', service: app}
    far: {entryPoints: [dns], rule: 'HostSNI(`*`)', service: app}
    high: {rule: 'HostSNI(`*`)', service: app, priority: 9223372036854775807}
    options: {entryPoints: [db], rule: 'HostSNI(`b.test`)', service: app, tls: {options: none}}
    circle: {entryPoints: [db], rule: 'HostSNI(`*`)', service: ring}
  services:
    app: {loadBalancer: {servers: [{address: '127.0.0.1:1'}]}}
    ring: {weighted: {services: [{name: ring}]}}
    empty: {loadBalancer: {}}
  middlewares:
    office: {ipAllowList: {sourceRange: [127.0.0.0/8]}}
",
    )
    .await;
    let traefik = running.address("traefik");
    let json = async |path: &str| -> serde_json::Value {
        serde_json::from_str(&get(traefik, path).await.unwrap().text()).unwrap()
    };
    let good = json("/api/tcp/routers/good@file").await;
    assert_eq!(
        good,
        serde_json::json!({
            "entryPoints": ["db"], "middlewares": ["office@file"], "service": "app", "rule": "HostSNI(`*`)",
            "priority": -1, "priorityStr": "-1", "status": "enabled", "using": ["db"], "name": "good@file",
            "provider": "file",
        })
    );
    for (name, error) in [
        (
            "no-tls",
            "invalid rule: \"HostSNI(`a.test`)\" , has HostSNI matcher, but no TLS on router",
        ),
        ("no-rule", "router has no rule"),
        ("no-service", "the service is missing on the router"),
        ("lost", "the service \"nowhere@file\" does not exist"),
        ("odd", "entryPoint \"dns\" doesn't exist"),
        ("far", "entryPoint \"dns\" doesn't exist"),
        (
            "high",
            "the router priority 9223372036854775807 exceeds the max user-defined priority 9223372036854774807",
        ),
        ("options", "unknown TLS options: none@file"),
        ("circle", "could not build service ring@file: recursion detected in ring@file"),
    ] {
        let router = json(&format!("/api/tcp/routers/{name}@file")).await;
        assert_eq!((&router["status"], &router["error"][0]), (&"disabled".into(), &error.into()));
    }
    let odd = json("/api/tcp/routers/odd@file").await;
    assert!(odd["error"][1].as_str().unwrap().contains("\"acme-tls/1\" is not allowed"));
    let app = json("/api/tcp/services/app@file").await;
    assert_eq!(app["serverStatus"], serde_json::json!({"127.0.0.1:1": "UP"}));
    assert!(app["usedBy"].as_array().unwrap().contains(&"good@file".into()));
    assert_eq!((&app["type"], &app["status"]), (&"loadbalancer".into(), &"enabled".into()));
    let empty = json("/api/tcp/services/empty@file").await;
    assert!(empty.get("serverStatus").is_none() && empty.get("usedBy").is_none());
    assert_eq!(json("/api/tcp/services/ring@file").await["status"], "disabled");
    let office = json("/api/tcp/middlewares/office@file").await;
    assert_eq!((&office["type"], office.get("usedBy")), (&"ipallowlist".into(), None));
    let overview = json("/api/overview").await;
    assert_eq!(
        overview["tcp"],
        serde_json::json!({
            "routers": {"total": 10, "warnings": 0, "errors": 9},
            "services": {"total": 3, "warnings": 0, "errors": 1},
            "middlewares": {"total": 1, "warnings": 0, "errors": 0},
        })
    );
    assert!(json("/api/rawdata").await["tcpServices"]["app@file"].get("serverStatus").is_some());
    // Names whose options cannot be used are closed, and no other router gets them.
    let stream = TcpStream::connect(running.address("db")).await.unwrap();
    assert!(tls(&running, stream, "b.test", &[]).await.is_err());
}

#[tokio::test]
async fn a_shutdown_leaves_tcp_connections_their_grace_time() {
    let (_one, address) = lines("one").await;
    let startup = STARTUP.replace(
        "db: {address: '127.0.0.1:0', transport: {",
        "db: {address: '127.0.0.1:0', transport: {lifeCycle: {graceTimeOut: 1s}, ",
    );
    let folder = Running::prepare(&startup, &[("app.yml", &(plain_to(&address) + CERTIFICATE))]);
    let mut running = Running::start_in(folder).await;
    let db = running.address("db");
    let mut kept = eventually("the router", || async {
        let mut lines = connect(&running, "db").await;
        lines.say("a").await.map(|_| lines)
    })
    .await;
    running.signal("TERM");
    eventually("a refused connection", || async { TcpStream::connect(db).await.err() }).await;
    assert_eq!(kept.say("b").await.as_deref(), Some("one: b"), "it is still served");
    assert_eq!(kept.hear().await, None, "and cut off in the end");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.output());
}
