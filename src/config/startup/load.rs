//! Where the startup configuration is read from: a file, else flags, else the environment. The first one that is there
//! is used alone.
//!
//! Traefik v3: install configuration.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{Startup, check};
use crate::config::decode::{self, Error, Root};
use crate::config::node::{Document, Format, Value, environment, flags};

/// What a configuration can be read from.
pub(crate) struct Inputs<'a> {
    /// Without the name of the program and without a command.
    pub(crate) arguments: &'a [String],
    pub(crate) environment: &'a [(String, String)],
    /// Reads a file; bounded by the caller.
    pub(crate) read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// A startup configuration, complete and checked.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) startup: Startup,
    /// To be logged once logs are, as `warnings`.
    pub(crate) origin: Origin,
    pub(crate) warnings: Vec<String>,
}

/// What a configuration was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    File(PathBuf),
    Flags,
    Environment,
    /// Nothing was given.
    Defaults,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Flags => f.write_str("flags"),
            Self::Environment => f.write_str("environment"),
            Self::Defaults => f.write_str("defaults"),
        }
    }
}

/// Why there is no startup configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: the name of a configuration file must end in .toml, .yaml, .yml or .json", .0.display())]
    Format(PathBuf),
    #[error("{}", lines(.0))]
    Decode(Vec<Error>),
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        Self::Decode(vec![error])
    }
}

fn lines(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Loads the startup configuration.
pub(crate) fn load(inputs: &Inputs<'_>) -> Result<Loaded, LoadError> {
    let mut flags = flags(inputs.arguments)?;
    let named = take_config_file(&mut flags);
    if let Some((path, text)) = find_file(inputs, named)? {
        let format = Format::of(&path).ok_or_else(|| LoadError::Format(path.clone()))?;
        let document = Document::parse(&path.display().to_string(), &text, format)?;
        let mut loaded = finish(&document, Root::Shared, Origin::File(path))?;
        if has_keys(&flags) {
            loaded.warnings.push(format!(
                "flags are ignored: the configuration is that of {}",
                document.source.name
            ));
        }
        return Ok(loaded);
    }
    if has_keys(&flags) {
        return finish(&flags, Root::Strict, Origin::Flags);
    }
    let environment = environment(inputs.environment);
    let origin = if has_keys(&environment) { Origin::Environment } else { Origin::Defaults };
    finish(&environment, Root::Shared, origin)
}

fn finish(document: &Document, root: Root, origin: Origin) -> Result<Loaded, LoadError> {
    let removed = check::removed(document);
    if !removed.is_empty() {
        return Err(LoadError::Decode(removed));
    }
    let mut startup: Startup = decode::document(document, root)?;
    let problems = check::refused(&startup);
    if !problems.is_empty() {
        return Err(LoadError::Refused(problems));
    }
    startup.complete();
    let mut warnings = check::deprecated(document);
    warnings.extend(check::vain(&startup));
    Ok(Loaded { startup, origin, warnings })
}

fn has_keys(document: &Document) -> bool {
    document.root.entries().is_some_and(|entries| !entries.is_empty())
}

/// Takes `--configFile` out of the flags: it does not count as one.
fn take_config_file(flags: &mut Document) -> Option<PathBuf> {
    let Value::Map(entries) = &mut flags.root.value else { return None };
    let at = entries.iter().position(|entry| entry.key.eq_ignore_ascii_case("configfile"))?;
    match entries.remove(at).node.value {
        Value::Scalar(scalar) => Some(scalar.text.into()),
        Value::List(items) => items.into_iter().rev().find_map(|item| match item.value {
            Value::Scalar(scalar) => Some(scalar.text.into()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }),
        Value::Null | Value::Map(_) => None,
    }
}

/// The file that was named, else the first that is there.
fn find_file(
    inputs: &Inputs<'_>,
    named: Option<PathBuf>,
) -> Result<Option<(PathBuf, String)>, LoadError> {
    if let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) {
        return match (inputs.read)(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(source) => Err(LoadError::Read { path, source }),
        };
    }
    for path in candidates(inputs.environment) {
        match (inputs.read)(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(source) => return Err(LoadError::Read { path, source }),
        }
    }
    Ok(None)
}

/// Where a file is looked for, in this order; in each folder our own name goes before Traefik's.
fn candidates(environment: &[(String, String)]) -> Vec<PathBuf> {
    let variable = |name: &str| {
        let (_, value) = environment.iter().find(|(n, value)| n == name && !value.is_empty())?;
        Some(PathBuf::from(value))
    };
    let folders = [
        Some(PathBuf::from("/etc/pontoon")),
        Some(PathBuf::from("/etc/traefik")),
        variable("XDG_CONFIG_HOME"),
        variable("HOME").map(|home| home.join(".config")),
        Some(PathBuf::from(".")),
    ];
    let mut candidates = Vec::new();
    for folder in folders.into_iter().flatten() {
        for name in ["pontoon", "traefik"] {
            for extension in ["toml", "yaml", "yml"] {
                candidates.push(folder.join(format!("{name}.{extension}")));
            }
        }
    }
    candidates
}
