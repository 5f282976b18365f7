//! What becomes of configurations, and what stays when they change.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::config::dynamic::Configuration;

fn settings() -> Settings {
    let mut entry_points = BTreeMap::new();
    entry_points.insert("web".to_owned(), Model::default());
    let tls = Some(router::options::Tls::default());
    entry_points.insert("websecure".to_owned(), Model { tls, ..Model::default() });
    entry_points.insert("traefik".to_owned(), Model::default());
    Settings {
        entry_points,
        precedence: vec!["file".to_owned()],
        default_syntax: Syntax::V3,
        written_syntax: None,
        internal: Arc::default(),
        internal_services: HashMap::new(),
        default_transport: Transport::build(&crate::upstream::Options::default()).unwrap(),
    }
}

fn source(configuration: &Value) -> Source {
    let configuration: Configuration = serde_json::from_value(configuration.clone()).unwrap();
    let entries = configuration.entries();
    Source::default()
        .with(entries.iter().map(|(key, value)| (key.as_str(), Some(value.as_slice()))))
}

fn sources(configuration: &Value) -> Sources {
    Sources::from([("file".into(), Arc::new(source(configuration)))])
}

fn compiled(configuration: &Value) -> Compiled {
    compile(&sources(configuration), &settings(), &Compiled::default())
}

fn example() -> Value {
    json!({"http": {
        "routers": {
            "a": {"rule": "Host(`a.test`)", "service": "s", "middlewares": ["m"], "entryPoints": ["web"]},
            "b": {"rule": "Host(`b.test`)", "service": "s", "entryPoints": ["web"]},
        },
        "services": {"s": {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}}},
        "middlewares": {"m": {"addPrefix": {"prefix": "/x"}}},
    }})
}

#[test]
fn one_mistake_disables_its_object_alone() {
    let mut configuration = example();
    configuration["http"]["routers"]["a"]["middlewares"] = json!(["missing"]);
    let report = compiled(&configuration).report;
    assert_eq!(report.routers["a@file"].status, Status::Disabled);
    assert_eq!(report.routers["a@file"].errors, ["middleware \"missing@file\" does not exist"]);
    assert_eq!(report.routers["b@file"].status, Status::Enabled);
    assert_eq!(report.disabled(), 1);
}

#[test]
fn an_entry_that_does_not_decode_harms_no_other() {
    let good = source(&example());
    let bad = good.with([("http/routers/c", Some(&b"{\"priority\": \"y\"}"[..]))]);
    let sources = Sources::from([("file".into(), Arc::new(bad))]);
    let result = compile(&sources, &settings(), &Compiled::default());
    assert_eq!(result.report.routers.len(), 2);
    assert!(result.report.problems[0].starts_with("http/routers/c of provider file"));
}

/// A peer of a newer release may have stored it; running the object without the option could open what it guards.
#[test]
fn an_option_that_is_not_known_disables_its_object() {
    let entry = |rule: &'static [u8]| source(&example()).with([("http/routers/a", Some(rule))]);
    let known = entry(b"{ \"service\": \"s\", \"rule\": \"Host(`a.test`)\" }");
    assert_eq!(known.errors.len(), 0);
    let unknown = entry(b"{\"rule\":\"Host(`a.test`)\",\"service\":\"s\",\"guards\":[\"g\"]}");
    let errors: Vec<&str> = unknown.errors.values().map(|error| &**error).collect();
    assert!(matches!(errors[..], [error] if error.starts_with("field not found, node: guards")));
    assert!(!unknown.routers.contains_key("a") && unknown.routers.contains_key("b"));
}

/// Options that decode and do nothing yet must not be passed over in silence.
#[test]
fn what_would_get_certificates_is_named() {
    let mut configuration = example();
    configuration["http"]["routers"]["a"]["tls"] = json!({"certResolver": "le"});
    configuration["tls"] =
        json!({"stores": {"default": {"defaultGeneratedCert": {"resolver": "le"}}}});
    let report = compiled(&configuration).report;
    let router = &report.routers["a@file"];
    assert_eq!(router.status, Status::Warning);
    assert_eq!(router.errors, ["certificate resolver `le`: resolvers are not built yet"]);
    assert_eq!(report.problems, ["`defaultGeneratedCert` of TLS store `default` is not built yet"]);
}

proptest::proptest! {
    #[test]
    fn every_name_is_found_again(name in "\\PC{1,12}") {
        let entries = json!({"http": {"routers": {name.clone(): {"rule": "Path(`/`)", "service": "s"}}}});
        let source = source(&entries);
        proptest::prop_assert_eq!(source.errors.len(), 0);
        proptest::prop_assert!(source.routers.contains_key(name.as_str()));
    }

    #[test]
    fn no_entry_panics(key in "(http|tcp|udp|tls)/(routers|services|options|x)/\\PC{0,8}|\\PC{0,12}", value: Vec<u8>) {
        let _source = Source::default().with([(key.as_str(), Some(value.as_slice()))]);
    }
}

