//! What is pushed to others: metrics, traces and logs, as their collectors see them (static.md §7 to §9).

mod metrics;
mod traces;

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
