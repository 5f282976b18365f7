//! A queue for the tests of what fills it.

use super::Queue;

/// A queue, and what takes all that is in it.
pub(in crate::observe) fn queue<T>() -> (Queue<T>, impl FnMut() -> Vec<T>) {
    let (queue, mut taken) = Queue::alone(64);
    (queue, move || std::iter::from_fn(|| taken.try_recv().ok()).collect())
}
