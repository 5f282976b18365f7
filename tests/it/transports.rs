//! Connections to servers by the options of their transport: `serversTransport` and `tcpServersTransport` at start,
//! `http.serversTransports` and `tcp.serversTransports` (http.md §4, tcp-udp-tls.md §4, static.md §4).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Barrier;
use tokio::time::{Duration, Instant, timeout};
use tokio_rustls::TlsAcceptor;

use crate::support::full::Full;
use crate::support::h1::Reader;
use crate::support::running::{PATIENCE, Running, echo, eventually, get};

/// Entry points for HTTP and for TCP, with `more` of the startup configuration.
fn startup(more: &str) -> String {
    format!(
        "
entryPoints:
  web: {{address: '127.0.0.1:0'}}
  db: {{address: '127.0.0.1:0'}}
{more}
providers:
  providersThrottleDuration: 20ms
  file: {{directory: dynamic}}
"
    )
}

/// A service for each `(name, url, options of its transport)`, at `/NAME`; without options it has the default one.
fn http(services: &[(&str, &str, &str)]) -> String {
    let mut parts = [String::new(), String::new(), String::new()];
    for (name, url, options) in services {
        parts[0]
            .push_str(&format!("    {name}: {{rule: 'PathPrefix(`/{name}`)', service: {name}}}\n"));
        let named =
            if options.is_empty() { String::new() } else { format!("serversTransport: {name}, ") };
        parts[1].push_str(&format!(
            "    {name}: {{loadBalancer: {{{named}servers: [{{url: '{url}'}}]}}}}\n"
        ));
        if !options.is_empty() {
            parts[2].push_str(&format!("    {name}: {{{options}}}\n"));
        }
    }
    if parts[2].is_empty() {
        parts[2].push_str("    unused: {}\n");
    }
    let [routers, services, transports] = parts;
    format!("http:\n  routers:\n{routers}  services:\n{services}  serversTransports:\n{transports}")
}

/// The same for TCP: a service for each `(source, address, what its server has, options of its transport)`; clients get
/// theirs by the address that they come from.
fn tcp(services: &[(&str, &str, &str, &str)]) -> String {
    let mut parts = [String::new(), String::new(), String::new()];
    for (number, (source, address, server, options)) in services.iter().enumerate() {
        parts[0].push_str(&format!(
            "    t{number}: {{entryPoints: [db], rule: 'ClientIP(`{source}`)', service: t{number}}}\n"
        ));
        let named = if options.is_empty() {
            String::new()
        } else {
            format!("serversTransport: t{number}, ")
        };
        parts[1].push_str(&format!(
            "    t{number}: {{loadBalancer: {{{named}servers: [{{address: '{address}'{server}}}]}}}}\n"
        ));
        if !options.is_empty() {
            parts[2].push_str(&format!("    t{number}: {{{options}}}\n"));
        }
    }
    if parts[2].is_empty() {
        parts[2].push_str("    unused: {}\n");
    }
    let [routers, services, transports] = parts;
    format!("tcp:\n  routers:\n{routers}  services:\n{services}  serversTransports:\n{transports}")
}

/// Starts the program, and waits until it knows the last service of `http`.
async fn start(folder: tempfile::TempDir, path: &str) -> Running {
    let running = Running::start_in(folder).await;
    let web = running.address("web");
    eventually("the routers", || async {
        let answer = get(web, path).await.ok()?;
        (answer.status != 404).then_some(())
    })
    .await;
    running
}

/// What a server says of a connection to those who have made it.
fn described(session: &rustls::ServerConnection) -> Value {
    let alpn = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    json!({
        "version": format!("{:?}", session.protocol_version().unwrap()),
        "suite": format!("{:?}", session.negotiated_cipher_suite().unwrap().suite()),
        "certificates": session.peer_certificates().map_or(0, <[_]>::len),
        "sni": session.server_name(), "alpn": alpn,
    })
}

