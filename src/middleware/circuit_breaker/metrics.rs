//! What a circuit breaker measures: ratios over ten seconds, latencies over a minute.

use std::ops::Range;
use std::time::Duration;

/// What an expression asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Measure {
    /// Responses 502 and 504 among all.
    NetworkErrors,
    /// Responses with a status in one range for each one in the other.
    Codes { counted: Range<u32>, among: Range<u32> },
    /// Milliseconds within which so many percent of the responses came.
    Latency { quantile: f64 },
}

impl Measure {
    pub(super) fn is_integer(&self) -> bool {
        match self {
            Self::Latency { .. } => true,
            Self::NetworkErrors | Self::Codes { .. } => false,
        }
    }
}

/// Slots of a ratio; each is one second.
const RATIO_SLOTS: usize = 10;

/// Slots of latencies; each is ten seconds.
const LATENCY_SLOTS: usize = 6;

/// Counts for the measures of one expression, and nothing else.
pub(super) struct Metrics {
    measures: Vec<Measure>,
    /// Counted and among, by slot, for each measure.
    ratios: Vec<[(u32, u32); RATIO_SLOTS]>,
    latencies: Option<[Vec<u32>; LATENCY_SLOTS]>,
    /// The second that the slots reach to.
    second: u64,
}

impl Metrics {
    pub(super) fn new(measures: Vec<Measure>) -> Self {
        let measures_latency = measures.iter().any(Measure::is_integer);
        Self {
            ratios: vec![Default::default(); measures.len()],
            latencies: measures_latency.then(|| std::array::from_fn(|_| vec![0; Latency::BUCKETS])),
            measures,
            second: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.ratios.fill(Default::default());
        for slot in self.latencies.iter_mut().flatten() {
            slot.fill(0);
        }
    }

    /// Counts a response at `now`, a time since the start.
    pub(super) fn record(&mut self, now: Duration, status: u16, latency: Duration) {
        self.advance(now);
        let slot = slot(self.second, RATIO_SLOTS);
        for (measure, slots) in self.measures.iter().zip(&mut self.ratios) {
            let Some((counted, among)) = slots.get_mut(slot) else { continue };
            let (is_counted, is_among) = match measure {
                Measure::NetworkErrors => (matches!(status, 502 | 504), true),
                Measure::Codes { counted, among } => {
                    (counted.contains(&u32::from(status)), among.contains(&u32::from(status)))
                }
                Measure::Latency { .. } => continue,
            };
            *counted = counted.saturating_add(u32::from(is_counted));
            *among = among.saturating_add(u32::from(is_among));
        }
        let slot = slot_of_ten(self.second);
        let bucket = Latency::bucket(latency);
        let counts = self.latencies.as_mut().and_then(|slots| slots.get_mut(slot));
        if let Some(count) = counts.and_then(|counts| counts.get_mut(bucket)) {
            *count = count.saturating_add(1);
        }
    }

    /// Empties the slots that have become too old.
    pub(super) fn advance(&mut self, now: Duration) {
        let seconds = now.as_secs();
        let first = (self.second + 1).max(seconds.saturating_sub(60));
        for second in first..=seconds {
            let old = slot(second, RATIO_SLOTS);
            for slots in &mut self.ratios {
                if let Some(counts) = slots.get_mut(old) {
                    *counts = (0, 0);
                }
            }
            if second % 10 == 0 || second == first {
                let old = slot_of_ten(second);
                let is_new = second / 10 != self.second / 10;
                let counts = self.latencies.as_mut().and_then(|slots| slots.get_mut(old));
                if let Some(counts) = counts.filter(|_| is_new) {
                    counts.fill(0);
                }
            }
        }
        self.second = self.second.max(seconds);
    }

    /// What the measure says of the time that the slots cover.
    pub(super) fn value(&self, index: usize) -> f64 {
        if let Some(Measure::Latency { quantile }) = self.measures.get(index) {
            return self
                .latencies
                .as_ref()
                .map_or(0.0, |slots| Latency::quantile(slots, *quantile));
        }
        let slots = self.ratios.get(index).map(<[_; RATIO_SLOTS]>::as_slice).unwrap_or_default();
        let sum =
            |part: fn(&(u32, u32)) -> u32| slots.iter().map(|slot| u64::from(part(slot))).sum();
        let (counted, among): (u64, u64) = (sum(|slot| slot.0), sum(|slot| slot.1));
        if among == 0 { 0.0 } else { counted as f64 / among as f64 }
    }
}

fn slot(second: u64, slots: usize) -> usize {
    u64::try_from(slots).ok().and_then(|slots| usize::try_from(second % slots).ok()).unwrap_or(0)
}

fn slot_of_ten(second: u64) -> usize {
    slot(second / 10, LATENCY_SLOTS)
}

/// Counts latencies in buckets whose width grows with the value: two significant figures, as an HDR histogram has them.
struct Latency;

impl Latency {
    /// 128 buckets of a microsecond, then 64 for each doubling, up to an hour.
    const BUCKETS: usize = 128 + 25 * 64;

