//! `metrics`: which sinks there are, and what each of them reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::cells::Wanted;
use super::influx::Influx;
use super::lines::{Datagrams, Dialect};
use super::otlp::Otlp;
use super::push::{Pushed, Sink};
use super::reader::{Keeps, ReaderId, Reading};
use crate::config::value;
use crate::observe::options::{Metrics as Options, Prometheus};
use crate::observe::outlet::Connect;

/// In place of an interval that is none.
const INTERVAL: Duration = Duration::from_secs(10);

/// The sinks of a configuration.
#[derive(Default)]
pub(in crate::observe) struct Sinks {
    pub(in crate::observe) readings: Vec<Reading>,
    pub(in crate::observe) prometheus: Option<ReaderId>,
    pub(in crate::observe) pushed: Vec<Pushed>,
    /// Label to header.
    pub(in crate::observe) headers: BTreeMap<String, String>,
}

impl Sinks {
    /// What `options` ask for. A sink with options that cannot work is left out, and said to be, as in Traefik.
    pub(in crate::observe) fn new(options: &Options, connect: Connect) -> Self {
        let mut sinks = Self::default();
        if let Some(options) = &options.prometheus {
            sinks.prometheus(options);
        }
        if let Some(options) = &options.datadog {
            let labels = (
                options.add_entry_points_labels,
                options.add_routers_labels,
                options.add_services_labels,
            );
            let sink = Datagrams::new(Dialect::Datadog, &options.address, &options.prefix);
            sinks.changes(sink, labels, options.push_interval);
        }
        if let Some(options) = &options.stats_d {
            let labels = (
                options.add_entry_points_labels,
                options.add_routers_labels,
                options.add_services_labels,
            );
            let sink = Datagrams::new(Dialect::StatsD, &options.address, &options.prefix);
            sinks.changes(sink, labels, options.push_interval);
        }
        if let Some(options) = &options.influx_db2 {
            let labels = (
                options.add_entry_points_labels,
                options.add_routers_labels,
                options.add_services_labels,
            );
            match Influx::new(options, connect) {
                Ok(sink) => sinks.changes(sink, labels, options.push_interval),
                Err(problem) => error!(problem, "metrics.influxDB2: cannot be used"),
            }
        }
        if let Some(options) = &options.otlp {
            match Otlp::new(options, connect) {
                Ok(sink) => {
                    let wanted = Wanted {
                        entry_points: options.add_entry_points_labels,
                        routers: options.add_routers_labels,
                        services: options.add_services_labels,
                        by_header: false,
                        conventions: true,
                    };
                    let bounds = options.explicit_boundaries.clone();
                    let reading = Reading { wanted, bounds, keeps: Keeps::Sums };
                    sinks.push(sink, reading, options.push_interval);
                }
                Err(problem) => error!(problem, "metrics.otlp: cannot be used"),
            }
        }
        sinks
    }

    fn prometheus(&mut self, options: &Prometheus) {
        self.headers.clone_from(&options.header_labels);
        let wanted = Wanted {
            entry_points: options.add_entry_points_labels,
            routers: options.add_routers_labels,
            services: options.add_services_labels,
            by_header: !options.header_labels.is_empty(),
            conventions: false,
        };
        let bounds = options.buckets.clone();
        self.prometheus = Some(self.reader(Reading { wanted, bounds, keeps: Keeps::Sums }));
    }

    /// A sink that is told of changes, with single durations.
    fn changes(
        &mut self,
        sink: impl Sink + 'static,
        (entry_points, routers, services): (bool, bool, bool),
        every: value::Duration,
    ) {
        let wanted =
            Wanted { entry_points, routers, services, by_header: false, conventions: false };
        let reading = Reading { wanted, bounds: Vec::new(), keeps: Keeps::Changes };
        self.push(sink, reading, every);
    }

    fn push(&mut self, sink: impl Sink + 'static, reading: Reading, every: value::Duration) {
        let reader = self.reader(reading);
        let every = every.positive().unwrap_or(INTERVAL);
        self.pushed.push(Pushed { sink: Arc::new(sink), reader, every });
    }

    fn reader(&mut self, reading: Reading) -> ReaderId {
        self.readings.push(reading);
        ReaderId(self.readings.len() - 1)
    }

    /// True if nobody wants metrics.
    pub(in crate::observe) fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }
}
