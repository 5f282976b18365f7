//! What becomes of configurations, and what stays when they change.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::dynamic::Configuration;

pub(super) fn settings() -> Settings {
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
        identity: None,
        default_tcp_transport: tcp::Transport::build(
            &tcp::options::ServersTransport::default(),
            None,
        )
        .unwrap(),
        traced: false,
    }
}

pub(super) fn source(configuration: &Value) -> Source {
    let configuration: Configuration = serde_json::from_value(configuration.clone()).unwrap();
    let entries = configuration.entries();
    Source::default()
        .with(entries.iter().map(|(key, value)| (key.as_str(), Some(value.as_slice()))))
}

fn sources(configuration: &Value) -> Sources {
    Sources::from([("file".into(), Arc::new(source(configuration)))])
}

pub(super) fn compiled(configuration: &Value) -> Compiled {
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
fn error_pages_that_lead_back_to_themselves_are_refused() {
    let mut configuration = example();
    configuration["http"]["middlewares"]["m"] =
        json!({"errors": {"status": ["500"], "service": "pages"}});
    configuration["http"]["services"]["pages"] = configuration["http"]["services"]["s"].clone();
    assert_eq!(compiled(&configuration).report.routers["a@file"].status, Status::Enabled);
    configuration["http"]["services"]["pages"]["middlewares"] = json!(["m"]);
    let report = compiled(&configuration).report;
    assert_eq!(report.routers["a@file"].status, Status::Disabled);
    assert!(report.routers["a@file"].errors[0].contains("recursion detected in pages@file"));
    assert_eq!(report.routers["b@file"].status, Status::Enabled);
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
    let router =
        |compiled: &Compiled, name: &str| compiled.memory.routers.get(name).unwrap().clone();
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
    assert_eq!(*report.routers["a@file"].using, ["web"]);
}

#[test]
fn routers_without_entry_points_listen_on_all_but_traefik() {
    let mut configuration = example();
    configuration["http"]["routers"]["b"]["entryPoints"] = json!([]);
    let report = compiled(&configuration).report;
    assert_eq!(*report.routers["b@file"].using, ["web"]);
    assert_eq!(*report.routers["websecure-b@file"].using, ["websecure"]);
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

/// http.md §2, "TLS option conflict": only the entry point on which there is one gets a copy with the default.
#[test]
fn a_conflict_on_one_entry_point_leaves_the_others() {
    let mut settings = settings();
    settings.entry_points.insert("other".to_owned(), Model::default());
    let router = |options: &str, entry_points: Value| json!({"rule": "Host(`a.test`)", "service": "s", "entryPoints": entry_points, "tls": {"options": options}});
    let mut configuration = example();
    configuration["http"]["routers"] =
        json!({"a": router("one", json!(["other", "web"])), "b": router("two", json!(["web"]))});
    configuration["tls"] = json!({"options": {"one": {"sniStrict": true}, "two": {}}});
    let compiled = compile(&sources(&configuration), &settings, &Compiled::default());
    let names: Vec<&str> = compiled.report.routers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["a@file", "web-conflicted-a@file", "web-conflicted-b@file"]);
    let calm = &compiled.report.routers["a@file"];
    assert_eq!((calm.status, &calm.using), (Status::Enabled, &vec!["other"].into()));
    let options = |name: &str| {
        compiled.plan.entry_points[name].tls.options_of("a.test").map(|found| &**found)
    };
    assert_eq!(options("other"), Some("one@file"));
    assert_eq!(options("web"), Some("default"));
}

/// http.md §2: what an entry point says of observation counts where its routers say nothing.
#[test]
fn what_is_observed_comes_from_the_router_and_else_from_its_entry_point() {
    let mut settings = settings();
    let observability = router::options::Observability {
        access_logs: Some(false),
        metrics: Some(false),
        tracing: Some(true),
        trace_verbosity: "detailed".to_owned(),
    };
    let quiet = Model { written: true, observability, ..Model::default() };
    settings.entry_points.insert("quiet".to_owned(), quiet);
    let mut configuration = example();
    configuration["http"]["routers"]["a"]["entryPoints"] = json!(["web", "quiet"]);
    configuration["http"]["routers"]["a"]["observability"] = json!({"metrics": true});
    let compiled = compile(&sources(&configuration), &settings, &Compiled::default());
    let shown = |name: &str| {
        let options = compiled.report.routers[name].in_force(name);
        serde_json::to_value(options.observability).unwrap()
    };
    assert_eq!(
        shown("quiet-a@file"),
        json!({"accessLogs": false, "metrics": true, "tracing": true, "traceVerbosity": "detailed"})
    );
    assert_eq!(
        shown("a@file"),
        json!({"accessLogs": true, "metrics": true, "tracing": true, "traceVerbosity": "minimal"})
    );
    let request = router::testing::get("a.test", "/");
    let route = compiled.plan.entry_points["quiet"].plain.find(&request.target()).unwrap();
    assert!(!route.value.observed.access_logs && route.value.observed.metrics);
}

/// static.md §3, `asDefault`.
#[test]
fn entry_points_marked_so_are_the_default() {
    let mut settings = settings();
    let model = Model { as_default: true, ..Model::default() };
    settings.entry_points.insert("chosen".to_owned(), model);
    let mut configuration = example();
    configuration["http"]["routers"]["b"]["entryPoints"] = json!([]);
    let compiled = compile(&sources(&configuration), &settings, &Compiled::default());
    assert_eq!(*compiled.report.routers["b@file"].using, ["chosen"]);
}

/// http.md §1, v2 syntax: by the router, by the startup configuration, and what a child gets.
#[test]
fn the_default_syntax_is_that_of_roots_that_name_none() {
    let mut settings = settings();
    settings.default_syntax = Syntax::V2;
    settings.written_syntax = Some("v2".to_owned());
    let v2 = "Host(`a.test`, `b.test`)";
    let configuration = json!({"http": {
        "routers": {
            "old": {"rule": v2, "service": "s", "entryPoints": ["web"]},
            "new": {"rule": "Host(`a.test`)", "ruleSyntax": "v3", "service": "s", "entryPoints": ["web"]},
            "wrong": {"rule": v2, "ruleSyntax": "v3", "service": "s", "entryPoints": ["web"]},
            "top": {"rule": "PathPrefix(`/`)", "entryPoints": ["web"]},
            "below": {"rule": "Header(`a`, `b`)", "service": "s", "parentRefs": ["top"]},
        },
        "services": {"s": {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}}},
    }});
    let report = compile(&sources(&configuration), &settings, &Compiled::default()).report;
    for (name, status, syntax) in [
        ("old@file", Status::Enabled, "v2"),
        ("new@file", Status::Enabled, "v3"),
        ("wrong@file", Status::Disabled, "v3"),
        ("top@file", Status::Enabled, "v2"),
        ("below@file", Status::Enabled, ""),
    ] {
        let router = &report.routers[name];
        assert_eq!((router.status, &*router.options.rule_syntax), (status, syntax), "{name}");
    }
}