    fn bucket(latency: Duration) -> usize {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min(3_600_000_000);
        let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(7);
        let base = if shift == 0 { 0 } else { 64 * u64::from(shift) };
        usize::try_from(base + (micros >> shift)).unwrap_or(0)
    }

    /// The longest latency of a bucket, in whole milliseconds.
    fn milliseconds(bucket: usize) -> u64 {
        let bucket = u64::try_from(bucket).unwrap_or(0);
        if bucket < 128 {
            return bucket / 1000;
        }
        let shift = bucket / 64 - 1;
        ((((bucket - 64 * shift) + 1) << shift) - 1) / 1000
    }

    fn quantile(slots: &[Vec<u32>; LATENCY_SLOTS], percent: f64) -> f64 {
        let total: u64 = slots.iter().flatten().map(|count| u64::from(*count)).sum();
        let wanted = (percent.clamp(0.0, 100.0) / 100.0 * total as f64).max(1.0);
        let mut seen = 0_u64;
        for bucket in 0..Self::BUCKETS {
            let counts = slots.iter().filter_map(|slot| slot.get(bucket));
            seen += counts.map(|count| u64::from(*count)).sum::<u64>();
            if seen as f64 >= wanted {
                return Self::milliseconds(bucket) as f64;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn ratios_forget_after_ten_seconds() {
        let codes = Measure::Codes { counted: 500..600, among: 0..600 };
        let mut metrics = Metrics::new(vec![Measure::NetworkErrors, codes]);
        assert!(metrics.value(0) < 1e-9);
        for status in [200, 500, 502, 504] {
            metrics.record(Duration::from_secs(3), status, MS);
        }
        assert!((metrics.value(0) - 0.5).abs() < 1e-9);
        assert!((metrics.value(1) - 0.75).abs() < 1e-9);
        metrics.advance(Duration::from_secs(12));
        assert!((metrics.value(0) - 0.5).abs() < 1e-9);
        metrics.advance(Duration::from_secs(13));
        assert!(metrics.value(0) < 1e-9);
    }

    #[test]
    fn latencies_have_two_significant_figures_and_forget_after_a_minute() {
        let mut metrics = Metrics::new(vec![
            Measure::Latency { quantile: 50.0 },
            Measure::Latency { quantile: 100.0 },
        ]);
        for milliseconds in 1..=100 {
            metrics.record(Duration::from_secs(5), 200, MS * milliseconds);
        }
        assert!((metrics.value(0) - 50.0).abs() <= 1.0, "{}", metrics.value(0));
        assert!((metrics.value(1) - 100.0).abs() <= 1.0, "{}", metrics.value(1));
        metrics.advance(Duration::from_secs(59));
        assert!(metrics.value(0) > 1.0);
        metrics.advance(Duration::from_mins(1));
        assert!(metrics.value(0) < 1e-9);
    }

    #[test]
    fn every_latency_has_a_bucket() {
        for micros in [0, 1, 127, 128, 255, 256, 1_000_000, 3_600_000_000, u64::MAX] {
            let bucket = Latency::bucket(Duration::from_micros(micros));
            assert!(bucket < Latency::BUCKETS, "{micros}");
            let shown = Latency::milliseconds(bucket) as f64;
            let real = (micros.min(3_600_000_000) / 1000) as f64;
            assert!((shown - real).abs() <= real * 0.02 + 1.0, "{micros}: {shown}");
        }
    }

    #[test]
    fn a_long_pause_is_caught_up_with_quickly() {
        let mut metrics = Metrics::new(vec![Measure::NetworkErrors]);
        metrics.record(Duration::ZERO, 502, MS);
        metrics.advance(Duration::from_secs(u64::MAX / 2));
        assert!(metrics.value(0) < 1e-9);
    }
}
