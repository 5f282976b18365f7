//! What a change of the configuration must leave alone: one test for each kind of state (http.md §4 and §5). Keep-alive
//! and WebSocket connections are in `reload`, too, TCP connections in `tcp`, UDP sessions in `udp`.
//!
//! Each test first changes something that has nothing to do with the state, then another option of the object that has
//! it or of what stands around it.

use std::fs;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::backend::Backend;
use crate::support::h1::Reader;
use crate::support::h2::{DATA, END_STREAM, Ending, Peer, frame, get as h2_get, post};
use crate::support::recorder::{OK, Recorder};
use crate::support::running::{Answer, Running, STARTUP, ask, echo, eventually, get, send};

/// Lines of the sections of a dynamic configuration.
#[derive(Debug, Clone, Default)]
struct Sections {
    routers: String,
    middlewares: String,
    services: String,
}

impl Sections {
    /// `app`, with these options besides its servers, behind a router for everything.
    fn app(addresses: &[&str], options: &str) -> Self {
        let servers: Vec<String> =
            addresses.iter().map(|address| format!("{{url: 'http://{address}'}}")).collect();
        Self {
            routers: "app: {entryPoints: [web], rule: 'PathPrefix(`/`)', service: app}".to_owned(),
            middlewares: String::new(),
            services: format!(
                "app: {{loadBalancer: {{servers: [{}]{options}}}}}",
                servers.join(", ")
            ),
        }
    }

    /// With a middleware in front.
    fn behind(mut self, middleware: &str) -> Self {
        self.middlewares = format!("one: {{{middleware}}}");
        "app: {entryPoints: [web], rule: 'PathPrefix(`/`)', service: app, middlewares: [one]}"
            .clone_into(&mut self.routers);
        self
    }

    /// `mark` is a path that only this configuration knows, on an entry point of its own.
    fn text(&self, mark: &str) -> String {
        let middlewares = match self.middlewares.as_str() {
            "" => String::new(),
            lines => format!("  middlewares:\n    {lines}\n"),
        };
        format!(
            "http:\n  routers:\n    {}\n    mark: {{entryPoints: [secure], rule: 'Path(`/{mark}`)', service: nobody}}\n\
             {middlewares}  services:\n    {}\n    nobody: {{loadBalancer: {{servers: []}}}}\n",
            self.routers, self.services
        )
    }
}

/// The program and the number of configurations that it has seen.
struct Scene {
    running: Running,
    changes: usize,
}

impl Scene {
    async fn start(sections: &Sections) -> Self {
        let running = Running::start_in(Running::prepare(STARTUP, &[])).await;
        let mut scene = Self { running, changes: 0 };
        scene.change(sections).await;
        scene
    }

    /// Puts the sections in force together with a router that is new.
    async fn change(&mut self, sections: &Sections) {
        self.changes += 1;
        let mark = format!("mark-{}", self.changes);
        let (new, file) = (self.running.path("dynamic/.new"), self.running.path("dynamic/app.yml"));
        fs::write(&new, sections.text(&mark)).unwrap();
        fs::rename(new, file).unwrap();
        let address = self.running.address("secure");
        let path = format!("/{mark}");
        eventually("the change", || async {
            get(address, &path).await.ok().filter(|answer| answer.status == 503)
        })
        .await;
    }

    async fn get(&self, path: &str) -> Answer {
        get(self.running.address("web"), path).await.unwrap()
    }

    async fn server(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("x-backend").unwrap()
    }

    /// A request under way; it is answered after `/__delay` milliseconds.
    async fn begin(&self, path: &str) -> Reader<TcpStream> {
        let mut reader =
            Reader::new(TcpStream::connect(self.running.address("web")).await.unwrap());
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        reader.stream.write_all(request.as_bytes()).await.unwrap();
        reader
    }
}

async fn arrived(backend: &Backend, path: &str) {
    eventually("the request at the server", || async {
        backend.all(0).iter().any(|record| record.target == path).then_some(())
    })
    .await;
}

async fn two() -> (Backend, Backend, String, String) {
    let ((one, first), (two, second)) = (echo("one", "http").await, echo("two", "http").await);
    (one, two, first, second)
}

