//! `changes`: the history of changes, read again and again from every peer.
//!
//! Registers show only their newest value. The history shows that each acknowledged write came, also one that was
//! written over a moment later.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::checker::changes::Merged;
use crate::client::Client;
use crate::peers::PEERS;

/// Peers keep about a thousand changes: twice as long is enough for 2,000 writes a second.
const PAUSE: Duration = Duration::from_millis(250);

/// Reads until told to stop. A peer that does not answer is asked again later.
pub(crate) async fn run(client: &Client, merged: &Mutex<Merged>, stop: &CancellationToken) {
    let mut peer = 0;
    while !stop.is_cancelled() {
        if let Ok(changes) = client.changes(peer).await {
            merged.lock().unwrap_or_else(PoisonError::into_inner).add(peer, &changes);
        }
        peer = (peer + 1) % PEERS;
        let _stopped = stop.run_until_cancelled(sleep(PAUSE)).await;
    }
}
