//! Whether what is sent to others gets there: said when it changes, not each time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Longest time that one delivery takes.
const TIME_MAX: Duration = Duration::from_secs(10);
/// The same once the program ends.
const LAST_TIME_MAX: Duration = Duration::from_secs(2);

/// How the last delivery went.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The option that asks for it.
    sink: &'static str,
    failing: bool,
}

impl Delivery {
    pub(super) fn new(sink: &'static str) -> Self {
        Self { sink, failing: false }
    }

    pub(super) fn sink(&self) -> &'static str {
        self.sink
    }

    /// Notes how a delivery went.
    pub(super) fn note(&mut self, result: &Result<(), String>) {
        match result {
            Ok(()) if self.failing => info!(sink = self.sink, "telemetry is delivered again"),
            Err(error) if !self.failing => {
                warn!(sink = self.sink, error, "telemetry cannot be delivered");
            }
            Ok(()) | Err(_) => {}
        }
        self.failing = result.is_err();
    }
}

/// Waits for a delivery, for a limited time; for little once `stop` has been cancelled.
pub(super) async fn in_time(
    delivery: impl Future<Output = Result<(), String>>,
    stop: &CancellationToken,
) -> Result<(), String> {
    within((TIME_MAX, LAST_TIME_MAX), delivery, stop).await
}

async fn within(
    (limit, last): (Duration, Duration),
    delivery: impl Future<Output = Result<(), String>>,
    stop: &CancellationToken,
) -> Result<(), String> {
    let ending = async {
        stop.cancelled().await;
        tokio::time::sleep(last).await;
    };
    tokio::select! {
        result = tokio::time::timeout(limit, delivery) => {
            result.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()))
        }
        () = ending => Err("the program ends".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn nobody_is_waited_for_long() {
        let (stop, long) = (CancellationToken::new(), Duration::from_hours(1));
        let late = within((Duration::ZERO, long), pending(), &stop).await;
        assert_eq!(late.unwrap_err(), "no answer in time");
        stop.cancel();
        let ending = within((long, Duration::ZERO), pending(), &stop).await;
        assert_eq!(ending.unwrap_err(), "the program ends");
        assert!(in_time(async { Ok(()) }, &stop).await.is_ok(), "what is there is taken");
    }
}
