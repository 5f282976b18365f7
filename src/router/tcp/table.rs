//! The table that finds the route of a connection: by priority, with an index by server name.
//!
//! The index only ever leaves out routes that cannot match, so the answer is that of trying all in order.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::matcher::{Matcher, Name};
use super::{Rule, Target};
use crate::router::matcher::wildcard_parent;

/// A route, before it is in a table.
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

/// Routes of one entry point, with TLS or without.
pub(crate) struct Table<T> {
    /// In the order in which they are tried; the index calls them by their place.
    routes: Box<[(Arc<Rule>, T)]>,
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Vec<usize>>,
    /// Routes that any name may have.
    general: Box<[usize]>,
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
        let (mut exact, mut wildcard) = <(HashMap<_, Vec<_>>, HashMap<_, Vec<_>>)>::default();
        let mut general = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            let names = entry.rule.tree.required(&|matcher| match matcher {
                Matcher::HostSni(name @ (Name::Exact(_) | Name::Wildcard(_))) => Some(name),
                _ => None,
            });
            let Some(names) = names else {
                general.push(place);
                continue;
            };
            for name in names {
                let list = match name {
                    Name::Exact(name) => exact.entry(name.clone()).or_default(),
                    Name::Wildcard(parent) => wildcard.entry(parent.clone()).or_default(),
                    Name::Any => &mut general,
                };
                if list.last() != Some(&place) {
                    list.push(place);
                }
            }
        }
        let routes = entries.into_iter().map(|entry| (entry.rule, entry.value)).collect();
        Self { routes, exact, wildcard, general: general.into() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The route with the highest priority that takes `target`, and whether its rule is a catch-all.
    pub(crate) fn find(&self, target: &Target<'_>) -> Option<(&T, bool)> {
        let named = self.exact.get(target.server_name).map_or(&[][..], Vec::as_slice);
        let parent = wildcard_parent(target.server_name);
        let below = parent.and_then(|parent| self.wildcard.get(parent));
        let lists = [named, below.map_or(&[][..], Vec::as_slice), &self.general];
        let takes =
            |place: &&usize| self.routes.get(**place).is_some_and(|(rule, _)| rule.matches(target));
        let place = lists.into_iter().filter_map(|list| list.iter().find(takes)).min()?;
        self.routes.get(*place).map(|(rule, value)| (value, rule.is_catch_all()))
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::router::Syntax;

    fn table(rules: &[(&str, i64)]) -> Table<String> {
        let entries = rules.iter().enumerate().map(|(number, (rule, priority))| Entry {
            rule: Arc::new(Rule::parse(rule, Syntax::V3).unwrap()),
            priority: *priority,
            precedence: 0,
            name: format!("{number:03}").into(),
            value: (*rule).to_owned(),
        });
        Table::new(entries.collect())
    }

    fn found(table: &Table<String>, server_name: &str) -> Option<(String, bool)> {
        let client = "10.0.0.1".parse().unwrap();
        let target = Target { server_name, protocols: &[], client };
        table.find(&target).map(|(value, catch_all)| (value.clone(), catch_all))
    }

    #[test]
    fn the_highest_priority_that_matches_is_found() {
        let table = table(&[
            ("HostSNI(`*`)", -1),
            ("HostSNI(`a.test`)", 17),
            ("HostSNI(`*.test`)", 17),
            ("HostSNI(`b.test`) || HostSNI(`a.test`)", 5),
            ("ClientIP(`10.0.0.1`) && HostSNIRegexp(`^c`)", 40),
        ]);
        for (name, rule) in [
            ("a.test", "HostSNI(`a.test`)"),
            ("b.test", "HostSNI(`*.test`)"),
            ("c.test", "ClientIP(`10.0.0.1`) && HostSNIRegexp(`^c`)"),
            ("x.y.test", "HostSNI(`*`)"),
            ("", "HostSNI(`*`)"),
        ] {
            assert_eq!(found(&table, name), Some((rule.to_owned(), rule == "HostSNI(`*`)")));
        }
        assert!(!table.is_empty() && Table::<()>::default().is_empty());
    }

    proptest! {
        #[test]
        fn the_index_changes_no_answer(rules in prop::collection::vec((0..6_usize, -2..3_i64), 0..12), name in "(a\\.|b\\.)?(c|d)?\\.?t") {
            let texts = [
                "HostSNI(`*`)", "HostSNI(`c.t`)", "HostSNI(`*.c.t`) || HostSNI(`d.t`)", "!HostSNI(`c.t`)",
                "HostSNI(`*.t`) && ClientIP(`10.0.0.1`)", "HostSNIRegexp(`^a`)",
            ];
            let rules: Vec<_> = rules.into_iter().map(|(which, priority)| (texts[which], priority)).collect();
            let table = table(&rules);
            let client = "10.0.0.1".parse().unwrap();
            let target = Target { server_name: &name, protocols: &[], client };
            let slow = table.routes.iter().find(|(rule, _)| rule.matches(&target)).map(|(_, value)| value);
            prop_assert_eq!(table.find(&target).map(|(value, _)| value), slow);
        }
    }
}
