//! Options of entry points as clients see them (static.md §3); drain, read timeouts and floods have modules of their own.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::backend::Backend;
use crate::support::h1::Reader;
use crate::support::running::{Answer, PATIENCE, Running, echo, get, send};

const STARTUP: &str = "
entryPoints:
  web: {address: '127.0.0.1:0', asDefault: true}
  aside: {address: '127.0.0.1:0'}
  requests: {address: '127.0.0.1:0', asDefault: true, transport: {keepAliveMaxRequests: 2}}
  age: {address: '127.0.0.1:0', asDefault: true, transport: {keepAliveMaxTime: 1ns}}
  idle: {address: '127.0.0.1:0', asDefault: true, transport: {respondingTimeouts: {idleTimeout: 100ms}}}
  write: {address: '127.0.0.1:0', asDefault: true, transport: {respondingTimeouts: {writeTimeout: 200ms}}}
  head: {address: '127.0.0.1:0', asDefault: true, http: {maxHeaderBytes: 2000}}
  delete: {address: '127.0.0.1:0', asDefault: true, http: {underscoreHeadersStrategy: delete}}
  reject: {address: '127.0.0.1:0', asDefault: true, http: {underscoreHeadersStrategy: reject}}
  characters:
    address: '127.0.0.1:0'
    asDefault: true
    http:
      encodedCharacters:
        allowEncodedSlash: false
        allowEncodedBackSlash: false
        allowEncodedNullCharacter: false
        allowEncodedSemicolon: false
        allowEncodedPercent: false
        allowEncodedQuestionMark: false
        allowEncodedHash: false
  semicolons: {address: '127.0.0.1:0', asDefault: true, http: {encodeQuerySemicolons: true}}
  unclean: {address: '127.0.0.1:0', asDefault: true, http: {sanitizePath: false}}
  trusting:
    address: '127.0.0.1:0'
    asDefault: true
    forwardedHeaders: {trustedIPs: ['127.0.0.0/8'], connection: [X-Kept], notAppendXForwardedFor: true}
  elsewhere: {address: '127.0.0.1:0', http: {redirections: {entryPoint: {to: ':8443', permanent: false}}}}
  front: {address: '127.0.0.1:0', http: {middlewares: ['early@file']}}
  shared: {address: '127.0.0.1:0', reusePort: true}
  streams: {address: '127.0.0.1:0', http2: {maxConcurrentStreams: 7, maxDecoderHeaderTableSize: 1024}}
providers:
  providersThrottleDuration: 20ms
  file: {directory: dynamic}
";

async fn start() -> (Backend, Running) {
    let (backend, address) = echo("app", "http").await;
    let dynamic = format!(
        "
http:
  routers:
    app: {{rule: 'PathPrefix(`/`)', service: app}}
    kept: {{rule: 'Header(`X-Kept`, `1`)', service: app, middlewares: [early]}}
    front: {{rule: 'PathPrefix(`/`)', service: app, entryPoints: [front, shared]}}
  middlewares:
    early: {{addPrefix: {{prefix: /early}}}}
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}
"
    );
    (backend, Running::start(STARTUP, &[("app.yml", &dynamic)]).await)
}

type Connection = Reader<TcpStream>;

async fn connect(running: &Running, entry_point: &str) -> Connection {
    Reader::new(TcpStream::connect(running.address(entry_point)).await.unwrap())
}

/// A request on a connection of its own, with more lines in its head.
async fn ask(running: &Running, entry_point: &str, target: &str, more: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    send(&mut connect(running, entry_point).await, request.as_bytes()).await.unwrap()
}

