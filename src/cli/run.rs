//! Without a command: runs the proxy.

use std::process::ExitCode;

/// Runs until it is told to end.
pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let loaded = super::load(arguments)?;
    crate::app::run(loaded)?;
    Ok(ExitCode::SUCCESS)
}
