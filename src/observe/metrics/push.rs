//! Pushes what is counted to a sink, at its interval and once more at the end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::family::Family;
use super::reader::ReaderId;
use crate::clock;
use crate::observe::delivery::{Delivery, in_time};

/// Where metrics are pushed to.
#[async_trait]
pub(super) trait Sink: Send + Sync {
    /// The option that asks for it.
    fn name(&self) -> &'static str;

    /// What is sent for `families` at `now`, which is since the Unix epoch. May take its time.
    fn encode(&self, families: &[Family], now: Duration) -> Vec<Vec<u8>>;

    async fn send(&self, pieces: Vec<Vec<u8>>) -> Result<(), String>;
}

/// A sink, and when and what it gets.
pub(in crate::observe) struct Pushed {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) reader: ReaderId,
    pub(super) every: Duration,
}

/// Pushes until `stop`. One push is under way at a time; what a failed one held is lost.
pub(in crate::observe) async fn push(
    metrics: Arc<Metrics>,
    pushed: Pushed,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval_at(Instant::now() + pushed.every, pushed.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut delivery = Delivery::new(pushed.sink.name());
    loop {
        let goes_on = stop.run_until_cancelled(ticks.tick()).await.is_some();
        let result = in_time(once(&metrics, &pushed), &stop).await;
        delivery.note(&result);
        if !goes_on {
            return;
        }
    }
}

async fn once(metrics: &Arc<Metrics>, pushed: &Pushed) -> Result<(), String> {
    let (metrics, sink, reader) = (metrics.clone(), pushed.sink.clone(), pushed.reader);
    // There may be much to write.
    let pieces =
        tokio::task::spawn_blocking(move || sink.encode(&metrics.gather(reader), clock::now()));
    let pieces = pieces.await.map_err(|error| error.to_string())?;
    if pieces.is_empty() { Ok(()) } else { pushed.sink.send(pieces).await }
}
