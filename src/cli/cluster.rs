//! `pontoon cluster`: its secret, its state, its backups.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Api, print};
use super::http::Call;
use super::{output, secret};

const EXAMPLES: &str = "Examples:
  pontoon cluster secret > cluster.secret    once; the same file on every peer
  pontoon cluster status                     asks the peer on this machine
  pontoon cluster status --api http://10.0.0.2:8080
  pontoon cluster backup edge.backup --token-file admin.token
  pontoon cluster restore edge.backup --token-file admin.token";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints a new secret for `cluster.secretFile`
    Secret,
    /// Shows the peers, as one of them sees them
    Status {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: Api,
    },
    /// Writes all documents to FILE, sealed with the cluster's secret, with a checksum
    Backup {
        file: PathBuf,
        #[command(flatten)]
        api: Api,
    },
    /// Replaces all documents with those of a backup; refused where there are some, unless forced
    Restore {
        file: PathBuf,
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        api: Api,
    },
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Secret => secret::run(),
        Command::Status { json, api } => {
            let status = api.json(&Call::new("GET", "/api/cluster"))?;
            if *json {
                print(&status);
            } else {
                for line in table(&status) {
                    output::line(&line);
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup { file, api } => {
            let backup = api.call(&Call::new("GET", "/api/cluster/backup"))?.bytes()?;
            write_new(file, &backup).with_context(|| format!("writing {}", file.display()))?;
            output::line(&format!("{} bytes in {}", backup.len(), file.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Restore { file, force, api } => {
            let mut call = Call::new("POST", format!("/api/cluster/restore?force={force}"));
            call.body =
                std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            call.headers.push(("Content-Type", "application/octet-stream".to_owned()));
            let answer = &api.json(&call)?;
            output::line(&format!("restored at revision {}", answer["revision"]));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The file is never seen half written, and its owner alone may read it.
fn write_new(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    std::fs::rename(&new, file)
}

const COLUMNS: [&str; 9] =
    ["NAME", "ROLE", "ADDRESS", "CONTACT", "REVISION", "LAG", "PLAN", "RELEASE", "READY"];

fn table(status: &Value) -> Vec<String> {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    for peer in status["peers"].as_array().into_iter().flatten() {
        rows.push(row(status, peer));
    }
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect();
    let leader = status["leader"].as_str().unwrap_or("none: nothing can be written");
    lines.push(format!(
        "leader {leader}, term {}, seen by {}",
        status["term"],
        text(status, "name")
    ));
    lines
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn row(status: &Value, peer: &Value) -> [String; COLUMNS.len()] {
    let own = peer["name"] == status["name"];
    let role = if peer["leader"] == true { "leader".to_owned() } else { text(peer, "role") };
    let contact = match peer["lastContactMs"].as_u64() {
        _ if own => "here".to_owned(),
        Some(ms) if peer["reachable"] == true => format!("{ms} ms"),
        Some(ms) => format!("lost {} s ago", ms / 1000),
        None => "never".to_owned(),
    };
    let committed = status["committed"].as_u64().unwrap_or(0);
    let revision = peer["revision"].as_u64().unwrap_or(0);
    let digest = text(peer, "planDigest");
    // Equal documents give equal plans; a peer at the same revision with another one has a problem.
    let status_revision = status["revision"].as_u64().unwrap_or(0);
    let differs = revision == status_revision && peer["planDigest"] != status["planDigest"];
    let mark = if differs && !digest.is_empty() { " differs" } else { "" };
    let short: String = digest.chars().take(12).collect();
    let plan = format!("{}{mark}", if short.is_empty() { "-" } else { &short });
    let ready = if peer["ready"] == true { "yes" } else { "no" };
    [
        text(peer, "name"),
        role,
        text(peer, "address"),
        contact,
        revision.to_string(),
        committed.saturating_sub(revision).to_string(),
        plan,
        text(peer, "release"),
        ready.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_peer_that_differs_is_shown_as_such() {
        let peer = |name: &str, leader: bool, reachable: bool, digest: &str| {
            json!({
                "name": name, "address": "10.0.0.1:7300", "role": "voter", "leader": leader,
                "reachable": reachable, "lastContactMs": 2500, "revision": 7, "planDigest": digest,
                "release": "0.1.0", "ready": true,
            })
        };
        let status = json!({
            "name": "a", "leader": "b", "term": 3, "revision": 7, "committed": 9, "planDigest": "1",
            "ready": true,
            "peers": [peer("a", false, true, "1"), peer("b", true, true, "2"), peer("c", false, false, "1")],
        });
        let lines = table(&status);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(&lines[1]),
            ["a", "voter", "10.0.0.1:7300", "here", "7", "2", "1", "0.1.0", "yes"]
        );
        assert!(lines[2].contains("leader") && lines[2].contains("2 differs"), "{}", lines[2]);
        assert!(lines[3].contains("lost 2 s ago"), "{}", lines[3]);
        assert_eq!(lines[4], "leader b, term 3, seen by a");
    }
}
