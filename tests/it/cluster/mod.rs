//! Three real peers with real stores: what CLUSTER.md promises, seen from outside.

mod calls;
mod commands;
mod files;
mod peers;
mod recovery;
mod watching;
mod writes;
