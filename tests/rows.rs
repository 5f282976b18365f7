//! `rows.txt` says which test proves each option and each row of the reference; this keeps it true.
//!
//! Each option that docs/COMPATIBILITY.md calls `works` or `differs` has a line, no line names an option that is not
//! there, and the tests and fixtures that are named exist. Whether a test would fail is for review.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// What a line of the second section begins with.
const REFERENCE: &str = "reference: ";

const HOW_TO_ADD: &str = "a line of tests/rows.txt is `option<TAB>path/of/file.rs::function`, or `fixtures/FOLDER` for \
    cases of tests/fixtures/traefik; several stand one behind another with a blank between. Lines are sorted. Name a \
    test that fails when the option stops working; write one where there is none";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The lines of the table: what is proved, and by which tests.
fn table() -> Vec<(String, Vec<String>)> {
    let text = read("tests/rows.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let Some((row, tests)) = line.split_once('\t') else {
                panic!("no tab in `{line}`: {HOW_TO_ADD}")
            };
            (row.to_owned(), tests.split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

/// The options that do something.
fn options() -> BTreeSet<String> {
    read("docs/COMPATIBILITY.md")
        .lines()
        .filter_map(|line| {
            let (option, state) = line.strip_prefix("| `")?.split_once("` | ")?;
            let works = state.starts_with("works") || state.starts_with("differs");
            works.then(|| option.to_owned())
        })
        .collect()
}

#[test]
fn each_option_has_a_test() {
    let options = options();
    assert!(options.len() > 300, "the page has changed its form: {} options", options.len());
    let known: BTreeSet<String> = table().into_iter().map(|(row, _)| row).collect();
    let missing: Vec<_> = options.difference(&known).map(String::as_str).collect();
    assert!(
        missing.is_empty(),
        "options of docs/COMPATIBILITY.md without a line:\n{}\n{HOW_TO_ADD}",
        missing.join("\n")
    );
    let unknown: Vec<_> = known
        .difference(&options)
        .filter(|row| !row.starts_with(REFERENCE))
        .map(String::as_str)
        .collect();
    assert!(
        unknown.is_empty(),
        "lines for what is no option that works or differs in docs/COMPATIBILITY.md; take them out, or begin them with \
         `{REFERENCE}` where they are rows of the reference that are no options:\n{}",
        unknown.join("\n")
    );
}

/// Whether `text` has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    text.match_indices(&head).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        // The attribute stands a few lines before at most.
        let lines: Vec<&str> = before.lines().rev().take(6).collect();
        let mut attributes = lines.iter().take_while(|line| !line.trim().ends_with('}'));
        attributes.any(|line| {
            let line = line.trim();
            line.starts_with("#[test") || line.starts_with("#[tokio::test")
        })
    })
}

#[test]
fn the_tests_that_are_named_exist() {
    let mut files: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (row, tests) in table() {
        if tests.is_empty() {
            wrong.push(format!("`{row}` names no test"));
        }
        for test in tests {
            let exists = if let Some(folder) = test.strip_prefix("fixtures/") {
                root().join("tests/fixtures/traefik").join(folder).join("cases.json").is_file()
            } else if let Some((path, name)) = test.split_once("::") {
                let text = files
                    .entry(path.to_owned())
                    .or_insert_with(|| fs::read_to_string(root().join(path)).ok());
                text.as_deref().is_some_and(|text| has_test(text, name))
            } else {
                false
            };
            if !exists {
                wrong.push(format!("`{row}`: there is no test or fixture `{test}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{HOW_TO_ADD}", wrong.join("\n"));
}

#[test]
fn lines_are_sorted_and_name_each_row_once() {
    let all: Vec<String> = table().into_iter().map(|(row, _)| row).collect();
    for kind in [false, true] {
        let rows: Vec<&String> =
            all.iter().filter(|row| row.starts_with(REFERENCE) == kind).collect();
        for pair in rows.windows(2) {
            let [one, next] = pair else { continue };
            assert!(
                one < next,
                "`{next}` stands behind `{one}`: sort the lines of tests/rows.txt, each once"
            );
        }
    }
}

#[test]
fn a_function_is_a_test_only_with_its_attribute() {
    let text = "#[tokio::test(flavor = \"x\")]\nasync fn one() {}\n}\nfn helper() {}\n#[test]\nfn two() {}";
    assert!(has_test(text, "one") && has_test(text, "two"));
    assert!(!has_test(text, "helper") && !has_test(text, "three"));
}
