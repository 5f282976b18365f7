//! Every source gives the same tree.

use proptest::prelude::*;

use super::dotted::{Dotted, segments};
use super::*;

fn yaml(text: &str) -> Result<Node, String> {
    Document::parse("a.yml", text, Format::Yaml)
        .map(|document| document.root)
        .map_err(|error| error.to_string())
}

/// The tree as JSON, scalars by their text.
fn shown(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Scalar(scalar) => scalar.text.clone().into(),
        Value::List(items) => items.iter().map(shown).collect(),
        Value::Map(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), shown(&entry.node))).collect()
        }
    }
}

#[test]
fn all_notations_give_the_same_tree() {
    let texts = [
        (Format::Yaml, "a:\n  B: [1, true, x]\n  c: {d: 1.5}\n"),
        (Format::Toml, "[a]\nB = [1, true, \"x\"]\nc.d = 1.5\n"),
        (Format::Json, r#"{"a": {"B": [1, true, "x"], "c": {"d": 1.5}}}"#),
    ];
    for (format, text) in texts {
        let document = Document::parse("f", text, format).unwrap();
        let expected = serde_json::json!({"a": {"B": ["1", "true", "x"], "c": {"d": "1.5"}}});
        assert_eq!(shown(&document.root), expected, "{format:?}");
    }
}

#[test]
fn parts_know_where_they_stand() {
    let place = |format, text: &str| {
        let document = Document::parse("f", text, format).unwrap();
        document.root.get("a").and_then(|a| a.get("b")).unwrap().position
    };
    assert_eq!(place(Format::Yaml, "a:\n  b: 1\n"), Position { line: 2, column: 6 });
    assert_eq!(place(Format::Toml, "[a]\n# é\nb = 1\n"), Position { line: 3, column: 5 });
    assert_eq!(place(Format::Json, "{\"a\":\n {\"b\": 1}}"), Position { line: 2, column: 8 });
}

#[test]
fn anchors_and_merge_keys_expand_and_own_keys_win() {
    let root =
        yaml("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [{a: 7}, *x]}\nw: *x\n").unwrap();
    let expected = serde_json::json!({
        "x": {"a": "1", "b": "2"}, "y": {"b": "3", "a": "1"},
        "z": {"a": "7", "b": "2"}, "w": {"a": "1", "b": "2"},
    });
    assert_eq!(shown(&root), expected);
}

#[test]
fn quoted_values_are_texts_and_numbers_lose_their_notation() {
    let root = yaml("a: 'true'\nb: 0x10\nc: 1_000\nd: !!str 5\ne: on\nf: 1.20\n").unwrap();
    let kinds: Vec<(String, Kind)> = root
        .entries()
        .unwrap()
        .iter()
        .filter_map(|entry| match &entry.node.value {
            Value::Scalar(scalar) => Some((scalar.text.clone(), scalar.kind)),
            _ => None,
        })
        .collect();
    let expected = [
        ("true", Kind::Text),
        ("16", Kind::Number),
        ("1000", Kind::Number),
        ("5", Kind::Text),
        ("on", Kind::Text),
        ("1.20", Kind::Number),
    ];
    assert_eq!(kinds, expected.map(|(text, kind)| (text.to_owned(), kind)));
}

#[test]
fn duplicate_keys_are_refused_with_their_place() {
    let error = yaml("a:\n  b: 1\n  b: 2\n").unwrap_err();
    assert_eq!(error, "a.yml:3:3: duplicate key `b`: first on line 2\n     3 |   b: 2");
    assert!(Document::parse("f", r#"{"a": 1, "a": 2}"#, Format::Json).is_err());
    assert!(Document::parse("f", "a = 1\na = 2", Format::Toml).is_err());
}

#[test]
fn what_is_no_configuration_is_refused() {
    for (text, reason) in [
        ("a: [1", "a.yml:"),
        ("[a]: 1", "a key must be a single value"),
        ("a: &a [*a]", "an alias to a part that contains it"),
        ("a: 1\n---\nb: 1", "only one document"),
        ("a: !include x", "is not supported"),
    ] {
        let error = yaml(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
    assert_eq!(yaml("# nothing").unwrap().value, Value::Null);
    assert_eq!(yaml("a: 1\n---\n").unwrap().entries().unwrap().len(), 1);
}

#[test]
fn alias_bombs_and_deep_nesting_are_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        let inner = format!("*a{}, ", i - 1).repeat(10);
        bomb = format!("{bomb}a{i}: &a{i} [{inner}]\n");
    }
    assert!(yaml(&bomb).unwrap_err().contains("aliases expand to too much"));
    let nested: Vec<String> = (0..50).map(|i| format!("&n{i} [")).collect();
    let anchors = format!("{}{}{}", nested.concat(), "x,".repeat(50_000), "]".repeat(50));
    assert!(yaml(&anchors).unwrap_err().contains("aliases expand to too much"));
    for format in [Format::Yaml, Format::Json, Format::Toml] {
        for open in ["[", "{\"a\":", "a = [", "- "] {
            let _outcome = Document::parse("f", &open.repeat(20_000), format);
        }
    }
    let deep = "[".repeat(DEPTH_MAX + 1);
    for format in [Format::Yaml, Format::Json, Format::Toml] {
        let text = match format {
            Format::Toml => format!("a = {deep}{}", "]".repeat(DEPTH_MAX + 1)),
            Format::Json | Format::Yaml => format!("{deep}{}", "]".repeat(DEPTH_MAX + 1)),
        };
        let error = Document::parse("f", &text, format).unwrap_err();
        assert!(error.message.contains("nested deeper"), "{format:?}: {error}");
    }
}

#[test]
fn flags_take_their_value_from_behind_the_sign_or_the_next_argument() {
    let arguments = ["--A.b=1", "-a.C", "2", "--a.flag", "--a.l=x", "--a.l=y,z", "--a.d[1].Main=m"];
    let document = flags(&arguments).unwrap();
    let expected = serde_json::json!({
        "a": {"b": "1", "c": "2", "flag": "true", "l": ["x", "y,z"], "d": {"1": {"main": "m"}}}
    });
    assert_eq!(shown(&document.root), expected);
    for bad in ["word", "--", "-", "--=x", "--a..b", "---a"] {
        assert!(flags(&[bad]).is_err(), "{bad}");
    }
}

#[test]
fn environment_has_two_prefixes_and_ours_wins() {
    let variables = [
        ("TRAEFIK_LOG_LEVEL", "INFO"),
        ("PONTOON_LOG_LEVEL", "DEBUG"),
        ("traefik_Api", "true"),
        ("TRAEFIK__X", "1"),
        ("PATH", "/bin"),
        ("TRAEFIK_ENTRYPOINTS_WEB_HTTP_TLS_DOMAINS_0_MAIN", "a.test"),
    ];
    let document = environment(&variables);
    let expected = serde_json::json!({
        "log": {"level": "DEBUG"}, "api": "true",
        "entrypoints": {"web": {"http": {"tls": {"domains": {"0": {"main": "a.test"}}}}}},
    });
    assert_eq!(shown(&document.root), expected);
}

#[test]
fn a_path_is_the_same_in_any_case() {
    let mut dotted = Dotted::default();
    for (path, value) in [("http.routers.App.rule", "r"), ("HTTP.Routers.app.Service", "s")] {
        dotted.insert(segments(path), value, path).unwrap();
    }
    let expected = serde_json::json!({"http": {"routers": {"App": {"rule": "r", "Service": "s"}}}});
    assert_eq!(shown(&dotted.finish("labels").root), expected);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[-a-c0-9:{}\\[\\]\"'&*<|>!#%@,.=_~ \t\n]{0,80}|\\PC{0,60}") {
        for format in [Format::Yaml, Format::Toml, Format::Json] {
            let _outcome = Document::parse("f", &text, format);
        }
        let _outcome = flags(&[text.as_str()]);
        let _document = environment(&[(format!("TRAEFIK_{text}"), "x")]);
    }

    #[test]
    fn json_is_read_as_serde_json_reads_it(value in json_value()) {
        let text = value.to_string();
        let root = Document::parse("f", &text, Format::Json).unwrap().root;
        prop_assert_eq!(shown(&root), texts(&value));
    }
}

/// JSON values of all kinds, a few levels deep.
fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("\\PC{1,6}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The same value with scalars as texts.
fn texts(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Bool(flag) => flag.to_string().into(),
        serde_json::Value::Number(number) => number.to_string().into(),
        serde_json::Value::Array(items) => items.iter().map(texts).collect(),
        serde_json::Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), texts(v))).collect(),
        serde_json::Value::Null | serde_json::Value::String(_) => value.clone(),
    }
}

#[test]
fn indexes_are_in_the_order_of_their_numbers() {
    let order = |document: Document| {
        let list = document.root.get("l").unwrap();
        list.entries().unwrap().iter().map(|e| e.key.clone()).collect::<Vec<_>>().join(" ")
    };
    let variables = [("TRAEFIK_L_10", "x"), ("TRAEFIK_L_2", "x"), ("TRAEFIK_L_0", "x")];
    assert_eq!(order(environment(&variables)), "0 2 10");
    assert_eq!(order(flags(&["--l[10]=x", "--l[2]=x", "--l[0]=x"]).unwrap()), "0 2 10");
}

#[test]
fn a_long_line_knows_its_columns() {
    let text = format!("x\n{}\ny", "ä-".repeat(3000));
    let lines = Lines::new(&text);
    for (offset, line, column) in
        [(0, 1, 1), (2, 2, 1), (4, 2, 2), (2 + 3 * 1000, 2, 2001), (2 + 9001, 3, 1)]
    {
        assert_eq!(lines.position(offset), Position { line, column }, "{offset}");
    }
}
