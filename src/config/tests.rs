//! The whole of the configuration: fixtures, schemas, entries.

mod compatibility;

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::decode::Root;
use super::dynamic::Configuration;
use super::node::{Document, Format};
use super::startup::{self, Inputs, Startup};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dynamic(text: &str) -> Configuration {
    Configuration::decode(&Document::parse("dynamic.yml", text, Format::Yaml).unwrap()).unwrap()
}

/// Files of a fixture, by their paths in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let all = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter();
    all.map(|entry| entry.unwrap())
        .filter(|e| e.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

#[test]
fn all_fixtures_decode() {
    let fixtures = std::fs::read_dir(root().join("tests/fixtures/traefik")).unwrap();
    let mut count = 0;
    for folder in fixtures.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let about: serde_json::Value =
            serde_json::from_str(&read(&folder.join("folder.json"))).unwrap();
        let start = &about["start"];
        let templates = about["templates"].as_array().cloned().unwrap_or_default();
        let named = |key: &str| start[key].as_str().map(|name| folder.join(name));
        let lines = |path: &Path| -> Vec<String> {
            let text = read(path);
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        let mut arguments = named("flags").map(|path| lines(&path)).unwrap_or_default();
        let environment: Vec<(String, String)> = named("env")
            .map(|path| lines(&path))
            .unwrap_or_default()
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if let Some(path) = named("config") {
            arguments = vec![format!("--configFile={}", path.display())];
        }
        let absent = std::io::ErrorKind::NotFound;
        let read_named = |path: &Path| {
            let ours = path.starts_with(root());
            if ours { std::fs::read_to_string(path) } else { Err(absent.into()) }
        };
        let inputs = Inputs { arguments: &arguments, environment: &environment, read: &read_named };
        let loaded = startup::load(&inputs).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        assert!(loaded.startup.providers.file.is_some(), "{}", folder.display());

        for file in files(&folder) {
            let format = Format::of(&file).filter(|format| *format != Format::Json);
            let name = file.strip_prefix(&folder).unwrap().display().to_string();
            let Some(format) = format.filter(|_| !templates.contains(&name.as_str().into())) else {
                continue;
            };
            let document = Document::parse(&name, &read(&file), format).unwrap();
            Configuration::decode(&document)
                .unwrap_or_else(|errors| panic!("{}: {}", file.display(), errors[0]));
            count += 1;
        }
    }
    assert!(count > 20, "{count} files");
}

#[test]
fn schemas_are_those_of_the_types() {
    for (name, schema) in [
        ("startup", schemars::schema_for!(Startup)),
        ("dynamic", schemars::schema_for!(Configuration)),
    ] {
        let mut schema = schema.to_value();
        close(&mut schema, true);
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        let path = root().join(format!("docs/schema/{name}.json"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == text, "{} is old: run this test with UPDATE=1", path.display());
    }
}

/// Closes objects with known keys to others. The root stays open: a file may hold both configurations.
fn close(schema: &mut serde_json::Value, is_root: bool) {
    match schema {
        serde_json::Value::Object(map) => {
            for value in map.values_mut() {
                close(value, false);
            }
            let is_object = map
                .get("type")
                .is_some_and(|t| t == "object" || t == &serde_json::json!(["object", "null"]));
            if is_object && !is_root && map.get("properties").is_some() {
                map.insert("additionalProperties".to_owned(), false.into());
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| close(item, false)),
        _ => {}
    }
}

const DYNAMIC: &str = r#"
http:
  routers:
    app: {rule: "Host(`a.test`)", service: app, tls: {}, priority: 5}
    a/b%c: {rule: "Path(`/`)", service: app}
  services:
    app: {loadBalancer: {servers: [{url: "http://127.0.0.1:1"}, {url: "http://127.0.0.1:2", weight: 3}]}}
  middlewares:
    prefix: {addPrefix: {prefix: /x}}
  serversTransports:
    t: {insecureSkipVerify: true}
tcp:
  routers: {db: {rule: "HostSNI(`*`)", service: db}}
  services: {db: {loadBalancer: {servers: [{address: "127.0.0.1:5"}]}}, w: {weighted: {services: [{name: db}]}}}
  middlewares: {few: {inFlightConn: {amount: 3}}}
  serversTransports: {t: {dialTimeout: 1s, proxyProtocol: {}}}
udp:
  routers: {dns: {service: dns}}
  services: {dns: {loadBalancer: {servers: [{address: "127.0.0.1:53"}]}}}
tls:
  certificates: [{certFile: a, keyFile: b}, {certFile: c, keyFile: d}]
  options: {default: {minVersion: VersionTLS13}}
  stores: {default: {defaultCertificate: {certFile: a, keyFile: b}}}
"#;

#[test]
fn each_object_is_an_entry_under_its_escaped_name() {
    let configuration = dynamic(DYNAMIC);
    let entries = configuration.entries();
    assert!(entries.contains_key("http/routers/a%2Fb%25c"));
    assert!(entries.contains_key("tls/certificates/000001"));
    assert_eq!(entries.len(), 16);
}

#[test]
fn all_bad_objects_are_found_at_once_and_the_file_is_refused_whole() {
    let text = "http:\n  routers:\n    a: {rul: x}\n    b: {rule: x}\n    c: {priority: y}\n  \
                middleware: {}\ntls:\n  options: {o: {sniStrikt: true}}\nfoo: {}\n";
    let document = Document::parse("d.yml", text, Format::Yaml).unwrap();
    let errors = Configuration::decode(&document).unwrap_err();
    let shown: Vec<String> =
        errors.iter().map(|error| format!("{} {}", error.line, error.sentence())).collect();
    assert_eq!(
        shown,
        [
            "6 http: field not found, node: middleware; did you mean `middlewares`?",
            "3 http.routers.a: field not found, node: rul; did you mean `rule`?",
            "5 http.routers.c.priority: `y` is not a whole number",
            "8 tls.options.o: field not found, node: sniStrikt; did you mean `sniStrict`?",
        ]
    );
    let (configuration, errors) = Configuration::decode_each(&document);
    assert_eq!(errors.len(), 4);
    assert_eq!(configuration.http.unwrap().routers.len(), 1);
}

#[test]
fn merging_keeps_what_is_there_and_names_what_is_not_taken() {
    let mut ours = dynamic("http: {routers: {a: {rule: x}}}");
    let theirs = dynamic(
        "http: {routers: {a: {rule: y}, b: {rule: z}}}\ntls: {certificates: [{certFile: c}]}",
    );
    assert_eq!(ours.merge(theirs), ["http.routers.a"]);
    let http = ours.http.unwrap();
    assert_eq!((&*http.routers["a"].rule, &*http.routers["b"].rule), ("x", "z"));
    assert_eq!(ours.tls.unwrap().certificates.len(), 1);
}

#[test]
fn a_whole_file_decodes_alike_by_serde_and_object_by_object() {
    let document = Document::parse("d.yml", DYNAMIC, Format::Yaml).unwrap();
    let whole: Configuration = super::decode::document(&document, Root::Strict).unwrap();
    assert_eq!(whole, dynamic(DYNAMIC));
    let json = serde_json::to_vec(&whole).unwrap();
    assert_eq!(super::decode::json::<Configuration>(&json).unwrap(), whole);
}

proptest! {
    #[test]
    fn no_file_panics(text in "(http|tcp|tls|udp):\n( {2}[a-zA-Z]{1,12}: ?[\\[{a-z0-9,:}\\]*&]{0,12}\n){0,6}") {
        if let Ok(document) = Document::parse("d.yml", &text, Format::Yaml) {
            let _outcome = Configuration::decode_each(&document);
        }
    }
}
