//! The table that finds the route of a request.
//!
//! Routes are tried by priority. An index by host, and under each host by path, leaves few of them to try: it only
//! ever leaves out routes that cannot match, so the answer is that of trying all in order.

mod index;

use std::fmt;
use std::sync::Arc;

use index::Index;

use super::{Rule, Target};

/// A route, before it is in a table.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) rule: Arc<Rule>,
    /// Higher is tried first.
    pub(crate) priority: i64,
    /// The provider's place in `providers.precedence`: among equal priorities, smaller is tried first.
    pub(crate) precedence: usize,
    /// Decides among equals, so that all peers decide alike.
    pub(crate) name: Arc<str>,
    pub(crate) value: T,
}

/// Routes of one entry point, or of one router with children.
pub(crate) struct Table<T> {
    /// In the order in which they are tried.
    routes: Box<[Route<T>]>,
    index: Index,
}

struct Route<T> {
    rule: Arc<Rule>,
    value: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<T> Table<T> {
    pub(crate) fn new(mut entries: Vec<Entry<T>>) -> Self {
        entries.sort_by(|a, b| {
            b.priority
                .cmp(&a.priority)
                .then_with(|| a.precedence.cmp(&b.precedence))
                .then_with(|| a.name.cmp(&b.name))
        });
        let routes: Box<[Route<T>]> = entries
            .into_iter()
            .map(|entry| Route { rule: entry.rule, value: entry.value })
            .collect();
        let index = Index::new(routes.iter().map(|route| &*route.rule));
        Self { routes, index }
    }

    /// The route with the highest priority that takes `target`.
    pub(crate) fn find(&self, target: &Target<'_>) -> Option<&T> {
        let takes = |rank: u32| self.route(rank).is_some_and(|route| route.rule.matches(target));
        let rank = self.index.first(target, &takes)?;
        self.route(rank).map(|route| &route.value)
    }

    fn route(&self, rank: u32) -> Option<&Route<T>> {
        self.routes.get(usize::try_from(rank).ok()?)
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
