//! `pontoon demo`: three peers and two sample servers on loopback, in one terminal (CLUSTER.md §3).
//!
//! The peers are real processes with real stores in a temporary folder; the sample servers live in this process.

mod peers;
mod sample;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::output;
use peers::{Peer, Peers};

/// The router's host.
const HOST: &str = "demo.localhost";

#[derive(Args)]
pub(super) struct Arguments {
    /// Ends by itself once everything runs and answers, for tests
    #[arg(long, hide = true)]
    once: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(demo(arguments.once))
}

async fn demo(once: bool) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    output::line("starting two sample servers and three peers …");
    let tasks = crate::task::Group::new(tokio::runtime::Handle::current());
    let mut servers = Vec::new();
    for name in ["blue", "green"] {
        servers.push(sample::start(name, &tasks).await?);
    }
    let mut peers = Peers::start()?;
    let starting = async {
        peers.wait_ready().await?;
        peers.wait_leader().await?;
        configure(&peers, &servers).await
    };
    tokio::select! {
        result = starting => result?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
    tell(&peers, &servers);
    let code = if once {
        tried(&peers).await?;
        ExitCode::SUCCESS
    } else {
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                ended = peers.ended() => output::line(&ended),
            }
        }
        ExitCode::SUCCESS
    };
    output::line("\nending the peers …");
    let folder = peers.folder().display().to_string();
    peers.end().await;
    output::line(&format!("removed {folder}"));
    Ok(code)
}

/// Puts a router, its service and a rate limit in force, through the first peer.
async fn configure(peers: &Peers, servers: &[String]) -> anyhow::Result<()> {
    let document = serde_json::json!({"http": {
        "routers": {"demo": {
            "entryPoints": ["web"],
            "rule": format!("Host(`{HOST}`) || Host(`127.0.0.1`)"),
            "service": "colours",
            "middlewares": ["limit"],
        }},
        "services": {"colours": {"loadBalancer": {
            "servers": servers.iter().map(|url| serde_json::json!({"url": url})).collect::<Vec<_>>(),
        }}},
        "middlewares": {"limit": {"rateLimit": {"average": 50, "burst": 100}}},
    }});
    let first = peers.all().first().context("there is a first peer")?;
    let answer = first.call("PUT", "/api/config?wait=all", Some(&document.to_string())).await?;
    if !(200..300).contains(&answer.0) {
        bail!("putting the configuration in force: {} {}", answer.0, answer.1);
    }
    Ok(())
}

/// One request through every peer.
async fn tried(peers: &Peers) -> anyhow::Result<()> {
    for peer in peers.all() {
        let (status, body) = peer.request(HOST, "/").await?;
        if status != 200 {
            bail!("{} answered {status}: {body}", peer.name);
        }
        output::line(&format!("{}: {}", peer.name, body.trim()));
    }
    Ok(())
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What there is and what to try.
fn tell(peers: &Peers, servers: &[String]) {
    let table: Vec<String> = peers
        .all()
        .iter()
        .map(|Peer { name, web, api, id, .. }| {
            format!("  {name}   traffic http://{web}   API http://{api}/api   process {id}")
        })
        .collect();
    let [first, second, third] = peers.all() else { return };
    let token = peers.token();
    let new = r#"{"rule":"PathPrefix(`/new`)","service":"colours","entryPoints":["web"]}"#;
    let program = quoted(&peers.program().display().to_string());
    output::line(&format!(
        "
Three peers, one configuration:
{}
  sample servers: {}
  files: {}

Try (in another terminal):

  # any peer serves any request
  curl -H 'Host: {HOST}' http://{}/
  curl -H 'Host: {HOST}' http://{}/

  # change the configuration through any peer: all have it
  curl -X PUT -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\
       -d '{new}' 'http://{}/api/config/http/routers/new?wait=all'
  curl http://{}/new

  # who leads, who is behind
  curl http://{}/api/cluster

  # lose a peer: the others go on; then bring it back
  kill -9 {}
  curl -H 'Host: {HOST}' http://{}/
  {program} --configFile={}

  # what a peer would do with a request
  curl 'http://{}/api/explain?url=http://{HOST}/new'

Ctrl-C ends all of it and removes its files.",
        table.join("\n"),
        servers.join(" "),
        peers.folder().display(),
        first.web,
        second.web,
        second.api,
        third.web,
        first.api,
        third.id,
        first.web,
        quoted(&third.config.display().to_string()),
        first.api,
    ));
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_where_a_shell_would_part_them() {
        assert_eq!(quoted("/tmp/a-1.yml"), "/tmp/a-1.yml");
        assert_eq!(quoted("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
