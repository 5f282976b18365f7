//! Logs, access log, metrics.

pub(crate) mod options;
