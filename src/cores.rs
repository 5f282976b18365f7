//! The runtimes: one current-thread runtime per core for the data plane, one for the control plane.
//!
//! A connection lives on one core. What is kept per core (pools, counters) is a [`PerCore`]: its cells are
//! touched by their own core only, and are summed or walked by others only when something is read.

use std::cell::Cell;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Sets the number of data-plane cores; without it, the machine's parallelism.
const COUNT_VARIABLE: &str = "PONTOON_CORES";
/// Threads of a core's runtime for what blocks, such as the check of a password.
const BLOCKING_THREADS_MAX: usize = 64;

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

static COUNT: OnceLock<usize> = OnceLock::new();

/// Number of data-plane cores: `PONTOON_CORES` or the machine's parallelism.
pub(crate) fn count() -> usize {
    *COUNT.get_or_init(|| {
        let asked = std::env::var(COUNT_VARIABLE).ok().and_then(|text| text.trim().parse().ok());
        asked
            .filter(|&cores| cores > 0)
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
    })
}

/// The core that the calling thread stands for. Threads outside the data plane share core 0.
pub(crate) fn current() -> usize {
    CURRENT.get().unwrap_or(0)
}

/// The core that the calling thread stands for; `None` outside the data plane.
pub(crate) fn here() -> Option<usize> {
    CURRENT.get()
}

/// Makes the calling thread the runtime of `core`.
pub(crate) fn enter(core: usize) {
    CURRENT.set(Some(core));
}

/// One `T` per core. A lock is taken by its own core and almost never by anybody else, so it does not wait.
#[derive(Debug)]
pub(crate) struct PerCore<T> {
    cells: Box<[Padded<T>]>,
}

/// On cache lines of its own, so that cores do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(Mutex<T>);

impl<T> PerCore<T> {
    pub(crate) fn new(make: impl FnMut() -> T) -> Self {
        let mut make = make;
        Self { cells: (0..count()).map(|_| Padded(Mutex::new(make()))).collect() }
    }

    /// The calling core's cell. Do not hold it across an await.
    pub(crate) fn local(&self) -> MutexGuard<'_, T> {
        let cell = self.cells.get(current()).or_else(|| self.cells.first());
        let cell = cell.expect("there is at least one core");
        cell.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All cells in turn, for sums and clean-up.
    pub(crate) fn each(&self, mut look: impl FnMut(&mut T)) {
        for cell in &self.cells {
            look(&mut cell.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// The running data plane: a thread and a runtime for each core.
pub(crate) struct Cores {
    cores: Vec<Core>,
    stop: CancellationToken,
}

struct Core {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Cores {
    /// Starts [`count`] runtimes, each on a thread of its own named `core-N`.
    pub(crate) fn start() -> io::Result<Self> {
        let stop = CancellationToken::new();
        let cores = (0..count()).map(|core| start(core, stop.clone())).collect::<Result<_, _>>()?;
        Ok(Self { cores, stop })
    }

    /// The runtimes, in the order of their cores.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &Handle> {
        self.cores.iter().map(|core| &core.handle)
    }

    /// Ends all runtimes; what still runs on them is cut off. Blocks until the threads have ended, which takes as long
    /// as tasks take to reach their next await.
    pub(crate) fn end(self) {
        self.stop.cancel();
        for (number, core) in self.cores.into_iter().enumerate() {
            if core.thread.join().is_err() {
                error!(core = number, "the thread of a core has panicked");
            }
        }
    }
}

/// Tasks that panic end alone: the runtime catches it, and their connection is closed.
fn start(core: usize, stop: CancellationToken) -> io::Result<Core> {
    let name = format!("core-{core}");
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name(format!("{name}-blocking"))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()?;
    let handle = runtime.handle().clone();
    let thread = thread::Builder::new().name(name).spawn(move || {
        enter(core);
        runtime.block_on(stop.cancelled());
        // Does not wait for what blocks: a shutdown must not hang on a password check.
        runtime.shutdown_background();
    })?;
    Ok(Core { handle, thread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_runs_on_its_own_thread_and_survives_a_panic() {
        let cores = Cores::start().unwrap();
        let handles: Vec<Handle> = cores.handles().cloned().collect();
        assert_eq!(handles.len(), count());
        let control = Builder::new_current_thread().build().unwrap();
        for (number, handle) in handles.iter().enumerate() {
            let panicked = handle.spawn(async { panic!("a task of the test") });
            assert!(control.block_on(panicked).is_err());
            let seen =
                handle.spawn(async { (current(), thread::current().name().map(String::from)) });
            let seen = control.block_on(seen).unwrap();
            assert_eq!(seen, (number, Some(format!("core-{number}"))));
        }
        cores.end();
    }
}