/// `/explain` follows a request through the layers.
#[test]
fn what_takes_a_request_in_layers_is_explained() {
    let mut configuration = example();
    configuration["http"]["routers"] = json!({
        "top": {"rule": "Host(`a.test`)", "middlewares": ["m"], "entryPoints": ["web"]},
        "x": {"rule": "PathPrefix(`/x`)", "service": "s", "parentRefs": ["top"]},
        "y": {"rule": "PathPrefix(`/y`)", "service": "s", "parentRefs": ["top"]},
    });
    let (settings, compiled) = (settings(), compiled(&configuration));
    let asked = |path: &str| {
        let request = router::testing::get("a.test", path);
        let question =
            explain::Question { target: request.target(), secure: false, entry_point: Some("web") };
        serde_json::to_value(&explain::explain(&compiled, &settings, &question)[0]).unwrap()
    };
    let answer = asked("/y");
    assert_eq!(answer["through"][0]["name"], "top@file");
    assert_eq!(answer["router"]["name"], "y@file");
    assert_eq!(answer["middlewares"][0]["name"], "m@file");
    assert_eq!(answer["service"]["name"], "s@file");
    assert_eq!(answer["others"].as_array().unwrap().len(), 1);
    let answer = asked("/z");
    assert_eq!(
        (&answer["through"][0]["name"], &answer["router"]),
        (&json!("top@file"), &Value::Null)
    );
}

