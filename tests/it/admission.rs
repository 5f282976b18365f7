//! What entry points let in, whom they believe, where they lead to, and what they add to their routers (static.md §3).

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::backend::Backend;
use crate::support::certificates::Certificates;
use crate::support::client::Client;
use crate::support::h1::Reader;
use crate::support::running::{
    Answer, CERTIFICATE, PATIENCE, Running, echo, eventually, free_address, get, raw, send,
};

const PROVIDERS: &str = "
providers:
  providersThrottleDuration: 20ms
  file: {directory: dynamic}
";

/// An entry point `web` and these, with everything going to one server.
async fn before(entry_points: &str, more: &str) -> (Backend, Running) {
    let (backend, address) = echo("app", "http").await;
    let startup =
        format!("entryPoints:\n  web: {{address: '127.0.0.1:0'}}\n{entry_points}{PROVIDERS}");
    let dynamic = format!(
        "
http:
  routers:
    all: {{rule: 'PathPrefix(`/`)', service: app}}
{more}  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}
"
    );
    let running = Running::start(&startup, &[("app.yml", &dynamic)]).await;
    backend.reset();
    (backend, running)
}

/// A request as it is written, from an address of this machine; `head` has no empty line at its end.
async fn from(source: &str, address: SocketAddr, head: &str) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    let stream = socket.connect(address).await.unwrap();
    send(&mut Reader::new(stream), format!("{head}\r\n\r\n").as_bytes()).await.unwrap()
}

async fn asked(address: SocketAddr, head: &str) -> Answer {
    from("127.0.0.1", address, head).await
}

