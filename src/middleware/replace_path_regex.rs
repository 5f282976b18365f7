//! `replacePathRegex`: rewrites a request path that a regular expression matches.
//!
//! Traefik v3: HTTP middlewares, `ReplacePathRegex`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `replacePathRegex`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ReplacePathRegex {
    /// Where it matches the escaped path, that part is replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) regex: String,
    /// Go's notation: `$1`, `${1}`, `${name}`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) replacement: String,
}

impl Build for ReplacePathRegex {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("replacePathRegex"))
    }
}