/// http.md §2: a router with TLS options and without a host works with the default ones, and is told so.
#[test]
fn tls_options_without_a_host_are_warned_of() {
    let mut configuration = example();
    configuration["tls"] = json!({"options": {"strict": {"sniStrict": true}}});
    configuration["http"]["routers"]["a"]["rule"] = json!("PathPrefix(`/`)");
    configuration["http"]["routers"]["a"]["tls"] = json!({"options": "strict"});
    let report = compiled(&configuration).report;
    let router = &report.routers["a@file"];
    assert_eq!(router.status, Status::Warning);
    assert!(
        router.errors[0].starts_with("no domain found in rule PathPrefix(`/`)"),
        "{:?}",
        router.errors
    );
}

#[test]
fn unknown_tls_options_disable_the_router() {
    let mut configuration = example();
    configuration["http"]["routers"]["a"]["tls"] = json!({"options": "nope"});
    let report = compiled(&configuration).report;
    assert_eq!(
        report.routers["a@file"].errors,
        [
            "building router handler: unknown TLS options: nope@file",
            "unknown TLS options: nope@file"
        ]
    );
}

/// Objects that meet in all ways: `None` takes the object away.
fn steps() -> impl Strategy<Value = Vec<(String, Option<Value>)>> {
    let routers = (0..5_u8, router_options())
        .prop_map(|(n, options)| (format!("http/routers/r{n}"), options));
    let services = (0..4_u8, service_options())
        .prop_map(|(n, options)| (format!("http/services/s{n}"), options));
    let middlewares = (0..4_u8, middleware_options())
        .prop_map(|(n, options)| (format!("http/middlewares/m{n}"), options));
    let tls = (prop_oneof![Just("one"), Just("two")], any::<bool>())
        .prop_map(|(name, strict)| (format!("tls/options/{name}"), json!({"sniStrict": strict})));
    let transports = any::<bool>().prop_map(|insecure| {
        ("http/serversTransports/t".to_owned(), json!({"insecureSkipVerify": insecure}))
    });
    let step =
        prop_oneof![5 => routers, 3 => services, 3 => middlewares, 1 => tls, 1 => transports];
    let step = (step, prop::bool::weighted(0.8))
        .prop_map(|((key, options), there)| (key, there.then_some(options)));
    prop::collection::vec(step, 1..25)
}

fn router_options() -> impl Strategy<Value = Value> {
    let rule = prop_oneof![
        4 => "Host\\(`[ab]`\\)",
        1 => Just("PathPrefix(`/x`)".to_owned()),
        1 => Just("Host(".to_owned()),
    ];
    let entry_points = prop_oneof![
        3 => Just(json!(["web"])),
        1 => Just(json!(["web", "websecure"])),
        1 => Just(json!([])),
        1 => Just(json!(["nowhere"])),
    ];
    let tls = prop_oneof![
        4 => Just(Value::Null),
        1 => Just(json!({})),
        1 => Just(json!({"options": "one"})),
        1 => Just(json!({"options": "two"})),
    ];
    let parents = prop_oneof![
        6 => Just(json!([])),
        2 => "r[0-4]".prop_map(|parent| json!([parent])),
        1 => ("r[0-4]", "r[0-5]").prop_map(|(one, other)| json!([one, other])),
    ];
    let middlewares = prop::collection::vec("m[0-3]", 0..3);
    let service = prop_oneof![3 => "s[0-3]", 1 => Just(String::new())];
    (rule, entry_points, service, middlewares, tls, parents, 0..3).prop_map(
        |(rule, entry_points, service, middlewares, tls, parents, priority)| {
            // Most of those below others are sound.
            let below = parents != json!([]) && priority > 0;
            let (entry_points, tls) =
                if below { (json!([]), Value::Null) } else { (entry_points, tls) };
            let mut options = json!({"rule": rule, "entryPoints": entry_points, "service": service,
                "middlewares": middlewares, "parentRefs": parents, "priority": priority});
            if !tls.is_null() {
                options["tls"] = tls;
            }
            options
        },
    )
}

