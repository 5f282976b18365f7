//! Three peers in one process, over loopback.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pontoon_cluster::{
    Cluster, Command, Error, Expected, MembershipError, Options, PatchDocument, ProposeError,
    PutDocument, ReadError, Reply, RestoreError, Revision, new_secret,
};
use tokio::time::{Instant, sleep, timeout};

const NAMES: [&str; 3] = ["one", "two", "three"];
const LIMIT: Duration = Duration::from_secs(30);

struct Peers {
    directory: tempfile::TempDir,
    secret: String,
    addresses: BTreeMap<String, String>,
}

impl Peers {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listeners = NAMES.map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let address = |listener: &std::net::TcpListener| listener.local_addr().unwrap().to_string();
        let addresses = NAMES.iter().zip(&listeners);
        let addresses =
            addresses.map(|(name, listener)| ((*name).to_owned(), address(listener))).collect();
        Self { directory, secret: new_secret().unwrap(), addresses }
    }

    fn data_dir(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn options(&self, name: &str) -> Options {
        Options {
            name: name.to_owned(),
            address: self.addresses[name].parse().unwrap(),
            advertise: self.addresses[name].clone(),
            data_dir: self.data_dir(name),
            secrets: vec![self.secret.clone()],
            initial_peers: self.addresses.clone(),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(500),
            request_timeout: Duration::from_secs(5),
            snapshot_threshold: 20,
            release: "test".to_owned(),
        }
    }

    async fn start(&self, name: &str) -> Cluster {
        Cluster::start(self.options(name)).await.unwrap()
    }

    async fn start_all(&self) -> Vec<Cluster> {
        let mut clusters = Vec::new();
        for name in NAMES {
            clusters.push(self.start(name).await);
        }
        for cluster in &clusters {
            leader(cluster).await;
        }
        clusters
    }
}

async fn leader(cluster: &Cluster) -> String {
    let mut leadership = cluster.leadership();
    let known = leadership.wait_for(|now| now.leader.is_some());
    let known = timeout(LIMIT, known).await.expect("a leader in time").unwrap();
    known.leader.clone().unwrap()
}

fn set(key: &str, value: &str, expected: Expected) -> Command {
    let set = vec![(key.to_owned(), value.to_owned().into(), expected)];
    let patch = PatchDocument { provider: "cluster".into(), set, ..PatchDocument::default() };
    Command::patch(patch, "test")
}

fn value(cluster: &Cluster, key: &str) -> Option<String> {
    let documents = cluster.documents();
    let entry = documents.documents.get("cluster")?.entries.get(key)?;
    Some(String::from_utf8(entry.bytes.to_vec()).unwrap())
}

