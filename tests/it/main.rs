//! Black-box tests: the real program, real sockets, real peers. One binary, a module per topic.

#![expect(
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::large_futures,
    clippy::needless_pass_by_value,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "tests may fail, spawn and be large"
)]

mod admission;
mod api;
mod certificates;
mod check;
mod cluster;
mod commands;
mod dashboard;
mod demo;
mod entry_points;
mod fixtures;
mod flat;
mod host_resolver;
mod hostile;
mod http2_abuse;
mod http3;
mod layers;
mod middlewares_auth;
mod middlewares_content;
mod observing;
mod probes;
mod ready;
mod real_peers;
mod reload;
mod shutdown;
mod smuggling;
mod sources;
mod spiffe;
mod startup;
mod support;
mod survival;
mod tcp;
mod telemetry;
mod tls_options;
mod transports;
mod udp;
mod units;