/// http.md §4 `healthCheck`: what the probes have found.
#[tokio::test]
async fn health_by_probes() {
    let (one, _two, first, second) = two().await;
    let check =
        ", healthCheck: {path: /__health, interval: 1s, unhealthyInterval: 1s, timeout: 500ms}";
    let plain = Sections::app(&[&first, &second], check);
    let mut scene = Scene::start(&plain).await;
    one.set_health(500);
    let only_second = || async {
        let servers = [scene.server("/").await, scene.server("/").await];
        (servers == ["two", "two"]).then_some(())
    };
    eventually("the probe that fails", only_second).await;
    let other_option =
        Sections::app(&[&first, &second], &format!("{check}, passHostHeader: false"));
    let mut other_router = plain.clone();
    other_router.routers =
        "app: {entryPoints: [web], rule: 'PathPrefix(`/`) || Host(`b`)', service: app}".to_owned();
    for changed in [&plain, &other_router, &other_option] {
        scene.change(changed).await;
        for _ in 0..6 {
            assert_eq!(scene.server("/").await, "two", "before any new probe: {changed:?}");
        }
    }
    // And what comes back is found, by the checker of the last configuration.
    one.set_health(200);
    eventually("the probe that succeeds", || async {
        (scene.server("/").await == "one").then_some(())
    })
    .await;
}

/// http.md §4 `passiveHealthCheck`: what requests have shown.
#[tokio::test]
async fn health_by_requests() {
    let (_one, _two, first, second) = two().await;
    let check = ", passiveHealthCheck: {failureWindow: 60s, maxFailedAttempts: 1}";
    let plain = Sections::app(&[&first, &second], check);
    let mut scene = Scene::start(&plain).await;
    for _ in 0..2 {
        scene.get("/__on/one/__status/500").await;
    }
    let other_option =
        Sections::app(&[&first, &second], &format!("{check}, passHostHeader: false"));
    for changed in [&plain, &other_option] {
        scene.change(changed).await;
        for _ in 0..6 {
            assert_eq!(scene.server("/").await, "two", "{changed:?}");
        }
    }
}

/// http.md §5 `inFlightReq`: requests under way stay counted, and give their place back at the end.
#[tokio::test]
async fn requests_in_flight() {
    let (one, address) = echo("one", "http").await;
    let limit = "inFlightReq: {amount: 1, sourceCriterion: {ipStrategy: {}}}";
    let plain = Sections::app(&[&address], "").behind(limit);
    let mut scene = Scene::start(&plain).await;
    let mut slow = scene.begin("/__delay/4000").await;
    arrived(&one, "/__delay/4000").await;
    let other_service = Sections::app(&[&address], ", passHostHeader: false").behind(limit);
    let mut other_rule = plain.clone();
    other_rule.routers = other_rule.routers.replace("`/`)", "`/`) || Host(`b`)");
    for changed in [&plain, &other_service, &other_rule] {
        scene.change(changed).await;
        assert_eq!(scene.get("/").await.status, 429, "{changed:?}");
    }
    let head = slow.head().await.unwrap().unwrap();
    assert!(head.start.contains(" 200 "), "{}", head.start);
    slow.body(&head, true).await.unwrap();
    eventually("a free place", || async { (scene.get("/").await.status == 200).then_some(()) })
        .await;
}

/// http.md §4 `p2c`: requests under way count for the choice among servers.
#[tokio::test]
async fn load_of_servers() {
    let (one, two, first, second) = two().await;
    let plain = Sections::app(&[&first, &second], ", strategy: p2c");
    let mut scene = Scene::start(&plain).await;
    // Of two servers both are always compared: the one without requests gets the next.
    let mut slow = scene.begin("/__delay/20000").await;
    let busy = eventually("the slow request", || async {
        let at = |backend: &Backend| backend.all(0).iter().any(|r| r.target == "/__delay/20000");
        [("one", at(&one)), ("two", at(&two))].into_iter().find(|(_, at)| *at).map(|(name, _)| name)
    })
    .await;
    let other_option = Sections::app(&[&first, &second], ", strategy: p2c, passHostHeader: false");
    // On one connection a request is over before the next is read.
    let mut kept = Reader::new(TcpStream::connect(scene.running.address("web")).await.unwrap());
    for changed in [&plain, &other_option] {
        scene.change(changed).await;
        for _ in 0..8 {
            let server = ask(&mut kept, "/").await.unwrap().header("x-backend").unwrap();
            assert_ne!(server, busy, "{changed:?}");
        }
    }
    slow.stream.shutdown().await.unwrap();
}

