//! The client side of the proxy: connector, pool, transport options, exchange, tunnel.

mod connector;
mod exchange;
mod fetch;
mod h1;
mod h2;
mod headers;
mod options;
mod outlet;
mod pool;
pub(crate) mod redis;
mod spiffe;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod tunnel;

use std::future::Future;

pub(crate) use connector::Stream as ServerStream;
pub(crate) use exchange::Server;
pub(crate) use fetch::{FetchError, Trailers};
pub(crate) use options::{Certificate, ForwardingTimeouts, Options};
pub(crate) use outlet::outlet;
pub(crate) use spiffe::Identity;
pub(crate) use stream::{StreamServer, StreamTransport, host_and_port};
pub(crate) use transport::{BuildError, Transport};

/// Starts a task on the calling core. It belongs to a connection, and ends with it or with the core's runtime: it is
/// in no group, since shutdown waits for clients' connections, not for servers'.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::runtime::Handle::current().spawn(task));
}
