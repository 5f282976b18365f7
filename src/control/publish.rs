//! One provider's way into the log: throttled, compared with what is in force, proposed.

use std::sync::Arc;
use std::time::Duration;

use pontoon_cluster::Document;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::documents::{Edits, Store};
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
    let mut published: Option<Published> = None;
    while let Some(Ok(())) = stop.run_until_cancelled(updates.changed()).await {
        let Some(entries) = updates.borrow_and_update().clone() else { continue };
        let edits = edits(store.document(provider).as_ref(), published.as_ref(), &entries);
        if edits.as_ref().is_none_or(|edits| !edits.is_empty()) {
            match store.publish(provider, &entries, edits, term).await {
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
        published = store.document(provider).map(|document| Published { entries, document });
        if stop.run_until_cancelled(tokio::time::sleep(throttle)).await.is_none() {
            return;
        }
    }
}

/// What was published last, so that the next time only what has changed since is looked at.
struct Published {
    entries: Entries,
    document: Arc<Document>,
}

/// What must change for a provider's document to hold `wanted`. `None`: there is no document yet.
fn edits(
    document: Option<&Arc<Document>>,
    published: Option<&Published>,
    wanted: &Entries,
) -> Option<Edits> {
    let document = document?;
    let mut edits = Edits { expected: document.revision, ..Edits::default() };
    let known = published.filter(|last| Arc::ptr_eq(&last.document, document));
    if let Some(last) = known {
        for one in last.entries.differences(wanted, PartialEq::eq) {
            match one.new {
                Some(bytes) => edits.set.push((one.key.clone(), bytes.clone())),
                None => edits.deleted.push(one.key.clone()),
            }
        }
        return Some(edits);
    }
    let gone = document.entries.keys().filter(|key| !wanted.contains_key(&***key));
    edits.deleted.extend(gone.cloned());
    for (key, bytes) in wanted {
        if document.entries.get(&**key).is_none_or(|entry| entry.bytes != *bytes) {
            edits.set.push((key.clone(), bytes.clone()));
        }
    }
    Some(edits)
}

#[cfg(test)]
mod tests {
    use pontoon_cluster::{Entry, Revision, Value};

    use super::*;

    fn entries(all: &[(&str, &str)]) -> Entries {
        all.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn edits_are_what_differs_whether_the_last_document_is_known_or_not() {
        let old = entries(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let new = entries(&[("a", "1"), ("b", "2"), ("d", "1")]);
        let revision = Revision(7);
        let entry = |(key, bytes): (&Arc<str>, &Value)| {
            (key.clone(), Entry { revision, bytes: bytes.clone() })
        };
        let document = Arc::new(Document { revision, entries: old.iter().map(entry).collect() });
        let published = Published { entries: old, document: document.clone() };
        assert!(edits(None, Some(&published), &new).is_none());
        for published in [None, Some(&published)] {
            let found = edits(Some(&document), published, &new).unwrap();
            let set: Vec<&str> = found.set.iter().map(|(key, _)| &**key).collect();
            assert_eq!(
                (set, found.deleted, found.expected),
                (vec!["b", "d"], vec!["c".into()], revision)
            );
        }
    }
}
