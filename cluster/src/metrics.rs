//! Figures of one peer, for whoever exports them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: 0.25 ms to 8 s, each twice the one before.
const BOUNDS_US: [u64; 16] = [
    250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000,
    1_000_000, 2_000_000, 4_000_000, 8_000_000,
];

#[derive(Debug, Default)]
pub(crate) struct Durations {
    buckets: [AtomicU64; 16],
    count: AtomicU64,
    sum_us: AtomicU64,
}

/// A histogram of durations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Upper bound in seconds, and how many were at most that long (cumulative).
    pub buckets: Vec<(f64, u64)>,
    /// All.
    pub count: u64,
    /// Their sum, in seconds.
    pub sum: f64,
}

impl Durations {
    pub(crate) fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let fits = BOUNDS_US.iter().position(|bound| us <= *bound);
        if let Some(bucket) = fits.and_then(|place| self.buckets.get(place)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn values(&self) -> Histogram {
        let mut sum = 0;
        let buckets = BOUNDS_US.iter().zip(&self.buckets).map(|(bound, bucket)| {
            sum += bucket.load(Ordering::Relaxed);
            (*bound as f64 / 1e6, sum)
        });
        Histogram {
            buckets: buckets.collect(),
            count: self.count.load(Ordering::Relaxed),
            sum: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) proposals: AtomicU64,
    pub(crate) proposal: Durations,
    pub(crate) sync: Durations,
    pub(crate) state_snapshot: Durations,
}

/// Figures of one peer. Counters start at 0 with the process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// This peer leads.
    pub leader: bool,
    /// Its term.
    pub term: u64,
    /// Peers in the membership.
    pub peers: usize,
    /// Newest index known to be committed.
    pub commit_index: u64,
    /// Newest index applied here.
    pub applied_index: u64,
    /// Commands proposed through this peer.
    pub proposals_total: u64,
    /// From the call to the answer, of proposals that got one.
    pub proposal_duration_seconds: Histogram,
    /// Time to write and sync one batch of the log.
    pub store_sync_duration_seconds: Histogram,
    /// Time to build and store a state snapshot.
    pub snapshot_duration_seconds: Histogram,
}

impl Counters {
    pub(crate) fn fill(&self, metrics: &mut Metrics) {
        metrics.proposals_total = self.proposals.load(Ordering::Relaxed);
        metrics.proposal_duration_seconds = self.proposal.values();
        metrics.store_sync_duration_seconds = self.sync.values();
        metrics.snapshot_duration_seconds = self.state_snapshot.values();
    }
}
