//! The three peers of the demo: child processes with stores of their own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::cli::http::{Call, Client};
use crate::hex;

/// Longest wait for the peers to be ready and to choose a leader.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a peer to end.
const END_MAX: Duration = Duration::from_secs(8);
const NAMES: [&str; 3] = ["edge-1", "edge-2", "edge-3"];

/// One peer.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) web: String,
    pub(super) api: String,
    pub(super) id: u32,
    pub(super) config: PathBuf,
    child: Option<Child>,
    token: String,
    ready: PathBuf,
}

/// All peers, and the folder that is removed with them.
pub(super) struct Peers {
    all: Vec<Peer>,
    folder: tempfile::TempDir,
    token: String,
    program: PathBuf,
}

/// A port that was free a moment ago.
fn free() -> anyhow::Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    Ok((listener, address))
}

impl Peers {
    pub(super) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pontoon-demo-").tempdir()?;
        let program = std::env::current_exe().context("finding this program")?;
        let secret = folder.path().join("cluster.secret");
        std::fs::write(&secret, pontoon_cluster::new_secret()?)?;
        let mut random = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_unspecified| anyhow::anyhow!("no random numbers"))?;
        let token = format!("demo_{}", hex::lower(&random));
        let tokens = folder.path().join("tokens");
        std::fs::write(
            &tokens,
            format!("demo admin sha256:{}\n", hex::lower(&Sha256::digest(&token))),
        )?;

        // All ports are held until all are known, so that no two are the same.
        let mut held = Vec::new();
        let mut addresses = Vec::new();
        for _ in NAMES {
            let mut three = Vec::new();
            for _ in 0..3 {
                let (listener, address) = free()?;
                held.push(listener);
                three.push(address);
            }
            addresses.push(three);
        }
        drop(held);
        let initial: String = NAMES
            .iter()
            .zip(&addresses)
            .filter_map(|(name, three)| Some(format!("    {name}: {}\n", three.first()?)))
            .collect();
        let mut peers = Vec::new();
        for (name, three) in NAMES.into_iter().zip(&addresses) {
            let [raft, web, api] = three.as_slice() else { bail!("three addresses a peer") };
            let home = folder.path().join(name);
            std::fs::create_dir(&home)?;
            let config = home.join("pontoon.yml");
            std::fs::write(
                &config,
                format!(
                    "entryPoints:\n  web:\n    address: {web}\n  traefik:\n    address: {api}\n\
                     api:\n  insecure: true\n  writable: true\n  tokenFile: {}\nping: {{}}\n\
                     metrics:\n  prometheus: {{}}\nlog:\n  level: INFO\n  filePath: {}\n\
                     cluster:\n  name: {name}\n  address: {raft}\n  advertise: {raft}\n  dataDir: {}\n  secretFile: {}\n  \
                     initialPeers:\n{initial}",
                    tokens.display(),
                    home.join("log").display(),
                    home.join("data").display(),
                    secret.display(),
                ),
            )?;
            let mut peer = Peer {
                name,
                web: web.clone(),
                api: api.clone(),
                id: 0,
                config,
                child: None,
                token: token.clone(),
                ready: home.join("ready"),
            };
            peer.spawn(&program)?;
            peers.push(peer);
        }
        Ok(Self { all: peers, folder, token, program })
    }

    pub(super) fn all(&self) -> &[Peer] {
        &self.all
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Waits until all of them listen.
    pub(super) async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        for peer in &mut self.all {
            while !peer.ready.exists() {
                if let Some(status) = peer.child.as_mut().and_then(|child| child.try_wait().ok()?) {
                    bail!("{} ended at start with {status}\n{}", peer.name, peer.log());
                }
                if Instant::now() > deadline {
                    bail!("{} is not ready after {START_MAX:?}\n{}", peer.name, peer.log());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Waits until every peer knows the leader.
    pub(super) async fn wait_leader(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        for peer in &self.all {
            loop {
                let answer = peer.call("GET", "/api/cluster", None).await;
                let status: Option<serde_json::Value> =
                    answer.ok().and_then(|(_, body)| serde_json::from_str(&body).ok());
                if status.is_some_and(|status| {
                    status.get("leader").is_some_and(serde_json::Value::is_string)
                }) {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("the peers have not chosen a leader after {START_MAX:?}\n{}", peer.log());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Waits until a peer ends that was not told to; says so.
    pub(super) async fn ended(&mut self) -> String {
        loop {
            for peer in &mut self.all {
                let Some(child) = &mut peer.child else { continue };
                if let Ok(Some(status)) = child.try_wait() {
                    peer.child = None;
                    return format!("{} ended ({status}); the others go on", peer.name);
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Tells all of them to end, waits, and removes their files.
    pub(super) async fn end(mut self) {
        for peer in &mut self.all {
            peer.tell_to_end().await;
        }
        let deadline = Instant::now() + END_MAX;
        for peer in &mut self.all {
            let Some(child) = &mut peer.child else { continue };
            if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
                drop(child.kill().await);
            }
        }
    }
}

impl Peer {
    fn spawn(&mut self, program: &Path) -> anyhow::Result<()> {
        let child = Command::new(program)
            .arg(format!("--configFile={}", self.config.display()))
            .env("PONTOON_READY_FILE", &self.ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for this process, which then ends its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        self.id = child.id().unwrap_or_default();
        self.child = Some(child);
        Ok(())
    }

    async fn tell_to_end(&mut self) {
        if self.child.is_none() {
            return;
        }
        // The standard library can only kill; `kill` asks.
        let asked = Command::new("kill").arg(self.id.to_string()).status().await;
        if !asked.is_ok_and(|status| status.success())
            && let Some(child) = &mut self.child
        {
            drop(child.start_kill());
        }
    }

    fn log(&self) -> String {
        let folder = self.config.parent().unwrap_or(Path::new("."));
        std::fs::read_to_string(folder.join("log")).unwrap_or_default()
    }

    /// Calls the API; status and body.
    pub(super) async fn call(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&str>,
    ) -> anyhow::Result<(u16, String)> {
        let client =
            Client { token: Some(self.token.clone()), ..Client::plain(&self.api, ANSWER_MAX)? };
        let call = Call {
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: body.unwrap_or_default().into(),
            ..Call::new(method, path)
        };
        asked(client, call).await
    }

    /// A request as a client of the proxy makes it.
    pub(super) async fn request(
        &self,
        host: &'static str,
        path: &str,
    ) -> anyhow::Result<(u16, String)> {
        let call = Call { host: Some(host), ..Call::new("GET", path) };
        asked(Client::plain(&self.web, ANSWER_MAX)?, call).await
    }
}

/// Status and body.
async fn asked(client: Client, call: Call<'static>) -> anyhow::Result<(u16, String)> {
    let asking = tokio::task::spawn_blocking(move || {
        let answer = client.send(&call)?;
        anyhow::Ok((answer.status, answer.bytes()?))
    });
    let (status, body) =
        tokio::time::timeout(ANSWER_MAX, asking).await.context("no answer in time")???;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
