//! http.md §2, "Multi-layer routing".

use std::sync::Arc;

use serde_json::{Value, json};

use crate::compile::tests::{compiled, settings, source};
use crate::compile::{Compiled, RouterReport, Sources, Status, compile};
use crate::router::testing::get;

/// Routers by their letters: `(name, parents, service)`.
fn routers(all: &[(&str, &[&str], &str)]) -> Value {
    let mut routers = serde_json::Map::new();
    for (name, parents, service) in all {
        let mut options = json!({"rule": format!("PathPrefix(`/{name}`)")});
        if !parents.is_empty() {
            options["parentRefs"] = json!(parents);
        } else {
            options["entryPoints"] = json!(["web"]);
        }
        if !service.is_empty() {
            options["service"] = json!(service);
        }
        routers.insert((*name).to_owned(), options);
    }
    with_routers(&Value::Object(routers))
}

fn with_routers(routers: &Value) -> Value {
    json!({"http": {
        "routers": routers,
        "services": {"s": {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}}},
        "middlewares": {"m": {"addPrefix": {"prefix": "/x"}}, "bad": {"addPrefix": {}}},
    }})
}

/// Status and errors of each router.
fn seen(compiled: &Compiled) -> Vec<(String, Status, Vec<String>)> {
    let routers = compiled.report.routers.iter();
    let errors = |one: &RouterReport| one.errors.iter().map(ToString::to_string).collect();
    routers.map(|(name, one)| (name.to_string(), one.status, errors(one))).collect()
}

fn check(all: &[(&str, &[&str], &str)], expected: &[(&str, Status, &[&str])]) {
    let seen = seen(&compiled(&routers(all)));
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, status, errors)| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            (format!("{name}@file"), *status, errors)
        })
        .collect();
    assert_eq!(seen, expected);
}

const NO_CHILD: &str =
    "building child routers muxer: no child routers could be added to muxer (1 skipped)";
const UNREACHABLE: &str = "router is not reachable";
const CIRCLE: &str =
    "cyclic reference detected in router tree: b@file -> c@file -> d@file -> b@file";

#[test]
fn a_root_has_children_and_these_have_services() {
    let all: &[(&str, &[&str], &str)] =
        &[("a", &[], ""), ("b", &["a"], "s"), ("c", &["a"], ""), ("d", &["c"], "s")];
    let enabled = Status::Enabled;
    check(
        all,
        &[("a", enabled, &[]), ("b", enabled, &[]), ("c", enabled, &[]), ("d", enabled, &[])],
    );
    let compiled = compiled(&routers(all));
    let table = &compiled.plan.entry_points["web"].plain;
    let found = |path: &str| table.find(&get("h", path).target()).map(|route| route.name.clone());
    assert_eq!(found("/a").as_deref(), Some("a@file"));
    assert_eq!(found("/b"), None, "children do not listen");
    let route = table.find(&get("h", "/a").target()).unwrap();
    assert_eq!((&*route.value.service, route.value.leads_on), ("a@file-muxer", true));
    assert_eq!(
        *compiled.report.services["s@file"].object.used_by.keys().collect::<Vec<_>>(),
        [&"b@file".into(), &"d@file".into()]
    );
}

#[test]
fn a_router_without_service_and_children_is_a_dead_end() {
    let errors: &[&str] = &["router has no service and no child routers"];
    check(&[("a", &[], "")], &[("a", Status::Disabled, errors)]);
}

#[test]
fn a_router_with_service_and_children_is_disabled() {
    let errors: &[&str] =
        &["router has both a service and is referenced as a parent by other routers"];
    check(
        &[("a", &[], "s"), ("b", &["a"], "s")],
        &[("a", Status::Disabled, errors), ("b", Status::Enabled, &[])],
    );
}

#[test]
fn a_parent_that_does_not_exist_disables_its_child() {
    let errors: &[&str] = &["parent router \"x@file\" does not exist", UNREACHABLE];
    check(&[("b", &["x"], "s")], &[("b", Status::Disabled, errors)]);
}

#[test]
fn what_no_root_leads_to_is_not_reachable() {
    check(
        &[("a", &["b"], "s"), ("b", &["a"], "s")],
        &[("a", Status::Disabled, &[UNREACHABLE]), ("b", Status::Disabled, &[UNREACHABLE])],
    );
}

#[test]
fn a_circle_is_cut_where_it_closes() {
    let dead: &[&str] = &[CIRCLE, "router has no service and no child routers"];
    let disabled = Status::Disabled;
    check(
        &[("a", &[], ""), ("b", &["a", "d"], ""), ("c", &["b"], ""), ("d", &["c"], "")],
        &[
            ("a", disabled, &[NO_CHILD]),
            ("b", disabled, &[NO_CHILD]),
            ("c", disabled, &[NO_CHILD]),
            ("d", disabled, dead),
        ],
    );
    check(
        &[
            ("a", &[], ""),
            ("b", &["a", "d"], ""),
            ("c", &["b"], ""),
            ("d", &["c"], ""),
            ("e", &["d"], "s"),
        ],
        &[
            ("a", disabled, &[NO_CHILD]),
            ("b", disabled, &[NO_CHILD]),
            ("c", disabled, &[NO_CHILD]),
            ("d", Status::Warning, &[CIRCLE]),
            ("e", Status::Enabled, &[]),
        ],
    );
}

