//! Three peers as processes, with stores and secrets of their own, and what a user does with them.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::support::backend::Backend;
use crate::support::h1::Reader;
use crate::support::running::{Answer, PATIENCE, echo, eventually, get};

pub(super) const PEERS: usize = 3;
pub(super) const ALL: [usize; PEERS] = [0, 1, 2];

/// A peer: its folder, and its process while it runs.
pub(super) struct Peer {
    pub(super) name: String,
    home: PathBuf,
    child: Option<Child>,
    web: Option<SocketAddr>,
    api: Option<SocketAddr>,
}

/// Three peers of one cluster and a server behind them; the peers are killed when this is dropped.
pub(super) struct Peers {
    pub(super) folder: tempfile::TempDir,
    pub(super) all: Vec<Peer>,
    pub(super) admin: String,
    pub(super) write: String,
    pub(super) read: String,
    /// `http://ADDRESS` of the server.
    pub(super) origin: String,
    _backend: Backend,
}

/// What the program prints.
pub(super) async fn run(arguments: &[&str]) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_pontoon"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(PATIENCE, run).await.expect("the command ends").unwrap()
}

pub(super) fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A token, and its line for the token file.
async fn token(name: &str, role: &str) -> (String, String) {
    let told = text(&run(&["token", name, "--role", role]).await);
    let after = |mark: &str| {
        let found = told.lines().find_map(|line| line.split_once(mark));
        found.expect("the line is printed").1.trim().to_owned()
    };
    (after("token: "), after("api.tokenFile: "))
}

