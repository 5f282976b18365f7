//! The client side of the proxy: connector, pool, transport options, exchange, tunnel.

mod exchange;
mod fetch;
mod options;
mod transport;

pub(crate) use exchange::Server;
pub(crate) use fetch::{FetchError, Trailers};
pub(crate) use options::{Certificate, ForwardingTimeouts, Options, Spiffe};
pub(crate) use transport::{BuildError, Transport};