/// http.md §4 `wrr`, `weighted`: a change does not begin the round anew, so that servers far behind in it get theirs.
#[tokio::test]
async fn positions_of_balancers() {
    let (_one, _two, first, second) = two().await;
    let (_three, third) = echo("three", "http").await;
    let balanced = Sections::app(&[&first, &second, &third], "");
    let mut weighted = balanced.clone();
    let names = [("one", &first), ("two", &second), ("three", &third)];
    let services = names.map(|(name, address)| {
        format!("{name}: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}\n    ")
    });
    weighted.services = services.concat()
        + "app: {weighted: {services: [{name: one, weight: 1}, {name: two, weight: 1}, {name: three, weight: 1}]}}";
    let other_option = Sections::app(&[&first, &second, &third], ", passHostHeader: false");
    for (plain, other) in [(&balanced, &other_option), (&weighted, &weighted)] {
        let mut scene = Scene::start(plain).await;
        let mut servers = Vec::new();
        for request in 0..9 {
            servers.push(scene.server("/").await);
            scene.change(if request % 2 == 0 { other } else { plain }).await;
        }
        for round in servers.chunks(3) {
            let mut round = round.to_vec();
            round.sort();
            assert_eq!(round, ["one", "three", "two"], "{servers:?}");
        }
    }
}

/// http.md §5 `rateLimit`: a bucket that is empty stays so.
#[tokio::test]
async fn buckets_of_rate_limits() {
    let (_one, address) = echo("one", "http").await;
    let limit = "rateLimit: {average: 1, period: 1h, burst: 3}";
    let plain = Sections::app(&[&address], "").behind(limit);
    let mut scene = Scene::start(&plain).await;
    for status in [200, 200, 200, 429] {
        assert_eq!(scene.get("/").await.status, status);
    }
    let other_service = Sections::app(&[&address], ", passHostHeader: false").behind(limit);
    let mut other_rule = plain.clone();
    other_rule.routers = other_rule.routers.replace("`/`)", "`/`) || Host(`b`)");
    for changed in [&plain, &other_service, &other_rule] {
        scene.change(changed).await;
        assert_eq!(scene.get("/").await.status, 429, "{changed:?}");
    }
    // What the limit itself says is new begins anew.
    scene
        .change(
            &Sections::app(&[&address], "").behind("rateLimit: {average: 1, period: 1h, burst: 2}"),
        )
        .await;
    assert_eq!(scene.get("/").await.status, 200);
}

/// http.md §5 `circuitBreaker`: one that has tripped stays tripped.
#[tokio::test]
async fn circuit_breakers() {
    let (one, address) = echo("one", "http").await;
    let breaker = "circuitBreaker: {expression: 'NetworkErrorRatio() > 0.1', fallbackDuration: 1h}";
    let plain = Sections::app(&[&address], "").behind(breaker);
    let mut scene = Scene::start(&plain).await;
    scene.get("/__status/502").await;
    assert_eq!(scene.get("/").await.status, 503, "it has tripped");
    let other_service = Sections::app(&[&address], ", passHostHeader: false").behind(breaker);
    let mark = one.count();
    for changed in [&plain, &other_service] {
        scene.change(changed).await;
        assert_eq!(scene.get("/").await.status, 503, "{changed:?}");
    }
    assert_eq!(one.hits(mark).iter().filter(|record| record.target == "/").count(), 0);
}

