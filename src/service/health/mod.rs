//! Health of servers: what probes found, and what requests made of it.
//!
//! Each peer judges for itself. The state belongs to the server's URL and survives changes of the configuration.

mod checker;
mod probe;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::options::PassiveHealthCheck;

pub(crate) use checker::{Checker, Probe, Rhythm, Target};

/// Health of one server. A server is healthy until it is known not to be.
#[derive(Debug)]
pub(crate) struct Health {
    /// What the last probe found, or a passive check that leaves it to the next probe.
    up: AtomicBool,
    /// True while `trouble` holds something: the request path looks no further otherwise.
    troubled: AtomicBool,
    trouble: Mutex<Trouble>,
    /// When the next probe is due; a new checker goes on from there.
    due: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Trouble {
    /// Failures since `first`, which is within the window.
    failures: u32,
    first: Option<Instant>,
    /// Left out until then.
    out_until: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            up: AtomicBool::new(true),
            troubled: AtomicBool::new(false),
            trouble: Mutex::default(),
            due: Mutex::default(),
        }
    }
}

impl Health {
    /// True for a server that may get requests.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Relaxed) && (!self.troubled.load(Relaxed) || !self.is_out(Instant::now()))
    }

    /// Takes over what a probe found; true if that is news.
    pub(crate) fn set_up(&self, up: bool) -> bool {
        self.up.swap(up, Relaxed) != up
    }

    /// The same, at another time.
    #[cfg(test)]
    pub(super) fn is_up_at(&self, now: Instant) -> bool {
        self.up.load(Relaxed) && !self.is_out(now)
    }

    fn is_out(&self, now: Instant) -> bool {
        let mut trouble = lock(&self.trouble);
        let Some(until) = trouble.out_until else { return false };
        if now < until {
            return true;
        }
        *trouble = Trouble::default();
        self.troubled.store(false, Relaxed);
        false
    }

    /// A request was answered well: earlier failures are forgotten.
    pub(super) fn request_succeeded(&self) {
        if self.troubled.load(Relaxed) {
            let mut trouble = lock(&self.trouble);
            // A slow answer from before does not bring a server back that has been taken out since.
            if trouble.out_until.is_none() {
                *trouble = Trouble::default();
                self.troubled.store(false, Relaxed);
            }
        }
    }

    /// When the next probe is due: as planned earlier, but no later than `interval` from `now`.
    fn due_within(&self, interval: Duration, now: Instant) -> Instant {
        let latest = now + interval;
        let mut due = lock(&self.due);
        let at = due.map_or(latest, |due| due.min(latest));
        *due = Some(at);
        at
    }

    fn set_due(&self, at: Instant) {
        *lock(&self.due) = Some(at);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `passiveHealthCheck`, ready to use.
#[derive(Debug)]
pub(crate) struct Passive {
    window: Duration,
    failures_max: u32,
    /// Probes bring a server back, instead of time.
    probed: bool,
}

impl Passive {
    /// `probed` says that the servers have an active health check too.
    pub(crate) fn new(options: &PassiveHealthCheck, probed: bool) -> Self {
        let default = PassiveHealthCheck::default().failure_window;
        let window = options.failure_window.positive().unwrap_or_else(|| default.into());
        let failures_max = u32::try_from(options.max_failed_attempts).unwrap_or(1).max(1);
        Self { window, failures_max, probed }
    }

    /// A request failed: enough of them within the window take the server out. True for the one that did.
    pub(crate) fn failed(&self, health: &Health, now: Instant) -> bool {
        let mut trouble = lock(&health.trouble);
        if trouble.out_until.is_some_and(|until| now < until) {
            return false;
        }
        if trouble.first.is_none_or(|first| now.duration_since(first) > self.window) {
            *trouble = Trouble { failures: 0, first: Some(now), out_until: None };
        }
        trouble.failures = trouble.failures.saturating_add(1);
        if trouble.failures < self.failures_max {
            health.troubled.store(true, Relaxed);
            return false;
        }
        if self.probed {
            *trouble = Trouble::default();
            health.troubled.store(false, Relaxed);
            return health.set_up(false);
        }
        trouble.out_until = Some(now + self.window);
        health.troubled.store(true, Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value;

    fn passive(seconds: i64, attempts: i64, probed: bool) -> Passive {
        let options = PassiveHealthCheck {
            failure_window: value::Duration::from_secs(seconds),
            max_failed_attempts: attempts,
        };
        Passive::new(&options, probed)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_failure_takes_a_server_out_for_the_window() {
        let (passive, health, now) = (passive(10, 1, false), Health::default(), Instant::now());
        assert!(passive.failed(&health, now));
        assert!(!health.is_up());
        health.request_succeeded();
        assert!(!passive.failed(&health, now + seconds(9)), "it is out already");
        assert!(!health.is_up_at(now + seconds(9)));
        assert!(health.is_up_at(now + seconds(10)));
    }

    #[test]
    fn only_failures_within_the_window_add_up() {
        let (passive, health, now) = (passive(10, 3, false), Health::default(), Instant::now());
        for after in [0, 0, 11, 11] {
            passive.failed(&health, now + seconds(after));
        }
        assert!(health.is_up());
        passive.failed(&health, now + seconds(11));
        assert!(!health.is_up());
    }

    #[test]
    fn a_success_clears_failures() {
        let (passive, health, now) = (passive(10, 2, false), Health::default(), Instant::now());
        passive.failed(&health, now);
        health.request_succeeded();
        passive.failed(&health, now);
        assert!(health.is_up());
    }

    #[test]
    fn a_probe_brings_a_probed_server_back_and_time_does_not() {
        let (passive, health, now) = (passive(10, 1, true), Health::default(), Instant::now());
        assert!(passive.failed(&health, now));
        assert!(!health.is_up_at(now + seconds(60)));
        assert!(health.set_up(true));
        assert!(health.is_up());
    }

    #[test]
    fn a_new_checker_keeps_the_time_of_the_next_probe() {
        let (health, now) = (Health::default(), Instant::now());
        let first = health.due_within(seconds(30), now);
        assert_eq!(first, now + seconds(30), "the first probe comes after one interval");
        assert_eq!(health.due_within(seconds(30), now + seconds(20)), first);
        assert_eq!(health.due_within(seconds(5), now + seconds(20)), now + seconds(25));
    }
}
