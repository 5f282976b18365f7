//! Decoding by Traefik's key rules, and the places that errors name.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::config::node::{environment, flags};

#[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    entry_points: Vec<String>,
    priority: i64,
    share: f64,
    pass: Option<bool>,
    rule: String,
    color: Color,
    tls: Option<Tls>,
    domains: Vec<Domain>,
    headers: BTreeMap<String, String>,
    free: Option<serde_json::Value>,
    timeout: crate::config::value::Duration,
    port: u16,
}

#[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tls {
    options: String,
    strict: bool,
}

#[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Domain {
    main: String,
    sans: Vec<String>,
}

#[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Color {
    #[default]
    Red,
    DarkBlue,
}

fn yaml(text: &str) -> Result<Options, Error> {
    document(&Document::parse("a.yml", text, Format::Yaml).unwrap(), Root::Strict)
}

fn flagged(arguments: &[&str]) -> Result<Options, Error> {
    document(&flags(arguments).unwrap(), Root::Strict)
}

#[test]
fn keys_of_structs_are_the_same_in_any_case_and_keys_of_maps_are_not() {
    let options = yaml("EntryPoints: [a]\nheaders: {X-Foo: 1, x-foo: 'y'}\n").unwrap();
    assert_eq!(options.entry_points, ["a"]);
    assert_eq!(options.headers["X-Foo"], "1");
    assert_eq!(options.headers["x-foo"], "y");
    assert!(yaml("rule: a\nRule: b\n").unwrap_err().message.contains("duplicate key `Rule`"));
}

#[test]
fn an_unknown_key_is_an_error_with_place_excerpt_and_hint() {
    let error = yaml("rule: x\ntls:\n  optoins: y\n").unwrap_err();
    let expected = "a.yml:3:3: tls: field not found, node: optoins; did you mean `options`?\n     3 |   optoins: y";
    assert_eq!(error.to_string(), expected);
    assert_eq!(yaml("zzzz: 1\n").unwrap_err().hint, None);
}

#[test]
fn unknown_keys_at_a_shared_root_are_ignored_and_below_it_they_are_not() {
    let parsed = |text| Document::parse("a.yml", text, Format::Yaml).unwrap();
    let options: Options = document(&parsed("http: {x: 1}\nrule: x\n"), Root::Shared).unwrap();
    assert_eq!(options.rule, "x");
    let nested = document::<Options>(&parsed("tls: {x: 1}\n"), Root::Shared);
    assert_eq!(nested.unwrap_err().message, "field not found, node: x");
}

#[test]
fn scalars_stand_for_each_other() {
    let options = yaml("rule: 5\npriority: '7'\nshare: 1\npass: \"true\"\nport: '80'\n").unwrap();
    assert_eq!((options.rule.as_str(), options.priority, options.share), ("5", 7, 1.0));
    assert_eq!((options.pass, options.port), (Some(true), 80));
    assert_eq!(yaml("rule: true\n").unwrap().rule, "true");
    for (text, message) in [
        ("priority: x\n", "`x` is not a whole number"),
        ("pass: yes\n", "`yes` is not a boolean: write `true` or `false`"),
        ("port: 70000\n", "invalid value: integer `70000`, expected u16"),
        ("rule: [a]\n", "expected a text, found a list"),
        (
            "timeout: 5x\n",
            "`5x` is not a duration: write seconds (`30`) or units (`1m30s`, `250ms`)",
        ),
        ("tls: maybe\n", "expected an object, found a text"),
        ("entryPoints: {a: 1}\n", "expected a list, found an object"),
    ] {
        let error = yaml(text).unwrap_err();
        assert_eq!(error.message, message);
        assert_eq!(error.line, 1, "{text}");
    }
}

#[test]
fn nulls_and_empty_lists_leave_defaults() {
    let options =
        yaml("tls:\nentryPoints: []\nrule: ~\nheaders: {a: , b: ''}\ndomains:\n").unwrap();
    let headers = BTreeMap::from([("b".to_owned(), String::new())]);
    assert_eq!(options, Options { headers, ..Options::default() });
}