/// Addresses for the peers' own connections. Each cluster has a part of 127.0.0.0/8 of its own: from 127.0.0.1 any
/// client's connection could take a port while its peer is down.
fn peer_addresses() -> Vec<String> {
    static CLUSTERS: AtomicU32 = AtomicU32::new(0);
    let run = std::process::id();
    let (high, low) = (1 + run / 250 % 250, 1 + run % 250);
    let first = 100 + CLUSTERS.fetch_add(1, Ordering::Relaxed) * 4;
    let held: Vec<_> = (first..first + 3)
        .map(|last| TcpListener::bind(format!("127.{high}.{low}.{last}:0")).unwrap())
        .collect();
    held.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

impl Peers {
    /// Starts all, and waits until each knows the leader. `more` is added to each startup configuration, in which
    /// `{home}` stands for the peer's folder.
    pub(super) async fn start(more: &str) -> Self {
        let mut peers = Self::prepare(more).await;
        peers.spawn_all().await;
        peers.wait_leader(&ALL).await;
        peers
    }

    /// As [`Peers::start`], with a router for `/all` whose service is the server.
    pub(super) async fn serving(more: &str) -> Self {
        let peers = Self::start(more).await;
        let origin = peers.origin.clone();
        let service = format!(r#"{{"loadBalancer":{{"servers":[{{"url":"{origin}"}}]}}}}"#);
        let answer = peers.put(0, "http/services/app?wait=all", &service).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        peers.keep(1, "all").await;
        peers
    }

    /// Writes a router for `/NAME` that every peer has in force, and will have again whenever it is killed: what is
    /// committed is marked on disk with the next write at the latest.
    pub(super) async fn keep(&self, peer: usize, name: &str) {
        for (name, path) in [(name, name), ("next", name)] {
            let call = format!("http/routers/{name}?wait=all");
            let answer = self.put(peer, &call, &router(&format!("/{path}"), 1)).await;
            assert_eq!(answer.status / 100, 2, "{}", answer.text());
            assert_eq!(json(&answer)["applied"], true, "{}", answer.text());
        }
    }

    pub(super) async fn prepare(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        std::fs::write(root.join("secret"), text(&run(&["cluster", "secret"]).await)).unwrap();
        let mut lines = Vec::new();
        let mut tokens = Vec::new();
        for (name, role) in [("ann", "admin"), ("wim", "write"), ("rob", "read")] {
            let (token, line) = token(name, role).await;
            tokens.push(token);
            lines.push(line);
        }
        std::fs::write(root.join("tokens"), lines.join("\n")).unwrap();
        let addresses = peer_addresses();
        let mut initial = String::new();
        for (number, address) in (1..).zip(&addresses) {
            initial.push_str(&format!("    edge-{number}: {address}\n"));
        }
        let mut all = Vec::new();
        for (number, address) in addresses.iter().enumerate() {
            let name = format!("edge-{}", number + 1);
            let home = root.join(&name);
            std::fs::create_dir_all(home.join("dynamic")).unwrap();
            let (root, home_shown) = (root.display(), home.display().to_string());
            let startup = format!(
                "
entryPoints:
  web: {{address: '127.0.0.1:0'}}
  traefik: {{address: '127.0.0.1:0'}}
api: {{insecure: true, writable: true, tokenFile: {root}/tokens}}
ping: {{}}
log: {{level: INFO}}
cluster:
  name: {name}
  address: {address}
  dataDir: {home_shown}/data
  secretFile: {root}/secret
  requestTimeout: 3s
  initialPeers:
{initial}{}",
                more.replace("{home}", &home_shown)
            );
            std::fs::write(home.join("pontoon.yml"), startup).unwrap();
            all.push(Peer { name, home, child: None, web: None, api: None });
        }
        let (backend, origin) = echo("origin", "http").await;
        let origin = format!("http://{origin}");
        let [admin, write, read] = <[String; 3]>::try_from(tokens).unwrap();
        Self { folder, all, admin, write, read, origin, _backend: backend }
    }

    async fn spawn_all(&mut self) {
        for peer in &mut self.all {
            peer.spawn();
        }
        for peer in &mut self.all {
            peer.wait_listens().await;
        }
    }

    /// Starts peers that do not run, and waits until they listen.
    pub(super) async fn spawn(&mut self, which: &[usize]) {
        for &number in which {
            self.all[number].spawn();
        }
        for &number in which {
            self.all[number].wait_listens().await;
        }
    }

    /// SIGKILL to all of them, then waits for their ends.
    pub(super) async fn kill(&mut self, which: &[usize]) {
        for &number in which {
            self.all[number].child.as_mut().unwrap().start_kill().unwrap();
        }
        for &number in which {
            self.all[number].child.take().unwrap().wait().await.unwrap();
        }
    }

    /// Sends a signal by its name to all of them at once.
    pub(super) fn signal(&self, name: &str, which: &[usize]) {
        let ids = which.iter().map(|&number| self.all[number].child.as_ref().unwrap().id());
        let ids: Vec<String> = ids.map(|id| id.unwrap().to_string()).collect();
        let command = format!("kill -{name} {}", ids.join(" "));
        let sent = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(sent.success(), "{command}");
    }

    pub(super) fn home(&self, peer: usize) -> &Path {
        &self.all[peer].home
    }

    pub(super) fn web(&self, peer: usize) -> SocketAddr {
        self.all[peer].web.unwrap()
    }

    pub(super) fn api(&self, peer: usize) -> SocketAddr {
        self.all[peer].api.unwrap()
    }

    /// Calls the API of a peer as the one with the token of role `write`.
    pub(super) async fn call(&self, peer: usize, method: &str, path: &str) -> Answer {
        self.send(peer, &Call { method, path, ..Call::default() }).await
    }

    /// `PUT /api/config/PATH`
    pub(super) async fn put(&self, peer: usize, path: &str, body: &str) -> Answer {
        let path = format!("/api/config/{path}");
        self.send(peer, &Call { method: "PUT", path: &path, body, ..Call::default() }).await
    }

    pub(super) async fn send(&self, peer: usize, call: &Call<'_>) -> Answer {
        let answer = self.try_send(peer, call).await;
        answer
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.all[peer].name, self.log(peer)))
    }

    pub(super) async fn try_send(&self, peer: usize, call: &Call<'_>) -> std::io::Result<Answer> {
        let token = call.token.unwrap_or(&self.write);
        let mut more = vec![("Content-Type", "application/json".to_owned())];
        if !token.is_empty() {
            more.push(("Authorization", format!("Bearer {token}")));
        }
        more.extend(call.headers.iter().map(|(name, value)| (*name, value.clone())));
        exchange(self.api(peer), (call.method, call.path), &more, call.body.as_bytes()).await
    }

    /// `GET /api/cluster`
    pub(super) async fn status(&self, peer: usize) -> Value {
        json(&self.call(peer, "GET", "/api/cluster").await)
    }

    /// The revision of the document; asks the leader.
    pub(super) async fn revision(&self, peer: usize) -> u64 {
        let answer = self.call(peer, "GET", "/api/config").await;
        let tag = answer.header("etag").unwrap();
        tag.trim_matches('"').parse().unwrap()
    }

    /// The leader that these peers agree on.
    pub(super) async fn wait_leader(&self, which: &[usize]) -> usize {
        eventually("one leader", || async {
            let mut leaders = Vec::new();
            for &peer in which {
                let status = self.status(peer).await;
                leaders.push(status["leader"].as_str()?.to_owned());
            }
            leaders.dedup();
            let [leader] = &leaders[..] else { return None };
            let leader = self.all.iter().position(|peer| peer.name == *leader)?;
            which.contains(&leader).then_some(leader)
        })
        .await
    }

    /// Writes a router through a peer until that is accepted; the revision.
    pub(super) async fn write_until_accepted(&self, peer: usize, name: &str) -> u64 {
        let path = format!("http/routers/{name}");
        eventually("an accepted write", || async {
            let answer = self.put(peer, &path, &router(&format!("/{name}"), 100)).await;
            match answer.status {
                200 | 201 => json(&answer)["revision"].as_u64(),
                503 => None,
                _ => panic!("{} {}", answer.status, answer.text()),
            }
        })
        .await
    }

    /// The status of a proxied request.
    pub(super) async fn proxied(&self, peer: usize, path: &str) -> u16 {
        get(self.web(peer), path).await.map_or(0, |answer| answer.status)
    }

    /// Waits until a peer proxies requests for a path.
    pub(super) async fn wait_proxied(&self, peer: usize, path: &str) {
        let what = format!("{path} at {}", self.all[peer].name);
        eventually(&what, || async { (self.proxied(peer, path).await == 200).then_some(()) }).await;
    }

    pub(super) fn log(&self, peer: usize) -> String {
        std::fs::read_to_string(self.home(peer).join("out")).unwrap_or_default()
    }

    /// Runs a command that asks a peer, with the token of role `admin`.
    pub(super) async fn cli(&self, peer: usize, arguments: &[&str]) -> Output {
        let api = format!("--api=http://{}", self.api(peer));
        let token = format!("--token={}", self.admin);
        let asked: Vec<&str> = arguments.iter().copied().chain([&*api, &*token]).collect();
        run(&asked).await
    }
}

