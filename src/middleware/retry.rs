//! `retry`: sends a request again when it failed.
//!
//! Traefik v3: HTTP middlewares, `Retry`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};
use crate::config::value::Duration;

/// Options of `retry`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "names are Traefik's")]
pub(crate) struct Retry {
    /// Tries in total; 1 means no second one. At least 1.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) attempts: i64,
    /// Time after which nothing is tried again. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) timeout: Duration,
    /// Pause before the second try; later ones grow by the factor 2^(1/(attempts-1)). Default: 0, no pause.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) initial_interval: Duration,
    /// Bytes; a request with a larger body is not tried again for its status. Default: 2 MiB; negative: no limit.
    pub(crate) max_request_body_bytes: i64,
    /// Statuses and ranges (`502-504`) that are tried again. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) status: Vec<String>,
    /// Leaves failed connections alone. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_retry_on_network_error: bool,
    /// Tries POST, PATCH and LOCK again for their status too. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) retry_non_idempotent_method: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 0,
            timeout: Duration::ZERO,
            initial_interval: Duration::ZERO,
            max_request_body_bytes: 2 * 1024 * 1024,
            status: Vec::new(),
            disable_retry_on_network_error: false,
            retry_non_idempotent_method: false,
        }
    }
}

impl Build for Retry {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("retry"))
    }
}
