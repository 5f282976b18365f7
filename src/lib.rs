//! Pontoon: an edge proxy that stays up. Traefik's configuration on equal peers that agree through Raft.
//!
//! The modules stand in the order in which a request meets them; ARCHITECTURE.md is the map.

mod clock;
mod cores;
mod hex;
mod systemd;
mod task;
mod timer;

mod entrypoint;
mod http;
mod middleware;
mod observe;
mod router;
mod service;
mod tcp;
mod tls;
mod udp;
mod upstream;

mod compile;
mod config;
mod plan;

mod acme;
mod control;
mod provider;

mod api;
mod app;
mod cli;
pub use cli::main;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
