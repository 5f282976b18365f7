//! Layer 4 over UDP: routers and services.
