//! `buffering`: takes in whole bodies, up to a limit, before they go on.
//!
//! Traefik v3: HTTP middlewares, `Buffering`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `buffering`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Buffering {
    /// Bytes; a larger request body is answered with 413. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_request_body_bytes: i64,
    /// Bytes held in memory. Default: 0, which means 1 MiB.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) mem_request_body_bytes: i64,
    /// Bytes; a larger response body is answered with 500. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_response_body_bytes: i64,
    /// Bytes held in memory. Default: 0, which means 1 MiB.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) mem_response_body_bytes: i64,
    /// When to try again, such as `IsNetworkError() && Attempts() < 2`. Default: never.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) retry_expression: String,
}

impl Build for Buffering {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("buffering"))
    }
}
