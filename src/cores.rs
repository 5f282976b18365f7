//! The runtimes: one current-thread runtime per core for the data plane, one for the control plane.
//!
//! A connection lives on one core. What is kept per core (pools, counters) is a [`PerCore`]: its cells are
//! touched by their own core only, and are summed or walked by others only when something is read.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

static COUNT: OnceLock<usize> = OnceLock::new();

/// Number of data-plane cores. Set once at start by [`set_count`]; before that, the machine's parallelism.
pub(crate) fn count() -> usize {
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Fixes the number of data-plane cores; later calls change nothing.
pub(crate) fn set_count(cores: usize) {
    COUNT.get_or_init(|| cores.max(1));
}

/// The core that the calling thread stands for. Threads outside the data plane share core 0.
pub(crate) fn current() -> usize {
    CURRENT.get()
}

/// Makes the calling thread the runtime of `core`.
pub(crate) fn enter(core: usize) {
    CURRENT.set(core);
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
