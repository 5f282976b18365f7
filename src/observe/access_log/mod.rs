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

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use time::UtcOffset;
use tracing::error;

use self::fields::Fields;
use self::line::{Format, Line};
use self::writer::{Output, Writer};
use super::file::LineFile;
use super::options::{AccessLog as Options, AccessLogFilters};
use super::otlp::Queue;
use super::outlet::Connect;
use super::records::{Records, access, records};
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
    /// Absent where lines go to a collector only.
    writer: Option<Writer>,
    /// Present where lines go to a collector.
    records: Option<Queue<LogRecord>>,
}

impl AccessLog {
    /// Opens the file and starts the thread; the records are to be sent by the caller. Call it before other threads run:
    /// the offset of local time is not known later, and UTC stands in for it.
    pub(super) fn start(
        options: &Options,
        connect: Connect,
    ) -> Result<(Self, Option<Records>), Error> {
        let sent = options.otlp.as_ref().and_then(|otlp| {
            records("accessLog.otlp", otlp, connect)
                .map_err(|problem| error!(problem, "accessLog.otlp: cannot be used"))
                .ok()
        });
        let (queue, sent) = sent.unzip();
        let writer = if queue.is_none() || options.dual_output {
            Some(Writer::start(output(options)?).map_err(Error::Thread)?)
        } else {
            None
        };
        let log = Self {
            format: format(&options.format),
            fields: Fields::new(options.fields.as_ref()),
            filter: Filter::new(options.filters.as_ref())?,
            add_internals: options.add_internals,
            offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC),
            count: AtomicU64::new(0),
            writer,
            records: queue,
        };
        Ok((log, sent))
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
        if let Some(records) = &self.records {
            records.add(access(line.now, summary.trace, line.attributes()));
        }
        if let Some(writer) = &self.writer {
            writer.add(|out| line.write(self.format, out));
        }
    }

    pub(super) fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    pub(super) fn end(&self) {
        if let Some(writer) = &self.writer {
            writer.end();
        }
    }

    /// Counts lines that were dropped because the disk was too slow.
    pub(super) fn dropped(&self) -> Option<Arc<AtomicU64>> {
        self.writer.as_ref().map(Writer::dropped)
    }
}

fn output(options: &Options) -> Result<Output, Error> {
    if options.file_path.is_empty() {
        return Ok(Output::Stdout);
    }
    let file = LineFile::open(Path::new(&options.file_path), None)
        .map_err(|source| Error::Open { path: options.file_path.clone(), source })?;
    Ok(Output::File(file))
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
