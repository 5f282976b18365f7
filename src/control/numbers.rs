//! What metrics show of plan, certificates, servers and cluster, read when they are asked for (CLUSTER.md §7).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pontoon_cluster::{Cluster, Histogram};

use super::documents::Store;
use super::follow::View;
use crate::observe::{Certificate, Kind, Number, ServerUp, Source};

/// Reads from what is in force.
pub(crate) struct Numbers {
    pub(crate) view: View,
    pub(crate) store: Store,
    /// Lines that the access log has dropped, where there is one.
    pub(crate) dropped_lines: Option<Arc<AtomicU64>>,
}

impl Source for Numbers {
    fn certificates(&self) -> Vec<Certificate> {
        let now = self.view.load();
        let pairs = now.compiled.certificates.iter();
        pairs
            .map(|pair| Certificate {
                common_name: pair.common_name(),
                serial: pair.serial(),
                sans: pair.names.clone(),
                not_after: pair.not_after,
            })
            .collect()
    }

    fn servers(&self) -> Vec<ServerUp> {
        let now = self.view.load();
        let mut servers = Vec::new();
        for (name, service) in &now.compiled.report.services {
            let statuses = service.built.as_ref().map(|built| built.server_statuses());
            servers.extend(statuses.unwrap_or_default().into_iter().map(|(url, up)| ServerUp {
                service: name.clone(),
                url,
                up,
            }));
        }
        servers
    }

    fn has_router(&self, name: &str) -> bool {
        self.view.load().compiled.report.routers.contains_key(name)
    }

    fn has_service(&self, name: &str) -> bool {
        self.view.load().compiled.report.services.contains_key(name)
    }

    fn numbers(&self) -> Vec<Number> {
        let now = self.view.load();
        let report = &now.compiled.report;
        let mut numbers = vec![
            gauge("pontoon_plan_revision", "Revision of the plan in force.", now.revision.0 as f64),
            gauge(
                "pontoon_plan_compile_duration_seconds",
                "How long compiling the plan in force took.",
                now.took.as_secs_f64(),
            ),
            gauge("pontoon_plan_objects", "Objects of all documents.", report.objects() as f64),
            gauge(
                "pontoon_plan_disabled_objects",
                "Objects that do not work.",
                report.disabled() as f64,
            ),
        ];
        if let Some(dropped) = &self.dropped_lines {
            numbers.push(number(
                "pontoon_access_log_dropped_lines_total",
                "Lines of the access log that were dropped because the disk was too slow.",
                Kind::Counter,
                dropped.load(Ordering::Relaxed) as f64,
            ));
        }
        if let Some(cluster) = self.store.cluster() {
            of_cluster(cluster, &mut numbers);
        }
        numbers
    }
}

fn number(name: &'static str, help: &'static str, kind: Kind, value: f64) -> Number {
    Number { name, help, kind, labels: Vec::new(), value }
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Number {
    number(name, help, Kind::Gauge, value)
}

fn counter(name: &'static str, help: &'static str, value: f64) -> Number {
    number(name, help, Kind::Counter, value)
}

fn of_cluster(cluster: &Cluster, numbers: &mut Vec<Number>) {
    let status = cluster.status();
    let metrics = cluster.metrics();
    let leads = status.leader.as_deref() == Some(status.name.as_str());
    numbers.extend([
        gauge("pontoon_cluster_leader", "1 while this peer leads.", f64::from(u8::from(leads))),
        gauge("pontoon_cluster_term", "Raft term.", status.term as f64),
        gauge(
            "pontoon_cluster_commit_index",
            "Index of the last committed entry.",
            status.committed.0 as f64,
        ),
        gauge(
            "pontoon_cluster_applied_index",
            "Index of the last applied entry.",
            metrics.applied_index as f64,
        ),
        gauge("pontoon_cluster_peers", "Peers of the cluster.", status.peers.len() as f64),
        counter(
            "pontoon_cluster_proposals_total",
            "Writes that this peer has proposed.",
            metrics.proposals_total as f64,
        ),
    ]);
    for (name, histogram) in [
        (
            [
                "pontoon_cluster_proposal_duration_seconds_sum",
                "pontoon_cluster_proposal_duration_seconds_count",
            ],
            &metrics.proposal_duration_seconds,
        ),
        (
            [
                "pontoon_cluster_store_sync_duration_seconds_sum",
                "pontoon_cluster_store_sync_duration_seconds_count",
            ],
            &metrics.store_sync_duration_seconds,
        ),
        (
            [
                "pontoon_cluster_snapshot_duration_seconds_sum",
                "pontoon_cluster_snapshot_duration_seconds_count",
            ],
            &metrics.snapshot_duration_seconds,
        ),
    ] {
        duration(name, histogram, numbers);
    }
}

/// Sum and count, from which a rate gives the mean.
fn duration([sum, count]: [&'static str; 2], histogram: &Histogram, numbers: &mut Vec<Number>) {
    numbers.push(counter(sum, "Seconds in all.", histogram.sum));
    numbers.push(counter(count, "How many.", histogram.count as f64));
}
