//! `metrics.otlp`: pushes to an OpenTelemetry collector.
//!
//! Traefik v3: observability, metrics, OTLP. Names and labels are those of Prometheus.
//!
//! Differs: the cluster's own numbers are told, too.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::family::{Durations, Family, Label, Point, Value};
use super::push::Sink;
use crate::clock;
use crate::observe::options::OtlpMetrics;
use crate::observe::otlp::{Exporter, Signal, Target, int, resource, scope, text};
use crate::observe::outlet::Connect;

/// Labels that are numbers by OpenTelemetry's conventions.
const NUMBERS: [&str; 2] = ["http.response.status_code", "server.port"];

/// Pushes to a collector.
pub(super) struct Otlp {
    exporter: Exporter,
    resource: Resource,
    /// When counting began, since the Unix epoch.
    since: u64,
}

impl Otlp {
    pub(super) fn new(options: &OtlpMetrics, connect: Connect) -> Result<Self, String> {
        let target = Target { http: options.http.as_ref(), grpc: options.grpc.as_ref() };
        Ok(Self {
            exporter: Exporter::new(target, Signal::Metrics, connect)?,
            resource: resource(&options.service_name, &options.resource_attributes),
            since: nanoseconds(clock::now()),
        })
    }
}

#[async_trait]
impl Sink for Otlp {
    fn name(&self) -> &'static str {
        "metrics.otlp"
    }

    fn encode(&self, families: &[Family], now: Duration) -> Vec<Vec<u8>> {
        let times = (self.since, nanoseconds(now));
        let metrics = families.iter().map(|family| metric(family, times)).collect();
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics,
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        vec![request.encode_to_vec()]
    }

    async fn send(&self, messages: Vec<Vec<u8>>) -> Result<(), String> {
        for message in messages {
            // What was counted comes again with the next push.
            self.exporter.send(&message).await.map_err(|failure| failure.reason)?;
        }
        Ok(())
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn metric(family: &Family, times: (u64, u64)) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || family.points.iter().filter_map(|point| number(point, times)).collect();
    let data = match family.points.first().map(|point| &point.value) {
        Some(Value::Counter(_)) => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Some(Value::Gauge(_)) | None => Data::Gauge(Gauge { data_points: numbers() }),
        Some(Value::Durations(_)) => Data::Histogram(Histogram {
            data_points: family.points.iter().filter_map(|one| durations(one, times)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    let seconds = matches!(&data, Data::Histogram(_)) || family.name.ends_with("_not_after");
    Metric {
        name: family.name.clone().into_owned(),
        description: family.help.to_owned(),
        unit: if seconds { "s" } else { "1" }.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

fn attributes(point: &Point) -> Vec<KeyValue> {
    let labels = point.labels.iter();
    let attribute = |label: &Label| match label.value.parse() {
        Ok(number) if NUMBERS.contains(&&*label.name) => int(label.name.clone(), number),
        Ok(_) | Err(_) => text(label.name.clone(), label.value.clone()),
    };
    labels.map(attribute).collect()
}

fn number(point: &Point, (since, now): (u64, u64)) -> Option<NumberDataPoint> {
    let value = match point.value {
        Value::Counter(value) | Value::Gauge(value) => value,
        Value::Durations(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(point),
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    })
}

fn durations(point: &Point, (since, now): (u64, u64)) -> Option<HistogramDataPoint> {
    let Value::Durations(Durations { count, sum, buckets, .. }) = &point.value else { return None };
    let within: u64 = buckets.iter().map(|(_, count)| count).sum();
    let above = count.saturating_sub(within);
    Some(HistogramDataPoint {
        attributes: attributes(point),
        start_time_unix_nano: since,
        time_unix_nano: now,
        count: *count,
        sum: Some(*sum),
        bucket_counts: buckets.iter().map(|(_, count)| *count).chain([above]).collect(),
        explicit_bounds: buckets.iter().map(|(bound, _)| *bound).collect(),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// static.md §8: durations are histograms with explicit boundaries.
    #[test]
    fn what_is_above_all_bounds_has_a_bucket() {
        let value = Value::Durations(Durations {
            count: 6,
            sum: 9.0,
            buckets: vec![(0.1, 2), (1.0, 3)],
            samples: Vec::new(),
        });
        let points = vec![Point { labels: vec![Label::new("code", "200")], value }];
        let family = Family { name: "x_seconds".into(), help: "Help.", points };
        let metric = metric(&family, (1, 2));
        assert_eq!((metric.unit.as_str(), metric.description.as_str()), ("s", "Help."));
        let Some(Data::Histogram(histogram)) = metric.data else { panic!("no histogram") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (6, Some(9.0)));
        assert_eq!(point.bucket_counts, [2, 3, 1]);
        assert_eq!(point.explicit_bounds, [0.1, 1.0]);
        assert_eq!(point.attributes, [text("code", "200")]);
    }
}
