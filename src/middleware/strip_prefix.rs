//! `stripPrefix`: takes a prefix off the request path.
//!
//! Traefik v3: HTTP middlewares, `StripPrefix`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `stripPrefix`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct StripPrefix {
    /// Tried in order; the first that the path begins with is taken off.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) prefixes: Vec<String>,
    /// Deprecated in Traefik: the result begins with a slash. Default: absent, which means true.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) force_slash: Option<bool>,
}

impl Build for StripPrefix {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("stripPrefix"))
    }
}
