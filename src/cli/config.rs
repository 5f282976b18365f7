//! `pontoon config`: reads and changes the document of the provider `cluster` through any peer.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Api, escape, print};
use super::http::Call;
use super::output;

const EXAMPLES: &str = "Examples:
  pontoon config get                              the whole document
  pontoon config get http/routers/shop            one object
  pontoon config put routes.yaml                  replaces the whole document
  pontoon config put shop.yaml http/routers/shop  writes one object
  pontoon config diff routes.yaml                 what `put` would change
  pontoon config patch change.json                JSON merge patch: null deletes
  pontoon config history                          who changed what, and when
  pontoon config rollback 42                      the document as of revision 42

A token comes from --token, --token-file or PONTOON_TOKEN; `pontoon token NAME` makes one.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Write {
    #[command(flatten)]
    api: Api,
    /// Only if the document, or the object, is still at this revision
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
    /// Checks, and says what would change
    #[arg(long)]
    dry_run: bool,
    /// Waits until every peer that can be reached has applied it
    #[arg(long)]
    wait_all: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the document, or the object at PATH (`http/routers/NAME`)
    Get {
        path: Option<String>,
        /// What this peer knows, although it may be old; works without a quorum
        #[arg(long)]
        local: bool,
        #[command(flatten)]
        api: Api,
    },
    /// Replaces the document, or writes the object at PATH; FILE is YAML, JSON or TOML, `-` is YAML from the input
    Put {
        file: PathBuf,
        path: Option<String>,
        #[command(flatten)]
        write: Write,
    },
    /// Applies a JSON merge patch (RFC 7396) to the document
    Patch {
        file: PathBuf,
        #[command(flatten)]
        write: Write,
    },
    /// Deletes the object at PATH
    Delete {
        path: String,
        #[command(flatten)]
        write: Write,
    },
    /// Says what `put FILE` would change; exit code 1 if anything
    Diff {
        file: PathBuf,
        #[command(flatten)]
        api: Api,
    },
    /// Lists changes, newest first
    History {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: Api,
    },
    /// Puts the document of an older revision in force again
    Rollback {
        revision: u64,
        #[command(flatten)]
        write: Write,
    },
    /// Prints each change as it happens, one JSON object a line
    Watch {
        /// Begin after this revision; default: now
        #[arg(long)]
        from: Option<u64>,
        #[command(flatten)]
        api: Api,
    },
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Get { path, local, api } => {
            let query = if *local { "?consistency=local" } else { "" };
            print(&api.json(&Call::new("GET", format!("{}{query}", place(path.as_deref()))))?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Put { file, path, write } => {
            let mut call = Call::new("PUT", place(path.as_deref()));
            call.body = read(file)?;
            call.headers.push(("Content-Type", media_type(file).to_owned()));
            write.send(call)
        }
        Command::Patch { file, write } => {
            let mut call = Call::new("PATCH", "/api/config");
            call.body = read(file)?;
            call.headers.push(("Content-Type", "application/merge-patch+json".to_owned()));
            write.send(call)
        }
        Command::Delete { path, write } => write.send(Call::new("DELETE", place(Some(path)))),
        Command::Diff { file, api } => diff(file, api),
        Command::History { limit, json, api } => {
            let changes =
                api.json(&Call::new("GET", format!("/api/config/history?limit={limit}")))?;
            if *json {
                print(&changes);
            } else {
                changes
                    .as_array()
                    .into_iter()
                    .flatten()
                    .for_each(|change| output::line(&told(change)));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Rollback { revision, write } => {
            write.send(Call::new("POST", format!("/api/config/rollback?revision={revision}")))
        }
        Command::Watch { from, api } => watch(*from, api),
    }
}

impl Write {
    fn send(&self, mut call: Call<'_>) -> anyhow::Result<ExitCode> {
        let mut parameters = Vec::new();
        if self.dry_run {
            parameters.push("dryRun=true");
        }
        if self.wait_all {
            parameters.push("wait=all");
        }
        for parameter in parameters {
            let mark = if call.path.contains('?') { '&' } else { '?' };
            call.path.push(mark);
            call.path.push_str(parameter);
        }
        if let Some(revision) = self.if_match {
            call.headers.push(("If-Match", format!("\"{revision}\"")));
        }
        let answer = &self.api.json(&call)?;
        show_changes(answer);
        if let Some(revision) = answer["revision"].as_u64() {
            output::line(&format!("revision {revision}, term {}", answer["term"]));
        }
        for peer in answer["peers"].as_array().into_iter().flatten() {
            let state = if peer["applied"] == true { "applied" } else { "not applied yet" };
            output::line(&format!("{}: {state}", peer["name"].as_str().unwrap_or_default()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn diff(file: &Path, api: &Api) -> anyhow::Result<ExitCode> {
    let mut call = Call::new("PUT", "/api/config?dryRun=true");
    call.body = read(file)?;
    call.headers.push(("Content-Type", media_type(file).to_owned()));
    let answer = &api.json(&call)?;
    show_changes(answer);
    let none = answer["changes"].as_array().is_none_or(Vec::is_empty);
    Ok(if none { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn watch(from: Option<u64>, api: &Api) -> anyhow::Result<ExitCode> {
    let query = from.map(|from| format!("?from={from}")).unwrap_or_default();
    let answer = api.call(&Call::new("GET", format!("/api/config/watch{query}")))?;
    for line in answer.lines() {
        let line = line.context("the peer ended the watch")?;
        if line == "event: compacted" {
            anyhow::bail!("changes were missed: they are compacted away already");
        }
        if let Some(data) = line.strip_prefix("data: ") {
            output::line(data);
        }
    }
    anyhow::bail!("the peer ended the watch")
}

/// One line for each object.
fn show_changes(answer: &Value) {
    for change in answer["changes"].as_array().into_iter().flatten() {
        let sign = match change["change"].as_str() {
            Some("created") => '+',
            Some("deleted") => '-',
            _ => '~',
        };
        output::line(&format!("{sign} {}", change["path"].as_str().unwrap_or_default()));
    }
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        output::line(&format!("warning: {}", warning.as_str().unwrap_or_default()));
    }
}

/// A change of the history as one line.
fn told(change: &Value) -> String {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or("-").to_owned();
    let objects = change["objects"].as_array().into_iter().flatten();
    let objects: Vec<String> = objects
        .map(|object| format!("{} {}", text(object, "change"), text(object, "path")))
        .collect();
    let (time, author) = (text(change, "time"), text(change, "author"));
    format!("{:>8}  {time}  {author:<16}  {}", change["revision"].to_string(), objects.join(", "))
}

/// The call's path: `http/routers/NAME`, or with dots between; what follows the kind is the name.
fn place(path: Option<&str>) -> String {
    let Some(path) = path else { return "/api/config".to_owned() };
    let parts: Vec<&str> = path.trim_matches('/').splitn(3, ['/', '.']).collect();
    let parts: Vec<String> = parts.into_iter().map(escape).collect();
    format!("/api/config/{}", parts.join("/"))
}

fn media_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => "application/json",
        Some("toml") => "application/toml",
        _ => "application/yaml",
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().take(super::FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("reading {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_slashes_or_dots() {
        assert_eq!(place(None), "/api/config");
        assert_eq!(place(Some("http/routers/api")), "/api/config/http/routers/api");
        assert_eq!(place(Some("http.routers.a.b/c")), "/api/config/http/routers/a%2Eb%2Fc");
    }
}