fn service_options() -> impl Strategy<Value = Value> {
    let balancer = |more: Value| {
        let mut options = json!({"servers": [{"url": "http://127.0.0.1:1"}]});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "loadBalancer": options })
    };
    prop_oneof![
        Just(balancer(json!({}))),
        Just(balancer(json!({"serversTransport": "t"}))),
        Just(balancer(json!({"healthCheck": {"path": "/"}}))),
        // Only upwards: which of a circle is found first is another question.
        Just(json!({"weighted": {"services": [{"name": "s3"}]}})),
        Just(json!({})),
    ]
}

fn middleware_options() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"addPrefix": {"prefix": "/x"}})),
        Just(json!({"addPrefix": {"prefix": ""}})),
        Just(json!({"chain": {"middlewares": ["m3"]}})),
        Just(json!({"chain": {"middlewares": ["m2", "m3"]}})),
        Just(json!({"rateLimit": {"average": 5}})),
        Just(json!({"inFlightReq": {"amount": 5}})),
        Just(json!({"errors": {"status": ["500"], "service": "s3", "query": "/"}})),
        Just(json!({})),
    ]
}

/// All that can be seen of a result.
fn seen(compiled: &Compiled) -> Vec<String> {
    let report = &compiled.report;
    let mut lines: Vec<String> = vec![format!("{} {}", compiled.digest, report.disabled())];
    for (name, one) in report.routers.iter() {
        let options = serde_json::to_string(&one.in_force(name)).unwrap();
        let RouterReport { status, using, errors, priority, .. } = one;
        lines.push(format!("{name} {options} {status:?} {using:?} {errors:?} {priority}"));
    }
    lines.extend(report.faulty.iter().map(|(name, _)| format!("faulty {name}")));
    for (name, one) in &report.services {
        let ServiceReport { object, built } = one;
        let built = built.is_some();
        lines.push(format!(
            "{name} {:?} {:?} {:?} {built}",
            object.status, object.used_by, object.errors
        ));
    }
    for (name, one) in &report.middlewares {
        lines.push(format!("{name} {:?} {:?} {:?}", one.status, one.used_by, one.errors));
    }
    lines.extend(report.problems.iter().cloned());
    lines.push(format!("{} checkers", compiled.checkers.len()));
    for entry_point in ["web", "websecure"] {
        let plan = &compiled.plan.entry_points[entry_point];
        for host in ["a", "b", "c"] {
            let request = router::testing::get(host, "/x");
            for table in [&plan.plain, &plan.secure] {
                let found = table.find(&request.target());
                let shown = found.map(|router| (&router.name, &router.value.service));
                lines.push(format!("{entry_point} {host} {shown:?}"));
            }
            lines.push(format!("{:?}", plan.tls.options_of(host)));
        }
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn step_by_step_comes_to_the_same_as_at_once(steps in steps()) {
        let settings = settings();
        let mut source = Source::default();
        let mut compiled = Compiled::default();
        for (key, options) in steps {
            let bytes = options.map(|options| serde_json::to_vec(&options).unwrap());
            source = source.with([(key.as_str(), bytes.as_deref())]);
            let sources = Sources::from([("file".into(), Arc::new(source.clone()))]);
            compiled = compile(&sources, &settings, &compiled);
            let at_once = compile(&sources, &settings, &Compiled::default());
            prop_assert_eq!(seen(&compiled), seen(&at_once));
        }
    }
}

fn stream_example() -> Value {
    json!({"tcp": {
        "routers": {
            "a": {"rule": "HostSNI(`*`)", "service": "s", "middlewares": ["m"], "entryPoints": ["web"]},
            "b": {"rule": "HostSNI(`b.test`)", "service": "w", "tls": {"passthrough": true}, "entryPoints": ["web"]},
        },
        "services": {
            "s": {"loadBalancer": {"servers": [{"address": "127.0.0.1:1"}], "serversTransport": "t"}},
            "w": {"weighted": {"services": [{"name": "s"}]}},
        },
        "middlewares": {"m": {"inFlightConn": {"amount": 1}}},
        "serversTransports": {"t": {}},
    }, "udp": {
        "routers": {"a": {"service": "s"}},
        "services": {"s": {"loadBalancer": {"servers": [{"address": "127.0.0.1:1"}]}}},
    }})
}

#[test]
fn tcp_objects_that_have_not_changed_stay_the_same() {
    let settings = settings();
    let before = source(&stream_example());
    let of = |source: &Source| Sources::from([("file".into(), Arc::new(source.clone()))]);
    let first = compile(&of(&before), &settings, &Compiled::default());
    let plan = |compiled: &Compiled, name: &str| compiled.plan.entry_points[name].clone();
    assert!(plan(&first, "web").streams.is_some() && plan(&first, "traefik").streams.is_none());
    let http = serde_json::to_vec(&example()["http"]["services"]["s"]).unwrap();
    let with_http = before.with([("http/services/s", Some(http.as_slice()))]);
    let second = compile(&of(&with_http), &settings, &first);
    assert!(Arc::ptr_eq(&first.report.streams, &second.report.streams), "nothing was looked at");
    assert!(Arc::ptr_eq(&plan(&first, "web"), &plan(&second, "web")));
    let router = json!({"rule": "ClientIP(`::1`)", "service": "s", "entryPoints": ["web"]});
    let router = serde_json::to_vec(&router).unwrap();
    let after = with_http.with([("tcp/routers/b", Some(router.as_slice()))]);
    let third = compile(&of(&after), &settings, &second);
    let service =
        |compiled: &Compiled, name: &str| compiled.report.streams.tcp.services[name].built.clone();
    let (old, new) = (service(&first, "s@file").unwrap(), service(&third, "s@file").unwrap());
    assert!(Arc::ptr_eq(&old, &new));
    assert!(service(&first, "w@file").is_some() && service(&third, "w@file").is_none());
    assert_ne!(second.digest, third.digest);
    let transport = serde_json::to_vec(&json!({"dialTimeout": "1s"})).unwrap();
    let other = after.with([("tcp/serversTransports/t", Some(transport.as_slice()))]);
    let fourth = compile(&of(&other), &settings, &third);
    assert!(!Arc::ptr_eq(&new, &service(&fourth, "s@file").unwrap()), "it holds the transport");
    assert_eq!(fourth.digest, compile(&of(&other), &settings, &Compiled::default()).digest);
}

#[test]
fn a_udp_router_needs_an_entry_point_of_its_kind() {
    let mut settings = settings();
    let sources = sources(&stream_example());
    let report = compile(&sources, &settings, &Compiled::default()).report;
    let errors = &report.streams.udp.routers["a@file"].errors;
    assert_eq!(*errors, ["no valid entryPoint for this router"]);
    settings.entry_points.insert("dns".to_owned(), Model { udp: true, ..Model::default() });
    let compiled = compile(&sources, &settings, &Compiled::default());
    assert_eq!(compiled.report.streams.udp.routers["a@file"].using, ["dns"]);
    assert!(compiled.plan.entry_points["dns"].datagrams.is_some());
    assert!(compiled.plan.entry_points["web"].datagrams.is_none());
}

#[test]
fn a_write_of_a_tcp_object_that_cannot_work_is_a_fault() {
    let settings = settings();
    let mut configuration = stream_example();
    configuration["tcp"]["services"]["bad"] =
        json!({"loadBalancer": {"servers": [{"address": "nowhere"}]}});
    configuration["tcp"]["middlewares"]["bad"] = json!({"ipAllowList": {}});
    configuration["tcp"]["serversTransports"]["bad"] = json!({"proxyProtocol": {"version": 9}});
    let sources = sources(&configuration);
    let keys =
        ["services/s", "middlewares/m", "services/bad", "middlewares/bad", "serversTransports/bad"];
    let keys = keys.map(|key| format!("tcp/{key}"));
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let verdict = verdict::judge(&sources, &settings, &Compiled::default(), ("file", &keys));
    let faults: Vec<&str> = verdict.faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(faults, keys[2..]);
}
