//! Options that logs must not show.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::value::FileOrContent;

/// A text that `Debug` hides.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A list of texts that `Debug` hides.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub(crate) struct Secrets(pub(crate) Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} …)", self.0.len())
    }
}

/// The users of a file, then those of the option: of two with one name, the later counts.
pub(super) fn lines<'a>(
    inline: &'a Secrets,
    file: &'a FileOrContent,
) -> impl Iterator<Item = &'a str> {
    let of_file = file.as_str().lines().map(str::trim);
    of_file
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .chain(inline.0.iter().map(String::as_str))
}
