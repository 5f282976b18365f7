//! Coarse timers: timeouts of connections cost no timer of the runtime each.
//!
//! All timers of a thread that are due in the same slice of time share one alarm. A [`Timer`] that is moved to a
//! later time, as happens with each request, does nothing but note it: it looks again when its alarm has rung.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use tokio::time::{Instant, Sleep};

/// A timer rings at most this much late, and never early.
const SLICE: Duration = Duration::from_millis(50);
/// Alarms that nobody waits for are swept out once so many are listed.
const SWEEP_MIN: usize = 64;

type Alarm = Shared<Sleep>;

thread_local! {
    static ALARMS: RefCell<Alarms> = RefCell::default();
}

#[derive(Default)]
struct Alarms {
    /// Slices are counted from here.
    epoch: Option<Instant>,
    by_slice: HashMap<u64, WeakShared<Sleep>>,
    sweep_at: usize,
}

impl Alarms {
    /// The alarm of the first slice that ends at or after `deadline`, and when it rings.
    fn at(&mut self, deadline: Instant) -> (Instant, Alarm) {
        let epoch = *self.epoch.get_or_insert_with(Instant::now);
        let slice = deadline.saturating_duration_since(epoch).as_nanos().div_ceil(SLICE.as_nanos());
        let slice = u32::try_from(slice).unwrap_or(u32::MAX);
        let rings = epoch + SLICE * slice;
        let key = u64::from(slice);
        if let Some(alarm) = self.by_slice.get(&key).and_then(WeakShared::upgrade)
            && alarm.peek().is_none()
        {
            return (rings, alarm);
        }
        self.sweep();
        let alarm = tokio::time::sleep_until(rings).shared();
        if let Some(weak) = alarm.downgrade() {
            self.by_slice.insert(key, weak);
        }
        (rings, alarm)
    }

    fn sweep(&mut self) {
        if self.by_slice.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.by_slice.retain(|_, alarm| alarm.upgrade().is_some_and(|it| it.peek().is_none()));
            self.sweep_at = self.by_slice.len() * 2;
        }
    }
}

/// A deadline that can be moved cheaply. Belongs to one task.
#[derive(Default)]
pub(crate) struct Timer {
    deadline: Option<Instant>,
    alarm: Option<(Instant, Alarm)>,
}

impl Timer {
    /// Sets the time at which [`Timer::poll`] is ready; `None` for never.
    pub(crate) fn set(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Sets the timer to `after` from now; `None` for never.
    pub(crate) fn set_after(&mut self, after: Option<Duration>) {
        self.deadline = after.and_then(|after| Instant::now().checked_add(after));
    }

    /// When the timer is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Ready once the deadline has passed, and from then on until it is moved.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        loop {
            let late = deadline + SLICE;
            match &mut self.alarm {
                Some((rings, alarm)) if *rings <= late => match Pin::new(alarm).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => self.alarm = None,
                },
                _ => self.alarm = Some(ALARMS.with_borrow_mut(|alarms| alarms.at(deadline))),
            }
            if self.alarm.is_none() && Instant::now() >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for the deadline.
    async fn wait(timer: &mut Timer) {
        std::future::poll_fn(|cx| timer.poll(cx)).await;
    }

    #[tokio::test]
    async fn rings_after_the_deadline_and_not_before() {
        for milliseconds in [0, 1, 50, 60] {
            let after = Duration::from_millis(milliseconds);
            let started = Instant::now();
            let mut timer = Timer::default();
            timer.set_after(Some(after));
            wait(&mut timer).await;
            assert!(started.elapsed() >= after);
        }
    }

    #[tokio::test]
    async fn a_moved_deadline_counts_earlier_or_later() {
        let started = Instant::now();
        let mut timer = Timer::default();
        for seconds in [10, 0, 3600] {
            timer.set_after(Some(Duration::from_secs(seconds) + SLICE));
            let waits = std::pin::pin!(wait(&mut timer));
            assert!(futures_util::poll!(waits).is_pending());
        }
        timer.set_after(Some(SLICE));
        wait(&mut timer).await;
        assert!(started.elapsed() >= SLICE);
    }

    #[tokio::test]
    async fn timers_of_one_slice_share_an_alarm() {
        let deadline = Instant::now() + Duration::from_mins(10);
        let alarms: Vec<_> =
            ALARMS.with_borrow_mut(|alarms| (0..100).map(|_| alarms.at(deadline)).collect());
        for (rings, alarm) in &alarms {
            assert!(*rings >= deadline && *rings <= deadline + SLICE);
            assert_eq!(alarm.strong_count(), Some(100));
        }
    }

    #[tokio::test]
    async fn alarms_that_nobody_waits_for_are_swept_out() {
        let now = Instant::now();
        for seconds in 0..1000 {
            drop(ALARMS.with_borrow_mut(|alarms| alarms.at(now + Duration::from_secs(seconds))));
        }
        assert!(ALARMS.with_borrow(|alarms| alarms.by_slice.len()) <= SWEEP_MIN);
    }
}
