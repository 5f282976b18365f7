//! What users do during a run. One file each.

pub(crate) mod changes;
pub(crate) mod documents;
pub(crate) mod traffic;

/// Name and what it does.
pub(crate) const WORKLOADS: &[(&str, &str)] = &[
    ("documents", "registers written and read through every peer, with and without conditions"),
    ("changes", "the history of changes, read from every peer"),
    ("traffic", "proxied requests through every peer, while routers change"),
];
