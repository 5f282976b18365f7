//! `docs/COMPATIBILITY.md`: each option with what has become of it, made of the types of the options, of the list of
//! what is not built, and of what the code says of itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Configuration, Startup, read, root};
use crate::config::startup::not_built;

/// What is not built of the dynamic configuration: key, and the words by which the code refuses it. A part that is
/// built has no such words any more.
const REFUSED: &[(&str, &str, &str)] = &[
    ("http.routers.NAME.tls.certResolver", "src/compile/routers.rs", "resolvers are not built yet"),
    ("http.routers.NAME.tls.domains", "src/compile/routers.rs", "resolvers are not built yet"),
    ("tcp.routers.NAME.tls.certResolver", "src/compile/routers.rs", "resolvers are not built yet"),
    ("tcp.routers.NAME.tls.domains", "src/compile/routers.rs", "resolvers are not built yet"),
    (
        "entryPoints.NAME.http.tls.certResolver",
        "src/compile/routers.rs",
        "resolvers are not built yet",
    ),
    ("entryPoints.NAME.http.tls.domains", "src/compile/routers.rs", "resolvers are not built yet"),
    ("tls.stores.NAME.defaultGeneratedCert", "src/compile/tls.rs", "is not built yet"),
    ("tcp", "src/compile/report.rs", "TCP routers are not built yet"),
    ("udp", "src/compile/report.rs", "UDP routers are not built yet"),
];
/// Where `BuildError::NotBuilt("KEY")` stands, and what the key is below.
const BUILDERS: &[(&str, &str)] = &[("src/middleware", "http.middlewares.NAME.")];

/// An option, and what is said of it.
struct Row {
    key: String,
    text: String,
    is_leaf: bool,
}

/// The files below a folder of the source, with their text; tests are left out.
fn sources(folder: &str) -> Vec<(String, String)> {
    let all = walkdir::WalkDir::new(root().join(folder)).sort_by_file_name().into_iter();
    all.map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (path.strip_prefix(root()).unwrap().display().to_string(), path))
        .filter(|(name, _)| !name.contains("tests"))
        .map(|(name, path)| (name, read(&path)))
        .collect()
}

fn keys_not_built() -> BTreeSet<String> {
    let mut keys: BTreeSet<String> = not_built::all().into_iter().collect();
    for (key, file, words) in REFUSED {
        if read(&root().join(file)).contains(words) {
            keys.insert((*key).to_owned());
        }
    }
    for (folder, prefix) in BUILDERS {
        for (_, text) in sources(folder) {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for found in code.split("NotBuilt(\"").skip(1) {
                keys.insert(format!("{prefix}{}", found.split('"').next().unwrap()));
            }
        }
    }
    keys
}

/// Walks a schema along its keys.
struct Walk<'a> {
    definitions: &'a Value,
    rows: Vec<Row>,
}

impl Walk<'_> {
    fn of(schema: &Value) -> Vec<Row> {
        let mut walk = Walk { definitions: &schema["$defs"], rows: Vec::new() };
        walk.visit(schema, "", "", &mut Vec::new());
        walk.rows
    }

    fn row(&mut self, key: &str, text: &str, is_leaf: bool) {
        if !key.is_empty() {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            self.rows.push(Row { key: key.to_owned(), text, is_leaf });
        }
    }

    fn visit(&mut self, schema: &Value, key: &str, text: &str, open: &mut Vec<String>) {
        let text = schema["description"].as_str().filter(|_| text.is_empty()).unwrap_or(text);
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap().to_owned();
            if open.contains(&name) {
                return self.row(key, text, true);
            }
            let definition = self.definitions[&name].clone();
            open.push(name);
            self.visit(&definition, key, text, open);
            open.pop();
            return;
        }
        let alternatives = schema["anyOf"].as_array().into_iter().flatten();
        let mut objects =
            alternatives.filter(|one| one.get("$ref").is_some() || one.get("properties").is_some());
        if let Some(object) = objects.next() {
            return self.visit(&object.clone(), key, text, open);
        }
        if let Some(properties) = schema["properties"].as_object().filter(|all| !all.is_empty()) {
            self.row(key, text, false);
            for (name, inner) in properties {
                let inside = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                self.visit(inner, &inside, "", open);
            }
            return;
        }
        for (more, suffix) in [("additionalProperties", ".NAME"), ("items", "[]")] {
            if schema[more].get("$ref").is_some() {
                return self.visit(&schema[more].clone(), &format!("{key}{suffix}"), text, open);
            }
        }
        self.row(key, text, true);
    }
}

