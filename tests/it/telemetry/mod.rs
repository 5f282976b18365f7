//! What is pushed to others: metrics, traces and logs, as their collectors see them (static.md §7 to §9).

mod logs;
mod metrics;
mod traces;

use std::fmt::Write as _;

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// One server behind everything, and what else the startup configuration says.
fn startup(more: &str) -> String {
    format!(
        "
entryPoints:
  web: {{address: '127.0.0.1:0'}}
providers:
  providersThrottleDuration: 20ms
  file: {{directory: dynamic}}
{more}
"
    )
}

/// Everything to the server at `address`.
fn dynamic(address: &str) -> String {
    format!(
        "
http:
  routers:
    app: {{rule: 'PathPrefix(`/`)', service: app}}
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}
"
    )
}
