//! `log.otlp` and `accessLog.otlp`: log records for an OpenTelemetry collector.
//!
//! Traefik v3: observability, logs, OTLP. What does not fit into the queue is dropped and counted.

use std::fmt;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::options::Otlp;
use super::otlp::{Batches, Exporter, Queue, Signal, Target, int, resource, scope, text};
use super::outlet::Connect;
use super::trace::Ids;
use crate::clock;

/// Records that are to be sent.
pub(super) type Records = Batches<LogRecord>;

/// Libraries that sending itself makes talk: what they say would be sent, and so on.
const SENDING: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tokio_util"];

/// Where records are put, and what sends them. `sink` is the option that asks for it.
pub(super) fn records(
    sink: &'static str,
    options: &Otlp,
    connect: Connect,
) -> Result<(Queue<LogRecord>, Records), String> {
    let target = Target { http: options.http.as_ref(), grpc: options.grpc.as_ref() };
    let exporter = Exporter::new(target, Signal::Logs, connect)?;
    let resource = resource(&options.service_name, &options.resource_attributes);
    let encode = move |records| message(&resource, records);
    Ok(Batches::new(sink, "OTEL_BLRP", exporter, Box::new(encode)))
}

fn message(resource: &Resource, log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = ScopeLogs { scope: Some(scope()), log_records, ..Default::default() };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource.clone()),
            scope_logs: vec![scope_logs],
            ..Default::default()
        }],
    };
    request.encode_to_vec()
}

/// A record of now.
fn record(now: Duration, level: Level, body: String, attributes: Vec<KeyValue>) -> LogRecord {
    let severity = match level {
        Level::TRACE => SeverityNumber::Trace,
        Level::DEBUG => SeverityNumber::Debug,
        Level::INFO => SeverityNumber::Info,
        Level::WARN => SeverityNumber::Warn,
        Level::ERROR => SeverityNumber::Error,
    };
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    LogRecord {
        time_unix_nano: now,
        observed_time_unix_nano: now,
        severity_number: severity.into(),
        severity_text: level.as_str().to_ascii_lowercase(),
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        attributes,
        ..Default::default()
    }
}

/// A line of the access log as a record: its message is empty, as Traefik's is.
pub(super) fn access(now: Duration, trace: Option<Ids>, attributes: Vec<KeyValue>) -> LogRecord {
    let mut record = record(now, Level::INFO, String::new(), attributes);
    if let Some(ids) = trace {
        record.trace_id = ids.trace.to_vec();
        record.span_id = ids.span.to_vec();
        record.flags = ids.sampled.into();
    }
    record
}

/// Puts what the program says into a queue.
pub(super) struct Sent(pub(super) Queue<LogRecord>);

impl<S: Subscriber> Layer<S> for Sent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let origin = about.target().split("::").next().unwrap_or_default();
        if SENDING.contains(&origin) {
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        self.0.add(record(clock::now(), *about.level(), said.message, said.attributes));
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    attributes: Vec<KeyValue>,
}

impl Said {
    fn add(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.attributes.push(text(field.name(), value));
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attributes.push(int(field.name(), value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.attributes.push(int(field.name(), i64::try_from(value).unwrap_or(i64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::observe::otlp::testing::queue;

    /// static.md §7, `log.otlp`.
    #[test]
    fn what_is_said_becomes_records_but_for_what_sending_says() {
        let (queue, mut taken) = queue();
        let subscriber = tracing_subscriber::registry().with(Sent(queue));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(router = "a@file", count = 3, error = %"why", "it failed");
            tracing::error!(target: "h2::codec", "a frame");
        });
        let records = taken();
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!(record.severity_number, 13);
        let body = record.body.clone().unwrap().value.unwrap();
        assert_eq!(body, Value::StringValue("it failed".to_owned()));
        assert_eq!(
            record.attributes,
            [text("router", "a@file"), int("count", 3), text("error", "why")]
        );
    }
}
