//! `file`: dynamic configuration from a file or a folder.
//!
//! Traefik v3: file provider (providers.md §2).
//!
//! Differs: in a folder, a file that cannot be used keeps its own last good content and the others go live; Traefik
//! refuses the whole reload. Contents of certificate files are looked at again every 5 s, not only when the
//! configuration file changes. A file that has become empty counts as empty after a second: whoever writes a file in
//! its place empties it first, and may be read just then.

mod inline;
mod known;
pub(crate) mod options;
mod read;
mod template;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use notify::RecursiveMode;
use pontoon_cluster::Document;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Entries, Provider, ProviderError, Updates};

use known::{EMPTY_SETTLE, Found, Known};
pub(crate) use read::read_file;

/// The file provider.
pub(crate) struct FileProvider {
    source: Source,
    watch: bool,
    known: Arc<Mutex<Known>>,
    /// What is known is the same, in other memory.
    moved: Notify,
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
        let known = Arc::new(Mutex::new(Known::new(options.debug_log_generated_template)));
        Ok(Self { source, watch: options.watch, known, moved: Notify::new() })
    }

    /// The files that are read, in the order in which they count. Blocks.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, ProviderError> {
        read::files(&self.source).map_err(ProviderError::Source)
    }

    async fn look(&self) -> Result<Found, String> {
        let (source, known) = (self.source.clone(), self.known.clone());
        let look = move || lock(&known).look(&source);
        tokio::task::spawn_blocking(look).await.map_err(|error| error.to_string())?
    }
}

/// A panic while it was held leaves a file half merged at worst, which its next change mends.
fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
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
            let mut again = None;
            match self.look().await {
                Ok(Found { entries, problems, unsettled }) => {
                    again = unsettled.then_some(EMPTY_SETTLE);
                    for problem in problems.iter().filter(|problem| !told.contains(*problem)) {
                        error!("{problem}");
                    }
                    told = problems;
                    // Where it is only in other memory, the old one must be let go of everywhere.
                    if sent.as_ref().is_none_or(|sent| !sent.is_copy_of(&entries)) {
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
                () = self.moved.notified() => {}
                () = after(again) => {}
            }
        }
    }

    async fn digest(&self) -> Option<String> {
        self.look().await.ok()?;
        let known = self.known.clone();
        tokio::task::spawn_blocking(move || lock(&known).digest()).await.ok()
    }

    async fn share(&self, document: &Arc<Document>) {
        let (known, document) = (self.known.clone(), document.clone());
        let share = move || lock(&known).share(&document.entries);
        if tokio::task::spawn_blocking(share).await.is_ok_and(|moved| moved) {
            self.moved.notify_one();
        }
    }
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
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
