//! `file`: dynamic configuration from a file or a folder.
//!
//! Traefik v3: file provider (providers.md §2).
//!
//! Differs: in a folder, a file that cannot be used keeps its own last good content and the others go live; Traefik
//! refuses the whole reload. Contents of certificate files are looked at again every 5 s, not only when the
//! configuration file changes.

mod inline;
pub(crate) mod options;
mod read;
mod template;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use notify::RecursiveMode;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Entries, Provider, ProviderError, Updates};
use crate::config::dynamic::Configuration;

pub(crate) use read::read_file;

/// The file provider.
pub(crate) struct FileProvider {
    source: Source,
    watch: bool,
    /// The last content of each file that could be used.
    good: Arc<Mutex<BTreeMap<PathBuf, Configuration>>>,
}

/// What is read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Folder(PathBuf),
}

impl FileProvider {
    pub(crate) fn new(options: &options::File) -> Result<Self, ProviderError> {
        let source = match (options.filename.as_str(), options.directory.as_str()) {
            ("", "") => {
                return Err(ProviderError::Source(
                    "providers.file: set `filename` or `directory`".to_owned(),
                ));
            }
            // Traefik prefers the folder where both are set.
            (file, "") => Source::File(file.into()),
            (_, folder) => Source::Folder(folder.into()),
        };
        Ok(Self { source, watch: options.watch, good: Arc::default() })
    }

    /// The files that are read, in the order in which they count. Blocks.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, ProviderError> {
        read::files(&self.source).map_err(ProviderError::Source)
    }

    /// Reads all that there is now. Blocks: not for a runtime thread.
    fn read(
        source: &Source,
        good: &Mutex<BTreeMap<PathBuf, Configuration>>,
    ) -> Result<(Entries, Vec<String>), String> {
        let files = read::files(source)?;
        let mut good = good.lock().unwrap_or_else(PoisonError::into_inner);
        good.retain(|path, _| files.contains(path));
        let mut problems = Vec::new();
        let mut all = Configuration::default();
        for path in &files {
            match read_file(path) {
                Ok((configuration, warnings)) => {
                    problems.extend(warnings.iter().map(ToString::to_string));
                    good.insert(path.clone(), configuration);
                }
                Err(found) => {
                    let kept =
                        if good.contains_key(path) { "; its last content stays" } else { "" };
                    problems.extend(found.iter().map(|problem| format!("{problem}{kept}")));
                }
            }
            if let Some(configuration) = good.get(path) {
                for key in all.merge(configuration.clone()) {
                    problems.push(format!("{}: {key} is in another file already", path.display()));
                }
            }
        }
        Ok((all.entries(), problems))
    }

    async fn look(&self) -> Result<(Entries, Vec<String>), String> {
        let (source, good) = (self.source.clone(), self.good.clone());
        tokio::task::spawn_blocking(move || Self::read(&source, &good))
            .await
            .map_err(|error| error.to_string())?
    }
}

#[async_trait]
impl Provider for FileProvider {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn run(&self, updates: Updates, stop: CancellationToken) -> Result<(), ProviderError> {
        let mut watch = self.watch.then(|| match &self.source {
            Source::File(file) => {
                watch::Watch::new(&[(watch::folder_of(file), RecursiveMode::NonRecursive)])
            }
            Source::Folder(folder) => {
                watch::Watch::new(&[(folder.clone(), RecursiveMode::Recursive)])
            }
        });
        let mut told = Vec::new();
        let mut sent: Option<Entries> = None;
        let mut reload = hangup();
        loop {
            match self.look().await {
                Ok((entries, problems)) => {
                    for problem in problems.iter().filter(|problem| !told.contains(*problem)) {
                        error!("{problem}");
                    }
                    told = problems;
                    if sent.as_ref() != Some(&entries) {
                        updates.send(entries.clone())?;
                        sent = Some(entries);
                    }
                }
                Err(error) if self.watch => {
                    if !told.contains(&error) {
                        warn!(%error, "cannot read the configuration; the last one stays");
                    }
                    told = vec![error];
                }
                Err(error) => return Err(ProviderError::Source(error)),
            }
            let due = async {
                match &mut watch {
                    Some(watch) => watch.due().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = due => {}
                () = hung_up(&mut reload) => {}
            }
        }
    }

    async fn digest(&self) -> Option<String> {
        let (entries, _) = self.look().await.ok()?;
        let mut hash = Sha256::new();
        for (key, value) in &entries {
            hash.update(key.as_bytes());
            hash.update([0]);
            hash.update(value);
            hash.update([0]);
        }
        let hash = hash.finalize();
        hash.get(..8).map(crate::hex::lower)
    }
}

/// SIGHUP makes the provider read again.
fn hangup() -> Option<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok()
}

async fn hung_up(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