/// What has become of an option.
fn state(row: &Row, not_built: &BTreeSet<String>) -> String {
    let below = |one: &String| {
        let rest = row.key.strip_prefix(one.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let differs = row.text.split_once("Differs: ").map(|(_, why)| format!("differs: {why}"));
    if not_built.iter().any(below) {
        // What is not built by intent says so itself.
        let told = differs.filter(|_| not_built.contains(&row.key));
        return told.unwrap_or_else(|| "not built".to_owned());
    }
    if row.text.contains("Our own.") || row.key == "cluster" || row.key.starts_with("cluster.") {
        return "our own".to_owned();
    }
    differs.unwrap_or_else(|| "works".to_owned())
}

/// What the code says of differences, outside of the texts of options: file and text.
fn differences(told: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (file, text) in sources("src") {
        let mut lines = text.lines().map(str::trim).peekable();
        while let Some(line) = lines.next() {
            let comment = |line: &str| {
                let text = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"))?;
                Some(text.trim().to_owned())
            };
            let Some(start) = comment(line).filter(|text| text.contains("Differs: ")) else {
                continue;
            };
            let mut whole = start.split_once("Differs: ").unwrap().1.to_owned();
            while let Some(more) = lines.peek().and_then(|line| comment(line)) {
                if more.is_empty() || more.starts_with("Differs: ") {
                    break;
                }
                write!(whole, " {more}").unwrap();
                lines.next();
            }
            if !told.contains(&whole) {
                found.push((file.clone(), whole));
            }
        }
    }
    found
}

fn page() -> String {
    let not_built = keys_not_built();
    let mut page = String::from(
        "# Traefik's options and what becomes of them\n\n\
         Made from the code by the test `compatibility_is_what_the_code_says`; to renew it, run that with `UPDATE=1`.\n\
         `NAME` stands for a name of yours, `[]` for each of a list. An object is listed where it differs or is not built\n\
         as a whole; its keys say the rest. What is not built is named at start, or disables the object that asks for it.\n",
    );
    let mut told = BTreeSet::new();
    for (title, schema) in [
        ("Startup configuration", schemars::schema_for!(Startup)),
        ("Dynamic configuration", schemars::schema_for!(Configuration)),
    ] {
        let rows = Walk::of(&schema.to_value());
        let states: Vec<String> = rows.iter().map(|row| state(row, &not_built)).collect();
        let count = |wanted: &str| {
            let leaves = rows.iter().zip(&states).filter(|(row, _)| row.is_leaf);
            leaves.filter(|(_, state)| state.starts_with(wanted)).count()
        };
        writeln!(
            page,
            "\n## {title}\n\n{} options work, {} differ, {} are not built, {} are our own.\n\n| option | state |\n|---|---|",
            count("works"), count("differs"), count("not built"), count("our own"),
        )
        .unwrap();
        for (row, state) in rows.iter().zip(&states) {
            told.extend(state.strip_prefix("differs: ").map(str::to_owned));
            if row.is_leaf || state != "works" {
                writeln!(page, "| `{}` | {} |", row.key, state.replace('|', "\\|")).unwrap();
            }
        }
    }
    page.push_str("\n## Behaviour that differs\n\n| file | how |\n|---|---|\n");
    for (file, how) in differences(&told) {
        writeln!(page, "| `{file}` | {} |", how.replace('|', "\\|")).unwrap();
    }
    page
}

#[test]
fn compatibility_is_what_the_code_says() {
    let page = page();
    let path = root().join("docs/COMPATIBILITY.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == page, "{} is old: run this test with UPDATE=1", path.display());
}

/// Each key of the lists is one of an option, so that a part that is renamed does not leave a line behind.
#[test]
fn what_is_not_built_is_an_option() {
    let startup = Walk::of(&schemars::schema_for!(Startup).to_value());
    let dynamic = Walk::of(&schemars::schema_for!(Configuration).to_value());
    let known: BTreeSet<&str> =
        startup.iter().chain(&dynamic).map(|row| row.key.as_str()).collect();
    for key in keys_not_built() {
        let below = |one: &&str| {
            one.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        assert!(known.contains(key.as_str()) || known.iter().any(below), "{key} is no option");
    }
}
