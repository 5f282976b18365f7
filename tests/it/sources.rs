//! What counts as one source of requests: `ipStrategy` of allow lists, `sourceCriterion` of limits (http.md §5).

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::h1::Reader;
use crate::support::running::{Answer, Running, STARTUP, echo, eventually, send};

/// The program, which believes `X-Forwarded-For`, before one server; `/NAME` goes through the middleware of that name.
async fn through(middlewares: &[(String, String)]) -> (crate::support::backend::Backend, Running) {
    let (backend, address) = echo("app", "http").await;
    let startup =
        STARTUP.replacen("'127.0.0.1:0'", "'127.0.0.1:0', forwardedHeaders: {insecure: true}", 1);
    let (mut routers, mut options) = (String::new(), String::new());
    for (name, middleware) in middlewares {
        routers.push_str(&format!(
            "    {name}: {{rule: 'PathPrefix(`/{name}`)', service: app, middlewares: [{name}]}}\n"
        ));
        options.push_str(&format!("    {name}: {middleware}\n"));
    }
    let dynamic = format!(
        "
http:
  routers:
    open: {{rule: 'Path(`/`)', service: app}}
{routers}  middlewares:
{options}  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}
"
    );
    (backend, Running::start(&startup, &[("app.yml", &dynamic)]).await)
}

/// A request; `source` is its host, and further headers behind it.
async fn ask(address: SocketAddr, path: &str, source: &str) -> Answer {
    let mut reader = Reader::new(TcpStream::connect(address).await.unwrap());
    send(&mut reader, format!("GET {path} HTTP/1.1\r\nHost: {source}\r\n\r\n").as_bytes())
        .await
        .unwrap()
}

fn forwarded_for(addresses: &str) -> String {
    format!("a\r\nX-Forwarded-For: {addresses}")
}

/// `ipStrategy.depth`, `ipStrategy.excludedIPs`, `ipStrategy.ipv6Subnet` of `ipAllowList` and of `ipWhiteList`.
#[tokio::test]
async fn allow_lists_look_at_the_address_that_their_strategy_names() {
    let strategies = [
        ("depth", "203.0.113.7", "depth: 2"),
        ("excluded", "203.0.113.7", "excludedIPs: [10.0.0.0/8]"),
        ("subnet", "'2001:db8::'", "depth: 1, ipv6Subnet: 64"),
    ];
    let lists = ["ipAllowList", "ipWhiteList"];
    let middlewares: Vec<_> = lists
        .iter()
        .flat_map(|list| {
            strategies.iter().map(move |(name, range, strategy)| {
                let options =
                    format!("{{{list}: {{sourceRange: [{range}], ipStrategy: {{{strategy}}}}}}}");
                (format!("{list}-{name}"), options)
            })
        })
        .collect();
    let (_backend, running) = through(&middlewares).await;
    for list in lists {
        for (name, addresses, status) in [
            ("depth", "203.0.113.7, 10.0.0.1", 200),
            ("depth", "192.0.2.1, 203.0.113.7, 10.0.0.1", 200),
            ("depth", "10.0.0.1, 203.0.113.7", 403),
            ("depth", "203.0.113.7", 403),
            ("excluded", "203.0.113.7, 10.0.0.1, 10.0.0.2", 200),
            ("excluded", "203.0.113.7, 192.0.2.1", 403),
            ("excluded", "10.0.0.1", 403),
            ("subnet", "2001:db8::1234", 200),
            ("subnet", "2001:db8:0:1::1234", 403),
        ] {
            let path = format!("/{list}-{name}");
            let answer = ask(running.address("web"), &path, &forwarded_for(addresses)).await;
            assert_eq!(answer.status, status, "{path} {addresses}");
        }
    }
}

