//! Logs, access log, metrics.
