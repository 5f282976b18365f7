//! Access log and metrics together, as the data plane sees them.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::access_log::AccessLog;
use super::metrics::{Exposition, Metrics, Pushed, Sinks, Source, push};
use super::outlet::Connect;
use super::records::Records;
use super::trace::{Spans, Tracer};
use super::{Observer, Summary, log, options};
use crate::http::SharedHandler;
use crate::task::Group;

/// Why nothing can be observed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("accessLog.filePath: cannot open `{path}`")]
    Open { path: String, source: io::Error },
    #[error("accessLog: cannot start its thread")]
    Thread(#[source] io::Error),
    #[error("accessLog.filters.statusCodes: `{0}` is neither a status nor a range such as 500-599")]
    StatusCodes(String),
    #[error("metrics.prometheus.headerLabels: `{0}` cannot be the name of a label")]
    Label(String),
    #[error("metrics.prometheus.headerLabels: `{0}` cannot be the name of a header")]
    Header(String),
    #[error("metrics.prometheus: cannot set up the registry")]
    Registry(#[source] prometheus::Error),
}

/// Everything that is told of requests.
pub(crate) struct Observers {
    access_log: Option<AccessLog>,
    metrics: Option<Arc<Metrics>>,
    exposition: Option<SharedHandler>,
    tracer: Option<Arc<Tracer>>,
    waiting: Mutex<Waiting>,
}

/// What is not sent to others yet.
#[derive(Default)]
struct Waiting {
    metrics: Vec<Pushed>,
    spans: Option<Spans>,
    records: Option<Records>,
}

impl Observers {
    /// What the options ask for. Call it before other threads run, so that the offset of local time can
    /// be found. Collectors are reached by `connect`.
    pub(crate) fn new(
        access_log: Option<&options::AccessLog>,
        metrics: Option<&options::Metrics>,
        tracing: Option<&options::Tracing>,
        connect: Connect,
    ) -> Result<Arc<Self>, Error> {
        let sinks = metrics.map(|options| Sinks::new(options, connect)).unwrap_or_default();
        let internals = metrics.is_some_and(|options| options.add_internals);
        let counted = (!sinks.is_empty())
            .then(|| Metrics::new(&sinks.readings, &sinks.headers, internals))
            .transpose()?;
        let counted = counted.map(Arc::new);
        let exposition = match (&counted, sinks.prometheus) {
            (Some(metrics), Some(reader)) => {
                let exposition = Exposition::new(metrics.clone(), reader);
                Some(Arc::new(exposition.map_err(Error::Registry)?) as SharedHandler)
            }
            (None, _) | (_, None) => None,
        };
        let started = access_log.map(|options| AccessLog::start(options, connect)).transpose()?;
        let (access_log, records) = started.unzip();
        let records = records.flatten();
        let traced = tracing.and_then(|options| Tracer::new(options, metrics, connect));
        let (tracer, spans) = traced.unzip();
        let waiting = Mutex::new(Waiting { metrics: sinks.pushed, spans, records });
        Ok(Arc::new(Self { access_log, metrics: counted, exposition, tracer, waiting }))
    }

    /// Starts what sends to others, once; it ends with the group.
    pub(crate) fn start(&self, log: &log::Handle, tasks: &Group) {
        log.start(tasks);
        let waiting = &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { metrics, spans, records } = std::mem::take(waiting);
        if let Some(counted) = &self.metrics {
            for pushed in metrics {
                tasks.spawn(push(counted.clone(), pushed, tasks.stop_token()));
            }
        }
        if let Some(spans) = spans {
            tasks.spawn(spans.run(tasks.stop_token()));
        }
        if let Some(records) = records {
            tasks.spawn(records.run(tasks.stop_token()));
        }
    }

    /// Begins traces; `None` without `tracing`.
    pub(crate) fn tracer(&self) -> Option<Arc<Tracer>> {
        self.tracer.clone()
    }

    /// True if neither lines nor metrics are wanted: the data plane then needs no observer.
    pub(crate) fn is_empty(&self) -> bool {
        self.access_log.is_none() && self.metrics.is_none()
    }

    /// `prometheus@internal`; `None` without `metrics.prometheus`.
    pub(crate) fn exposition(&self) -> Option<SharedHandler> {
        self.exposition.clone()
    }

    /// A plan is in force.
    pub(crate) fn plan_applied(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.plan_applied();
        }
    }

    /// Where certificates, servers and the cluster's numbers are read when metrics are asked for. Only the first counts.
    pub(crate) fn connect(&self, source: Arc<dyn Source>) {
        if let Some(metrics) = &self.metrics {
            metrics.connect(source);
        }
    }

    /// Counts lines of the access log that were dropped because the disk was too slow; `None` without an access log.
    pub(crate) fn dropped_lines(&self) -> Option<Arc<AtomicU64>> {
        self.access_log.as_ref().and_then(AccessLog::dropped)
    }

    /// Opens the files again at each SIGUSR1, until `stop`.
    pub(crate) async fn run(self: Arc<Self>, log: log::Handle, stop: CancellationToken) {
        let mut asked = match signal(SignalKind::user_defined1()) {
            Ok(asked) => asked,
            Err(error) => {
                warn!(%error, "cannot wait for SIGUSR1: log files are not opened again");
                return;
            }
        };
        while let Some(Some(())) = stop.run_until_cancelled(asked.recv()).await {
            log.reopen();
            if let Some(access_log) = &self.access_log {
                access_log.reopen();
            }
        }
    }

    /// Writes what is left of the access log. Blocks; nothing is written after it.
    pub(crate) fn shutdown(&self) {
        if let Some(access_log) = &self.access_log {
            access_log.end();
        }
    }
}

