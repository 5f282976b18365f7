//! Layer 4 over UDP: services. Sockets and sessions are in `entrypoint::udp`.
//!
//! Traefik v3: UDP (tcp-udp-tls.md §5).

pub(crate) mod options;
mod service;

use std::sync::Arc;

pub(crate) use service::{BuildError, Lookup, Service, build};

/// A UDP router that works.
pub(crate) struct Route {
    /// `name@provider`
    pub(crate) name: Arc<str>,
    pub(crate) service: Arc<dyn Service>,
}

/// A server, as new sessions reach it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Name or IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}
