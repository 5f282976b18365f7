//! The provider `file` on a cluster: the leader reads, all follow, and a file that differs is shown.

use std::fs;

use serde_json::Value;

use super::peers::{ALL, Peers};
use crate::support::running::eventually;

const FILES: &str = "
providers:
  providersThrottleDuration: 20ms
  file: {directory: '{home}/dynamic'}
";

fn write(peers: &Peers, peer: usize, path: &str) {
    let text = format!(
        "
http:
  routers:
    app: {{rule: 'PathPrefix(`{path}`)', service: app}}
  services:
    app: {{loadBalancer: {{servers: [{{url: '{}'}}]}}}}
",
        peers.origin
    );
    // Whole or not at all.
    let folder = peers.home(peer);
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join("dynamic/app.yml")).unwrap();
}

/// The digests of the peers' files, as one of them knows them; none until all are known.
async fn digests(peers: &Peers, asked: usize) -> Option<Vec<String>> {
    let status = peers.status(asked).await;
    let listed = status["peers"].as_array().unwrap();
    let digest = |peer: &Value| Some(peer["files"]["file"].as_str()?.to_owned());
    listed.iter().map(digest).collect()
}

#[tokio::test]
async fn the_leaders_file_is_in_force_everywhere_and_one_that_differs_is_shown() {
    let mut peers = Peers::start(FILES).await;
    for peer in ALL {
        write(&peers, peer, "/first");
    }
    for peer in ALL {
        peers.wait_proxied(peer, "/first").await;
    }
    let leader = peers.wait_leader(&ALL).await;
    let [one, other] = [(leader + 1) % 3, (leader + 2) % 3];
    eventually("equal digests", || async {
        let digests = digests(&peers, one).await?;
        digests.iter().all(|digest| *digest == digests[0]).then_some(())
    })
    .await;

    write(&peers, leader, "/second");
    for peer in ALL {
        peers.wait_proxied(peer, "/second").await;
        assert_eq!(peers.proxied(peer, "/first").await, 404);
    }
    write(&peers, one, "/second");
    write(&peers, other, "/differs");
    for asked in [leader, other] {
        eventually("the digest that differs", || async {
            let digests = digests(&peers, asked).await?;
            let same = digests[leader] == digests[one];
            (same && digests[other] != digests[leader]).then_some(())
        })
        .await;
    }
    assert_eq!(peers.proxied(other, "/differs").await, 404, "who does not lead publishes nothing");
    assert_eq!(peers.proxied(other, "/second").await, 200);

    // The file of the one that leads next counts.
    write(&peers, one, "/third");
    write(&peers, other, "/third");
    assert_eq!(peers.proxied(one, "/third").await, 404);
    peers.kill(&[leader]).await;
    for peer in [one, other] {
        peers.wait_proxied(peer, "/third").await;
    }
    peers.spawn(&[leader]).await;
    peers.wait_proxied(leader, "/third").await;
    assert_ne!(
        peers.wait_leader(&ALL).await,
        leader,
        "it came back to a cluster that has a leader"
    );
}