/// A criterion: its name, its options, two requests of one source, and one of another.
fn criteria() -> [(&'static str, &'static str, String, String, String); 5] {
    let address = |one: &str, two: &str, other: &str| {
        (forwarded_for(one), forwarded_for(two), forwarded_for(other))
    };
    let user = |name: &str| format!("a\r\nX-User: {name}");
    let depth = address("203.0.113.7, 10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.8, 10.0.0.1");
    let excluded = address("203.0.113.7, 10.0.0.1", "203.0.113.7", "203.0.113.8, 10.0.0.1");
    let subnet = address("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1");
    [
        ("depth", "ipStrategy: {depth: 2}", depth.0, depth.1, depth.2),
        ("excluded", "ipStrategy: {excludedIPs: [10.0.0.0/8]}", excluded.0, excluded.1, excluded.2),
        ("subnet", "ipStrategy: {depth: 1, ipv6Subnet: 64}", subnet.0, subnet.1, subnet.2),
        ("header", "requestHeaderName: X-User", user("ann"), user("ann"), user("bob")),
        ("host", "requestHost: true", "one.test".into(), "one.test".into(), "two.test".into()),
    ]
}

/// `sourceCriterion` of `rateLimit`: `ipStrategy`, `requestHeaderName`, `requestHost`.
#[tokio::test]
async fn a_rate_limit_counts_each_source_alone() {
    let middlewares: Vec<_> = criteria()
        .into_iter()
        .map(|(name, options, ..)| {
            let limit = "average: 1, period: 1h, burst: 1";
            (name.to_owned(), format!("{{rateLimit: {{{limit}, sourceCriterion: {{{options}}}}}}}"))
        })
        .collect();
    let (_backend, running) = through(&middlewares).await;
    for (name, _, first, same, other) in criteria() {
        for (source, status) in [(&first, 200), (&same, 429), (&other, 200), (&other, 429)] {
            let answer = ask(running.address("web"), &format!("/{name}"), source).await;
            assert_eq!(answer.status, status, "{name}: {source}");
        }
    }
}

/// `sourceCriterion` of `inFlightReq`: the same.
#[tokio::test]
async fn requests_in_flight_are_counted_by_their_source() {
    let middlewares: Vec<_> = criteria()
        .into_iter()
        .map(|(name, options, ..)| {
            let options = format!("amount: 1, sourceCriterion: {{{options}}}");
            (name.to_owned(), format!("{{inFlightReq: {{{options}}}}}"))
        })
        .collect();
    let (backend, running) = through(&middlewares).await;
    let web = running.address("web");
    for (name, _, first, same, other) in criteria() {
        let mark = backend.count();
        let path = format!("/{name}/__delay/60000");
        let held = tokio::spawn(async move { ask(web, &path, &first).await });
        eventually("the request", || async { (backend.count() > mark).then_some(()) }).await;
        for (source, status) in [(&same, 429), (&other, 200)] {
            let answer = ask(web, &format!("/{name}"), source).await;
            assert_eq!(answer.status, status, "{name}: {source}");
        }
        held.abort();
    }
}

/// `ipAllowList.sourceRange` and `ipWhiteList.sourceRange` of TCP: others are closed without a word.
#[tokio::test]
async fn tcp_connections_pass_from_listed_addresses_only() {
    let (_backend, address) = echo("app", "tcp").await;
    let document = format!(
        "
tcp:
  routers:
    one: {{entryPoints: [web], rule: 'HostSNI(`*`)', service: app, middlewares: [one]}}
    two: {{entryPoints: [secure], rule: 'HostSNI(`*`)', service: app, middlewares: [two]}}
  middlewares:
    one: {{ipAllowList: {{sourceRange: [127.0.0.2, 127.0.1.0/24]}}}}
    two: {{ipWhiteList: {{sourceRange: [127.0.0.2, 127.0.1.0/24]}}}}
  services:
    app: {{loadBalancer: {{servers: [{{address: '{address}'}}]}}}}
"
    );
    let running = Running::start_in(Running::prepare(STARTUP, &[("app.yml", &document)])).await;
    for entry_point in ["web", "secure"] {
        let heard = async |source: &str| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
            let mut stream = socket.connect(running.address(entry_point)).await.unwrap();
            drop(stream.write_all(b"x\n").await);
            let mut first = [0; 6];
            stream.read_exact(&mut first).await.is_ok() && &first == b"app: x"
        };
        eventually("the router", || async { heard("127.0.0.2").await.then_some(()) }).await;
        assert!(heard("127.0.1.9").await, "{entry_point}");
        assert!(!heard("127.0.0.3").await, "{entry_point}");
    }
}