impl Observer for Observers {
    fn connection_opened(&self, entry_point: &Arc<str>) {
        if let Some(metrics) = &self.metrics {
            metrics.connections(entry_point, 1);
        }
    }

    fn connection_closed(&self, entry_point: &Arc<str>) {
        if let Some(metrics) = &self.metrics {
            metrics.connections(entry_point, -1);
        }
    }

    fn finished(&self, summary: &Summary<'_>) {
        if let Some(metrics) = &self.metrics {
            metrics.finished(summary);
        }
        if let Some(access_log) = &self.access_log {
            access_log.finished(summary);
        }
    }

    fn wants_target(&self) -> bool {
        self.access_log.is_some()
            || self.metrics.as_ref().is_some_and(|metrics| metrics.wants_target())
    }

    fn wants_headers(&self) -> bool {
        self.access_log.as_ref().is_some_and(AccessLog::wants_headers)
            || self.metrics.as_ref().is_some_and(|metrics| metrics.wants_headers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::testing::{Sample, nowhere};

    #[test]
    fn without_options_nothing_is_observed() {
        let metrics = options::Metrics::default();
        let observers = Observers::new(None, Some(&metrics), None, nowhere).unwrap();
        assert!(observers.is_empty() && observers.exposition().is_none());
        assert!(!observers.wants_headers());
    }

    #[test]
    fn headers_are_asked_for_only_where_a_line_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log").to_str().unwrap().to_owned();
        let mut log = options::AccessLog { file_path: path.clone(), ..Default::default() };
        let observers = Observers::new(Some(&log), None, None, nowhere).unwrap();
        assert!(!observers.wants_headers());
        Sample::default().summary(|summary| observers.finished(summary));
        observers.shutdown();
        assert!(std::fs::read_to_string(path).unwrap().contains("\"web@file\""));
        let mut headers = options::AccessLogHeaders::default();
        headers.names.insert("User-Agent".to_owned(), "keep".to_owned());
        log.fields =
            Some(options::AccessLogFields { headers: Some(headers), ..Default::default() });
        let observers = Observers::new(Some(&log), None, None, nowhere).unwrap();
        assert!(observers.wants_headers());
        observers.shutdown();
    }
}
