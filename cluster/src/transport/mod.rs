//! How peers reach each other: gRPC over mutual TLS.

pub(crate) mod client;
pub(crate) mod server;
pub(crate) mod tls;

use crate::command::COMMAND_BYTES_MAX;

/// Largest message between peers: a command, or a share of the log that ends with one.
pub(crate) const MESSAGE_BYTES_MAX: usize = COMMAND_BYTES_MAX + (16 << 20);
/// HTTP/2 windows: large enough for a LAN, small enough that a heartbeat does not wait long.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 4 << 20;
