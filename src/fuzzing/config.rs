//! Configurations in every notation.

use std::io;
use std::path::Path;

use crate::config::dynamic::Configuration;
use crate::config::node::{Document, Format};
use crate::config::startup::{self, Inputs};

/// A dynamic configuration; its first byte is the notation: `y`, `t` or `j`. What is decoded can be written down as
/// JSON, as it is replicated and shown, and is the same when that is read.
pub fn dynamic_config(bytes: &[u8]) {
    let Some((notation, text)) = split(bytes) else { return };
    let format = match notation {
        b'y' => Format::Yaml,
        b't' => Format::Toml,
        b'j' => Format::Json,
        _ => return,
    };
    let document = match Document::parse("file", text, format) {
        Ok(document) => document,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let (configuration, errors) = Configuration::decode_each(&document);
    for error in &errors {
        assert!(!error.to_string().is_empty());
    }
    let written = serde_json::to_string(&configuration).expect("a configuration can be written");
    let again = Document::parse("again", &written, Format::Json).expect("what was written is JSON");
    let again = Configuration::decode(&again).expect("what was written can be decoded");
    assert_eq!(again, configuration, "{written}");
}

/// A startup configuration; its first byte is where it comes from: `y`, `t`, `j` for files, `f` for flags and `e`
/// for the environment, a line each.
pub fn startup_config(bytes: &[u8]) {
    let Some((origin, text)) = split(bytes) else { return };
    let file = match origin {
        b'y' => "--configFile=a.yml",
        b't' => "--configFile=a.toml",
        b'j' => "--configFile=a.json",
        b'f' | b'e' => "",
        _ => return,
    };
    let (mut arguments, mut environment) = (Vec::new(), Vec::new());
    match origin {
        b'f' => arguments.extend(text.lines().map(str::to_owned)),
        b'e' => environment.extend(text.lines().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })),
        _ => arguments.push(file.to_owned()),
    }
    let read = |path: &Path| {
        let named = !file.is_empty() && path.starts_with(file.trim_start_matches("--configFile="));
        if named { Ok(text.to_owned()) } else { Err(io::Error::from(io::ErrorKind::NotFound)) }
    };
    let inputs = Inputs { arguments: &arguments, environment: &environment, read: &read };
    match startup::load(&inputs) {
        Ok(loaded) => assert!(!loaded.startup.entry_points.is_empty(), "something listens"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn split(bytes: &[u8]) -> Option<(u8, &str)> {
    let (&first, text) = bytes.split_first()?;
    Some((first, std::str::from_utf8(text).ok()?))
}
