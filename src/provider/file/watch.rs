//! Tells when something below a set of paths may have changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

/// Without an event for this long, what was written is read: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(50);
/// It is read at the latest this long after the first event.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// Without an event the source is looked at all the same: files behind symlinks and network file systems send none.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Watches the folder of a file (so that a rename in its place is seen), or a folder and all below it.
pub(super) struct Watch {
    events: mpsc::Receiver<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Falls back to looking every few seconds where the system gives no watch.
    pub(super) fn new(paths: &[(PathBuf, RecursiveMode)]) -> Self {
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let access = event.is_ok_and(|event| event.kind.is_access());
            if !access && sender.try_send(()).is_err() {
                // Full means that a look is due anyway; closed, that nobody looks any more.
            }
        });
        let watcher = match watcher {
            Ok(mut watcher) => {
                for (path, mode) in paths {
                    if let Err(error) = watcher.watch(path, *mode) {
                        warn!(%error, path = %path.display(), "cannot watch; looking every 5 s instead");
                    }
                }
                Some(watcher)
            }
            Err(error) => {
                warn!(%error, "cannot watch files; looking every 5 s instead");
                None
            }
        };
        Self { events, _watcher: watcher }
    }

    /// Returns when a look is due.
    pub(super) async fn due(&mut self) {
        match tokio::time::timeout(LOOK_AGAIN, self.events.recv()).await {
            Ok(Some(())) => {
                let latest = Instant::now() + SETTLE_MAX;
                while Instant::now() < latest
                    && tokio::time::timeout(SETTLE, self.events.recv()).await == Ok(Some(()))
                {
                }
            }
            Ok(None) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(_elapsed) => {}
        }
    }
}

/// The folder in which a file lies; the working directory for a bare name.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
