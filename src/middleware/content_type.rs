//! `contentType`: guesses the media type of a response that names none.
//!
//! Traefik v3: HTTP middlewares, `ContentType`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared};

/// Options of `contentType`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ContentType {
    /// Deprecated in Traefik: false turns the middleware off. Default: absent, on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auto_detect: Option<bool>,
}

impl Build for ContentType {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("contentType"))
    }
}
