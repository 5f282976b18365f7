//! `GET /config/watch`: each change once, in order, on every peer, from where the client left off.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;

use super::peers::{Peers, json, router};
use crate::support::running::PATIENCE;

struct Watch(Lines<BufReader<TcpStream>>);

impl Watch {
    async fn start(address: SocketAddr, token: &str, query: &str, header: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /api/config/watch{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{header}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut watch = Self(BufReader::new(stream).lines());
        assert!(watch.line().await.starts_with("HTTP/1.1 200"));
        watch
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.0.next_line()).await;
        line.expect("a line in time").unwrap().expect("the stream goes on")
    }

    /// The id of the next event, and what it tells.
    async fn event(&mut self) -> (u64, Value) {
        let mut id = None;
        loop {
            let line = self.line().await;
            if let Some(number) = line.strip_prefix("id: ") {
                id = Some(number.parse().unwrap());
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (id.expect("an id stands before"), serde_json::from_str(data).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_watch_tells_each_change_in_order_and_resumes() {
    let peers = Peers::serving("").await;
    let from = peers.revision(0).await;
    let mut live = Watch::start(peers.api(2), &peers.read, "", "").await;
    let mut written = Vec::new();
    for number in 0..6 {
        let path = format!("http/routers/w{number}");
        let answer = peers.put(number % 3, &path, &router("/w", 1)).await;
        written
            .push((json(&answer)["revision"].as_u64().unwrap(), format!("http.routers.w{number}")));
    }
    let answer = peers.call(1, "DELETE", "/api/config/http/routers/w0?wait=all").await;
    written.push((json(&answer)["revision"].as_u64().unwrap(), "http.routers.w0".to_owned()));
    assert!(written.is_sorted());

    let after = format!("?from={from}");
    let mut replayed = Watch::start(peers.api(0), &peers.read, &after, "").await;
    let resumed = format!("Last-Event-ID: {}\r\n", written[3].0);
    let mut resumed = Watch::start(peers.api(1), &peers.read, &after, &resumed).await;
    for (number, (revision, path)) in written.iter().enumerate() {
        let mut watches = vec![("live", &mut live), ("replayed", &mut replayed)];
        if number > 3 {
            watches.push(("resumed", &mut resumed));
        }
        for (name, watch) in watches {
            let (id, told) = watch.event().await;
            assert_eq!((id, &told["revision"]), (*revision, &(*revision).into()), "{name}");
            assert_eq!(told["objects"][0]["path"], **path, "{name}");
            let change = if number == 6 { "deleted" } else { "created" };
            assert_eq!(told["objects"][0]["change"], change, "{name}");
        }
    }
}
