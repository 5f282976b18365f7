//! What remains of a connection after a switch of protocols: bytes, both ways, until both sides have ended.
//!
//! As in Traefik there is no time limit: a WebSocket may be silent for as long as it likes. An end of one direction is
//! passed on and the other goes on. The client's side ends when its entry point does.

use tokio::io::copy_bidirectional_with_sizes;

use crate::http::{OnUpgrade, Upgraded};

/// Bytes of buffer for each direction.
const BUFFER: usize = 16 * 1024;

/// Waits until the client has got its response, then copies.
pub(super) async fn run(client: OnUpgrade, mut server: Upgraded) {
    let mut client = match client.await {
        Ok(client) => client,
        Err(error) => {
            tracing::debug!(%error, "the client left before its protocol switched");
            return;
        }
    };
    if let Err(error) =
        copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await
    {
        tracing::debug!(%error, "tunnel broke off");
    }
}
