//! The command line: one file a command. Without a command the proxy runs, with Traefik's flags.

mod check;
mod client;
mod cluster;
mod config;
mod demo;
mod explain;
mod healthcheck;
mod http;
mod output;
mod run;
mod secret;
mod token;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::startup::{self, Inputs, Loaded};

/// Largest configuration file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Parser)]
#[command(
    name = "pontoon",
    version,
    about = "An edge proxy that stays up: Traefik's configuration on equal peers",
    override_usage = "pontoon [--configFile=FILE | FLAGS]\n       pontoon COMMAND",
    after_help = "Without a command the proxy runs. It takes Traefik's files, flags (`--entryPoints.web.address=:80`) and \
                  environment variables (`TRAEFIK_ENTRYPOINTS_WEB_ADDRESS=:80`): the first of the three that is there \
                  is used alone.",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Three peers and two sample servers on this machine, to try things out
    Demo(demo::Arguments),
    /// Checks configuration files without starting anything
    Check(check::Arguments),
    /// The cluster: secret, status, backups
    Cluster(cluster::Arguments),
    /// Reads and changes the configuration that the cluster keeps
    Config(config::Arguments),
    /// Says which router takes a request, and why the others do not
    Explain(explain::Arguments),
    /// Prints a new API token and its line for `api.tokenFile`
    Token(token::Arguments),
    /// Asks `/ping` of the proxy that the same configuration runs; exit code 0 if it is well
    Healthcheck(healthcheck::Arguments),
    /// Prints the version
    Version,
    /// Prints a completion script
    Completion {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

/// Runs what the arguments say.
pub fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|one| one.to_string_lossy().into_owned()).collect();
    let is_command = match arguments.first().map(String::as_str) {
        Some("-h" | "--help" | "-help" | "help" | "--version" | "-V") => true,
        Some(first) => !first.starts_with('-'),
        None => false,
    };
    let result = if is_command {
        match Arguments::try_parse() {
            Ok(parsed) => command(parsed.command),
            Err(error) => {
                let code = if error.use_stderr() { 2 } else { 0 };
                // Nobody is left to be told when the terminal is gone.
                drop(error.print());
                return ExitCode::from(code);
            }
        }
    } else {
        run::run(&arguments)
    };
    result.unwrap_or_else(|error| {
        output::error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Version => {
            output::line(&version());
            Ok(ExitCode::SUCCESS)
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "pontoon", &mut script);
            output::line(&String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn version() -> String {
    format!(
        "Version:      {}\nCodename:     pontoon\nOS/Arch:      {}/{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// The startup configuration of `arguments`, files and environment.
fn load(arguments: &[String]) -> anyhow::Result<Loaded> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let read = |path: &std::path::Path| {
        let size = std::fs::metadata(path)?.len();
        if size > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!("{size} bytes, {FILE_BYTES_MAX} at most")));
        }
        std::fs::read_to_string(path)
    };
    Ok(startup::load(&Inputs { arguments, environment: &environment, read: &read })?)
}
