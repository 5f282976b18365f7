//! HTTP/3 on entry points (tcp-udp-tls.md §8; static.md §3, `http3`).

use bytes::Bytes;
use http::{HeaderMap, Request};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::h1::{Reader, joined};
use crate::support::http3::{Client, Trust, connect};
use crate::support::running::{
    Answer, CERTIFICATE, Running, STARTUP, ask, echo, eventually, everything_to, free_address, get,
    write_certificate,
};

/// As `STARTUP`, with HTTP/3 on the entry point `secure`.
fn startup() -> String {
    STARTUP
        .replace("secure: {address: '127.0.0.1:0'}", "secure: {address: '127.0.0.1:0', http3: {}}")
}

/// The program with HTTP/3, and everything going to `url`.
async fn before(url: &str) -> Running {
    Running::start(&startup(), &[("app.yml", &(everything_to(url) + CERTIFICATE))]).await
}

async fn client(running: &Running) -> Client {
    let trust = Trust::of(running.folder.path());
    Client::connect(running.address("secure"), "localhost", &trust).await.unwrap()
}

/// A request over HTTPS on HTTP/1.
async fn https(running: &Running, path: &str) -> Answer {
    let certificate = CertificateDer::from_pem_file(running.path("tls/cert.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(running.address("secure")).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    ask(&mut Reader::new(connector.connect(name, stream).await.unwrap()), path).await.unwrap()
}

#[tokio::test]
async fn requests_pass_with_bodies_and_trailers_both_ways() {
    for kind in ["http", "h2c"] {
        let (backend, address) = echo("app", kind).await;
        let running = before(&format!("{kind}://{address}")).await;
        let mut client = client(&running).await;
        let mark = backend.count();
        let request = Request::post("https://localhost/a/../b/__grpc/5?x=1")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let trailers = HeaderMap::from_iter([("x-check".parse().unwrap(), "42".parse().unwrap())]);
        let body = Bytes::from(vec![b'b'; 3_000_000]);
        let (answer, after) = client.send(request, body, Some(trailers)).await.unwrap();
        assert_eq!((answer.status, answer.header("x-backend").as_deref()), (200, Some("app")));
        assert_eq!(after["grpc-status"], "5", "{kind}");
        assert_eq!(answer.header("alt-svc"), None, "the client knows that already");
        let seen = &backend.all(mark)[0];
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/b/__grpc/5?x=1"));
        assert_eq!(seen.body.len(), 3_000_000, "{kind}");
        assert_eq!(joined(&seen.trailers, "x-check").as_deref(), Some("42"), "{kind}");
        for (name, value) in [
            ("host", "localhost"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-port", "443"),
            ("te", "trailers"),
        ] {
            let host = if name == "host" { joined(&seen.headers, ":authority") } else { None };
            let found = joined(&seen.headers, name).or(host);
            assert_eq!(found.as_deref(), Some(value), "{kind}: {name} of {:?}", seen.headers);
        }
        if kind == "http" {
            assert_eq!(joined(&seen.headers, "cookie").as_deref(), Some("a=1; b=2"));
        }
        let answer = client.get("https://localhost/__bytes/5000000").await.unwrap();
        assert_eq!(answer.body.len(), 5_000_000);
        let mark = backend.count();
        client.get("https://localhost/plain").await.unwrap();
        let seen = &backend.all(mark)[0];
        assert_eq!(joined(&seen.headers, "transfer-encoding"), None, "there is no body");
    }
}

#[tokio::test]
async fn only_routers_with_tls_are_reached() {
    let (_backend, address) = echo("app", "http").await;
    let app = everything_to(&format!("http://{address}"))
        .replace("secure: {rule: 'PathPrefix(`/`)'", "secure: {rule: 'Path(`/secure`)'")
        + CERTIFICATE;
    let running = Running::start(&startup(), &[("app.yml", &app)]).await;
    let mut client = client(&running).await;
    assert_eq!(client.get("https://localhost/secure").await.unwrap().status, 200);
    assert_eq!(client.get("https://localhost/plain").await.unwrap().status, 404);
    assert_eq!(get(running.address("secure"), "/plain").await.unwrap().status, 200);
}

#[tokio::test]
async fn https_responses_tell_of_http3_and_of_its_port() {
    let (_backend, address) = echo("app", "http").await;
    let app = everything_to(&format!("http://{address}")) + CERTIFICATE;
    let running = before(&format!("http://{address}")).await;
    let port = running.address("secure").port();
    let told = Some(format!("h3=\":{port}\"; ma=2592000"));
    assert_eq!(https(&running, "/").await.header("alt-svc"), told);
    assert_eq!(https(&running, "/__status/404").await.header("alt-svc"), told);
    let plain = get(running.address("secure"), "/").await.unwrap();
    assert_eq!(plain.header("alt-svc"), None, "without TLS there is nothing to tell");
    assert_eq!(get(running.address("web"), "/").await.unwrap().header("alt-svc"), None);
    let advertised = startup().replace("http3: {}", "http3: {advertisedPort: 8443}");
    let running = Running::start(&advertised, &[("app.yml", &app)]).await;
    let told = Some("h3=\":8443\"; ma=2592000".to_owned());
    assert_eq!(https(&running, "/").await.header("alt-svc"), told);
    let without = Running::before(&format!("http://{address}")).await;
    assert_eq!(https(&without, "/").await.header("alt-svc"), None);
    let trust = Trust::of(without.folder.path());
    let silent = Client::connect(without.address("secure"), "localhost", &trust);
    let nobody = tokio::time::timeout(std::time::Duration::from_millis(300), silent);
    assert!(nobody.await.is_err(), "nobody is there");
}

#[tokio::test]
async fn access_log_and_metrics_know_http3() {
    let (_backend, address) = echo("app", "http").await;
    let startup = startup()
        + "accessLog: {format: json, filePath: access.log}\n\
           metrics: {prometheus: {entryPoint: web}}\n";
    let app = everything_to(&format!("http://{address}")) + CERTIFICATE;
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    let mut client = client(&running).await;
    client.get("https://localhost/logged").await.unwrap();
    let line = eventually("a line of the access log", || async {
        let text = std::fs::read_to_string(running.path("access.log")).unwrap_or_default();
        text.lines().find(|line| line.contains("/logged")).map(ToOwned::to_owned)
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    for (field, value) in [
        ("RequestProtocol", "HTTP/3.0"),
        ("RequestPath", "/logged"),
        ("RequestHost", "localhost"),
        ("entryPointName", "secure"),
        ("RouterName", "secure@file"),
        ("TLSVersion", "1.3"),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert!(line["TLSCipher"].as_str().unwrap().starts_with("TLS_"), "{line}");
    let metrics = get(running.address("web"), "/metrics").await.unwrap().text();
    for (start, end) in [
        (
            "traefik_entrypoint_requests_total{",
            "entrypoint=\"secure\",method=\"GET\",protocol=\"http\"} 1",
        ),
        ("traefik_open_connections{", "entrypoint=\"secure\",protocol=\"TCP\"} 1"),
        ("traefik_entrypoint_requests_tls_total{", "tls_version=\"1.3\"} 1"),
    ] {
        let found = metrics.lines().any(|line| line.starts_with(start) && line.ends_with(end));
        assert!(found, "{start}…{end} in {metrics}");
    }
}

/// An authority in PEM, and a client certificate of its.
fn authority() -> (String, (Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>)) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["client".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    (pem, (vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der())))
}

/// tcp-udp-tls.md §6: clientAuth, sniStrict, maxVersion by SNI; §3: 421.
#[tokio::test]
async fn tls_options_go_by_the_server_name() {
    let (_backend, address) = echo("app", "http").await;
    let (pem, (chain, key)) = authority();
    let routers = "    mutual: {rule: 'Host(`mutual.test`)', service: app, tls: {options: mutual}}
    old: {rule: 'Host(`old.test`)', service: app, tls: {options: old}}
    strict: {rule: 'Host(`strict.test`)', service: app, tls: {options: strict}}
    secure:";
    let app = everything_to(&format!("http://{address}")).replace("    secure:", routers)
        + CERTIFICATE
        + "  options:
    mutual: {clientAuth: {caFiles: [tls/ca.pem], clientAuthType: RequireAndVerifyClientCert}}
    old: {maxVersion: VersionTLS12}
    strict: {sniStrict: true}
";
    let folder = Running::prepare(&startup(), &[("app.yml", &app)]);
    let names = ["localhost", "mutual.test", "old.test"].map(ToOwned::to_owned);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.path().join("tls/cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("tls/key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.path().join("tls/ca.pem"), pem).unwrap();
    let running = Running::start_in(folder).await;
    running.until("/", |answer| answer.status == 200).await;
    let secure = running.address("secure");
    let nobody = Trust::of(running.folder.path());
    let known = Trust::with(running.folder.path(), Some((chain, key.into())));

    let mut open = Client::connect(secure, "localhost", &nobody).await.unwrap();
    assert_eq!(open.get("https://localhost/").await.unwrap().status, 200);
    assert_eq!(open.get("https://mutual.test/").await.unwrap().status, 421, "misdirected");
    let mut mutual = Client::connect(secure, "mutual.test", &known).await.unwrap();
    assert_eq!(mutual.get("https://mutual.test/").await.unwrap().status, 200);
    assert_eq!(mutual.get("https://localhost/").await.unwrap().status, 421);
    // A client of TLS 1.3 learns of it only with the first answer.
    let refused = async {
        let mut client = Client::connect(secure, "mutual.test", &nobody).await?;
        client.get("https://mutual.test/").await.map_err(|error| error.to_string())?;
        Ok::<_, String>(())
    };
    assert!(refused.await.is_err(), "a certificate is required");
    for name in ["old.test", "strict.test"] {
        let error = connect(secure, name, &nobody).await.unwrap_err();
        let quinn::ConnectionError::ConnectionClosed(close) = error else {
            panic!("{name}: {error}")
        };
        let code = u64::from(close.error_code);
        assert!((0x100..0x200).contains(&code), "{name}: no alert of TLS, but {code}");
    }
}

#[tokio::test]
async fn new_connections_get_new_certificates_and_old_ones_go_on() {
    let (_backend, address) = echo("app", "http").await;
    let running = before(&format!("http://{address}")).await;
    let mut old = client(&running).await;
    assert_eq!(old.get("https://localhost/").await.unwrap().status, 200);
    write_certificate(running.folder.path());
    // The document has changed, and with it the certificate is read anew.
    let app = everything_to(&format!("http://{address}")) + CERTIFICATE + "# changed\n";
    std::fs::write(running.path("dynamic/app.yml"), app).unwrap();
    let (secure, trust) = (running.address("secure"), Trust::of(running.folder.path()));
    let trust = &trust;
    eventually("the new certificate", || async move {
        Client::connect(secure, "localhost", trust).await.ok()
    })
    .await;
    assert_eq!(old.get("https://localhost/").await.unwrap().status, 200);
}

#[tokio::test]
async fn what_is_replayed_cannot_come_before_the_handshake() {
    let (_backend, address) = echo("app", "http").await;
    let running = before(&format!("http://{address}")).await;
    let trust = Trust::of(running.folder.path());
    for _ in 0..3 {
        let mut client =
            Client::connect(running.address("secure"), "localhost", &trust).await.unwrap();
        assert!(!client.early, "there is no 0-RTT");
        assert_eq!(client.get("https://localhost/").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_connection_survives_changes_of_its_clients_address() {
    let (_backend, address) = echo("app", "http").await;
    let running = before(&format!("http://{address}")).await;
    let mut client = client(&running).await;
    // Each address may belong to another core's socket.
    for _ in 0..10 {
        assert_eq!(client.get("https://localhost/").await.unwrap().status, 200);
        client.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    }
    assert_eq!(
        client.get("https://localhost/__bytes/1000000").await.unwrap().body.len(),
        1_000_000
    );
}

#[tokio::test]
async fn requests_in_flight_finish_when_the_program_is_told_to_end() {
    let (backend, address) = echo("app", "http").await;
    let mut running = before(&format!("http://{address}")).await;
    let (mut busy, mut idle) = (client(&running).await, client(&running).await);
    idle.get("https://localhost/").await.unwrap();
    let mark = backend.count();
    let in_flight = tokio::spawn(async move {
        let answer = busy.get("https://localhost/__delay/1000/__bytes/300000").await;
        (answer, busy)
    });
    eventually("the request", || async { (backend.count() > mark).then_some(()) }).await;
    running.signal("TERM");
    let said = idle.ended().await;
    assert!(said.contains("H3_NO_ERROR"), "an idle connection is closed: {said}");
    assert!(!in_flight.is_finished(), "the request is still under way");
    let trust = Trust::of(running.folder.path());
    let refused = connect(running.address("secure"), "localhost", &trust).await.unwrap_err();
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused}");
    let (answer, busy) = in_flight.await.unwrap();
    assert_eq!(answer.unwrap().body.len(), 300_000);
    let said = busy.ended().await;
    assert!(said.contains("H3_NO_ERROR"), "{said}");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.output());
}

#[tokio::test]
async fn who_takes_longer_than_the_grace_time_is_told() {
    let (backend, address) = echo("app", "http").await;
    let startup =
        startup().replace("http3: {}", "http3: {}, transport: {lifeCycle: {graceTimeOut: 200ms}}");
    let app = everything_to(&format!("http://{address}")) + CERTIFICATE;
    let mut running = Running::start(&startup, &[("app.yml", &app)]).await;
    let mut client = client(&running).await;
    let mark = backend.count();
    let connection = client.connection.clone();
    let in_flight =
        tokio::spawn(async move { client.get("https://localhost/__delay/60000").await });
    eventually("the request", || async { (backend.count() > mark).then_some(()) }).await;
    running.signal("TERM");
    let closed = connection.closed().await;
    assert!(matches!(closed, quinn::ConnectionError::ApplicationClosed(_)), "{closed}");
    assert!(in_flight.await.unwrap().is_err());
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.output());
}

#[tokio::test]
async fn heads_are_bounded_and_smuggling_is_refused() {
    let (_backend, address) = echo("app", "http").await;
    let startup = startup().replace("http3: {}", "http3: {}, http: {maxHeaderBytes: 4096}");
    let app = everything_to(&format!("http://{address}")) + CERTIFICATE;
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    let mut client = client(&running).await;
    let with = |name: &str, value: &str| {
        Request::get("https://localhost/").header(name, value).body(()).unwrap()
    };
    // One that the client's own check of the server's settings lets through, before they are known.
    let long = client.send(with("x-long", &"a".repeat(5000)), Bytes::new(), None).await;
    match long {
        Ok((answer, _)) => assert_eq!(answer.status, 431),
        Err(error) => assert!(error.to_string().contains("too big"), "{error}"),
    }
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "x"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        let refused = client.send(with(name, value), Bytes::new(), None).await.unwrap_err();
        assert!(refused.to_string().contains("H3_MESSAGE_ERROR"), "{name}: {refused}");
    }
    assert_eq!(client.get("https://localhost/").await.unwrap().status, 200);
}

/// tcp-udp-tls.md §8: an entry point for UDP at the same address conflicts.
#[tokio::test]
async fn a_taken_udp_port_is_an_error_that_names_it() {
    let address = free_address();
    let startup = format!(
        "entryPoints:\n  dns: {{address: '{address}/udp'}}\n  secure: {{address: '{address}', http3: {{}}}}\n"
    );
    let folder = Running::prepare(&startup, &[]);
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_pontoon"))
        .arg("--configFile=pontoon.yml")
        .current_dir(folder.path())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(crate::support::running::PATIENCE, output).await.unwrap();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("entry point `secure`: `http3`: cannot receive on UDP port"), "{text}");
}

/// First datagrams of `count` clients that wait for a server at `capture`, by connection.
async fn first_datagrams(running: &Running, count: usize) -> Vec<Vec<u8>> {
    let capture = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let trust = Trust::of(running.folder.path());
    let address = capture.local_addr().unwrap();
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let trust = trust.clone();
            tokio::spawn(async move { connect(address, "localhost", &trust).await.map(drop) })
        })
        .collect();
    let mut first = std::collections::BTreeMap::new();
    let mut buffer = [0; 2048];
    while first.len() < count {
        let (length, _) = capture.recv_from(&mut buffer).await.unwrap();
        let id = buffer[6..6 + usize::from(buffer[5])].to_vec();
        first.entry(id).or_insert_with(|| buffer[..length].to_vec());
    }
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    first.into_values().collect()
}

#[tokio::test]
async fn a_flood_of_handshakes_makes_clients_show_their_address() {
    const RETRY: u8 = 0b1111;
    let (_backend, address) = echo("app", "http").await;
    let running = before(&format!("http://{address}")).await;
    // Enough for all cores of a machine of tests.
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut kinds = Vec::new();
    let mut sockets = Vec::new();
    for datagram in first_datagrams(&running, 200 * cores).await {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(running.address("secure")).await.unwrap();
        socket.send(&datagram).await.unwrap();
        let mut answer = [0; 2048];
        let answered =
            tokio::time::timeout(std::time::Duration::from_secs(5), socket.recv(&mut answer));
        answered.await.expect("every first packet is answered").unwrap();
        kinds.push(answer[0] >> 4);
        sockets.push(socket);
    }
    let begun = kinds.iter().filter(|&&kind| kind != RETRY).count();
    assert!(begun >= 64 && begun <= 64 * cores, "{begun} handshakes are under way");
    assert_eq!(kinds.first().map(|kind| kind == &RETRY), Some(false), "at first nobody has to");
    assert_eq!(kinds.last(), Some(&RETRY));
    // Who answers is served.
    let mut client = client(&running).await;
    assert_eq!(client.get("https://localhost/").await.unwrap().status, 200);
}
