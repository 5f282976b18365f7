//! `redirectScheme`: redirects to another scheme or port.
//!
//! Traefik v3: HTTP middlewares, `RedirectScheme`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `redirectScheme`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RedirectScheme {
    /// The new scheme, such as `https`. Must not be empty.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) scheme: String,
    /// The new port. Default: none, which means the scheme's own.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) port: String,
    /// 301 and 308 in place of 302 and 307. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) permanent: bool,
}

impl Build for RedirectScheme {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("redirectScheme"))
    }
}