#[test]
fn optional_objects_come_and_go_by_booleans() {
    assert_eq!(yaml("tls: {}\n").unwrap().tls, Some(Tls::default()));
    assert_eq!(yaml("tls: true\n").unwrap().tls, Some(Tls::default()));
    assert_eq!(yaml("tls: false\n").unwrap().tls, None);
    assert_eq!(flagged(&["--tls"]).unwrap().tls, Some(Tls::default()));
    assert_eq!(flagged(&["--tls=false"]).unwrap().tls, None);
    let strict = Tls { strict: true, ..Tls::default() };
    assert_eq!(flagged(&["--tls", "--tls.strict"]).unwrap().tls, Some(strict));
    assert_eq!(flagged(&["--pass=false"]).unwrap().pass, Some(false));
}

#[test]
fn lists_of_paths_are_split_at_commas_and_lists_of_files_are_not() {
    let expected = ["a", "b", "c"];
    let repeated = flagged(&["--entrypoints=a, b", "--entrypoints=c"]).unwrap();
    assert_eq!(repeated.entry_points, expected);
    assert_eq!(yaml("entryPoints: a,b,c\n").unwrap().entry_points, expected);
    assert_eq!(yaml("entryPoints: ['a,b']\n").unwrap().entry_points, ["a,b"]);
    assert_eq!(flagged(&["--rule=a", "--rule=b"]).unwrap().rule, "b");
    let indexed = flagged(&["--domains[0].main=m", "--domains[0].sans=a,b"]).unwrap();
    let domain = Domain { main: "m".to_owned(), sans: vec!["a".to_owned(), "b".to_owned()] };
    assert_eq!(indexed.domains, [domain]);
    let variables = environment(&[("TRAEFIK_ENTRYPOINTS_0", "a"), ("TRAEFIK_ENTRYPOINTS_1", "b")]);
    let options: Options = document(&variables, Root::Shared).unwrap();
    assert_eq!(options.entry_points, ["a", "b"]);
}

#[test]
fn enums_are_the_same_in_any_case() {
    assert_eq!(yaml("color: darkblue\n").unwrap().color, Color::DarkBlue);
    let error = yaml("color: blak\n").unwrap_err();
    assert_eq!(error.message, "`blak` is not one of red, darkBlue");
}

#[test]
fn free_form_values_keep_their_notation() {
    let free = yaml("free: {a: 1, b: '1', c: [true, null], d: 1.5}\n").unwrap().free.unwrap();
    assert_eq!(free, serde_json::json!({"a": 1, "b": "1", "c": [true, null], "d": 1.5}));
}

#[test]
fn removals_are_bounded() {
    let many: Vec<String> = (0..=REMOVALS_MAX).map(|i| format!("k{i}: false\n")).collect();
    let many = many.concat();
    let parsed = Document::parse("a.yml", &many, Format::Yaml).unwrap();
    let outcome = document::<BTreeMap<String, Option<Tls>>>(&parsed, Root::Strict);
    assert_eq!(outcome.unwrap_err().message, "too many objects are removed by `false`");
}

proptest! {
    #[test]
    fn no_document_panics(text in "(rule|tls|domains|free|color|port|headers|<<): *[-a-z0-9{}\\[\\]:, &*~']{0,24}\n?") {
        if let Ok(parsed) = Document::parse("a.yml", &text, Format::Yaml) {
            let _outcome: Result<Options, _> = document(&parsed, Root::Strict);
        }
    }

    #[test]
    fn what_serde_writes_comes_back(
        entry_points in prop::collection::vec("[a-z]{1,5}", 0..3),
        priority: i64,
        rule in "\\PC{0,12}",
        strict: Option<bool>,
        headers in prop::collection::btree_map("[A-Za-z-]{1,6}", "\\PC{0,6}", 0..3),
        millis in 0_i64..1 << 40,
    ) {
        let tls = strict.map(|strict| Tls { strict, ..Tls::default() });
        let timeout = crate::config::value::Duration::from_millis(millis);
        let options =
            Options { entry_points, priority, rule, tls, headers, timeout, ..Options::default() };
        let text = serde_json::to_vec(&options).unwrap();
        prop_assert_eq!(json::<Options>(&text).unwrap(), options);
    }
}
