//! What goes wrong during a run. One file each.

pub(crate) mod kill;

/// Name and what it does.
pub(crate) const FAULTS: &[(&str, &str)] =
    &[("kill", "kill -9 of one, two or all peers at random moments, then a restart")];
