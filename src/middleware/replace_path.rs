//! `replacePath`: puts another path in the place of the request's.
//!
//! Traefik v3: HTTP middlewares, `ReplacePath`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `replacePath`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ReplacePath {
    /// The new path; may be percent-encoded.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) path: String,
}

impl Build for ReplacePath {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("replacePath"))
    }
}
