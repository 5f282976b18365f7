//! `redirectRegex`: redirects by a regular expression over the whole URL.
//!
//! Traefik v3: HTTP middlewares, `RedirectRegex`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `redirectRegex`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RedirectRegex {
    /// Matched against `scheme://host[:port]/path?query`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) regex: String,
    /// The new URL in Go's notation: `$1`, `${1}`, `${name}`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) replacement: String,
    /// 301 and 308 in place of 302 and 307. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) permanent: bool,
}

impl Build for RedirectRegex {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("redirectRegex"))
    }
}
