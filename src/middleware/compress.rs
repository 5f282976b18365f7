//! `compress`: compresses response bodies.
//!
//! Traefik v3: HTTP middlewares, `Compress`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `compress`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Compress {
    /// Media types that are left alone. Not together with `includedContentTypes`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) excluded_content_types: Vec<String>,
    /// The only media types that are compressed.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) included_content_types: Vec<String>,
    /// Bytes; a smaller body is left alone. Default: 0, which means 1024.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) min_response_body_bytes: i64,
    /// In the server's order of preference. Default: gzip, br, zstd.
    pub(crate) encodings: Vec<String>,
    /// Used where the client names none; must be among `encodings`. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) default_encoding: String,
}

impl Default for Compress {
    fn default() -> Self {
        Self {
            excluded_content_types: Vec::new(),
            included_content_types: Vec::new(),
            min_response_body_bytes: 0,
            encodings: ["gzip", "br", "zstd"].map(str::to_owned).to_vec(),
            default_encoding: String::new(),
        }
    }
}

impl Build for Compress {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("compress"))
    }
}
