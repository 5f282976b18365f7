//! `log`: what the program says about itself.
//!
//! Traefik v3: observability, logs.
//!
//! Differs: `FATAL` and `PANIC` are errors; records that are sent to a collector do not name the request's trace.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use time::format_description::well_known::Rfc3339;
use tracing::{error, warn};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::file::{LineFile, Rotation, utc};
use super::options::Log;
use super::outlet::Connect;
use super::records::{Records, Sent, records};
use crate::clock;
use crate::task::Group;

const MEGABYTE: u64 = 1 << 20;
const MEGABYTES_DEFAULT: u64 = 100;
const DAY: Duration = Duration::from_hours(24);

/// Why the log cannot be set up.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("log.filePath: cannot open `{path}`")]
    Open { path: String, source: io::Error },
    #[error("log: a logger is set up already")]
    Twice,
}

/// The log that is set up; keeps its file.
#[derive(Clone, Default)]
pub(crate) struct Handle {
    file: Option<SharedFile>,
    /// Records that nobody sends yet.
    records: Arc<Mutex<Option<Records>>>,
}

impl Handle {
    /// Starts what sends lines to a collector, once; it ends with the group.
    pub(crate) fn start(&self, tasks: &Group) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(records) = records {
            tasks.spawn(records.run(tasks.stop_token()));
        }
    }

    /// Opens the file again, after it was moved away.
    pub(crate) fn reopen(&self) {
        let Some(file) = &self.file else { return };
        let reopened = file.0.lock().unwrap_or_else(PoisonError::into_inner).reopen();
        if let Err(error) = reopened {
            warn!(%error, "cannot open the log file again");
        }
    }
}

/// Libraries that tell of their own inner life: what they say at a level counts for one below.
const TALKATIVE: [&str; 6] = ["openraft", "sled", "tonic", "h2", "hyper", "rustls"];

/// What is logged at `level`.
fn filter(level: LevelFilter) -> EnvFilter {
    let quiet = match level {
        LevelFilter::TRACE => LevelFilter::DEBUG,
        LevelFilter::DEBUG => LevelFilter::INFO,
        _ => LevelFilter::OFF,
    };
    let directives: Vec<String> = TALKATIVE.iter().map(|name| format!("{name}={quiet}")).collect();
    EnvFilter::new(format!("{level},{}", directives.join(",")))
}

/// Sets up the log of the program, once. `RUST_LOG` has no say in it. A collector is reached by `connect`.
pub(crate) fn init(options: &Log, connect: Connect) -> Result<Handle, Error> {
    let file = open(options)?;
    let writer = match &file {
        Some(file) => BoxMakeWriter::new(file.clone()),
        None => BoxMakeWriter::new(io::stdout),
    };
    let level = level(&options.level);
    let detailed = level >= LevelFilter::DEBUG;
    let lines = fmt::layer()
        .with_timer(WallClock)
        .with_target(detailed)
        .with_file(detailed)
        .with_line_number(detailed)
        .with_ansi(!options.no_color && file.is_none() && io::stdout().is_terminal())
        .with_writer(writer);
    let lines = match options.format.as_str() {
        "json" => lines.json().flatten_event(true).boxed(),
        _ => lines.boxed(),
    };
    let sent = options.otlp.as_ref().map(|otlp| records("log.otlp", otlp, connect));
    let (queue, records, problem) = match sent {
        Some(Ok((queue, records))) => (Some(queue), Some(records), None),
        Some(Err(problem)) => (None, None, Some(problem)),
        None => (None, None, None),
    };
    let all = tracing_subscriber::registry().with(filter(level)).with(lines);
    let result = all.with(queue.map(Sent)).try_init();
    result.map_err(|_second| Error::Twice)?;
    if let Some(problem) = problem {
        error!(problem, "log.otlp: cannot be used");
    }
    report(options);
    Ok(Handle { file, records: Arc::new(Mutex::new(records)) })
}

/// Says what of `options` has no effect.
fn report(options: &Log) {
    if !matches!(options.format.as_str(), "" | "common" | "json") {
        warn!(format = options.format, "log.format: unknown; `common` is used");
    }
}

/// The level by its name in Traefik. What is worse than an error is an error here.
fn level(name: &str) -> LevelFilter {
    match name.to_ascii_uppercase().as_str() {
        "TRACE" => LevelFilter::TRACE,
        "DEBUG" => LevelFilter::DEBUG,
        "INFO" => LevelFilter::INFO,
        "WARN" => LevelFilter::WARN,
        _ => LevelFilter::ERROR,
    }
}

fn open(options: &Log) -> Result<Option<SharedFile>, Error> {
    if options.file_path.is_empty() {
        return Ok(None);
    }
    let positive = |number: i64| u64::try_from(number).ok().filter(|&number| number > 0);
    let rotation = Rotation {
        size_bytes: positive(options.max_size)
            .unwrap_or(MEGABYTES_DEFAULT)
            .saturating_mul(MEGABYTE),
        keep_for: positive(options.max_age)
            .map(|days| DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX))),
        backups_max: positive(options.max_backups)
            .map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
    };
    let file = LineFile::open(Path::new(&options.file_path), Some(rotation))
        .map_err(|source| Error::Open { path: options.file_path.clone(), source })?;
    Ok(Some(SharedFile(Arc::new(Mutex::new(file)))))
}

#[derive(Debug, Clone)]
struct SharedFile(Arc<Mutex<LineFile>>);

impl Write for SharedFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

impl<'a> MakeWriter<'a> for SharedFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// RFC 3339 in UTC.
struct WallClock;

impl FormatTime for WallClock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let now = Duration::from_secs(clock::now().as_secs());
        writer.write_str(&utc(now).format(&Rfc3339).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_any_case_and_others_are_errors() {
        assert_eq!(level("debug"), LevelFilter::DEBUG);
        assert_eq!(level("Info"), LevelFilter::INFO);
        assert_eq!(level("WARN"), LevelFilter::WARN);
        for name in ["FATAL", "panic", "loud", ""] {
            assert_eq!(level(name), LevelFilter::ERROR);
        }
    }
}
