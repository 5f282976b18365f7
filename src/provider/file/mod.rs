//! `file`: dynamic configuration from a file or a folder.
//!
//! Traefik v3: file provider (providers.md §2).
//!
//! Differs: in a folder, a file that cannot be used keeps its own last good content and the others go live; Traefik
//! refuses the whole reload. Contents of certificate files are looked at again every 5 s, not only when the
//! configuration file changes. A file that has become empty counts as empty after a second: whoever writes a file in
//! its place empties it first, and may be read just then.

mod inline;
pub(crate) mod options;
mod read;
mod template;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use notify::RecursiveMode;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Entries, Provider, ProviderError, Updates};
use crate::config::dynamic::Configuration;

pub(crate) use read::read_file;

/// How long a file is empty before that counts.
const EMPTY_SETTLE: Duration = Duration::from_secs(1);

/// The file provider.
pub(crate) struct FileProvider {
    source: Source,
    watch: bool,
    good: Arc<Mutex<Good>>,
}

/// The last content of each file that could be used.
type Good = BTreeMap<PathBuf, Known>;

struct Known {
    configuration: Configuration,
    /// Since when the file is empty, as long as that does not count.
    empty: Option<Instant>,
}

/// What one look at the source has found.
struct Found {
    entries: Entries,
    problems: Vec<String>,
    /// A file may be in the middle of being written.
    unsettled: bool,
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
    fn read(source: &Source, good: &Mutex<Good>) -> Result<Found, String> {
        let files = read::files(source)?;
        let mut good = good.lock().unwrap_or_else(PoisonError::into_inner);
        good.retain(|path, _| files.contains(path));
        let mut problems = Vec::new();
        let mut unsettled = false;
        let mut all = Configuration::default();
        for path in &files {
            match read_file(path) {
                Ok((configuration, warnings)) => {
                    problems.extend(warnings.iter().map(ToString::to_string));
                    unsettled |= settle(&mut good, path, configuration, Instant::now());
                }
                Err(found) => {
                    let known = good.get_mut(path);
                    let kept = if known.is_some() { "; its last content stays" } else { "" };
                    if let Some(known) = known {
                        known.empty = None;
                    }
                    problems.extend(found.iter().map(|problem| format!("{problem}{kept}")));
                }
            }
            if let Some(known) = good.get(path) {
                for key in all.merge(known.configuration.clone()) {
                    problems.push(format!("{}: {key} is in another file already", path.display()));
                }
            }
        }
        Ok(Found { entries: all.entries(), problems, unsettled })
    }

    async fn look(&self) -> Result<Found, String> {
        let (source, good) = (self.source.clone(), self.good.clone());
        tokio::task::spawn_blocking(move || Self::read(&source, &good))
            .await
            .map_err(|error| error.to_string())?
    }
}

/// Notes what a file holds now; true where its last content is kept for a while, because it has just become empty.
fn settle(good: &mut Good, path: &Path, configuration: Configuration, now: Instant) -> bool {
    let nothing = Configuration::default();
    if configuration == nothing
        && let Some(known) = good.get_mut(path)
        && known.configuration != nothing
        && now.saturating_duration_since(*known.empty.get_or_insert(now)) < EMPTY_SETTLE
    {
        return true;
    }
    good.insert(path.to_owned(), Known { configuration, empty: None });
    false
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
                () = after(again) => {}
            }
        }
    }

    async fn digest(&self) -> Option<String> {
        let found = self.look().await.ok()?;
        let mut hash = Sha256::new();
        for (key, value) in &found.entries {
            hash.update(key.as_bytes());
            hash.update([0]);
            hash.update(value);
            hash.update([0]);
        }
        let hash = hash.finalize();
        hash.get(..8).map(crate::hex::lower)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_emptied_to_be_written_keeps_its_content_for_a_moment() {
        let (path, start) = (Path::new("app.yml"), Instant::now());
        let mut good = Good::new();
        let nothing = Configuration::default;
        let full = Configuration { http: Some(Default::default()), ..nothing() };
        let half = EMPTY_SETTLE / 2;
        let mut settle = |configuration: &Configuration, halves: u32| {
            let kept = settle(&mut good, path, configuration.clone(), start + halves * half);
            (kept, good[path].configuration != nothing())
        };
        assert_eq!(settle(&nothing(), 0), (false, false), "it was never anything else");
        assert_eq!(settle(&full, 1), (false, true));
        assert_eq!(settle(&nothing(), 2), (true, true));
        assert_eq!(settle(&nothing(), 3), (true, true));
        assert_eq!(settle(&full, 3), (false, true));
        assert_eq!(settle(&nothing(), 10), (true, true), "it counts from when it was seen");
        assert_eq!(settle(&nothing(), 12), (false, false));
    }
}