#[test]
fn what_has_not_changed_stays_the_same_object() {
    let settings = settings();
    let before = source(&example());
    let first = compile(
        &Sources::from([("file".into(), Arc::new(before.clone()))]),
        &settings,
        &Compiled::default(),
    );
    let changed = json!({"rule": "Host(`c.test`)", "service": "s", "entryPoints": ["web"]});
    let changed = serde_json::to_vec(&changed).unwrap();
    let after = before.with([("http/routers/b", Some(changed.as_slice()))]);
    let second = compile(&Sources::from([("file".into(), Arc::new(after))]), &settings, &first);
    let router = |compiled: &Compiled, name: &str| compiled.memory.routers[name].clone();
    assert!(Arc::ptr_eq(&router(&first, "a@file"), &router(&second, "a@file")));
    assert!(!Arc::ptr_eq(&router(&first, "b@file"), &router(&second, "b@file")));
    let service = |compiled: &Compiled| compiled.report.services["s@file"].built.clone().unwrap();
    assert!(Arc::ptr_eq(&service(&first), &service(&second)));
    let secure = |compiled: &Compiled| compiled.plan.entry_points["websecure"].clone();
    assert!(Arc::ptr_eq(&secure(&first), &secure(&second)));
    assert_ne!(first.digest, second.digest);
}

#[test]
fn equal_documents_give_equal_digests_whatever_came_before() {
    let settings = settings();
    let direct = compiled(&example());
    let empty = compile(&sources(&json!({})), &settings, &Compiled::default());
    let late = compile(&sources(&example()), &settings, &empty);
    assert_eq!(direct.digest, late.digest);
    assert_ne!(direct.digest, empty.digest);
}

#[test]
fn services_in_a_circle_are_refused() {
    let mut configuration = example();
    configuration["http"]["services"]["s"] = json!({"weighted": {"services": [{"name": "t"}]}});
    configuration["http"]["services"]["t"] = json!({"weighted": {"services": [{"name": "s"}]}});
    let report = compiled(&configuration).report;
    assert!(report.routers["a@file"].errors[0].contains("recursion detected"));
}

#[test]
fn chains_are_expanded_and_circles_refused() {
    let mut configuration = example();
    configuration["http"]["middlewares"]["c"] = json!({"chain": {"middlewares": ["m", "c"]}});
    configuration["http"]["routers"]["a"]["middlewares"] = json!(["c"]);
    let report = compiled(&configuration).report;
    assert!(report.routers["a@file"].errors[0].contains("recursion detected"));
    configuration["http"]["middlewares"]["c"] = json!({"chain": {"middlewares": ["m"]}});
    assert_eq!(compiled(&configuration).report.routers["a@file"].status, Status::Enabled);
}

#[test]
fn an_entry_point_with_a_model_gets_a_router_of_its_own() {
    let mut configuration = example();
    configuration["http"]["routers"]["a"]["entryPoints"] = json!(["web", "websecure"]);
    let report = compiled(&configuration).report;
    assert!(report.routers["websecure-a@file"].options.tls.is_some());
    assert!(report.routers["a@file"].options.tls.is_none());
    assert_eq!(report.routers["a@file"].using, ["web"]);
}

#[test]
fn routers_without_entry_points_listen_on_all_but_traefik() {
    let mut configuration = example();
    configuration["http"]["routers"]["b"]["entryPoints"] = json!([]);
    let report = compiled(&configuration).report;
    assert_eq!(report.routers["b@file"].using, ["web"]);
    assert_eq!(report.routers["websecure-b@file"].using, ["websecure"]);
}

#[test]
fn different_tls_options_for_one_host_fall_back_to_the_default() {
    let router = |options: &str| json!({"rule": "Host(`a.test`)", "service": "s", "entryPoints": ["web"], "tls": {"options": options}});
    let mut configuration = example();
    configuration["http"]["routers"] = json!({"a": router("one"), "b": router("two")});
    configuration["tls"] = json!({"options": {"one": {"sniStrict": true}, "two": {}}});
    let report = compiled(&configuration).report;
    let conflicted = &report.routers["web-conflicted-a@file"];
    assert_eq!(conflicted.status, Status::Warning);
    assert_eq!(conflicted.options.tls.as_ref().unwrap().options, "default");
}

#[test]
fn unknown_tls_options_disable_the_router() {
    let mut configuration = example();
    configuration["http"]["routers"]["a"]["tls"] = json!({"options": "nope"});
    let report = compiled(&configuration).report;
    assert_eq!(report.routers["a@file"].errors, ["unknown TLS options: nope@file"]);
}
