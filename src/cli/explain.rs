//! `pontoon explain`: which router takes a request, and why the others do not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::check::{self, Findings};
use super::client::{Api, escape, print};
use super::http::Call;
use super::output;
use crate::api::explain::Asked;
use crate::app;
use crate::compile::{Compiled, Source, Sources, compile};
use crate::config::dynamic::Configuration;
use crate::config::startup::{self, Inputs, Startup};

const EXAMPLES: &str = "Examples:
  pontoon explain http://shop.example/cart
  pontoon explain https://shop.example/cart -X POST -H 'X-Tenant: blue'
  pontoon explain /cart -H 'Host: shop.example' --config dynamic.yaml
  pontoon explain http://shop.example/ --api http://10.0.0.2:8080";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// With http:// or https://, or a path alone
    url: String,
    /// `Name: value`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    method: String,
    /// Address of the client, for `ClientIP`
    #[arg(long, value_name = "IP")]
    client: Option<String>,
    /// Only this entry point
    #[arg(long, value_name = "NAME")]
    entry_point: Option<String>,
    /// Ask this file instead of a running peer: startup or dynamic configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: Api,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let answer = &match &arguments.config {
        Some(path) => from_file(arguments, path)?,
        None => from_peer(arguments)?,
    };
    if arguments.json {
        print(answer);
    } else {
        let all = answer["entryPoints"].as_array().map(Vec::as_slice).unwrap_or_default();
        if all.is_empty() {
            output::line("no entry point has a router for it: 404");
        }
        for one in all {
            for line in told(one) {
                output::line(&line);
            }
        }
    }
    let mut all = answer["entryPoints"].as_array().into_iter().flatten();
    let found = all.any(|one| one["router"].is_object());
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn from_peer(arguments: &Arguments) -> anyhow::Result<Value> {
    let mut path =
        format!("/api/explain?method={}&url={}", escape(&arguments.method), escape(&arguments.url));
    let mut add = |name: &str, value: &str| {
        path.extend(["&", name, "=", &escape(value)]);
    };
    for header in &arguments.headers {
        add("header", header);
    }
    if let Some(client) = &arguments.client {
        add("client", client);
    }
    if let Some(entry_point) = &arguments.entry_point {
        add("entryPoint", entry_point);
    }
    arguments.api.json(&Call::new("GET", path))
}

fn from_file(arguments: &Arguments, path: &Path) -> anyhow::Result<Value> {
    let mut findings = Findings::default();
    let (mut loaded, mut dynamic) = (None, Configuration::default());
    check::startup_part(path, &mut loaded, &mut findings);
    check::dynamic_part(path, &mut dynamic, &mut findings);
    let startup = loaded.map_or_else(|| standing_in(&dynamic), |loaded| loaded.startup);
    if let Some(file) = &startup.providers.file {
        for other in app::files_of(file).iter().filter(|other| *other != path) {
            check::dynamic_part(other, &mut dynamic, &mut findings);
        }
    }
    // What is wrong is `check`'s business; here it is said, so that the answer is not misread.
    findings.errors.iter().for_each(|error| output::error(error));
    let settings = app::settings(&startup, app::names_of_internal_services(&startup))?;
    let entries = dynamic.entries();
    let changes = entries.iter().map(|(key, value)| (key.as_str(), Some(value.as_slice())));
    let mut sources = Sources::new();
    sources.insert("file".into(), Arc::new(Source::default().with(changes)));
    let compiled = compile(&sources, &settings, &Compiled::default());
    let headers: Vec<&str> = arguments.headers.iter().map(String::as_str).collect();
    Asked::new(&arguments.method, &arguments.url, &headers, arguments.client.as_deref())
        .and_then(|asked| asked.answer(&compiled, &settings, arguments.entry_point.as_deref()))
        .map_err(|problem| anyhow::anyhow!(problem))
}

/// For a file without startup configuration: the defaults, and the entry points that its routers name.
fn standing_in(dynamic: &Configuration) -> Startup {
    let read = |_: &Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let inputs = Inputs { arguments: &[], environment: &[], read: &read };
    let mut startup = startup::load(&inputs).map(|loaded| loaded.startup).unwrap_or_default();
    let routers = dynamic.http.iter().flat_map(|http| http.routers.values());
    for name in routers.flat_map(|router| &router.entry_points) {
        startup.entry_points.entry(name.to_string()).or_default();
    }
    startup
}

/// What one entry point does, in lines.
fn told(one: &Value) -> Vec<String> {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut lines = vec![format!("entry point {}", text(one, "entryPoint"))];
    if one["router"].is_object() {
        let router = &one["router"];
        lines.push(format!("  router {}, priority {}", text(router, "name"), router["priority"]));
        lines.push(format!("    {}", text(router, "rule")));
    } else {
        lines.push("  no router: 404".to_owned());
    }
    for middleware in one["middlewares"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  middleware {} ({})",
            text(middleware, "name"),
            text(middleware, "type")
        ));
    }
    if one["service"].is_object() {
        add_service(&one["service"], 1, &mut lines);
    }
    for other in one["others"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  not {}, priority {}: {}",
            text(other, "name"),
            other["priority"],
            text(other, "reason")
        ));
    }
    match one["omitted"].as_u64() {
        None | Some(0) => {}
        Some(number) => lines.push(format!("  and {number} more")),
    }
    lines
}

fn add_service(service: &Value, depth: usize, lines: &mut Vec<String>) {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let indent = "  ".repeat(depth);
    lines.push(format!("{indent}service {} ({})", text(service, "name"), text(service, "type")));
    for server in service["servers"].as_array().into_iter().flatten() {
        let state = if server["up"] == true { "" } else { ", down" };
        lines.push(format!("{indent}  server {}{state}", text(server, "url")));
    }
    for child in service["services"].as_array().into_iter().flatten() {
        add_service(child, depth + 1, lines);
    }
}
