//! Coarse timers, one wheel a core: timeouts of connections cost no timer of their own.
