//! `pontoon token NAME --role write`: a new token, and its line for `api.tokenFile`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use sha2::{Digest as _, Sha256};

use super::output;
use crate::hex;

#[derive(Args)]
pub(super) struct Arguments {
    /// Stands in the history of changes made with the token
    name: String,
    /// What the token allows
    #[arg(long, value_enum, default_value_t = Role::Write)]
    role: Role,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Read,
    Write,
    Admin,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        !arguments.name.is_empty() && !arguments.name.contains(char::is_whitespace),
        "the name of a token is one word"
    );
    let mut random = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_unspecified| anyhow::anyhow!("no random numbers"))?;
    let token = format!("pontoon_{}", hex::lower(&random));
    let role = match arguments.role {
        Role::Read => "read",
        Role::Write => "write",
        Role::Admin => "admin",
    };
    output::line(&format!("token: {token}"));
    output::line(&format!(
        "line for api.tokenFile: {} {role} sha256:{}",
        arguments.name,
        hex::lower(&Sha256::digest(&token))
    ));
    Ok(ExitCode::SUCCESS)
}