/// What the echo server has seen.
fn seen(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// Name, option, and what it is about.
const ENCODED: [(&str, &str, &str); 7] = [
    ("slash", "allowEncodedSlash", "%2F"),
    ("back", "allowEncodedBackSlash", "%5C"),
    ("nothing", "allowEncodedNullCharacter", "%00"),
    ("semicolon", "allowEncodedSemicolon", "%3B"),
    ("percent", "allowEncodedPercent", "%25"),
    ("question", "allowEncodedQuestionMark", "%3F"),
    ("hash", "allowEncodedHash", "%23"),
];

/// `entryPoints.NAME.http.encodedCharacters` (each true by default) and the middleware (each false by default).
#[tokio::test]
async fn each_encoded_character_has_its_option() {
    let (mut entry_points, mut routers) = (String::new(), String::new());
    let mut middlewares = String::from("  middlewares:\n");
    for (name, option, _) in ENCODED {
        entry_points.push_str(&format!(
            "  {name}: {{address: '127.0.0.1:0', http: {{encodedCharacters: {{{option}: false}}}}}}\n"
        ));
        routers.push_str(&format!(
            "    {name}: {{rule: 'Header(`X-Allows`, `{name}`)', service: app, entryPoints: [web], middlewares: [{name}]}}\n"
        ));
        middlewares.push_str(&format!("    {name}: {{encodedCharacters: {{{option}: true}}}}\n"));
    }
    let (_backend, running) = before(&entry_points, &(routers + &middlewares)).await;
    for (name, option, _) in ENCODED {
        for (_, other, text) in ENCODED {
            let own = option == other;
            let denied = get(running.address(name), &format!("/a{text}b")).await.unwrap().status;
            assert_eq!(
                denied,
                if own { 400 } else { 200 },
                "entry point {option}, path with {text}"
            );
            let head = format!("GET /a{text}b HTTP/1.1\r\nHost: a\r\nX-Allows: {name}");
            let allowed = asked(running.address("web"), &head).await.status;
            assert_eq!(
                allowed,
                if own { 200 } else { 400 },
                "middleware {option}, path with {text}"
            );
        }
    }
}

/// `forwardedHeaders`, `proxyProtocol`: whom an entry point believes, and what it passes on.
#[tokio::test]
async fn each_entry_point_believes_those_that_it_lists() {
    let (_backend, running) = before(
        "  all: {address: '127.0.0.1:0', forwardedHeaders: {insecure: true}}
  some: {address: '127.0.0.1:0', forwardedHeaders: {trustedIPs: [127.0.0.5/32]}}
  hop: {address: '127.0.0.1:0', forwardedHeaders: {connection: [X-Hop]}}
  quiet: {address: '127.0.0.1:0', forwardedHeaders: {insecure: true, notAppendXForwardedFor: true}}
  proxied: {address: '127.0.0.1:0', proxyProtocol: {insecure: true}}
  listed: {address: '127.0.0.1:0', proxyProtocol: {trustedIPs: [127.0.0.5]}}
",
        "    hop: {rule: 'Header(`X-Hop`, `1`)', service: app, middlewares: [hop]}
  middlewares:
    hop: {addPrefix: {prefix: /hop}}
",
    )
    .await;
    let forwarded = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9";
    let proxied = "PROXY TCP4 203.0.113.9 198.51.100.1 1 2\r\nGET / HTTP/1.1\r\nHost: a";
    for (entry_point, source, head, told) in [
        ("web", "127.0.0.1", forwarded, json!(["127.0.0.1"])),
        ("all", "127.0.0.1", forwarded, json!(["203.0.113.9, 127.0.0.1"])),
        ("some", "127.0.0.1", forwarded, json!(["127.0.0.1"])),
        ("some", "127.0.0.5", forwarded, json!(["203.0.113.9, 127.0.0.5"])),
        ("quiet", "127.0.0.1", forwarded, json!(["203.0.113.9"])),
        ("quiet", "127.0.0.1", "GET / HTTP/1.1\r\nHost: a", Value::Null),
        ("proxied", "127.0.0.1", proxied, json!(["203.0.113.9"])),
        ("listed", "127.0.0.1", proxied, json!(["127.0.0.1"])),
        ("listed", "127.0.0.5", proxied, json!(["203.0.113.9"])),
    ] {
        let answer = from(source, running.address(entry_point), head).await;
        let told_now = &seen(&answer)["headers"]["X-Forwarded-For"];
        assert_eq!(*told_now, told, "{entry_point} from {source}: {head}");
    }
    let refused = raw(running.address("web"), format!("{proxied}\r\n\r\n").as_bytes()).await;
    assert!(refused.starts_with(b"HTTP/1.1 400"), "without the option it is no request");
    // What `Connection` lists and the option keeps reaches routers and middlewares, and no server.
    let hop = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: X-Hop\r\nX-Hop: 1";
    for (entry_point, uri) in [("web", "/x"), ("hop", "/hop/x")] {
        let request = seen(&asked(running.address(entry_point), hop).await);
        assert_eq!((&request["uri"], &request["headers"]["X-Hop"]), (&json!(uri), &Value::Null));
    }
}

/// `http.redirections.entryPoint`: `to`, `scheme`, `permanent`, `priority`.
#[tokio::test]
async fn a_redirection_has_its_target_status_and_priority() {
    let secure = free_address();
    let (_backend, running) = before(
        &format!(
            "  secure: {{address: '{secure}', http: {{tls: {{}}}}}}
  usual: {{address: '127.0.0.1:0', http: {{redirections: {{entryPoint: {{to: secure}}}}}}}}
  odd: {{address: '127.0.0.1:0', http: {{redirections: {{entryPoint: {{to: ':8443', scheme: wss, permanent: false, priority: 50}}}}}}}}
"
        ),
        "    above: {rule: 'Path(`/above`)', service: app, priority: 60}\n",
    )
    .await;
    let port = secure.rsplit(':').next().unwrap();
    for (entry_point, path, status, location) in [
        ("usual", "/x?y=z", 301, Some(format!("https://localhost:{port}/x?y=z"))),
        ("usual", "/above", 301, Some(format!("https://localhost:{port}/above"))),
        ("odd", "/x", 302, Some("wss://localhost:8443/x".to_owned())),
        ("odd", "/above", 200, None),
    ] {
        let answer = get(running.address(entry_point), path).await.unwrap();
        assert_eq!(
            (answer.status, answer.header("location")),
            (status, location),
            "{entry_point} {path}"
        );
    }
    for (entry_point, status) in [("usual", 308), ("odd", 307)] {
        let head = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0";
        assert_eq!(asked(running.address(entry_point), head).await.status, status);
    }
}

/// `http.middlewares`, `http.tls.options`: what an entry point adds to its routers.
#[tokio::test]
async fn routers_get_the_middlewares_and_tls_options_of_their_entry_point() {
    let (_backend, running) = before(
        "  marked: {address: '127.0.0.1:0', http: {middlewares: ['mark@file']}}
  old: {address: '127.0.0.1:0', http: {tls: {options: 'old@file'}}}
  new: {address: '127.0.0.1:0', http: {tls: {}}}
",
        "    host: {rule: 'Host(`localhost`)', service: app, middlewares: [own]}
  middlewares:
    mark: {headers: {customRequestHeaders: {X-Mark: entry-point}}}
    own: {addPrefix: {prefix: /own}}
",
    )
    .await;
    std::fs::write(
        running.path("dynamic/tls.yml"),
        format!("{CERTIFICATE}  options: {{old: {{maxVersion: VersionTLS12}}}}\n"),
    )
    .unwrap();
    for (entry_point, mark) in [("web", Value::Null), ("marked", json!(["entry-point"]))] {
        let request = seen(&get(running.address(entry_point), "/x").await.unwrap());
        assert_eq!((&request["headers"]["X-Mark"], &request["uri"]), (&mark, &json!("/own/x")));
    }
    let certificates = Certificates::make(running.folder.path(), &json!([]));
    let request = json!({"headers": {"Host": "localhost"}});
    for (entry_point, version) in [("old", "TLSv1.2"), ("new", "TLSv1.3")] {
        let client = Client {
            address: running.address(entry_point),
            secure: true,
            request: &request,
            certificates: &certificates,
            extra: Vec::new(),
        };
        let client = &client;
        eventually(entry_point, || async move {
            let outcome = client.send().await;
            let found = outcome.tls.as_ref()?.version == version && outcome.status == Some(200);
            found.then_some(())
        })
        .await;
    }
}

/// The settings that a server sends first, by their numbers (RFC 9113, 6.5.2).
async fn settings(address: SocketAddr) -> Vec<(u16, u32)> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame");
    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut payload).await.unwrap();
    payload
        .chunks(6)
        .map(|one| {
            let number = u16::from_be_bytes([one[0], one[1]]);
            (number, u32::from_be_bytes([one[2], one[3], one[4], one[5]]))
        })
        .collect()
}

/// `http2`: what clients are told, and what of it cannot be had.
#[tokio::test]
async fn http2_settings_are_those_of_the_entry_point() {
    let (_backend, running) = before(
        "  small: {address: '127.0.0.1:0', http2: {maxConcurrentStreams: 7, maxDecoderHeaderTableSize: 256, maxEncoderHeaderTableSize: 0}}
log: {level: WARN}
",
        "",
    )
    .await;
    let (usual, small) =
        (settings(running.address("web")).await, settings(running.address("small")).await);
    let value = |all: &[(u16, u32)], number: u16| {
        all.iter().find(|(one, _)| *one == number).map(|(_, value)| *value)
    };
    assert_eq!((value(&usual, 3), value(&small, 3)), (Some(250), Some(7)));
    assert_eq!((value(&usual, 1).unwrap_or(4096), value(&small, 1)), (4096, Some(256)));
    assert!(!usual.contains(&(8, 1)), "http.md §3: the extended CONNECT of RFC 8441");
    let said = "http2.maxEncoderHeaderTableSize cannot be changed";
    assert_eq!(running.output().matches(said).count(), 1, "{}", running.output());
}
