//! `hostResolver` (static.md §2): rules match the name that a host is an alias of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpStream, UdpSocket};

use crate::support::h1::Reader;
use crate::support::running::{Answer, Running, STARTUP, echo, eventually, send};

/// A name server for `shop.test`, an alias of `edge.real.test`; it has no other names. Counts the questions.
async fn name_server() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let questions = count.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            questions.fetch_add(1, Ordering::Relaxed);
            socket.send_to(&answer(&buffer[..length]), client).await.unwrap();
        }
    });
    (address, count)
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// RFC 1035 §4: header, question, and a CNAME record or "no such name".
fn answer(query: &[u8]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let question = &query[12..name_end + 4];
    let is_alias = question[..question.len() - 4].eq_ignore_ascii_case(&encoded("shop.test"));
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, if is_alias { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(is_alias), 0, 0, 0, 0]);
    answer.extend(question);
    if is_alias {
        let target = encoded("edge.real.test");
        // A pointer to the question's name; CNAME, IN, a minute.
        answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, u8::try_from(target.len()).unwrap()]);
        answer.extend(target);
    }
    answer
}

async fn get(running: &Running, host: &str) -> Answer {
    let stream = TcpStream::connect(running.address("web")).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    send(&mut Reader::new(stream), request.as_bytes()).await.unwrap()
}

async fn start(flattening: bool) -> (Running, Arc<AtomicUsize>, crate::support::backend::Backend) {
    let (backend, address) = echo("app", "http").await;
    let (server, count) = name_server().await;
    let startup = format!(
        "{STARTUP}\nhostResolver: {{cnameFlattening: {flattening}, resolvConfig: resolv.conf}}\n"
    );
    let dynamic = format!(
        "
http:
  routers:
    exact: {{rule: 'Host(`edge.real.test`)', service: app}}
    pattern: {{rule: 'HostRegexp(`^edge[.].*$`) && PathPrefix(`/pattern`)', service: app}}
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}
"
    );
    let folder = Running::prepare(&startup, &[("app.yml", &dynamic)]);
    let lines = format!("nameserver [{}]:{}\n", server.ip(), server.port());
    std::fs::write(folder.path().join("resolv.conf"), lines).unwrap();
    let running = Running::start_in(folder).await;
    eventually("the router", || async {
        (get(&running, "edge.real.test").await.status == 200).then_some(())
    })
    .await;
    (running, count, backend)
}

#[tokio::test]
async fn a_host_matches_by_the_name_behind_it_and_is_looked_up_once() {
    let (running, count, _backend) = start(true).await;
    assert_eq!(get(&running, "Shop.test:80").await.status, 200);
    let asked = count.load(Ordering::Relaxed);
    assert!(asked >= 2, "two aliases were asked for: {asked}");
    for _ in 0..3 {
        assert_eq!(get(&running, "shop.test").await.status, 200);
    }
    assert_eq!(count.load(Ordering::Relaxed), asked, "what is known is not asked again");
    assert_eq!(get(&running, "unknown.test").await.status, 404);
    let asked = count.load(Ordering::Relaxed);
    assert_eq!(get(&running, "127.0.0.1").await.status, 404);
    assert_eq!(count.load(Ordering::Relaxed), asked, "an address has no alias");
}

#[tokio::test]
async fn without_flattening_nothing_is_looked_up() {
    let (running, count, _backend) = start(false).await;
    assert_eq!(get(&running, "shop.test").await.status, 404);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}
