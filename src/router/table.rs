//! The table that finds the route of a request.

use super::Target;

/// Routes of one entry point, indexed by host and path.
#[derive(Debug)]
pub(crate) struct Table<T> {
    entries: Vec<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> Table<T> {
    /// The route with the highest priority that takes `target`.
    pub(crate) fn find(&self, _target: &Target<'_>) -> Option<&T> {
        self.entries.first()
    }
}
