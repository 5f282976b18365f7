//! `GET /config/watch`: each change of the document, as server-sent events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use pontoon_cluster::{Change, ChangeKind, Cluster, Revision};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use super::document::path_of;
use super::ping::Draining;
use super::problem::Problem;
use crate::http::{Body, BodyError, Response};

/// The provider whose document these calls are about.
pub(crate) const PROVIDER: &str = "cluster";
/// Events on their way to a slow client; the log keeps the others.
const QUEUE: usize = 16;
/// Between two comments that keep the connection open.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a watch looks whether this peer drains.
const LOOK: Duration = Duration::from_secs(1);

/// A change as history and watch show it. What was changed to what is not told: documents hold secrets.
pub(crate) fn shown(change: &Change) -> Value {
    let nanoseconds = i128::from(change.stamp_ms) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok());
    json!({
        "revision": change.revision,
        "time": time,
        "author": change.author,
        "objects": objects(change),
    })
}

/// The paths of the objects that a change is about, and what happened to them.
pub(crate) fn objects(change: &Change) -> Value {
    let keys = change.keys.iter().map(|key| {
        let what = match (key.kind, &key.previous) {
            (ChangeKind::Deleted, _) => "deleted",
            (ChangeKind::Set, Some(_)) => "changed",
            (ChangeKind::Set, None) => "created",
        };
        json!({ "path": path_of(&key.key), "change": what })
    });
    keys.collect()
}

/// 410
pub(crate) fn gone(floor: Revision) -> Problem {
    let detail = format!("revisions before {floor} are compacted away");
    Problem::new(StatusCode::GONE, detail).with("oldest", json!(floor))
}

/// Begins a watch that shows the changes after `from`; the future feeds it and ends with the connection.
pub(crate) fn start(
    cluster: Cluster,
    from: Revision,
    draining: Draining,
    permit: OwnedSemaphorePermit,
) -> Result<(Response, impl Future<Output = ()> + Send + 'static), Problem> {
    cluster.changes_since(from).map_err(|compacted| gone(compacted.floor))?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut response = Response::new(Body::stream(Events { receiver }));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    let feed = async move {
        feed(cluster, from, draining, sender).await;
        drop(permit);
    };
    Ok((response, feed))
}

async fn feed(
    cluster: Cluster,
    mut from: Revision,
    draining: Draining,
    sender: mpsc::Sender<Bytes>,
) {
    let mut applied = cluster.watch();
    let mut beat = Instant::now();
    // The head goes out at once.
    if sender.send(Bytes::from_static(b": watching\n\n")).await.is_err() {
        return;
    }
    loop {
        applied.borrow_and_update();
        let Ok(changes) = cluster.changes_since(from) else {
            // Too slow: the client asks again and is told what there is.
            drop(sender.send(Bytes::from_static(b"event: compacted\ndata: {}\n\n")).await);
            return;
        };
        for change in changes {
            from = change.revision;
            if change.provider == PROVIDER && sender.send(event(&change)).await.is_err() {
                return;
            }
        }
        if beat.elapsed() >= HEARTBEAT {
            beat = Instant::now();
            if sender.send(Bytes::from_static(b": here\n\n")).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
            () = tokio::time::sleep(LOOK) => if draining.now() { return },
        }
    }
}

fn event(change: &Arc<Change>) -> Bytes {
    format!("id: {}\nevent: change\ndata: {}\n\n", change.revision, shown(change)).into()
}

/// The body of a watch.
struct Events {
    receiver: mpsc::Receiver<Bytes>,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.receiver.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use pontoon_cluster::KeyChange;

    use super::*;

    #[test]
    fn a_change_shows_objects_and_no_contents() {
        let key =
            KeyChange { key: "http/routers/a%2Fb".into(), kind: ChangeKind::Set, previous: None };
        let change = Change {
            revision: Revision(7),
            stamp_ms: 1_700_000_000_000,
            author: "ann".into(),
            provider: PROVIDER.into(),
            keys: vec![key],
        };
        let expected = json!({
            "revision": 7,
            "time": "2023-11-14T22:13:20Z",
            "author": "ann",
            "objects": [{ "path": "http.routers.a/b", "change": "created" }],
        });
        assert_eq!(shown(&change), expected);
    }
}
