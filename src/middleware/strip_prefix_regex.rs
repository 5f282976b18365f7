//! `stripPrefixRegex`: takes off what a regular expression matches at the start of the request path.
//!
//! Traefik v3: HTTP middlewares, `StripPrefixRegex`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `stripPrefixRegex`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct StripPrefixRegex {
    /// Tried in order; the first that matches at the start of the path is taken off.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) regex: Vec<String>,
}

impl Build for StripPrefixRegex {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("stripPrefixRegex"))
    }
}
