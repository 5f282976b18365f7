//! Peers that die, freeze and come back: what goes on without them, and what they find.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json as value;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::peers::{ALL, Call, Peers, json, router};
use crate::support::h1::Reader;
use crate::support::running::{ask, eventually};

/// Longest time until a new leader takes writes. Measured: about a second; the machine may be busy.
const FAILOVER_MAX: Duration = Duration::from_secs(6);

#[tokio::test]
async fn without_quorum_peers_proxy_and_refuse_writes_until_one_is_back() {
    let mut peers = Peers::serving("").await;
    peers.kill(&[0, 2]).await;
    // At once, although nobody has noticed yet.
    assert_eq!(peers.proxied(1, "/all").await, 200);
    let refused = eventually("503", || async {
        let answer = peers.put(1, "http/routers/none", &router("/none", 1)).await;
        match answer.status {
            503 => Some(answer),
            // It was on its way when the others died.
            504 => None,
            other => panic!("{other} {}", answer.text()),
        }
    })
    .await;
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert!(json(&refused)["detail"].as_str().unwrap().contains("nothing was changed"));
    let answer = peers.call(1, "GET", "/api/config").await;
    assert_eq!(answer.status, 503, "a linearizable read needs the others");
    let answer = peers.call(1, "GET", "/api/config?consistency=local").await;
    assert_eq!(answer.status, 200);
    assert!(json(&answer)["http"]["routers"]["all"].is_object());
    assert_eq!(peers.call(1, "GET", "/api/ready").await.status, 200);
    assert_eq!(
        peers.call(1, "GET", "/api/config/http/routers/none?consistency=local").await.status,
        404
    );
    assert_eq!(peers.proxied(1, "/all").await, 200);

    peers.spawn(&[0]).await;
    assert_eq!(
        peers.proxied(0, "/all").await,
        200,
        "it serves what it has stored, with nobody asked"
    );
    let revision = peers.write_until_accepted(1, "later").await;
    peers.wait_proxied(0, "/later").await;

    // The third was away meanwhile.
    peers.spawn(&[2]).await;
    peers.wait_proxied(2, "/later").await;
    let status = eventually("one digest", || async {
        let status = peers.status(2).await;
        let same = |peer: &serde_json::Value| {
            peer["planDigest"] == status["planDigest"] && peer["reachable"] == true
        };
        status["peers"].as_array().unwrap().iter().all(same).then_some(status.clone())
    })
    .await;
    assert!(status["revision"].as_u64().unwrap() >= revision, "{status}");
}

/// A request after the other on one connection, until told to stop; how many were answered.
async fn requests(peers: &Peers, peer: usize, stop: &Cell<bool>) -> usize {
    let mut count = 0;
    let mut reader = Reader::new(TcpStream::connect(peers.web(peer)).await.unwrap());
    while !stop.get() {
        let answer = ask(&mut reader, "/all").await;
        let answer = answer.unwrap_or_else(|error| panic!("a request at {peer} is lost: {error}"));
        assert_eq!(answer.status, 200, "at {peer}: {}", answer.text());
        count += 1;
    }
    count
}

#[tokio::test]
async fn losing_the_leader_and_then_all_loses_nothing() {
    let mut peers = Peers::serving("").await;
    let leader = peers.wait_leader(&ALL).await;
    let [one, other] = [(leader + 1) % 3, (leader + 2) % 3];
    let stop = Cell::new(false);
    peers.keep(one, "before").await;
    let before = peers.revision(one).await;
    peers.signal("KILL", &[leader]);
    let failover = async {
        let killed = Instant::now();
        let revision = peers.write_until_accepted(one, "after").await;
        let took = killed.elapsed();
        assert!(took < FAILOVER_MAX, "the next write was accepted after {took:?}");
        peers.wait_proxied(other, "/after").await;
        stop.set(true);
        revision
    };
    let (first, second, after) =
        tokio::join!(requests(&peers, one, &stop), requests(&peers, other, &stop), failover);
    assert!(first > 0 && second > 0, "{first} and {second} requests");
    assert!(after > before);
    assert_ne!(peers.wait_leader(&[one, other]).await, leader);

    // Then all of them, at once.
    let document = json(&peers.call(one, "GET", "/api/config").await);
    let history = json(&peers.call(one, "GET", "/api/config/history").await);
    peers.kill(&ALL).await;
    peers.spawn(&[leader]).await;
    let ready = peers.call(leader, "GET", "/api/ready").await.status;
    assert_eq!((ready, peers.proxied(leader, "/all").await), (200, 200), "alone, from its store");
    assert_eq!(peers.proxied(leader, "/before").await, 200, "what was acknowledged to others, too");
    peers.spawn(&[one, other]).await;
    peers.wait_leader(&ALL).await;
    for peer in ALL {
        let answer = peers.call(peer, "GET", "/api/config").await;
        assert_eq!((answer.status, json(&answer)), (200, document.clone()));
        assert_eq!(json(&peers.call(peer, "GET", "/api/config/history").await), history);
        peers.wait_proxied(peer, "/after").await;
    }
}