impl Peer {
    fn ready_file(&self) -> PathBuf {
        self.home.join("ready")
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        drop(std::fs::remove_file(self.ready_file()));
        let mut log = std::fs::OpenOptions::new();
        let log = log.create(true).append(true).open(self.home.join("out")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_pontoon"))
            .arg("--configFile=pontoon.yml")
            .env_clear()
            .env("PONTOON_READY_FILE", self.ready_file())
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    async fn wait_listens(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(10));
        while !self.ready_file().is_file() {
            tick.tick().await;
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{} does not start: {}",
                self.name,
                std::fs::read_to_string(self.home.join("out")).unwrap_or_default()
            );
        }
        let ready = std::fs::read_to_string(self.ready_file()).unwrap();
        let address = |name: &str| {
            let line = ready.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            Some(line.trim().parse().unwrap())
        };
        (self.web, self.api) = (address("web "), address("traefik "));
    }
}

/// A call of the API.
#[derive(Default)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: &'a str,
    /// Another than that of role `write`; empty for none.
    pub(super) token: Option<&'a str>,
}

/// A router for a path, of the service `app`.
pub(super) fn router(path: &str, priority: u64) -> String {
    format!(
        r#"{{"entryPoints":["web"],"rule":"PathPrefix(`{path}`)","service":"app","priority":{priority}}}"#
    )
}

pub(super) fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {} {}", answer.status, answer.text()))
}

/// One request on a connection of its own.
pub(super) async fn exchange(
    address: SocketAddr,
    (method, path): (&str, &str),
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut reader = Reader::new(TcpStream::connect(address).await?);
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    reader.stream.write_all(head.as_bytes()).await?;
    // An answer may come before all is sent.
    drop(reader.stream.write_all(body).await);
    let ended = || std::io::Error::other("the connection ended without an answer");
    let head = reader.head().await?.ok_or_else(ended)?;
    let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = match status {
        204 | 304 => Vec::new(),
        _ => reader.body(&head, true).await?.bytes,
    };
    Ok(Answer { status, headers: head.headers, body, ..Answer::default() })
}
