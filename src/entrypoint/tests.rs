//! Entry points over loopback.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::*;
use crate::http::{Body, Handler, ProxyError, Request, Response, SharedHandler};
use crate::observe::Summary;
use crate::observe::trace::Traces;
use crate::plan::{EntryPoint, Plan, Route};
use crate::router::{Entry as Routed, Rule, Syntax, Table};

/// Answers with what it was asked for and by whom; waits for `gate` on `/slow`.
struct Echo {
    gate: Arc<Notify>,
    reached: Arc<Notify>,
}

#[async_trait::async_trait]
impl Handler for Echo {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        match request.uri().path() {
            "/slow" => {
                self.reached.notify_one();
                self.gate.notified().await;
            }
            "/panic" => panic!("a handler of the test"),
            _ => {}
        }
        let ip = request.headers()["x-real-ip"].to_str().unwrap().to_owned();
        let parts = request.into_parts().0;
        let text = format!("{} {ip} {:?}", parts.uri, parts.version);
        Ok(Response::new(Body::from(text)))
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<(u16, u64, Option<String>)>>);

impl Observer for Seen {
    fn connection_opened(&self, _: &Arc<str>) {}

    fn connection_closed(&self, _: &Arc<str>) {}

    fn finished(&self, summary: &Summary<'_>) {
        let router = summary.router.map(ToString::to_string);
        self.0.lock().unwrap().push((summary.status, summary.response_bytes, router));
    }

    fn wants_target(&self) -> bool {
        false
    }

    fn wants_headers(&self) -> bool {
        false
    }
}

struct Fixture {
    cores: Cores,
    serving: Serving,
    address: SocketAddr,
    seen: Arc<Seen>,
    gate: Arc<Notify>,
    reached: Arc<Notify>,
}

fn serving(options: &str) -> Fixture {
    let (gate, reached, seen) = <(Arc<Notify>, Arc<Notify>, Arc<Seen>)>::default();
    let handler: SharedHandler = Arc::new(Echo { gate: gate.clone(), reached: reached.clone() });
    let observed = Observed { access_logs: true, metrics: true, traces: Traces::Minimal };
    let route =
        Route { service: "echo@test".into(), leads_on: false, handler, observed, internal: false };
    let rule = Rule::parse("PathPrefix(`/`) && !Path(`/nowhere`)", Syntax::V3).unwrap();
    let entry = Routed {
        rule: Arc::new(rule),
        priority: 1,
        precedence: 0,
        name: "all@test".into(),
        value: route,
    };
    let entry_point = EntryPoint { plain: Table::new(&[Arc::new(entry)]), ..EntryPoint::default() };
    let plan = plan::Handle::default();
    let entry_points = [(Arc::from("web"), Arc::new(entry_point))].into();
    plan.store(Arc::new(Plan { generation: 1, entry_points }));
    let shared = Shared::new(plan, Some(seen.clone()), None);
    let mut options: Options = serde_json::from_str(options).unwrap();
    options.address = "127.0.0.1:0".to_owned();
    let bound = bind("web", &options, &shared).unwrap();
    let (_, address) = bound.address();
    let cores = Cores::start().unwrap();
    let serving = bound.serve(&cores).unwrap();
    Fixture { cores, serving, address, seen, gate, reached }
}

/// Sends `bytes`, and gives all that comes back.
async fn ask(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn requests_are_routed_and_told_to_the_observer() {
    let fixture = serving("{}");
    let answer = ask(fixture.address, &get("/a/../b?x;y")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("/b?x&y 127.0.0.1 HTTP/1.1"), "{answer}");
    let missing = ask(fixture.address, &get("/nowhere")).await;
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
    let panicked = ask(fixture.address, &get("/panic")).await;
    assert!(panicked.starts_with("HTTP/1.1 500"), "{panicked}");
    let seen = fixture.seen.0.lock().unwrap().clone();
    let router = Some("all@test".to_owned());
    assert_eq!(seen, [(200, 25, router.clone()), (404, 19, None), (500, 21, router)]);
    fixture.cores.end();
}

#[tokio::test]
async fn http2_is_taken_by_prior_knowledge() {
    let fixture = serving("{}");
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let (mut client, connection) = ::h2::client::handshake(stream).await.unwrap();
    let driver = async move { drop(connection.await) };
    let request = ::http::Request::get("http://a/x//y").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let answer = async move {
        let mut body = response.await.unwrap().into_body();
        body.data().await.unwrap().unwrap()
    };
    tokio::select! {
        answer = answer => assert_eq!(answer, "/x/y 127.0.0.1 HTTP/2.0"),
        () = driver => panic!("the connection ended"),
    }
    drop(client);
    fixture.cores.end();
}

#[tokio::test]
async fn proxy_headers_count_only_from_trusted_senders() {
    let header = b"PROXY TCP4 9.8.7.6 10.0.0.1 1000 80\r\n";
    let request = [header.as_slice(), &get("/")].concat();
    let trusting = serving(r#"{"proxyProtocol":{"trustedIPs":["127.0.0.0/8"]}}"#);
    assert!(ask(trusting.address, &request).await.ends_with("/ 9.8.7.6 HTTP/1.1"));
    assert!(ask(trusting.address, &get("/")).await.ends_with("/ 127.0.0.1 HTTP/1.1"));
    assert_eq!(ask(trusting.address, b"PROXY nonsense\r\n").await, "");
    trusting.cores.end();
    let wary = serving(r#"{"proxyProtocol":{"trustedIPs":["10.0.0.0/8"]}}"#);
    assert!(ask(wary.address, &request).await.ends_with("/ 127.0.0.1 HTTP/1.1"));
    wary.cores.end();
}

#[tokio::test]
async fn draining_lets_requests_end_and_takes_no_more() {
    let fixture = serving("{}");
    let idle = TcpStream::connect(fixture.address).await.unwrap();
    let mut slow = TcpStream::connect(fixture.address).await.unwrap();
    slow.write_all(&get("/slow")).await.unwrap();
    fixture.reached.notified().await;
    let mut answer = Vec::new();
    let (ended, read) = tokio::join!(fixture.serving.drain(), async {
        // Refused only once the listeners are closed.
        while TcpStream::connect(fixture.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        fixture.gate.notify_one();
        slow.read_to_end(&mut answer).await
    });
    assert!(ended);
    read.unwrap();
    assert!(String::from_utf8_lossy(&answer).ends_with("/slow 127.0.0.1 HTTP/1.1"));
    drop(idle);
    fixture.cores.end();
}

#[tokio::test]
async fn a_client_that_leaves_early_is_told_as_499() {
    let fixture = serving(r#"{"transport":{"lifeCycle":{"graceTimeOut":"100ms"}}}"#);
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let (mut client, connection) = ::h2::client::handshake(stream).await.unwrap();
    let request = ::http::Request::get("http://a/slow").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let driver = async move { drop(connection.await) };
    tokio::select! {
        () = fixture.reached.notified() => {}
        () = driver => panic!("the connection ended"),
    }
    drop(response);
    drop(client);
    assert!(fixture.serving.drain().await);
    assert_eq!(fixture.seen.0.lock().unwrap()[0].0, 499);
    fixture.cores.end();
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let fixture = serving("{}");
    let options = Options { address: fixture.address.to_string(), ..Options::default() };
    let shared = Shared::new(plan::Handle::default(), None, None);
    let error = bind("again", &options, &shared).err().unwrap().to_string();
    assert!(error.starts_with("entry point `again`: cannot listen on `127.0.0.1:"), "{error}");
    fixture.cores.end();
}
