//! The active check: asks every server of a service, each in its own rhythm.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::super::BuildError;
use super::super::options::HealthCheck;
use super::Health;
use super::probe::HttpProbe;
use crate::config::value;
use crate::upstream;

/// Probes of one service that run at the same time.
const PROBES_MAX: usize = 32;

/// Asks one server how it is.
#[async_trait]
pub(crate) trait Probe: Send + Sync {
    /// The server as configured.
    fn server(&self) -> &Arc<str>;

    /// Asks once; an error says why the server is not healthy.
    async fn ask(&self) -> Result<(), String>;
}

/// Who asks a server, and what it is asked about.
pub(crate) type Target = (Box<dyn Probe>, Arc<Health>);

/// How often servers are asked, and how long they may take.
pub(crate) struct Rhythm {
    interval: Duration,
    unhealthy_interval: Duration,
    pub(crate) timeout: Duration,
}

impl Rhythm {
    /// From the options of `service`; `defaults`, interval and timeout, stand in for what is not above zero.
    pub(crate) fn new(
        service: &str,
        (interval, unhealthy_interval, timeout): (
            value::Duration,
            Option<value::Duration>,
            value::Duration,
        ),
        defaults: (value::Duration, value::Duration),
    ) -> Self {
        let positive = |value: value::Duration, default: value::Duration, option: &str| {
            value.positive().unwrap_or_else(|| {
                error!(service, option, "health check: not above zero, default used");
                default.into()
            })
        };
        let interval = positive(interval, defaults.0, "interval");
        let unhealthy_interval = match unhealthy_interval {
            Some(interval) => positive(interval, defaults.0, "unhealthyInterval"),
            None => interval,
        };
        Self { interval, unhealthy_interval, timeout: positive(timeout, defaults.1, "timeout") }
    }
}

/// Probes the servers of one service.
pub(crate) struct Checker {
    service: Arc<str>,
    targets: Box<[Target]>,
    interval: Duration,
    unhealthy_interval: Duration,
    permits: Semaphore,
}

impl Checker {
    /// A checker of `servers`: URL and health of each.
    pub(crate) fn new(
        options: &HealthCheck,
        service: &Arc<str>,
        servers: impl Iterator<Item = (Arc<str>, Arc<Health>)>,
        transport: &Arc<upstream::Transport>,
    ) -> Result<Self, BuildError> {
        let defaults = HealthCheck::default();
        let rhythm = Rhythm::new(
            service,
            (options.interval, options.unhealthy_interval, options.timeout),
            (defaults.interval, defaults.timeout),
        );
        let mut targets: Vec<Target> = Vec::new();
        for (url, health) in servers {
            let probe = HttpProbe::new(options, &url, rhythm.timeout, transport)?;
            targets.push((Box::new(probe), health));
        }
        Ok(Self::of(service, targets, &rhythm))
    }

    /// A checker that asks by any means.
    pub(crate) fn of(service: &str, targets: Vec<Target>, rhythm: &Rhythm) -> Self {
        Self {
            service: service.into(),
            targets: targets.into(),
            interval: rhythm.interval,
            unhealthy_interval: rhythm.unhealthy_interval,
            permits: Semaphore::new(PROBES_MAX),
        }
    }

    /// Probes until `stop`. The first probe of a server comes one interval after it was first seen.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let all = join_all(self.targets.iter().map(|(probe, health)| self.watch(&**probe, health)));
        stop.run_until_cancelled(all).await;
    }

    async fn watch(&self, probe: &dyn Probe, health: &Health) {
        let mut due = health.due_within(self.interval_of(health), Instant::now());
        loop {
            sleep_until(due).await;
            // Closed never: the semaphore lives as long as this.
            let Ok(permit) = self.permits.acquire().await else { return };
            let result = probe.ask().await;
            drop(permit);
            self.note(probe, health, result);
            // Counted from when it was due, so that slow answers do not stretch the rhythm.
            due = (due + self.interval_of(health)).max(Instant::now());
            health.set_due(due);
        }
    }

    fn interval_of(&self, health: &Health) -> Duration {
        if health.is_up() { self.interval } else { self.unhealthy_interval }
    }

    fn note(&self, probe: &dyn Probe, health: &Health, result: Result<(), String>) {
        let (service, url) = (&self.service, probe.server());
        match result {
            Ok(()) if health.set_up(true) => info!(%service, %url, "server is up"),
            Ok(()) => {}
            Err(reason) if health.set_up(false) => warn!(%service, %url, reason, "server is down"),
            Err(reason) => debug!(%service, %url, reason, "server is still down"),
        }
    }
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::transport;
    use super::*;

    fn checker(options: &HealthCheck, url: &str) -> Result<Checker, BuildError> {
        let servers = [(Arc::from(url), Arc::default())];
        Checker::new(options, &"x@p".into(), servers.into_iter(), &transport())
    }

    #[test]
    fn intervals_have_defaults_and_depend_on_health() {
        let zero = value::Duration::ZERO;
        let options = HealthCheck { interval: zero, timeout: zero, ..HealthCheck::default() };
        let built = checker(&options, "http://a").unwrap();
        assert_eq!(built.interval, Duration::from_secs(30));
        assert_eq!(built.unhealthy_interval, built.interval);
        let unhealthy_interval = Some(value::Duration::from_secs(2));
        let options = HealthCheck { unhealthy_interval, ..HealthCheck::default() };
        let built = checker(&options, "http://a").unwrap();
        let health = &built.targets[0].1;
        assert_eq!(built.interval_of(health), Duration::from_secs(30));
        built.note(&*built.targets[0].0, health, Err("refused".into()));
        assert_eq!(built.interval_of(health), Duration::from_secs(2));
        built.note(&*built.targets[0].0, health, Ok(()));
        assert!(health.is_up());
    }

    #[test]
    fn mistakes_are_found_at_once() {
        for options in [
            HealthCheck { mode: "tcp".into(), ..HealthCheck::default() },
            HealthCheck { path: "http://b/".into(), ..HealthCheck::default() },
            HealthCheck { method: "G T".into(), ..HealthCheck::default() },
            HealthCheck { scheme: "ftp".into(), ..HealthCheck::default() },
        ] {
            assert!(checker(&options, "http://a").is_err(), "{options:?}");
        }
    }

    #[tokio::test]
    async fn a_checker_ends_when_it_is_told_to() {
        let stop = CancellationToken::new();
        stop.cancel();
        Arc::new(checker(&HealthCheck::default(), "http://a").unwrap()).run(stop).await;
    }
}
