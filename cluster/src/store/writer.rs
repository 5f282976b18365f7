//! The one thread that writes: joins what waits into one batch and one sync (group commit).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Backend, Error, Step};
use crate::metrics::Counters;

/// Jobs that may wait; more make the proposer wait.
const JOBS_MAX: usize = 1024;
/// A batch is closed when it holds this much.
const BATCH_BYTES: usize = 16 << 20;
const BATCH_STEPS: usize = 8192;

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Job {
    steps: Vec<Step>,
    /// What is durable when this job is: the last appended index.
    last: Option<u64>,
    done: Done,
}

#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    durable: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. It ends when the last writer is dropped.
    pub(crate) fn start(backend: Arc<dyn Backend>, counters: Arc<Counters>) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        let durable = Arc::new(AtomicU64::new(0));
        let marks = Arc::clone(&durable);
        std::thread::Builder::new()
            .name("cluster-log".to_owned())
            .spawn(move || run(waiting, backend.as_ref(), &counters, &marks))?;
        Ok(Self { jobs, durable })
    }

    /// The newest index that is on disk.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn set_durable(&self, index: u64) {
        self.durable.store(index, Ordering::Release);
    }

    /// Hands over steps; `done` is called when they are on disk.
    pub(crate) async fn submit(
        &self,
        steps: Vec<Step>,
        last: Option<u64>,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<()> {
        let job = Job { steps, last, done: Box::new(done) };
        self.jobs.send(job).await.map_err(|_closed| io::Error::other(Error::Closed))
    }

    /// Returns when the steps are on disk.
    pub(crate) async fn write(&self, steps: Vec<Step>) -> io::Result<()> {
        let (done, waiting) = oneshot::channel();
        let tell = move |result| {
            // Nobody waits any more: the caller was dropped.
            drop(done.send(result));
        };
        self.submit(steps, None, tell).await?;
        waiting.await.map_err(|_closed| io::Error::other(Error::Closed))?
    }
}

fn run(
    mut waiting: mpsc::Receiver<Job>,
    backend: &dyn Backend,
    counters: &Counters,
    durable: &AtomicU64,
) {
    while let Some(first) = waiting.blocking_recv() {
        let mut steps = Vec::new();
        let mut done = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            bytes += job.steps.iter().map(Step::bytes).sum::<usize>();
            steps.extend(job.steps);
            done.push((job.last, job.done));
            let full = bytes >= BATCH_BYTES || steps.len() >= BATCH_STEPS;
            next = if full { None } else { waiting.try_recv().ok() };
        }
        let start = Instant::now();
        let result = backend.write(&steps);
        counters.sync.record(start.elapsed());
        let failure = result.err().map(Arc::new);
        for (last, done) in done {
            match (&failure, last) {
                (Some(error), _) => {
                    tracing::error!(%error, "cannot write to the store");
                    done(Err(io::Error::other(Arc::clone(error))));
                    continue;
                }
                (None, Some(last)) => durable.store(last, Ordering::Release),
                (None, None) => {}
            }
            done(Ok(()));
        }
    }
}
