//! Layer 4 over TCP: routers, middlewares and services.

pub(crate) mod options;
