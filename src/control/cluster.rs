//! Starts the cluster part from the startup configuration, and tells the other peers about this one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pontoon_cluster::{Cluster, Options};

use super::follow::View;
use crate::config::startup;
use crate::provider::Provider;
use crate::task::Group;

/// How often readiness and the digests of files are looked at without a change of plan.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Why the cluster part does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cluster.{option}: {problem}")]
    Option { option: &'static str, problem: String },
    #[error("cluster")]
    Start(#[from] pontoon_cluster::Error),
}

fn option(option: &'static str, problem: impl Into<String>) -> Error {
    Error::Option { option, problem: problem.into() }
}

/// Starts this peer. It does not wait for the others.
pub(crate) async fn start(options: &startup::Cluster) -> Result<Cluster, Error> {
    Ok(Cluster::start(translated(options)?).await?)
}

fn translated(options: &startup::Cluster) -> Result<Options, Error> {
    let address = address(&options.address)?;
    let advertise = if options.advertise.is_empty() {
        if address.ip().is_unspecified() {
            let problem =
                format!("must be set, since `address` (`{}`) names no host", options.address);
            return Err(option("advertise", problem));
        }
        address.to_string()
    } else {
        options.advertise.clone()
    };
    if !options.join.is_empty() {
        return Err(option(
            "join",
            "joining a running cluster is not built yet: use `initialPeers`",
        ));
    }
    Ok(Options {
        name: name(&options.name)?,
        address,
        advertise,
        data_dir: match options.data_dir.as_str() {
            "" => return Err(option("dataDir", "is required")),
            folder => folder.into(),
        },
        secrets: secrets(options)?,
        initial_peers: options.initial_peers.clone(),
        heartbeat_interval: options.heartbeat_interval.into(),
        election_timeout: options.election_timeout.into(),
        request_timeout: options.request_timeout.into(),
        snapshot_threshold: options.snapshot_threshold,
        release: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// `[host]:port`; without a host, all addresses.
fn address(text: &str) -> Result<SocketAddr, Error> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_error| {
        option("address", format!("`{text}` is not of the form IP:PORT or :PORT"))
    })
}

fn name(given: &str) -> Result<String, Error> {
    if !given.is_empty() {
        return Ok(given.to_owned());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(|error| {
        option("name", format!("is not set and the host name cannot be read: {error}"))
    })?;
    Ok(host.trim().to_owned())
}

fn secrets(options: &startup::Cluster) -> Result<Vec<String>, Error> {
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(ToOwned::to_owned)
            .collect()
    };
    let found = match (options.secret.is_empty(), options.secret_file.as_str()) {
        (false, _) => lines(options.secret.expose()),
        (true, "") => {
            return Err(option(
                "secretFile",
                "is required: make a secret with `pontoon cluster secret` and give all peers the same file",
            ));
        }
        (true, file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| option("secretFile", format!("{file}: {error}")))?;
            lines(&text)
        }
    };
    Ok(found)
}

/// Keeps telling the others whether this peer is ready and what its files hold. The plan is told by who follows it.
pub(crate) async fn report(
    cluster: Cluster,
    view: View,
    ready: impl Fn() -> bool + Send + 'static,
    providers: Vec<Arc<dyn Provider>>,
    tasks: Group,
) {
    let stop = tasks.stop_token();
    let mut changed = view.changed();
    let mut files = std::collections::BTreeMap::new();
    let mut files_due = true;
    loop {
        if files_due {
            for provider in &providers {
                if let Some(digest) = provider.digest().await {
                    files.insert(provider.name().to_owned(), digest);
                }
                if let Some(document) = cluster.documents().documents.get(provider.name()) {
                    provider.share(document).await;
                }
            }
        }
        changed.borrow_and_update();
        cluster.report(|report| {
            report.ready = ready();
            report.files.clone_from(&files);
        });
        let waited = tokio::time::timeout(REPORT_EVERY, changed.changed());
        match stop.run_until_cancelled(waited).await {
            None | Some(Ok(Err(_))) => return,
            Some(Ok(Ok(()))) => files_due = false,
            Some(Err(_elapsed)) => files_due = true,
        }
    }
}