/// Servers that describe each connection: over HTTP to those who ask, and in a line to those who only listen. Their
/// certificate, `tls/server.pem`, is for `localhost` and `spiffe://a.test/app`; they take the client certificate
/// `tls/cert.pem`, and know it.
async fn describing(folder: &Path, wants_certificates: bool) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let uri = "spiffe://a.test/app".try_into().unwrap();
    params.subject_alt_names.push(rcgen::SanType::URI(uri));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join("tls/server.pem"), certificate.pem()).unwrap();
    let mut clients = rustls::RootCertStore::empty();
    let client = fs::read(folder.join("tls/cert.pem")).unwrap();
    clients.add(CertificateDer::from_pem_slice(&client).unwrap()).unwrap();
    let mut verifier = WebPkiClientVerifier::builder(Arc::new(clients));
    if !wants_certificates {
        verifier = verifier.allow_unauthenticated();
    }
    let mut config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let lines = TlsAcceptor::from(Arc::new(config.clone()));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let pages = TlsAcceptor::from(Arc::new(config));
    let (page, line) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let addresses =
        (page.local_addr().unwrap().port().to_string(), line.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        while let Ok((stream, _)) = page.accept().await {
            let pages = pages.clone();
            tokio::spawn(async move {
                let Ok(stream) = pages.accept(stream).await else { return };
                let body = described(stream.get_ref().1).to_string();
                let mut reader = Reader::new(stream);
                while let Ok(Some(_)) = reader.head().await {
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    drop(reader.stream.write_all(answer.as_bytes()).await);
                }
            });
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = line.accept().await {
            let lines = lines.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = lines.accept(stream).await else { return };
                let line = format!("{}\n", described(stream.get_ref().1));
                drop(stream.write_all(line.as_bytes()).await);
                drop(stream.shutdown().await);
            });
        }
    });
    addresses
}

async fn connect_from(running: &Running, source: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(running.address("db")).await.unwrap()
}

/// What comes for a TCP client until the end.
async fn heard(running: &Running, source: &str) -> Vec<u8> {
    let mut stream = connect_from(running, source).await;
    let mut all = Vec::new();
    drop(timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("an end"));
    all
}

async fn described_to(running: &Running, name: &str) -> Option<Value> {
    let answer = get(running.address("web"), &format!("/{name}")).await.unwrap();
    assert!(answer.status == 200 || answer.status >= 500, "{name}: {}", answer.status);
    serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200)
}

