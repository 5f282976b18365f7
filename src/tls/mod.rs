//! TLS for clients: certificate and options by SNI, from the tables of the plan.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;

/// What a handshake needs, for one entry point.
#[derive(Debug, Default)]
pub(crate) struct Tables {}

/// How to go on with a handshake.
pub(crate) enum Choice {
    /// Shake hands with this configuration; `options` is the qualified name of the TLS options (`default` for the default).
    Accept { config: Arc<ServerConfig>, options: Arc<str> },
    /// The options of this name could not be built: close the connection.
    Close,
}

impl Tables {
    /// Chooses by SNI (any case; `None` where the client sent none); `local` stands in for a missing name.
    pub(crate) fn choose(&self, _server_name: Option<&str>, _local: IpAddr) -> Choice {
        Choice::Close
    }
}
