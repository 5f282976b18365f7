//! Spans and log records on their way to a collector: a bounded queue, sent in batches.
//!
//! As OpenTelemetry's batch processors, with their variables of the environment: `OTEL_BSP_` for spans, `OTEL_BLRP_` for
//! logs, then `SCHEDULE_DELAY` (milliseconds), `MAX_QUEUE_SIZE` and `MAX_EXPORT_BATCH_SIZE`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Exporter, Failure};
use crate::observe::delivery::{Delivery, in_time};

/// A batch that a collector cannot take now is tried again so often.
const TRIES: u32 = 5;
/// The pause before the second try; each one is twice as long as the one before.
const PAUSE: Duration = Duration::from_secs(1);
/// Dropped items are told of so often at most.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// Larger limits than this are not followed.
const QUEUE_MAX: usize = 1 << 20;

/// When and how much is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) delay: Duration,
    pub(super) queue_max: usize,
    pub(super) batch_max: usize,
}

impl Limits {
    /// The defaults with what the environment says.
    pub(super) fn of(prefix: &str, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str, default: usize| {
            let value = environment(&format!("{prefix}_{name}"));
            value
                .and_then(|text| text.trim().parse().ok())
                .filter(|&number| number > 0)
                .unwrap_or(default)
        };
        let delay = number("SCHEDULE_DELAY", if prefix == "OTEL_BSP" { 5000 } else { 1000 });
        let queue_max = number("MAX_QUEUE_SIZE", 2048).min(QUEUE_MAX);
        let batch_max = number("MAX_EXPORT_BATCH_SIZE", 512).min(queue_max);
        let delay = Duration::from_millis(u64::try_from(delay).unwrap_or(u64::MAX));
        Self { delay, queue_max, batch_max }
    }
}

/// Takes items from anywhere, without waiting.
pub(in crate::observe) struct Queue<T> {
    items: mpsc::Sender<T>,
    batch_max: usize,
    shared: Arc<Shared>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        let (items, shared) = (self.items.clone(), self.shared.clone());
        Self { items, batch_max: self.batch_max, shared }
    }
}

#[derive(Default)]
struct Shared {
    /// There is enough for a batch.
    full: Notify,
    dropped: AtomicU64,
}

impl<T> Queue<T> {
    /// A full queue drops the item and counts it.
    pub(in crate::observe) fn add(&self, item: T) {
        if self.items.try_send(item).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever sends sleeps otherwise: to wake it for each item would cost each request.
        if self.items.max_capacity() - self.items.capacity() >= self.batch_max {
            self.shared.full.notify_one();
        }
    }
}

#[cfg(test)]
impl<T> Queue<T> {
    /// Without anybody who sends.
    pub(super) fn alone(items_max: usize) -> (Self, mpsc::Receiver<T>) {
        let (items, taken) = mpsc::channel(items_max);
        (Self { items, batch_max: items_max, shared: Arc::default() }, taken)
    }
}

/// Makes one message of several items.
pub(in crate::observe) type Encode<T> = Box<dyn Fn(Vec<T>) -> Vec<u8> + Send + Sync>;

/// The other end of a queue.
pub(in crate::observe) struct Batches<T> {
    items: mpsc::Receiver<T>,
    limits: Limits,
    shared: Arc<Shared>,
    exporter: Exporter,
    encode: Encode<T>,
    delivery: Delivery,
}

impl<T: Send + 'static> Batches<T> {
    /// `sink` is the option that asks for it, `variables` begins the names of its variables.
    pub(in crate::observe) fn new(
        sink: &'static str,
        variables: &str,
        exporter: Exporter,
        encode: Encode<T>,
    ) -> (Queue<T>, Self) {
        let limits = Limits::of(variables, &|name| std::env::var(name).ok());
        Self::within(limits, Delivery::new(sink), exporter, encode)
    }

    pub(super) fn within(
        limits: Limits,
        delivery: Delivery,
        exporter: Exporter,
        encode: Encode<T>,
    ) -> (Queue<T>, Self) {
        let (sender, items) = mpsc::channel(limits.queue_max);
        let shared = Arc::<Shared>::default();
        let queue = Queue { items: sender, batch_max: limits.batch_max, shared: shared.clone() };
        (queue, Self { items, limits, shared, exporter, encode, delivery })
    }

    /// Sends what comes until `stop`, and then what is left.
    pub(in crate::observe) async fn run(mut self, stop: CancellationToken) {
        let (mut told, mut may_tell) = (0, Instant::now());
        loop {
            let waited = tokio::time::timeout(self.limits.delay, self.shared.full.notified());
            let goes_on = stop.run_until_cancelled(waited).await.is_some();
            loop {
                let batch = self.next();
                if batch.is_empty() {
                    break;
                }
                let message = (self.encode)(batch);
                let result = self.deliver(&message, &stop).await;
                self.delivery.note(&result);
                if result.is_err() && stop.is_cancelled() {
                    return;
                }
            }
            let dropped = self.shared.dropped.load(Ordering::Relaxed);
            if dropped > told && Instant::now() >= may_tell {
                let sink = self.delivery.sink();
                warn!(sink, items = dropped - told, "telemetry was dropped: the queue was full");
                (told, may_tell) = (dropped, Instant::now() + TELL_EVERY);
            }
            if !goes_on {
                return;
            }
        }
    }

    fn next(&mut self) -> Vec<T> {
        let mut batch = Vec::new();
        while batch.len() < self.limits.batch_max
            && let Ok(item) = self.items.try_recv()
        {
            batch.push(item);
        }
        batch
    }

    /// Tries again where that may help, unless the program ends.
    async fn deliver(&mut self, message: &[u8], stop: &CancellationToken) -> Result<(), String> {
        let mut pause = PAUSE;
        for number in 1..=TRIES {
            let mut passing = false;
            let sent = async {
                self.exporter.send(message).await.map_err(|failure: Failure| {
                    passing = failure.passing;
                    failure.reason
                })
            };
            let result = in_time(sent, stop).await;
            if result.is_ok() || !passing || number == TRIES {
                return result;
            }
            self.delivery.note(&result);
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return result;
            }
            pause *= 2;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_from_the_environment() {
        let none = Limits::of("OTEL_BSP", &|_| None);
        let seconds = |limits: Limits| limits.delay.as_secs();
        assert_eq!((seconds(none), none.queue_max, none.batch_max), (5, 2048, 512));
        assert_eq!(seconds(Limits::of("OTEL_BLRP", &|_| None)), 1);
        let some = Limits::of("OTEL_BSP", &|name| match name {
            "OTEL_BSP_SCHEDULE_DELAY" => Some("20".to_owned()),
            "OTEL_BSP_MAX_QUEUE_SIZE" => Some("10".to_owned()),
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" => Some("0".to_owned()),
            _ => None,
        });
        let delay = Duration::from_millis(20);
        assert_eq!(some, Limits { delay, queue_max: 10, batch_max: 10 });
    }
}
