//! Peers as real processes: start, kill, wait, and the times in which each was down.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::history::{Clock, Outage};

/// Peers of a cluster.
pub(crate) const PEERS: usize = 3;
/// Longest wait until a peer listens.
pub(crate) const START_MAX: Duration = Duration::from_mins(1);
/// How often a condition is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(10);
/// Lines of a log that are shown when its peer has ended by itself.
const LOG_LINES: usize = 30;

/// Where a peer is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) web: String,
    pub(crate) api: String,
    cluster: String,
}

struct Peer {
    address: Address,
    home: PathBuf,
    child: Option<Child>,
}

impl Peer {
    fn ready_file(&self) -> PathBuf {
        self.home.join("ready")
    }
}

/// Three peers of one cluster, and the folder that they live in.
pub(crate) struct Peers {
    all: Vec<Peer>,
    program: PathBuf,
    folder: tempfile::TempDir,
    token: String,
    clock: Clock,
    outages: Vec<Outage>,
}

/// The program to test: `PONTOON_BIN`, or the one beside this program.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("PONTOON_BIN") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "PONTOON_BIN: there is no file {}", path.display());
        return Ok(path);
    }
    let own = std::env::current_exe().context("finding this program")?;
    let path = own.with_file_name("pontoon");
    ensure!(
        path.is_file(),
        "there is no {}: build the proxy first with `cargo build` (`cargo build --release` for a release), \
         or name it in PONTOON_BIN",
        path.display()
    );
    Ok(path)
}

