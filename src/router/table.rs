//! The table that finds the route of a request.
//!
//! Routes are tried by priority. An index by host, and under each host by path, leaves few of them to try: it only
//! ever leaves out routes that cannot match, so the answer is that of trying all in order. A table with some routes
//! changed shares all else with the one that it was made from.

mod index;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use index::Index;

use super::{Rule, Target};

/// A route in a table.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) rule: Arc<Rule>,
    /// Higher is tried first.
    pub(crate) priority: i64,
    /// The provider's place in `providers.precedence`: among equal priorities, smaller is tried first.
    pub(crate) precedence: u32,
    /// Decides among equals, so that all peers decide alike.
    pub(crate) name: Arc<str>,
    pub(crate) value: T,
}

impl<T> Entry<T> {
    /// Less is tried first.
    fn order(&self, other: &Self) -> Ordering {
        other
            .priority
            .cmp(&self.priority)
            .then_with(|| self.precedence.cmp(&other.precedence))
            .then_with(|| self.name.cmp(&other.name))
    }
}

/// Routes of one entry point, or of one router with children.
pub(crate) struct Table<T> {
    index: Index<T>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { index: self.index.clone() }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl<T> Table<T> {
    pub(crate) fn new(entries: &[Arc<Entry<T>>]) -> Self {
        Self { index: Index::new(entries) }
    }

    /// The table without some of its entries and with others.
    pub(crate) fn with(&self, removed: &[Arc<Entry<T>>], added: &[Arc<Entry<T>>]) -> Self {
        Self { index: self.index.with(removed, added) }
    }

    /// The route with the highest priority that takes `target`.
    pub(crate) fn find(&self, target: &Target<'_>) -> Option<&Arc<Entry<T>>> {
        self.index.first(target)
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("routes", &self.index.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
