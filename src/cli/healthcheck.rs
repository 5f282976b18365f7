//! `pontoon healthcheck`: asks `/ping` of the proxy that the same configuration runs.
//!
//! Traefik: CLI (api.md §8).

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::output;

/// Longest wait for each step.
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
    let resolved = address.to_socket_addrs()?.next().context("the address names nothing")?;
    let mut stream = TcpStream::connect_timeout(&resolved, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "HEAD /ping HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).context("no HTTP answer")?;
    Ok(status.parse()?)
}