/// http.md §4 `sticky.cookie`: who has a server keeps it, also where others come and go.
#[tokio::test]
async fn sticky_sessions() {
    let (_one, _two, first, second) = two().await;
    let (_three, third) = echo("three", "http").await;
    let sticky = ", sticky: {cookie: {name: s}}";
    let plain = Sections::app(&[&first, &second], sticky);
    let mut scene = Scene::start(&plain).await;
    let answer = scene.get("/").await;
    let server = answer.header("x-backend").unwrap();
    let cookie = answer.header("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
    let grown = Sections::app(&[&third, &second, &first], sticky);
    let other_option =
        Sections::app(&[&second, &first], &format!("{sticky}, passHostHeader: false"));
    for changed in [&plain, &grown, &other_option] {
        scene.change(changed).await;
        let stream = TcpStream::connect(scene.running.address("web")).await.unwrap();
        let mut reader = Reader::new(stream);
        for _ in 0..4 {
            let answer = send(&mut reader, request.as_bytes()).await.unwrap();
            assert_eq!(answer.header("x-backend").unwrap(), server, "{changed:?}");
            assert_eq!(answer.header("set-cookie"), None, "the cookie is still good");
        }
    }
}

/// Clients' connections: HTTP/1 between requests, WebSocket, and HTTP/2 with streams under way in both directions; also
/// where the router and the service that they came by are gone.
#[tokio::test]
async fn connections_of_clients() {
    let (one, _two, first, second) = two().await;
    let plain = Sections::app(&[&first], "");
    let mut scene = Scene::start(&plain).await;
    let web = scene.running.address("web");
    let mut kept = Reader::new(TcpStream::connect(web).await.unwrap());
    assert_eq!(ask(&mut kept, "/").await.unwrap().status, 200);
    let stream = TcpStream::connect(web).await.unwrap();
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("ws://{web}/chat"), stream).await.unwrap();
    let mut h2 = Peer::connect(web).await;
    h2.send(&[post(1, "/upload"), frame(DATA, 0, 1, b"before ")].concat()).await;
    h2.send(&h2_get(3, "/__delay/3000")).await;
    arrived(&one, "/__delay/3000").await;
    let mut events = scene.begin("/__sse/1000/20").await;
    let head = events.head().await.unwrap().unwrap();
    assert!(head.start.contains(" 200 "));
    let mut elsewhere = Sections::app(&[&second], "");
    elsewhere.routers =
        "other: {entryPoints: [web], rule: 'PathPrefix(`/`)', service: other}".to_owned();
    elsewhere.services = elsewhere.services.replace("app:", "other:");
    for changed in [&plain, &elsewhere] {
        scene.change(changed).await;
        assert_eq!(ask(&mut kept, "/").await.unwrap().status, 200, "{changed:?}");
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("one: hello"));
        let mut more = [0; 64];
        assert!(events.stream.read(&mut more).await.unwrap() > 0, "events go on");
    }
    h2.send(&frame(DATA, END_STREAM, 1, b"after")).await;
    let both = |seen: &Ending| seen.heads.contains_key(&1) && seen.heads.contains_key(&3);
    let seen = h2.until("both answers", both).await;
    assert!(seen.status(1, 200) && seen.status(3, 200) && seen.goaways.is_empty());
    let uploads = one.all(0).into_iter().filter(|record| record.target == "/upload");
    assert_eq!(uploads.map(|record| record.body).collect::<Vec<_>>(), [b"before after"]);
}

/// Connections to servers are kept: a change does not make every client wait for a new one.
#[tokio::test]
async fn connections_to_servers() {
    let server = Recorder::start(OK).await;
    let address = server.address.clone();
    let plain = Sections::app(&[&address], "");
    let mut scene = Scene::start(&plain).await;
    // One client's connection: its requests are on one core, and so is the pool.
    let web = scene.running.address("web");
    let mut kept = Reader::new(TcpStream::connect(web).await.unwrap());
    assert_eq!(ask(&mut kept, "/").await.unwrap().status, 200);
    let before = server.count();
    let mut other_option = Sections::app(&[&address], ", passHostHeader: false");
    other_option.routers = other_option.routers.replace("`/`)", "`/`) || Host(`b`)");
    for changed in [&plain, &other_option, &plain] {
        scene.change(changed).await;
        assert_eq!(ask(&mut kept, "/").await.unwrap().text(), "ok");
    }
    assert_eq!(server.count(), before, "connections to the server");
}

/// A request whose router goes away while it waits gets its answer; the time since is not cut short either.
#[tokio::test]
async fn requests_under_way() {
    let (one, address) = echo("one", "http").await;
    let plain = Sections::app(&[&address], "");
    let mut scene = Scene::start(&plain).await;
    let mut slow = scene.begin("/__delay/2000").await;
    arrived(&one, "/__delay/2000").await;
    let mut gone = plain.clone();
    gone.routers = "other: {entryPoints: [web], rule: 'Path(`/other`)', service: app}".to_owned();
    scene.change(&gone).await;
    assert_eq!(scene.get("/").await.status, 404);
    let head = tokio::time::timeout(Duration::from_secs(10), slow.head()).await.unwrap();
    assert!(head.unwrap().unwrap().start.contains(" 200 "));
}