async fn stored(cluster: &Cluster, key: &str, text: &str) -> Revision {
    let deadline = Instant::now() + LIMIT;
    loop {
        match cluster.propose(set(key, text, Expected::Any)).await {
            Ok(applied) => return applied.revision,
            Err(ProposeError::NoQuorum { .. }) if Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn reaches(cluster: &Cluster, revision: Revision) {
    let mut watch = cluster.watch();
    timeout(LIMIT, watch.wait_for(|now| *now >= revision)).await.expect("in time").unwrap();
}

fn contains(directory: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return contains(&path, needle);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_writes_through_any_peer_and_survives_leader_and_restart() {
    let peers = Peers::new();
    let mut clusters = peers.start_all().await;
    for (number, cluster) in clusters.iter().enumerate() {
        let key = format!("http/routers/r{number}");
        let applied = cluster.propose(set(&key, "find-me-in-plain", Expected::Absent)).await;
        let applied = applied.unwrap();
        assert!(matches!(applied.reply, Reply::Stored { created: true, .. }));
        assert_eq!(value(cluster, &key).unwrap(), "find-me-in-plain");
        let again = cluster.propose(set(&key, "other", Expected::Absent)).await.unwrap();
        let conflict = Reply::Conflict { key: Some(key), current: applied.revision };
        assert_eq!(again.reply, conflict);
    }
    let newest = clusters[2].documents().revision;
    assert!(clusters[0].linearizable().await.unwrap() >= newest);
    assert!(value(&clusters[0], "http/routers/r2").is_some());
    let all = clusters[1].wait_all(newest, Duration::from_secs(5)).await;
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|(_, applied)| *applied), "{all:?}");

    // The leader goes without a word; another one takes over.
    let name = leader(&clusters[0]).await;
    let place = NAMES.iter().position(|one| **one == name).unwrap();
    drop(clusters.remove(place));
    let revision = stored(&clusters[0], "after", "leader lost").await;
    assert_ne!(leader(&clusters[0]).await, name);
    reaches(&clusters[1], revision).await;

    // More writes than the log keeps, so that the one that comes back gets a state snapshot.
    let mut revision = revision;
    for number in 0..60 {
        revision = stored(&clusters[0], "counter", &number.to_string()).await;
    }
    let back = loop {
        match Cluster::start(peers.options(&name)).await {
            Ok(cluster) => break cluster,
            // The dropped one is still letting go of its port and files.
            Err(Error::Listen { .. } | Error::Store(_)) => sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    };
    reaches(&back, revision).await;
    assert_eq!(value(&back, "counter").unwrap(), "59");
    clusters.push(back);

    for cluster in clusters.drain(..) {
        cluster.shutdown().await;
    }
    // Alone, a peer still knows everything, but takes no writes.
    let alone = peers.start("one").await;
    assert_eq!(value(&alone, "counter").unwrap(), "59");
    let refused = alone.propose(set("x", "y", Expected::Any)).await;
    assert!(matches!(refused, Err(ProposeError::NoQuorum { .. })), "{refused:?}");
    let refused = alone.linearizable().await;
    assert!(matches!(refused, Err(ReadError::NoQuorum { .. })));
    let two = peers.start("two").await;
    stored(&two, "x", "z").await;
    alone.linearizable().await.unwrap();
    assert_eq!(value(&alone, "x").unwrap(), "z");
    alone.shutdown().await;
    assert!(matches!(
        alone.propose(set("x", "y", Expected::Any)).await,
        Err(ProposeError::Shutdown)
    ));
    two.shutdown().await;
    for name in NAMES {
        assert!(!contains(&peers.data_dir(name), b"find-me-in-plain"));
        assert!(!contains(&peers.data_dir(name), peers.secret.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_documents_and_backups_go_round() {
    let peers = Peers::new();
    let clusters = peers.start_all().await;
    let empty = clusters[0].backup().unwrap();
    let large: String = "0123456789abcdef".repeat(20 << 16);
    let put = PutDocument {
        provider: "cluster".into(),
        entries: vec![("large".into(), large.clone().into())],
        ..PutDocument::default()
    };
    let applied = clusters[1].propose(Command::put(put.clone(), "test")).await.unwrap();
    for cluster in &clusters {
        reaches(cluster, applied.revision).await;
        assert_eq!(value(cluster, "large").as_ref(), Some(&large));
    }
    let huge = vec![("huge".into(), vec![0; (64 << 20) + 1].into())];
    let huge = PutDocument { entries: huge, ..put };
    let refused = clusters[0].propose(Command::put(huge, "test")).await;
    assert!(matches!(refused, Err(ProposeError::TooLarge(_))));

    let backup = clusters[2].backup().unwrap();
    let refused = clusters[0].restore(&backup, false, "admin", None).await;
    assert!(matches!(refused, Err(RestoreError::Refused(_))));
    clusters[0].restore(&empty, true, "admin", None).await.unwrap();
    assert_eq!(value(&clusters[0], "large"), None);
    clusters[0].restore(&backup, false, "admin", None).await.unwrap();
    assert_eq!(value(&clusters[0], "large"), Some(large));
    let history = clusters[0].history(Some("cluster"), 10);
    assert_eq!(history.len(), 3);
    assert_eq!(clusters[0].changes_since(Revision(0)).unwrap().len(), 3);
    for cluster in clusters {
        cluster.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_wiped_peers_are_refused() {
    let peers = Peers::new();
    let clusters = peers.start_all().await;
    clusters[0].report(|report| report.ready = true);
    stored(&clusters[0], "a", "b").await;
    clusters[2].shutdown().await;

    let mut options = peers.options("three");
    options.data_dir = peers.data_dir("elsewhere");
    let refused = Cluster::start(options.clone()).await.err().unwrap();
    assert!(matches!(refused, Error::Membership(MembershipError::Replaced(_))), "{refused}");

    options.data_dir = peers.data_dir("stranger");
    options.secrets = vec![new_secret().unwrap()];
    let stranger = Cluster::start(options).await.unwrap();
    let refused = stranger.propose(set("a", "c", Expected::Any)).await;
    assert!(matches!(refused, Err(ProposeError::NoQuorum { .. })), "{refused:?}");
    assert!(stranger.documents().documents.is_empty());
    stored(&clusters[1], "a", "d").await;
    stranger.shutdown().await;

    let mut options = peers.options("three");
    options.secrets = vec![new_secret().unwrap()];
    assert!(matches!(Cluster::start(options).await, Err(Error::Store(_))));

    let status = clusters[1].status();
    assert_eq!(status.peers.len(), 3);
    let one = status.peers.iter().find(|peer| peer.name == "one").unwrap();
    assert!(one.reachable);
    assert!(clusters[1].metrics().applied_index >= status.revision.0);
    clusters[0].shutdown().await;
    clusters[1].shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_quorum_refuses_writes_and_keeps_the_rest() {
    let peers = Peers::new();
    let mut clusters = peers.start_all().await;
    stored(&clusters[0], "a", "b").await;
    let name = leader(&clusters[0]).await;
    let place = NAMES.iter().position(|one| **one == name).unwrap();
    let last = clusters.remove(place);
    for cluster in clusters {
        cluster.shutdown().await;
    }
    let mut leadership = last.leadership();
    timeout(LIMIT, leadership.wait_for(|now| !now.me)).await.expect("in time").unwrap();
    let refused = last.propose(set("a", "c", Expected::Any)).await;
    assert!(matches!(refused, Err(ProposeError::NoQuorum { .. })), "{refused:?}");
    assert_eq!(value(&last, "a").unwrap(), "b");
    last.shutdown().await;
}
