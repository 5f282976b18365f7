//! One provider's way into the log: throttled, compared with what is in force, proposed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::documents::Store;
use crate::provider::Entries;

/// Between two tries to publish while there is no quorum.
const AGAIN: Duration = Duration::from_secs(1);

/// Publishes what a provider sends until `stop`: the first at once, then at most one each `throttle`, the newest.
pub(crate) async fn publish(
    store: Store,
    provider: &'static str,
    mut updates: watch::Receiver<Option<Entries>>,
    (term, throttle): (u64, Duration),
    stop: CancellationToken,
) {
    while let Some(Ok(())) = stop.run_until_cancelled(updates.changed()).await {
        let Some(entries) = updates.borrow_and_update().clone() else { continue };
        if !equals_what_is_in_force(&store, provider, &entries) {
            match store.publish(provider, entries, term).await {
                Ok(()) => info!(provider, "configuration published"),
                Err(error) => {
                    warn!(%error, provider, "configuration not published; trying again");
                    updates.mark_changed();
                    if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                        return;
                    }
                    continue;
                }
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(throttle)).await.is_none() {
            return;
        }
    }
}

fn equals_what_is_in_force(store: &Store, provider: &str, entries: &Entries) -> bool {
    let documents = store.documents();
    let Some(document) = documents.documents.get(provider).map(Arc::as_ref) else { return false };
    document.entries.len() == entries.len()
        && document
            .entries
            .iter()
            .zip(entries)
            .all(|((key, entry), (wanted, value))| key == wanted && *entry.bytes == **value)
}
