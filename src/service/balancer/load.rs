//! What a server has to do: requests in flight, and how fast it answered of late.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Answers that the average is taken over, as in Traefik.
const SAMPLES: usize = 100;

/// Counters of one server. They survive changes of the configuration, since requests do too.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicUsize,
    /// Only there once a balancer wants to know.
    latency: OnceLock<Box<Latency>>,
}

#[derive(Debug)]
struct Latency {
    /// Microseconds until the head of the last answers, a ring.
    samples: [AtomicU32; SAMPLES],
    /// Answers so far; its remainder is the next place in the ring.
    answers: AtomicUsize,
    /// Sum of the ring.
    sum: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            samples: [const { AtomicU32::new(0) }; SAMPLES],
            answers: AtomicUsize::new(0),
            sum: AtomicU64::new(0),
        }
    }
}

impl Load {
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Counts a request until the result is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Notes that a response's head came after `time`.
    pub(crate) fn answered_after(&self, time: Duration) {
        let time = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let latency = self.latency.get_or_init(Box::default);
        let place = latency.answers.fetch_add(1, Relaxed) % SAMPLES;
        if let Some(sample) = latency.samples.get(place) {
            let old = sample.swap(time, Relaxed);
            // Wrapping, so that the order in which cores add and subtract does not matter.
            latency.sum.fetch_add(u64::from(time).wrapping_sub(u64::from(old)), Relaxed);
        }
    }

    /// Milliseconds until the head, on average over the last answers; 0 before the first.
    pub(crate) fn latency_ms(&self) -> f64 {
        let Some(latency) = self.latency.get() else { return 0.0 };
        let answers = latency.answers.load(Relaxed).clamp(1, SAMPLES);
        latency.sum.load(Relaxed) as f64 / answers as f64 / 1000.0
    }
}

/// A request that counts as in flight.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Load>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_until_dropped() {
        let load = Arc::new(Load::default());
        let (first, second) = (load.enter(), load.enter());
        assert_eq!(load.in_flight(), 2);
        drop(first);
        assert_eq!(load.in_flight(), 1);
        drop(second);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn averages_the_last_hundred_answers() {
        let load = Load::default();
        assert!(load.latency_ms().abs() < 1e-9);
        load.answered_after(Duration::from_millis(10));
        load.answered_after(Duration::from_millis(20));
        assert!((load.latency_ms() - 15.0).abs() < 1e-9);
        for _ in 0..100 {
            load.answered_after(Duration::from_millis(2));
        }
        assert!((load.latency_ms() - 2.0).abs() < 1e-9, "older answers are forgotten");
    }
}
