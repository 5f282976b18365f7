//! `pontoon-jepsen`: starts real peers, breaks them under load, and checks what Pontoon promises (README.md).

mod checker;
mod client;
mod history;
mod http;
mod nemesis;
mod output;
mod peers;
mod random;
mod run;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use run::Length;

const USAGE: &str = "\
usage: pontoon-jepsen run [--seed N] [--kills N | --minutes N]
       pontoon-jepsen list

run   three peers under load whose processes are killed; exit 1 if a promise did not hold
      --seed N     repeats the schedule of a run (default: by the clock)
      --kills N    until so many processes have been killed (default: 20)
      --minutes N  for so long, instead; 240 at most
list  workloads, faults and checkers

The proxy is the program `pontoon` beside this one, or the one that PONTOON_BIN names.";

/// Kills of a run that is not told how many.
const KILLS_DEFAULT: usize = 20;
/// All operations of a run are kept in memory.
const MINUTES_MAX: u64 = 240;
const KILLS_MAX: usize = 10_000;

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Run { seed: Option<u64>, length: Length },
    List,
    Help,
}

impl Command {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        match arguments.next().as_deref() {
            Some("run") => {}
            Some("list") => return Ok(Self::List),
            Some("help" | "--help" | "-h") => return Ok(Self::Help),
            Some(other) => bail!("there is no command `{other}`\n\n{USAGE}"),
            None => bail!("a command is missing\n\n{USAGE}"),
        }
        let (mut seed, mut length) = (None, None);
        while let Some(argument) = arguments.next() {
            if matches!(argument.as_str(), "--help" | "-h") {
                return Ok(Self::Help);
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, arguments.next()),
            };
            let value = value.with_context(|| format!("{name}: a number is missing"))?;
            let number: u64 =
                value.parse().with_context(|| format!("{name}: `{value}` is no number"))?;
            let chosen = match name.as_str() {
                "--seed" => {
                    seed = Some(number);
                    continue;
                }
                "--kills" => {
                    let kills = usize::try_from(number).ok().filter(|&kills| kills <= KILLS_MAX);
                    Length::Kills(kills.with_context(|| format!("--kills: {KILLS_MAX} at most"))?)
                }
                "--minutes" if number > MINUTES_MAX => bail!("--minutes: {MINUTES_MAX} at most"),
                "--minutes" => Length::Time(Duration::from_mins(number)),
                _ => bail!("there is no option `{name}`\n\n{USAGE}"),
            };
            if length.replace(chosen).is_some() {
                bail!("--kills and --minutes exclude each other");
            }
        }
        Ok(Self::Run { seed, length: length.unwrap_or(Length::Kills(KILLS_DEFAULT)) })
    }
}

/// A seed for a run that is not told one.
#[expect(clippy::disallowed_methods, reason = "any number will do")]
fn new_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanoseconds = since.map(|since| since.as_nanos()).unwrap_or_default();
    // Short enough to be typed.
    u64::try_from(nanoseconds % 1_000_000_007).unwrap_or_default()
}

fn list() {
    for (kind, entries) in [
        ("workloads", workload::WORKLOADS),
        ("faults", nemesis::FAULTS),
        ("checkers", checker::CHECKERS),
    ] {
        output::line(kind);
        for (name, what) in entries {
            output::line(&format!("  {name:<10} {what}"));
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse(std::env::args().skip(1))? {
        Command::Help => output::line(USAGE),
        Command::List => list(),
        Command::Run { seed, length } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let seed = seed.unwrap_or_else(new_seed);
            if !runtime.block_on(run::run(seed, length))? {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Command> {
        Command::parse(text.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn arguments_are_understood() {
        let length = Length::Kills(KILLS_DEFAULT);
        assert_eq!(parse("run").unwrap(), Command::Run { seed: None, length });
        let length = Length::Kills(200);
        let run = Command::Run { seed: Some(7), length };
        assert_eq!(parse("run --seed 7 --kills=200").unwrap(), run);
        let length = Length::Time(Duration::from_mins(2));
        assert_eq!(parse("run --minutes 2").unwrap(), Command::Run { seed: None, length });
        assert_eq!(parse("list").unwrap(), Command::List);
        assert_eq!(parse("run --seed 7 --help").unwrap(), Command::Help);
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            "walk",
            "run --kills",
            "run --kills x",
            "run --kill 3",
            "run --kills 1 --minutes 1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