fn told(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn closes(answer: &Answer) -> bool {
    answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// `asDefault`, `http.middlewares`, `http.redirections.entryPoint`.
#[tokio::test]
async fn routers_are_on_default_entry_points_behind_their_middlewares() {
    let (_backend, running) = start().await;
    assert_eq!(ask(&running, "web", "/", "").await.status, 200);
    assert_eq!(ask(&running, "aside", "/", "").await.status, 404, "not a default one");
    assert_eq!(told(&ask(&running, "front", "/x", "").await)["uri"], "/early/x");
    let answer = ask(&running, "elsewhere", "/a?b", "").await;
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location").as_deref(), Some("https://localhost:8443/a?b"));
}

/// `transport.keepAliveMaxRequests`, `transport.keepAliveMaxTime`, `respondingTimeouts.idleTimeout`.
#[tokio::test]
async fn connections_end_after_their_requests_their_time_and_their_silence() {
    let (_backend, running) = start().await;
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut two = connect(&running, "requests").await;
    assert!(!closes(&send(&mut two, request).await.unwrap()));
    assert!(closes(&send(&mut two, request).await.unwrap()), "the second is the last");
    assert!(send(&mut two, request).await.is_err());
    let mut old = connect(&running, "age").await;
    assert!(closes(&send(&mut old, request).await.unwrap()));
    let mut idle = connect(&running, "idle").await;
    assert!(!closes(&send(&mut idle, request).await.unwrap()));
    let ended = tokio::time::timeout(PATIENCE, idle.head()).await.unwrap();
    assert!(!matches!(ended, Ok(Some(_))), "it is closed without a word");
}

/// `respondingTimeouts.writeTimeout`: a response that takes longer is cut off.
#[tokio::test]
async fn a_response_must_be_written_in_time() {
    let (_backend, running) = start().await;
    let answer = get(running.address("write"), "/").await.unwrap();
    assert_eq!(answer.status, 200);
    let slow = get(running.address("write"), "/__delay/2000").await;
    assert!(slow.is_err() || slow.is_ok_and(|answer| answer.status != 200));
}

/// `http.maxHeaderBytes`, `http.underscoreHeadersStrategy`.
#[tokio::test]
async fn heads_have_a_size_and_names_without_underscores() {
    let (_backend, running) = start().await;
    let long = format!("X-Long: {}\r\n", "x".repeat(3000));
    assert_eq!(ask(&running, "head", "/", &long).await.status, 431);
    assert_eq!(ask(&running, "web", "/", &long).await.status, 200);
    let odd = "X_Odd: 1\r\nX-Even: 2\r\n";
    let names = |answer: &Answer| -> Vec<String> {
        let told = told(answer);
        let names = told["headers"].as_object().unwrap().keys();
        names.map(|name| name.to_ascii_lowercase()).collect()
    };
    let kept = names(&ask(&running, "web", "/", odd).await);
    assert!(kept.contains(&"x_odd".to_owned()), "{kept:?}");
    let left = names(&ask(&running, "delete", "/", odd).await);
    assert!(!left.contains(&"x_odd".to_owned()) && left.contains(&"x-even".to_owned()), "{left:?}");
    assert_eq!(ask(&running, "reject", "/", odd).await.status, 400);
    assert_eq!(ask(&running, "reject", "/", "X-Even: 2\r\n").await.status, 200);
}

/// `http.encodedCharacters`, `http.encodeQuerySemicolons`, `http.sanitizePath`.
#[tokio::test]
async fn paths_and_queries_are_made_as_the_options_say() {
    let (_backend, running) = start().await;
    for escape in ["%2f", "%2F", "%5c", "%00", "%3b", "%25", "%3f", "%23"] {
        let target = format!("/a{escape}b");
        assert_eq!(ask(&running, "characters", &target, "").await.status, 400, "{escape}");
        assert_eq!(ask(&running, "web", &target, "").await.status, 200, "{escape}");
    }
    assert_eq!(ask(&running, "characters", "/a%20b", "").await.status, 200);
    assert_eq!(told(&ask(&running, "semicolons", "/?a;b", "").await)["uri"], "/?a%3Bb");
    assert_eq!(told(&ask(&running, "web", "/a/../b//c", "").await)["uri"], "/b/c");
    assert_eq!(told(&ask(&running, "unclean", "/a/../b//c", "").await)["uri"], "/a/../b//c");
}

/// `forwardedHeaders.trustedIPs`, `connection`, `notAppendXForwardedFor`.
#[tokio::test]
async fn forwarded_headers_are_believed_where_that_is_configured() {
    let (_backend, running) = start().await;
    let more =
        "X-Forwarded-For: 192.0.2.1\r\nX-Kept: 1\r\nX-Gone: 2\r\nConnection: X-Kept, X-Gone\r\n";
    let header = |answer: &Answer, name: &str| {
        let told = told(answer);
        let headers = told["headers"].as_object().unwrap();
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value[0].as_str().unwrap().to_owned())
    };
    let believed = ask(&running, "trusting", "/", more).await;
    assert_eq!(header(&believed, "x-forwarded-for").as_deref(), Some("192.0.2.1"));
    // What `Connection` names goes no further than here; routers and middlewares see it where that is allowed.
    assert_eq!(told(&believed)["uri"], "/early/");
    assert_eq!((header(&believed, "x-kept"), header(&believed, "x-gone")), (None, None));
    let replaced = ask(&running, "web", "/", more).await;
    assert_eq!(header(&replaced, "x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(told(&replaced)["uri"], "/");
}

/// The settings that a server announces first: identifier and value (RFC 9113 §6.5).
async fn settings(running: &Running, entry_point: &str) -> Vec<(u16, u32)> {
    let mut stream = TcpStream::connect(running.address(entry_point)).await.unwrap();
    // The preface and an empty SETTINGS frame.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut payload).await.unwrap();
    let pair = |one: &[u8]| {
        let value = u32::from_be_bytes(one[2..6].try_into().unwrap());
        (u16::from_be_bytes([one[0], one[1]]), value)
    };
    payload.chunks(6).map(pair).collect()
}

/// `http2.maxConcurrentStreams`, `http2.maxDecoderHeaderTableSize`.
#[tokio::test]
async fn http2_announces_the_limits_of_the_options() {
    let (_backend, running) = start().await;
    let (table, streams) = (1, 3);
    let changed = settings(&running, "streams").await;
    assert!(changed.contains(&(table, 1024)) && changed.contains(&(streams, 7)), "{changed:?}");
    let default = settings(&running, "web").await;
    assert!(default.contains(&(streams, 250)), "{default:?}");
    // What is not announced is 4096.
    let announced = default.iter().find(|(identifier, _)| *identifier == table);
    assert!(announced.is_none_or(|(_, value)| *value == 4096), "{default:?}");
}

/// `reusePort`: another process may listen at the same address, and only then.
#[tokio::test]
async fn a_port_is_shared_only_where_that_is_configured() {
    let (_backend, running) = start().await;
    let listen = |entry_point: &str| {
        let address = running.address(entry_point);
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).and_then(|()| socket.listen(1)).is_ok()
    };
    // Ours are shared by our own cores; whether strangers may join is decided when the second one starts.
    assert!(listen("shared"));
    let taken = running.address("web").port();
    let second = |reuse: bool| {
        let startup = format!(
            "entryPoints: {{web: {{address: '127.0.0.1:{taken}', reusePort: {reuse}}}, other: {{address: '127.0.0.1:0'}}}}\n"
        );
        Running::prepare(&startup, &[])
    };
    let folder = second(false);
    let mut refused = tokio::process::Command::new(env!("CARGO_BIN_EXE_pontoon"))
        .arg("--configFile=pontoon.yml")
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = tokio::time::timeout(PATIENCE, refused.wait()).await.expect("it gives up").unwrap();
    assert!(!ended.success(), "a second program took the port");
    let joined = Running::start_in(second(true)).await;
    assert_eq!(joined.address("web").port(), taken);
}