/// `http.serversTransports`: `serverName`, `rootCAs`, `insecureSkipVerify`, `certificates`, `cipherSuites`, `minVersion`,
/// `maxVersion`, `peerCertURI`; `tcp.serversTransports`: `tls` with the same names.
#[tokio::test]
async fn servers_are_spoken_to_over_tls_as_their_transport_says() {
    let folder = Running::prepare(&startup(""), &[]);
    let (page, line) = describing(folder.path(), false).await;
    let (by_ip, by_name) =
        (format!("https://127.0.0.1:{page}"), format!("https://localhost:{page}"));
    let (any, own) =
        ("insecureSkipVerify: true", "serverName: localhost, rootCAs: [tls/server.pem]");
    let certificate = "certificates: [{certFile: tls/cert.pem, keyFile: tls/key.pem}]";
    let with = |first: &str, second: &str| format!("{first}, {second}");
    let range = |number| format!("minVersion: VersionTLS{number}, maxVersion: VersionTLS{number}");
    let chosen = with(&range(12), "cipherSuites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]");
    let document = http(&[
        ("own", &by_ip, own),
        ("other", &by_ip, &own.replace("localhost", "other.test")),
        ("by-name", &by_name, "rootCAs: [tls/server.pem]"),
        ("stranger", &by_name, "serverName: localhost"),
        ("any", &by_ip, any),
        ("twelve", &by_ip, &with(any, &range(12))),
        ("thirteen", &by_ip, &with(any, &range(13))),
        ("chosen", &by_ip, &with(any, &chosen)),
        ("known", &by_ip, &with(any, certificate)),
        ("uri", &by_ip, &with(own, "peerCertURI: 'spiffe://a.test/app'")),
        ("other-uri", &by_ip, &with(own, "peerCertURI: 'spiffe://a.test/other'")),
        ("default", &by_name, ""),
    ]);
    let tls = |options: &str| format!("tls: {{{options}}}");
    let streams = tcp(&[
        ("127.0.0.2", &line, ", tls: true", &tls(own)),
        ("127.0.0.3", &line, ", tls: true", &tls(&own.replace("localhost", "other.test"))),
        ("127.0.0.4", &line, ", tls: true", &tls(any)),
        ("127.0.0.5", &line, ", tls: true", &tls(&with(any, certificate))),
        ("127.0.0.6", &line, ", tls: true", &tls(&with(own, "peerCertURI: 'spiffe://a.test/app'"))),
        (
            "127.0.0.7",
            &line,
            ", tls: true",
            &tls(&with(own, "peerCertURI: 'spiffe://a.test/other'")),
        ),
        ("127.0.0.8", &line, ", tls: true", ""),
    ]);
    fs::write(folder.path().join("dynamic/app.yml"), document + &streams).unwrap();
    let running = start(folder, "/default").await;
    for refused in ["other", "stranger", "other-uri", "default"] {
        assert_eq!(described_to(&running, refused).await, None, "{refused}");
    }
    let mut by_route = std::collections::BTreeMap::new();
    for name in ["own", "by-name", "any", "twelve", "thirteen", "chosen", "known", "uri"] {
        let told = described_to(&running, name).await;
        by_route.insert(name, told.unwrap_or_else(|| panic!("{name}: {}", running.output())));
    }
    assert_eq!(by_route["own"]["sni"], "localhost");
    assert_eq!(
        (&by_route["by-name"]["sni"], &by_route["any"]["sni"]),
        (&json!("localhost"), &Value::Null)
    );
    assert_eq!(by_route["twelve"]["version"], "TLSv1_2");
    assert_eq!(by_route["thirteen"]["version"], "TLSv1_3");
    assert_eq!(by_route["chosen"]["suite"], "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    assert_ne!(by_route["twelve"]["suite"], by_route["chosen"]["suite"]);
    assert_eq!(
        (&by_route["any"]["certificates"], &by_route["known"]["certificates"]),
        (&json!(0), &json!(1))
    );

    for (source, told) in [
        ("127.0.0.2", Some(json!({"sni": "localhost", "certificates": 0}))),
        ("127.0.0.3", None),
        ("127.0.0.4", Some(json!({"sni": null, "certificates": 0}))),
        ("127.0.0.5", Some(json!({"sni": null, "certificates": 1}))),
        ("127.0.0.6", Some(json!({"sni": "localhost", "certificates": 0}))),
        ("127.0.0.7", None),
        ("127.0.0.8", None),
    ] {
        let heard = serde_json::from_slice::<Value>(&heard(&running, source).await).ok();
        let short =
            heard.map(|all| json!({"sni": all["sni"], "certificates": all["certificates"]}));
        assert_eq!(short, told, "from {source}: {}", running.output());
    }
}

/// `forwardAuth.tls`: `ca`, `cert` and `key`, at an authenticator that wants certificates of clients.
#[tokio::test]
async fn authenticators_are_shown_a_certificate() {
    let folder = Running::prepare(&startup(""), &[]);
    let (page, _line) = describing(folder.path(), true).await;
    let (_app, app) = echo("app", "http").await;
    let own = "cert: tls/cert.pem, key: tls/key.pem";
    let mut document =
        http(&[("known", &format!("http://{app}"), ""), ("unknown", &format!("http://{app}"), "")])
            .replace("service: known}", "service: known, middlewares: [known]}")
            .replace("service: unknown}", "service: unknown, middlewares: [unknown]}");
    document.push_str("  middlewares:\n");
    for (name, more) in [("known", format!(", {own}")), ("unknown", String::new())] {
        document.push_str(&format!(
            "    {name}: {{forwardAuth: {{address: 'https://localhost:{page}/', tls: {{ca: tls/server.pem{more}}}}}}}\n"
        ));
    }
    fs::write(folder.path().join("dynamic/app.yml"), document).unwrap();
    let running = start(folder, "/known").await;
    for (name, status) in [("known", 200), ("unknown", 500)] {
        let answer = get(running.address("web"), &format!("/{name}")).await.unwrap();
        assert_eq!(answer.status, status, "{name}: {}", running.output());
    }
}

/// `serversTransport` and `tcpServersTransport.tls` at start: whom services without a transport of their own trust.
#[tokio::test]
async fn the_default_transports_trust_whom_the_startup_configuration_names() {
    for (number, trust) in
        ["insecureSkipVerify: true", "rootCAs: [tls/server.pem]"].iter().enumerate()
    {
        let more =
            format!("serversTransport: {{{trust}}}\ntcpServersTransport: {{tls: {{{trust}}}}}\n");
        let folder = Running::prepare(&startup(&more), &[]);
        let (page, line) = describing(folder.path(), false).await;
        let line = format!("localhost:{}", line.rsplit(':').next().unwrap());
        let document = http(&[
            ("by-ip", &format!("https://127.0.0.1:{page}"), ""),
            ("by-name", &format!("https://localhost:{page}"), ""),
        ]) + &tcp(&[("127.0.0.2", &line, ", tls: true", "")]);
        fs::write(folder.path().join("dynamic/app.yml"), document).unwrap();
        let running = start(folder, "/by-name").await;
        assert!(described_to(&running, "by-name").await.is_some(), "{trust}: {}", running.output());
        // The certificate has no address.
        assert_eq!(described_to(&running, "by-ip").await.is_some(), number == 0, "{trust}");
        assert_ne!(heard(&running, "127.0.0.2").await, b"", "{trust}: {}", running.output());
    }
}

/// A server that counts the connections that are open to it.
async fn counting(at_once: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let open = Arc::new(AtomicUsize::new(0));
    let (counted, barrier) = (open.clone(), Arc::new(Barrier::new(at_once)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (open, barrier) = (counted.clone(), barrier.clone());
            tokio::spawn(async move {
                open.fetch_add(1, Ordering::SeqCst);
                let mut reader = Reader::new(stream);
                while let Ok(Some(head)) = reader.head().await {
                    if head.start.contains("/together") {
                        barrier.wait().await;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    drop(reader.stream.write_all(answer).await);
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, open)
}

/// `dialTimeout`, `responseHeaderTimeout`, `idleConnTimeout` of both kinds of transports and of both defaults.
#[tokio::test]
async fn waiting_for_servers_ends_as_their_transport_says() {
    let full = Full::start().await;
    let (_slow, slow) = echo("slow", "http").await;
    let ((idle, open), (own_idle, own_open)) = (counting(1).await, counting(1).await);
    let url = |address: &str| format!("http://{address}");
    let with = |option: &str| format!("forwardingTimeouts: {{{option}: 300ms}}");
    let document = http(&[
        ("own-dial", &url(&full.address), &with("dialTimeout")),
        ("own-head", &url(&slow), &with("responseHeaderTimeout")),
        ("own-idle", &url(&own_idle), &with("idleConnTimeout")),
        ("dial", &url(&full.address), ""),
        ("idle", &url(&idle), ""),
        ("head", &url(&slow), ""),
    ]) + &tcp(&[
        ("127.0.0.2", &full.address, "", "dialTimeout: 300ms"),
        ("127.0.0.3", &full.address, "", ""),
    ]);
    let more = "serversTransport: {forwardingTimeouts: {dialTimeout: 400ms, responseHeaderTimeout: 400ms, idleConnTimeout: 400ms}}
tcpServersTransport: {dialTimeout: 400ms}";
    let folder = Running::prepare(&startup(more), &[("app.yml", &document)]);
    let running = start(folder, "/head").await;
    for (name, least) in [("own-dial", 300), ("dial", 400), ("own-head", 300), ("head", 400)] {
        let started = Instant::now();
        let answer = get(running.address("web"), &format!("/{name}/__delay/60000")).await.unwrap();
        assert_eq!((answer.status, answer.text().trim_end()), (504, "Gateway Timeout"), "{name}");
        let least = Duration::from_millis(least);
        assert!(
            (least..PATIENCE / 3).contains(&started.elapsed()),
            "{name}: {:?}",
            started.elapsed()
        );
    }
    for (source, least) in [("127.0.0.2", 300), ("127.0.0.3", 400)] {
        let started = Instant::now();
        assert_eq!(heard(&running, source).await, b"");
        let least = Duration::from_millis(least);
        assert!(
            (least..PATIENCE / 3).contains(&started.elapsed()),
            "{source}: {:?}",
            started.elapsed()
        );
    }
    for (name, open) in [("own-idle", own_open), ("idle", open)] {
        assert_eq!(get(running.address("web"), &format!("/{name}")).await.unwrap().status, 200);
        eventually("no idle connection", || async {
            (open.load(Ordering::SeqCst) == 0).then_some(())
        })
        .await;
    }
}

/// `maxIdleConnsPerHost`: what is above it is closed. It is shared out among the cores, one for each at least.
#[tokio::test]
async fn no_more_connections_idle_than_the_transport_allows() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let at_once = cores + 8;
    let ((default, default_open), (own, own_open)) =
        (counting(at_once).await, counting(at_once).await);
    let document = http(&[
        ("own", &format!("http://{own}"), "maxIdleConnsPerHost: 1"),
        ("default", &format!("http://{default}"), ""),
    ]);
    let folder = Running::prepare(
        &startup("serversTransport: {maxIdleConnsPerHost: 1}"),
        &[("app.yml", &document)],
    );
    let running = start(folder, "/default").await;
    for (name, open) in [("own", own_open), ("default", default_open)] {
        let path = format!("/{name}/together");
        let all = (0..at_once).map(|_| get(running.address("web"), &path));
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer.unwrap().status, 200);
        }
        eventually("few connections", || async {
            (open.load(Ordering::SeqCst) <= cores).then_some(())
        })
        .await;
    }
}

/// Speaks HTTP/2 so far that a client may ask, counts its pings, and answers nothing.
async fn silent(mut stream: TcpStream, pings: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
        stream.read_exact(&mut payload).await?;
        if head[3] == 6 {
            pings.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// `forwardingTimeouts.readIdleTimeout` and `pingTimeout`: an HTTP/2 server that says nothing is pinged, then given up.
#[tokio::test]
async fn a_silent_http2_server_is_pinged_and_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pings = Arc::new(AtomicUsize::new(0));
    let seen = pings.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(silent(stream, seen.clone()));
        }
    });
    let (_app, app) = echo("app", "http").await;
    let document = http(&[
        (
            "silent",
            &format!("h2c://{address}"),
            "forwardingTimeouts: {readIdleTimeout: 200ms, pingTimeout: 300ms}",
        ),
        ("ready", &format!("http://{app}"), ""),
    ]);
    let running = start(Running::prepare(&startup(""), &[("app.yml", &document)]), "/ready").await;
    let started = Instant::now();
    let answer = get(running.address("web"), "/silent").await.unwrap();
    assert!(answer.status >= 500, "{}", answer.status);
    assert!(
        (Duration::from_millis(500)..Duration::from_secs(10)).contains(&started.elapsed()),
        "{:?}: the default would be 15 s after a ping, and no ping",
        started.elapsed()
    );
    assert_eq!(pings.load(Ordering::SeqCst), 1);
}

/// Hundredths of seconds until the next probe of a connection to `port`, where one is due.
fn probe_due(pid: u32, port: &str) -> Option<u64> {
    let port = format!(":{:04X}", port.parse::<u16>().unwrap());
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let due = columns.get(5)?.strip_prefix("02:")?;
        let is_ours = columns[2].ends_with(&port) && columns[3] == "01";
        is_ours.then(|| u64::from_str_radix(due, 16).unwrap())
    })
}

