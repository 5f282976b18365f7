//! The table answers as trying all routes in order does.

use proptest::prelude::*;

use super::*;
use crate::router::Syntax;
use crate::router::target::testing::get;

fn entry(rule: &str, priority: i64, value: usize) -> Arc<Entry<usize>> {
    Arc::new(Entry {
        rule: Arc::new(Rule::parse(rule, Syntax::V3).unwrap()),
        priority,
        precedence: 0,
        name: format!("{value:04}").into(),
        value,
    })
}

fn found(table: &Table<usize>, host: &str, uri: &str) -> Option<usize> {
    table.find(&get(host, uri).target()).map(|entry| entry.value)
}

#[test]
fn an_empty_table_has_no_route() {
    assert_eq!(found(&Table::default(), "a.test", "/"), None);
}

#[test]
fn order_is_priority_then_precedence_then_name() {
    let ordered = |priority, precedence, name: &str, value| {
        let rule = entry("Host(`a.test`)", 0, value).rule.clone();
        Arc::new(Entry { rule, priority, precedence, name: name.into(), value })
    };
    let table = |entries: [Arc<Entry<usize>>; 2]| Table::new(&entries);
    let (late, early) = (ordered(5, 1, "a", 0), ordered(5, 0, "b", 1));
    assert_eq!(found(&table([late, early]), "a.test", "/"), Some(1));
    let (low, high) = (ordered(-1, 0, "a", 0), ordered(0, 9, "b", 1));
    assert_eq!(found(&table([low, high]), "a.test", "/"), Some(1));
    let (b, a) = (ordered(5, 0, "b", 0), ordered(5, 0, "a", 1));
    assert_eq!(found(&table([b, a]), "a.test", "/"), Some(1));
}

#[test]
fn routes_of_all_kinds_compete_by_priority() {
    let table = Table::new(&[
        entry("Host(`a.test`) || Host(`b.test`)", 10, 0),
        entry("Host(`*.test`)", 20, 1),
        entry("PathPrefix(`/api`)", 30, 2),
        entry("Host(`*`)", 1, 3),
        entry("!Host(`a.test`) && Path(`/x`)", 40, 4),
        entry("Host(`A.test`) && HostRegexp(`^a`) && Path(`/only`)", 50, 5),
    ]);
    for (host, uri, value) in [
        ("a.test", "/", 1),
        ("b.test:80", "/api/x", 2),
        ("c.test", "/x", 4),
        ("a.test", "/x", 1),
        ("a.test.", "/only", 5),
        ("other", "/", 3),
        ("", "/", 3),
    ] {
        assert_eq!(found(&table, host, uri), Some(value), "{host}{uri}");
    }
}

#[test]
fn many_paths_of_one_host_are_found_by_their_start() {
    let paths = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/b", "/b/", "/c", "/d", "/e", "/f"];
    let entries = paths.iter().enumerate().map(|(value, path)| {
        let priority = i64::try_from(path.len()).unwrap();
        entry(&format!("Host(`h`) && PathPrefix(`{path}`)"), priority, value)
    });
    let table = Table::new(&entries.collect::<Vec<_>>());
    for (uri, path) in [
        ("/a/b/x", "/a/b"),
        ("/abc", "/ab"),
        ("/b", "/b"),
        ("/bz", "/b"),
        ("/zz", "/"),
        ("/a-", "/a"),
    ] {
        assert_eq!(found(&table, "h", uri).map(|value| paths[value]), Some(path), "{uri}");
    }
}

/// Rules over few hosts and paths, so that they meet.
fn rules() -> impl Strategy<Value = String> {
    let host = prop_oneof![Just("*".to_owned()), "[ab](\\.[ab]){0,2}\\.?", "\\*\\.[ab](\\.[ab])?",];
    let path = "/[xy]{0,2}(/[xy]{0,1})?";
    let matcher = prop_oneof![
        4 => host.prop_map(|host| format!("Host(`{host}`)")),
        2 => path.prop_map(|path| format!("Path(`{path}`)")),
        4 => path.prop_map(|path| format!("PathPrefix(`{path}`)")),
        1 => Just("HostRegexp(`^a`)".to_owned()),
        1 => Just("Method(`GET`)".to_owned()),
        1 => Just("Query(`q`)".to_owned()),
    ];
    matcher.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 2..4).prop_map(|terms| format!("({})", terms.join(" && "))),
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(|terms| format!("({})", terms.join(" || "))),
            1 => inner.prop_map(|term| format!("!{term}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn answers_as_a_linear_scan(
        rules in prop::collection::vec((rules(), -2_i64..3), 0..40),
        requests in prop::collection::vec(("[ab](\\.[ab]){0,3}\\.?(:80)?|", "/[xy]{0,2}(/[xy]{0,2})?(\\?q)?"), 8),
    ) {
        let entries: Vec<Arc<Entry<usize>>> = rules
            .iter()
            .enumerate()
            .map(|(value, (rule, priority))| entry(rule, *priority, value))
            .collect();
        let mut order: Vec<(i64, usize)> =
            entries.iter().map(|entry| (-entry.priority, entry.value)).collect();
        order.sort_unstable();
        let parsed: Vec<Arc<Rule>> = entries.iter().map(|entry| entry.rule.clone()).collect();
        let table = Table::new(&entries);
        for (host, uri) in &requests {
            let head = get(host, uri);
            let target = head.target();
            let expected = order.iter().map(|&(_, value)| value).find(|&value| parsed[value].matches(&target));
            prop_assert_eq!(table.find(&target).map(|entry| entry.value), expected, "{} {}", host, uri);
        }
    }

    #[test]
    fn a_changed_table_answers_as_a_new_one(
        rules in prop::collection::vec((rules(), -2_i64..3, any::<bool>(), any::<bool>()), 0..60),
        requests in prop::collection::vec(("[ab](\\.[ab]){0,3}", "/[xy]{0,2}(/[xy]{0,2})?(\\?q)?"), 8),
    ) {
        let all: Vec<(Arc<Entry<usize>>, bool, bool)> = rules
            .iter()
            .enumerate()
            .map(|(value, (rule, priority, before, after))| (entry(rule, *priority, value), *before, *after))
            .collect();
        let those = |wanted: fn(bool, bool) -> bool| -> Vec<Arc<Entry<usize>>> {
            all.iter().filter(|one| wanted(one.1, one.2)).map(|one| one.0.clone()).collect()
        };
        let old = Table::new(&those(|before, _| before));
        let changed = old.with(&those(|before, after| before && !after), &those(|before, after| !before && after));
        let (old_anew, new) = (Table::new(&those(|before, _| before)), Table::new(&those(|_, after| after)));
        for (host, uri) in &requests {
            prop_assert_eq!(found(&changed, host, uri), found(&new, host, uri));
            prop_assert_eq!(found(&old, host, uri), found(&old_anew, host, uri));
        }
        prop_assert_eq!(changed.index.len(), new.index.len());
    }
}
