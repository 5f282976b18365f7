//! `metrics.prometheus`: the text that Prometheus reads at `prometheus@internal`.

use std::sync::Arc;

use ::http::HeaderValue;
use ::http::header::CONTENT_TYPE;
use async_trait::async_trait;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Registry, TextEncoder};

use super::family::{Durations, Family, Label, Point, Value};
use super::{Metrics, RELOADS, ReaderId};
use crate::http::{Body, Handler, ProxyError, Request, Response};

/// Hands the families to the registry.
struct Gathered {
    metrics: Arc<Metrics>,
    reader: ReaderId,
    description: Desc,
}

impl Collector for Gathered {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.metrics.gather(self.reader).into_iter().map(family).collect()
    }
}

/// Answers Prometheus: `prometheus@internal`.
pub(in crate::observe) struct Exposition {
    registry: Registry,
}

impl Exposition {
    pub(in crate::observe) fn new(
        metrics: Arc<Metrics>,
        reader: ReaderId,
    ) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        // The registry asks for one description; names and labels of the others come and go.
        let description = Desc::new(
            RELOADS.to_owned(),
            "Counts of requests.".to_owned(),
            Vec::new(),
            Default::default(),
        )?;
        registry.register(Box::new(Gathered { metrics, reader, description }))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self { registry })
    }

    /// The text.
    pub(super) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[async_trait]
impl Handler for Exposition {
    async fn handle(&self, _: Request) -> Result<Response, ProxyError> {
        let own = Self { registry: self.registry.clone() };
        // Reads /proc and may have much to write.
        let text = tokio::task::spawn_blocking(move || own.text());
        let text = text.await.map_err(|error| ProxyError::Internal(error.to_string()))?;
        let text = text.map_err(|error| ProxyError::Internal(error.to_string()))?;
        let mut response = Response::new(Body::from(text));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }
}

/// A family as the registry has it.
pub(super) fn family(from: Family) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_field_type(match from.points.first().map(|point| &point.value) {
        Some(Value::Counter(_)) => MetricType::COUNTER,
        Some(Value::Gauge(_)) | None => MetricType::GAUGE,
        Some(Value::Durations(_)) => MetricType::HISTOGRAM,
    });
    family.set_name(from.name.into_owned());
    family.set_help(from.help.to_owned());
    family.set_metric(from.points.into_iter().map(metric).collect());
    family
}

fn metric(point: Point) -> Metric {
    let mut metric = Metric::from_label(point.labels.into_iter().map(label).collect());
    match point.value {
        Value::Counter(value) => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Value::Gauge(value) => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        Value::Durations(durations) => metric.set_histogram(histogram(&durations)),
    }
    metric
}

fn label(from: Label) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(from.name.into_owned());
    pair.set_value(from.value);
    pair
}

fn histogram(durations: &Durations) -> Histogram {
    let mut below = 0;
    let buckets = durations.buckets.iter().map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(durations.count);
    histogram.set_sample_sum(durations.sum);
    histogram
}
