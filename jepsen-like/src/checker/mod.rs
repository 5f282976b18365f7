//! What must hold, and what did not. One file for each property; none of them knows a peer or a network.
//!
//! Each says of a history what is wrong with it, in words for people. A history in which nothing happened is wrong,
//! too, since it shows nothing.

pub(crate) mod agreement;
pub(crate) mod changes;
pub(crate) mod registers;
pub(crate) mod traffic;

/// Name and what it says.
pub(crate) const CHECKERS: &[(&str, &str)] = &[
    ("registers", "no acknowledged write is lost or reordered; reads are linearizable"),
    ("changes", "each acknowledged write stands in the history of every peer"),
    ("agreement", "all peers end with equal documents and equal plans"),
    ("traffic", "no proxied request is lost at a peer that is not down"),
];
