//! `accessLog`: one line for each request.
//!
//! Traefik v3: observability, access logs. Lines are formatted on the request's core and written by a thread.
//!
//! Differs: lines are always written within 20 ms and never by the request itself, whatever `bufferingSize` says;
//! where the disk is too slow, lines are dropped and counted instead of holding requests up. `OriginContentSize`,
//! `GzipRatio` and headers `origin_*` are not known here.

mod fields;
mod line;
#[cfg(test)]
mod tests;
mod text;
mod times;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use time::UtcOffset;
use tracing::error;

use self::fields::Fields;
use self::line::{Format, Line};
use self::writer::{Output, Writer};
use super::file::LineFile;
use super::options::{AccessLog as Options, AccessLogFilters};
use super::{Error, Summary};
use crate::clock;

/// The running access log.
pub(super) struct AccessLog {
    format: Format,
    fields: Fields,
    filter: Filter,
    add_internals: bool,
    offset: UtcOffset,
    count: AtomicU64,
    writer: Writer,
}

impl AccessLog {
    /// Opens the file and starts the thread. Call it before other threads run: the offset of local time is not known
    /// later, and UTC stands in for it.
    pub(super) fn start(options: &Options) -> Result<Self, Error> {
        let output = if options.file_path.is_empty() {
            Output::Stdout
        } else {
            let file = LineFile::open(Path::new(&options.file_path), None)
                .map_err(|source| Error::Open { path: options.file_path.clone(), source })?;
            Output::File(file)
        };
        Ok(Self {
            format: format(&options.format),
            fields: Fields::new(options.fields.as_ref()),
            filter: Filter::new(options.filters.as_ref())?,
            add_internals: options.add_internals,
            offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC),
            count: AtomicU64::new(0),
            writer: Writer::start(output).map_err(Error::Thread)?,
        })
    }

    /// True if lines need headers of requests or responses.
    pub(super) fn wants_headers(&self) -> bool {
        self.fields.any_header()
    }

    /// Writes the line of a request, unless it is filtered out.
    pub(super) fn finished(&self, summary: &Summary<'_>) {
        if !summary.access_logs || (summary.internal && !self.add_internals) {
            return;
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.filter.passes(summary) {
            return;
        }
        let line =
            Line { summary, fields: &self.fields, count, now: clock::now(), offset: self.offset };
        self.writer.add(|out| line.write(self.format, out));
    }

    pub(super) fn reopen(&self) {
        self.writer.reopen();
    }

    pub(super) fn end(&self) {
        self.writer.end();
    }

    /// Counts lines that were dropped because the disk was too slow.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        self.writer.dropped()
    }
}

fn format(name: &str) -> Format {
    match name {
        "" | "common" => Format::Common,
        "genericCLF" => Format::Generic,
        "json" => Format::Json,
        _ => {
            error!(format = name, "accessLog.format: unknown; `common` is used");
            Format::Common
        }
    }
}

/// `accessLog.filters`: any one is enough; without any, all requests pass.
#[derive(Debug, Default)]
struct Filter {
    statuses: Vec<(u16, u16)>,
    retried: bool,
    duration_min: Option<std::time::Duration>,
}

impl Filter {
    fn new(options: Option<&AccessLogFilters>) -> Result<Self, Error> {
        let Some(options) = options else { return Ok(Self::default()) };
        let statuses = options
            .status_codes
            .iter()
            .map(|text| range(text).ok_or_else(|| Error::StatusCodes(text.clone())));
        Ok(Self {
            statuses: statuses.collect::<Result<_, _>>()?,
            retried: options.retry_attempts,
            duration_min: options.min_duration.positive(),
        })
    }

    fn passes(&self, summary: &Summary<'_>) -> bool {
        let all = self.statuses.is_empty() && !self.retried && self.duration_min.is_none();
        all || self.statuses.iter().any(|&(low, high)| (low..=high).contains(&summary.status))
            || (self.retried && summary.retry_attempts > 0)
            || self.duration_min.is_some_and(|least| summary.duration > least)
    }
}

/// A status, or two with `-` between.
fn range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low <= high).then_some((low, high))
}
