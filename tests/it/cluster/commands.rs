//! `pontoon cluster` and `pontoon config` against a running cluster.

use std::fs;

use super::peers::{ALL, Peers, router, text};

#[tokio::test]
async fn commands_show_and_change_a_running_cluster() {
    let mut peers = Peers::serving("").await;
    status_names_peers_leader_and_digests(&mut peers).await;
    config_reads_writes_and_goes_back(&peers).await;
    a_backup_is_sealed_and_brings_everything_back(&peers).await;
}

async fn status_names_peers_leader_and_digests(peers: &mut Peers) {
    let leader = peers.wait_leader(&ALL).await;
    // Every peer has heard of what all follow by now.
    let answer = peers.put(1, "http/routers/seen?wait=all", &router("/seen", 1)).await;
    assert_eq!(answer.status, 201);
    let told = text(&peers.cli(1, &["cluster", "status"]).await);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("NAME"), "{told}");
    for (line, number) in lines[1..4].iter().zip(1..) {
        assert!(line.starts_with(&format!("edge-{number} ")), "{told}");
        assert!(line.ends_with("yes"), "ready: {told}");
        assert!(!line.contains("differs"), "{told}");
        assert_eq!(line.contains(" leader "), number == leader + 1, "{told}");
    }
    let name = &peers.all[leader].name;
    assert!(lines[4].starts_with(&format!("leader {name}, term ")), "{told}");
    assert!(lines[4].ends_with("seen by edge-2"), "{told}");
    let status = text(&peers.cli(2, &["cluster", "status", "--json"]).await);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["name"], &status["leader"]), (&"edge-3".into(), &name.as_str().into()));
    let digest = status["planDigest"].as_str().unwrap();
    assert!(told.contains(digest.split_at(12).0), "{told}");
}

async fn config_reads_writes_and_goes_back(peers: &Peers) {
    let file = peers.folder.path().join("shop.yaml");
    let shown = file.display().to_string();
    fs::write(&file, "rule: PathPrefix(`/shop`)\nservice: app\n").unwrap();
    let told =
        text(&peers.cli(0, &["config", "put", &shown, "http/routers/shop", "--wait-all"]).await);
    assert!(told.contains("+ http.routers.shop"), "{told}");
    for name in ["edge-1", "edge-2", "edge-3"] {
        assert!(told.contains(&format!("{name}: applied")), "{told}");
    }
    let revision: u64 = told
        .lines()
        .find_map(|line| line.strip_prefix("revision ")?.split(',').next()?.parse().ok())
        .unwrap();
    assert_eq!(peers.proxied(2, "/shop").await, 200);
    let told = text(&peers.cli(1, &["config", "get", "http/routers/shop"]).await);
    assert!(told.contains("PathPrefix(`/shop`)"), "{told}");

    let stale = ["config", "delete", "http/routers/shop", "--if-match", "1"];
    let refused = peers.cli(2, &stale).await;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("412") && told.contains(&revision.to_string()), "{told}");

    let service = format!("{{loadBalancer: {{servers: [{{url: '{}'}}]}}}}", peers.origin);
    let router = "{rule: PathPrefix(`/x`), service: app}";
    let document = format!("http: {{routers: {{shop: {router}}}, services: {{app: {service}}}}}");
    fs::write(&file, document).unwrap();
    let different = peers.cli(0, &["config", "diff", &shown]).await;
    assert_eq!(different.status.code(), Some(1));
    let told = String::from_utf8_lossy(&different.stdout).into_owned();
    assert!(told.contains("~ http.routers.shop") && told.contains("- http.routers.all"), "{told}");

    text(&peers.cli(2, &["config", "delete", "http/routers/shop"]).await);
    let told = text(&peers.cli(0, &["config", "history", "--limit", "1"]).await);
    assert!(told.contains("ann") && told.contains("deleted http.routers.shop"), "{told}");
    let back = revision.to_string();
    text(&peers.cli(1, &["config", "rollback", &back, "--wait-all"]).await);
    assert_eq!(peers.proxied(0, "/shop").await, 200);
}

async fn a_backup_is_sealed_and_brings_everything_back(peers: &Peers) {
    let file = peers.folder.path().join("edge.backup");
    let shown = file.display().to_string();
    let before = text(&peers.cli(0, &["config", "get"]).await);
    text(&peers.cli(0, &["cluster", "backup", &shown]).await);
    let bytes = fs::read(&file).unwrap();
    let readable = bytes.windows(10).any(|window| window == b"PathPrefix");
    assert!(!readable && bytes.len() > 100, "sealed");

    let empty = peers.folder.path().join("empty.json");
    fs::write(&empty, "{}").unwrap();
    let refused = peers.cli(1, &["cluster", "restore", &shown]).await;
    assert_eq!(refused.status.code(), Some(1), "the cluster holds documents");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("force"), "{refused:?}");
    text(&peers.cli(1, &["config", "put", &empty.display().to_string(), "--wait-all"]).await);
    assert_eq!(peers.proxied(2, "/all").await, 404);
    text(&peers.cli(2, &["cluster", "restore", &shown]).await);
    assert_eq!(text(&peers.cli(0, &["config", "get"]).await), before);
    for peer in ALL {
        peers.wait_proxied(peer, "/shop").await;
    }
    text(&peers.cli(2, &["cluster", "restore", &shown, "--force"]).await);

    let mut broken = bytes;
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    fs::write(&file, broken).unwrap();
    let refused = peers.cli(0, &["cluster", "restore", &shown, "--force"]).await;
    assert_eq!(refused.status.code(), Some(1), "not what was sealed");
    assert_eq!(text(&peers.cli(0, &["config", "get"]).await), before, "nothing is lost by that");
}