#[test]
fn tls_entry_points_and_observability_belong_to_roots() {
    for (option, value, error) in [
        ("tls", json!({}), "non-root router cannot have TLS configuration"),
        ("observability", json!({}), "non-root router cannot have Observability configuration"),
        ("entryPoints", json!(["web"]), "non-root router cannot have Entrypoints configuration"),
    ] {
        let mut child = json!({"rule": "Path(`/`)", "service": "s", "parentRefs": ["a"]});
        child[option] = value;
        let all = json!({"a": {"rule": "Path(`/`)", "entryPoints": ["web"]}, "b": child});
        let compiled = compiled(&with_routers(&all));
        let report = &compiled.report;
        assert_eq!(report.routers["b@file"].errors, [error]);
        assert_eq!(report.routers["b@file"].status, Status::Disabled);
        assert_eq!(report.routers["a@file"].errors, [NO_CHILD]);
    }
}

#[test]
fn a_mistake_of_one_child_leaves_the_others() {
    let all = json!({
        "a": {"rule": "PathPrefix(`/`)", "entryPoints": ["web"]},
        "b": {"rule": "PathPrefix(`/b`)", "service": "s", "middlewares": ["bad"], "parentRefs": ["a"]},
        "c": {"rule": "PathPrefix(`/c`)", "service": "s", "parentRefs": ["a"]},
    });
    let report = compiled(&with_routers(&all)).report;
    assert_eq!(report.routers["a@file"].status, Status::Enabled);
    assert_eq!(report.routers["b@file"].status, Status::Disabled);
    assert_eq!(report.routers["c@file"].status, Status::Enabled);
}

/// The API shows the names that the parents have got, no entry points and no observability.
#[test]
fn children_stand_below_all_that_became_of_their_parent() {
    let all = json!({
        "a": {"rule": "PathPrefix(`/`)", "entryPoints": ["web", "websecure"]},
        "b": {"rule": "PathPrefix(`/b`)", "service": "s", "parentRefs": ["a"]},
    });
    let compiled = compiled(&with_routers(&all));
    let report = &compiled.report;
    assert_eq!(
        serde_json::to_value(report.routers["b@file"].in_force("b@file")).unwrap(),
        json!({"rule": "PathPrefix(`/b`)", "service": "s",
            "parentRefs": ["a@file", "websecure-a@file"]})
    );
    for name in ["a@file", "websecure-a@file"] {
        assert_eq!(report.routers[name].status, Status::Enabled, "{name}");
    }
    let plan = &compiled.plan.entry_points["websecure"];
    assert!(plan.secure.find(&get("h", "/b").target()).unwrap().value.leads_on);
}

#[test]
fn a_deep_chain_ends_at_the_limit_and_a_long_one_does_not_overflow() {
    let mut all = serde_json::Map::new();
    all.insert("r0".to_owned(), json!({"rule": "PathPrefix(`/`)", "entryPoints": ["web"]}));
    for n in 1..5000 {
        let parent = format!("r{}", n - 1);
        all.insert(format!("r{n}"), json!({"rule": "PathPrefix(`/`)", "parentRefs": [parent]}));
    }
    all["r4999"]["service"] = json!("s");
    let report = compiled(&with_routers(&Value::Object(all))).report;
    assert_eq!(report.routers["r4999@file"].status, Status::Enabled);
    assert_eq!(report.routers["r4968@file"].status, Status::Enabled);
    assert_eq!(report.routers["r4967@file"].errors, ["routers may be nested 32 deep"]);
    assert_eq!(report.routers["r0@file"].status, Status::Disabled);
}

/// What a change of a child costs is its family, and what stays is the same object.
#[test]
fn a_child_that_changes_leaves_its_siblings_as_they_are() {
    let all: &[(&str, &[&str], &str)] =
        &[("a", &[], ""), ("b", &["a"], "s"), ("c", &["a"], "s"), ("z", &[], "s")];
    let before = source(&routers(all));
    let sources = |source| Sources::from([("file".into(), Arc::new(source))]);
    let first = compile(&sources(before.clone()), &settings(), &Compiled::default());
    let mut changed = routers(all);
    changed["http"]["routers"]["b"]["rule"] = json!("PathPrefix(`/other`)");
    let options = serde_json::to_vec(&changed["http"]["routers"]["b"]).unwrap();
    let after = before.with([("http/routers/b", Some(options.as_slice()))]);
    let second = compile(&sources(after), &settings(), &first);
    assert_eq!(second.digest, compiled(&changed).digest);
    let kept = |name: &str| {
        let of = |compiled: &Compiled| compiled.memory.routers.get(name).unwrap().clone();
        Arc::ptr_eq(&of(&first), &of(&second))
    };
    assert!(kept("c@file") && kept("z@file"));
    assert!(!kept("a@file") && !kept("b@file"));
}
