//! `pontoon cluster secret`: a new secret for the file that all peers share.

use std::process::ExitCode;

use super::output;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    output::line(&pontoon_cluster::new_secret()?);
    Ok(ExitCode::SUCCESS)
}