/// What the program prints for `arguments`.
async fn printed(program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let output = output.with_context(|| format!("running {}", program.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{} {}: {errors}", program.display(), arguments.join(" "));
    String::from_utf8(output.stdout).context("its output is no UTF-8")
}

/// The token, and its line for `api.tokenFile`, of what `pontoon token` prints.
fn token(printed: &str) -> Option<(String, String)> {
    let token = printed.split_whitespace().find(|word| word.starts_with("pontoon_"))?;
    let line = printed.lines().find(|line| line.contains("sha256:"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let line = words.get(words.len().checked_sub(3)?..)?.join(" ");
    Some((token.to_owned(), line))
}

/// Free addresses for each peer. Each run has a part of 127.0.0.0/8 of its own, since from 127.0.0.1 any client's
/// connection could take a port while its peer is down.
fn addresses() -> anyhow::Result<Vec<Address>> {
    let run = std::process::id();
    let (high, low) = (1 + run / 250 % 250, 1 + run % 250);
    (1..=PEERS)
        .map(|number| {
            let host = format!("127.{high}.{low}.{number}");
            // Held until all are known, so that no two are the same.
            let mut held = Vec::new();
            let mut free = || {
                let listener = TcpListener::bind((host.as_str(), 0))
                    .with_context(|| format!("taking a port on {host}"))?;
                let address = listener.local_addr()?.to_string();
                held.push(listener);
                anyhow::Ok(address)
            };
            let name = format!("edge-{number}");
            Ok(Address { name, web: free()?, api: free()?, cluster: free()? })
        })
        .collect()
}

/// The startup configuration of a peer.
fn configuration(address: &Address, folder: &Path, initial_peers: &str) -> String {
    let Address { name, web, api, cluster } = address;
    let folder = folder.display();
    format!(
        "entryPoints:\n  web:\n    address: {web}\n  traefik:\n    address: {api}\n\
         api:\n  insecure: true\n  writable: true\n  tokenFile: {folder}/tokens\n\
         ping: {{}}\n\
         log:\n  level: INFO\n  filePath: {folder}/{name}/log\n\
         cluster:\n  name: {name}\n  address: {cluster}\n  advertise: {cluster}\n  \
         dataDir: {folder}/{name}/data\n  secretFile: {folder}/secret\n  \
         initialPeers:\n{initial_peers}"
    )
}

impl Peers {
    /// Writes all files and starts all peers; does not wait for them.
    pub(crate) async fn start(program: PathBuf, clock: Clock) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pontoon-jepsen-").tempdir()?;
        let secret = printed(&program, &["cluster", "secret"]).await?;
        std::fs::write(folder.path().join("secret"), secret)?;
        let tokens = printed(&program, &["token", "jepsen", "--role", "admin"]).await?;
        let (token, line) = token(&tokens).context("`pontoon token` prints no token")?;
        std::fs::write(folder.path().join("tokens"), line + "\n")?;

        let addresses = addresses()?;
        let initial_peers: Vec<String> = addresses
            .iter()
            .map(|address| format!("    {}: {}\n", address.name, address.cluster))
            .collect();
        let initial_peers = initial_peers.concat();
        let mut peers = Vec::new();
        for address in addresses {
            let home = folder.path().join(&address.name);
            std::fs::create_dir(&home)?;
            let text = configuration(&address, folder.path(), &initial_peers);
            std::fs::write(home.join("pontoon.yml"), text)?;
            peers.push(Peer { address, home, child: None });
        }
        let mut peers = Self { all: peers, program, folder, token, clock, outages: Vec::new() };
        for index in 0..PEERS {
            peers.outages.push(Outage { peer: index, from: clock.now(), to: None });
            peers.spawn(index)?;
        }
        Ok(peers)
    }

    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.all.iter().map(|peer| peer.address.clone()).collect()
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn outages(&self) -> &[Outage] {
        &self.outages
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        self.all.get(index).map_or("", |peer| peer.address.name.as_str())
    }

    /// True from when a peer listens until it is killed.
    pub(crate) fn up(&self, index: usize) -> bool {
        !self.outages.iter().any(|outage| outage.peer == index && outage.to.is_none())
    }

    /// Kills peers at once with SIGKILL, and waits until they are gone.
    pub(crate) async fn kill(&mut self, victims: &[usize]) -> anyhow::Result<()> {
        self.look()?;
        let now = self.clock.now();
        for &index in victims {
            if self.up(index) {
                self.outages.push(Outage { peer: index, from: now, to: None });
            }
        }
        for &index in victims {
            if let Some(child) = self.child(index) {
                child.start_kill().context("killing a peer")?;
            }
        }
        for &index in victims {
            if let Some(child) = self.child(index) {
                child.wait().await.context("waiting for the end of a peer")?;
            }
            if let Some(peer) = self.all.get_mut(index) {
                peer.child = None;
            }
        }
        Ok(())
    }

    fn child(&mut self, index: usize) -> Option<&mut Child> {
        self.all.get_mut(index)?.child.as_mut()
    }

    /// Starts a peer that was killed.
    pub(crate) fn spawn(&mut self, index: usize) -> anyhow::Result<()> {
        let program = self.program.clone();
        let peer = self.all.get_mut(index).context("there is no such peer")?;
        match std::fs::remove_file(peer.ready_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let errors =
            std::fs::OpenOptions::new().create(true).append(true).open(peer.home.join("stderr"))?;
        let child = Command::new(program)
            .arg(format!("--configFile={}", peer.home.join("pontoon.yml").display()))
            .env("PONTOON_READY_FILE", peer.ready_file())
            .stdin(Stdio::null())
            .stdout(errors.try_clone()?)
            .stderr(errors)
            // Ctrl-C is for this process.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", peer.address.name))?;
        peer.child = Some(child);
        Ok(())
    }

    /// Notes which peers listen by now. Fails if one has ended that nobody killed.
    pub(crate) fn look(&mut self) -> anyhow::Result<()> {
        for (index, peer) in self.all.iter_mut().enumerate() {
            let Some(child) = &mut peer.child else { continue };
            if let Some(status) = child.try_wait()? {
                let log = last_lines(&peer.home);
                bail!("{} ended by itself ({status})\n{log}", peer.address.name);
            }
            let open = |outage: &&mut Outage| outage.peer == index && outage.to.is_none();
            if let Some(outage) = self.outages.iter_mut().find(open)
                && peer.home.join("ready").exists()
            {
                outage.to = Some(self.clock.now());
            }
        }
        Ok(())
    }

    /// Lets time pass, looking at the peers.
    pub(crate) async fn pause(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        loop {
            self.look()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(LOOK)).await;
        }
    }

    /// Waits until all peers listen.
    pub(crate) async fn wait_up(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            self.look()?;
            let Some(index) = (0..PEERS).find(|&index| !self.up(index)) else { return Ok(()) };
            if Instant::now() > deadline {
                let log = self.all.get(index).map(|peer| last_lines(&peer.home));
                bail!(
                    "{} does not listen after {START_MAX:?}\n{}",
                    self.name(index),
                    log.unwrap_or_default()
                );
            }
            sleep(LOOK).await;
        }
    }

    /// Ends all peers; their files stay if `keep`, and where they are is the answer.
    pub(crate) async fn end(mut self, keep: bool) -> Option<PathBuf> {
        for peer in &mut self.all {
            if let Some(child) = &mut peer.child {
                // It is killed when it is dropped, otherwise.
                drop(child.kill().await);
            }
        }
        keep.then(|| self.folder.keep())
    }
}

fn last_lines(home: &Path) -> String {
    let read = |name| std::fs::read_to_string(home.join(name)).unwrap_or_default();
    let text = read("log") + &read("stderr");
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_and_its_line_are_found() {
        let printed = "token: pontoon_ab12\nline for api.tokenFile: jepsen admin sha256:cd34\n";
        let (token, line) = token(printed).unwrap();
        assert_eq!(token, "pontoon_ab12");
        assert_eq!(line, "jepsen admin sha256:cd34");
    }

    #[test]
    fn peers_have_addresses_of_their_own() {
        let addresses = addresses().unwrap();
        let mut all: Vec<&String> = addresses
            .iter()
            .flat_map(|address| [&address.web, &address.api, &address.cluster])
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 3 * PEERS);
        assert!(!all.iter().any(|address| address.starts_with("127.0.0.1:")));
    }
}