/// Frozen peers keep their connections: what is sent to them gets no answer, and who sent it knows nothing.
#[tokio::test]
async fn an_outcome_that_is_not_known_is_called_so_and_can_be_asked_for_again() {
    let peers = Peers::serving("").await;
    let mut unknown = BTreeMap::new();
    let mut number = 0;
    let deadline = Instant::now() + Duration::from_secs(40);
    // Whether one is just then on its way is a matter of luck.
    while unknown.is_empty() {
        assert!(Instant::now() < deadline, "no outcome was ever unknown");
        let leader = peers.wait_leader(&ALL).await;
        let frozen = [(leader + 1) % 3, (leader + 2) % 3];
        let writes = futures_util::future::join_all((0..12).map(|_| {
            number += 1;
            until_not_accepted(&peers, leader, number * 1000)
        }));
        let freeze = async {
            let first = format!("/api/config/http/routers/u{}", number * 1000);
            eventually("writes under way", || async {
                (peers.call(leader, "GET", &first).await.status == 200).then_some(())
            })
            .await;
            peers.signal("STOP", &frozen);
        };
        let (ended, ()) = tokio::join!(writes, freeze);
        peers.signal("CONT", &frozen);
        unknown.extend(ended.into_iter().flatten());
    }
    for (number, (path, body)) in &unknown {
        let revision = eventually("the outcome", || async {
            let answer = keyed(&peers, *number, path, body).await;
            match answer.status {
                200 | 201 => json(&answer)["revision"].as_u64(),
                503 | 504 | 429 => None,
                other => panic!("{other} {}", answer.text()),
            }
        })
        .await;
        // Carried out once, whether then or now.
        let history = json(&peers.call(0, "GET", "/api/config/history?limit=1000").await);
        let name = path.rsplit('/').next().unwrap();
        let object = value!({"path": format!("http.routers.{name}"), "change": "created"});
        let all = history.as_array().unwrap().iter();
        let found: Vec<_> = all.filter(|change| change["objects"][0] == object).collect();
        assert_eq!(found.len(), 1, "{object}");
        assert_eq!(found[0]["revision"], revision);
    }
}

async fn keyed(
    peers: &Peers,
    number: usize,
    path: &str,
    body: &str,
) -> crate::support::running::Answer {
    let headers = vec![("Idempotency-Key", format!("unknown-{number}"))];
    let call = Call { method: "PUT", path, headers, body, token: None };
    peers.send(number % 3, &call).await
}

/// Writes one object after the other until an answer is no success; the write, if its outcome is unknown.
async fn until_not_accepted(
    peers: &Peers,
    leader: usize,
    first: usize,
) -> Option<(usize, (String, String))> {
    for number in first.. {
        let path = format!("/api/config/http/routers/u{number}");
        let body = router(&format!("/u{number}"), 1);
        let headers = vec![("Idempotency-Key", format!("unknown-{number}"))];
        let call = Call { method: "PUT", path: &path, headers, body: &body, token: None };
        let answer = peers.send(leader, &call).await;
        match answer.status {
            201 => {}
            503 => return None,
            504 => {
                let told = json(&answer);
                assert_eq!(told["outcome"], "unknown", "{told}");
                assert!(told["hint"].as_str().unwrap().contains("Idempotency-Key"), "{told}");
                return Some((number, (path, body)));
            }
            other => panic!("{other} {}", answer.text()),
        }
    }
    None
}
