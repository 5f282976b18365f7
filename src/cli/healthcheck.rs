//! `pontoon healthcheck`: asks `/ping` of the proxy that the same configuration runs.
//!
//! Traefik: CLI (api.md §8).

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::http::{Call, Client};
use super::output;

/// Longest wait for the answer, once connected.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct Arguments {
    /// The same flags as the proxy's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let startup = super::load(&arguments.flags)?.startup;
    let Some(ping) = &startup.ping else {
        bail!("please enable `ping` to use health check");
    };
    let name = &ping.entry_point;
    let options =
        startup.entry_points.get(name).with_context(|| format!("missing `{name}` entry point"))?;
    let address = options.address.split('/').next().unwrap_or_default();
    let (host, port) = address.rsplit_once(':').context("the entry point has no port")?;
    let host = match host {
        "" | "0.0.0.0" | "[::]" => "127.0.0.1",
        host => host,
    };
    let base = format!("{host}:{port}");
    let url = format!("http://{base}/ping");
    match head(&base) {
        Ok(200) => {
            output::line(&format!("OK: {url}"));
            Ok(ExitCode::SUCCESS)
        }
        Ok(status) => {
            output::line(&format!("Bad healthcheck status: {status}"));
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            output::line(&format!("Error calling healthcheck: {error:#}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn head(address: &str) -> anyhow::Result<u16> {
    Ok(Client::plain(address, TIMEOUT)?.send(&Call::new("HEAD", "/ping"))?.status)
}