/// `dialKeepAlive` of `tcpServersTransport` and of `tcp.serversTransports`, as the system shows it.
#[tokio::test]
async fn silent_connections_to_servers_are_probed_as_often_as_the_transport_says() {
    let ((_one, one), (_two, two)) = (echo("one", "tcp").await, echo("two", "tcp").await);
    let (_app, app) = echo("app", "http").await;
    let document = http(&[("ready", &format!("http://{app}"), "")])
        + &tcp(&[("127.0.0.2", &one, "", ""), ("127.0.0.3", &two, "", "dialKeepAlive: 3000s")]);
    let folder = Running::prepare(
        &startup("tcpServersTransport: {dialKeepAlive: 1000s}"),
        &[("app.yml", &document)],
    );
    let running = start(folder, "/ready").await;
    for (source, server, seconds) in [("127.0.0.2", &one, 1000), ("127.0.0.3", &two, 3000)] {
        let mut stream = connect_from(&running, source).await;
        stream.write_all(b"x\n").await.unwrap();
        stream.read_u8().await.unwrap();
        let port = server.rsplit(':').next().unwrap();
        let due =
            eventually("a probe that is due", || async { probe_due(running.pid(), port) }).await;
        assert!((seconds * 100 - 3000..=seconds * 100).contains(&due), "{source}: {due}");
    }
}
