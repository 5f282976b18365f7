//! Groups of tasks that end together: shutdown cancels the group and waits for it.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Starts tasks and ends them. Clones share the same group.
#[derive(Clone)]
pub(crate) struct Group {
    tracker: TaskTracker,
    stop: CancellationToken,
    runtime: Handle,
}

impl Group {
    /// A group whose tasks run on `runtime`.
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new(), runtime }
    }

    /// Cancelled when the group is told to end; every task of the group watches it.
    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts `task`. It should end soon after [`Group::stop_token`] is cancelled.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn_on(task, &self.runtime);
    }

    /// Keeps [`Group::end`] waiting as a task would, for what outlives the task that began it.
    pub(crate) fn hold(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Tells all tasks to end and waits for at most `grace`; false if some were still running then.
    pub(crate) async fn end(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}
