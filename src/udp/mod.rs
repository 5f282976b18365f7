//! Layer 4 over UDP: routers and services.

pub(crate) mod options;
