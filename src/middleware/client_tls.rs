//! How a middleware speaks TLS with a server that it asks.

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::config::value::FileOrContent;

/// Traefik's `tls` of `forwardAuth` and `rateLimit.redis`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "ClientTLS")]
pub(crate) struct ClientTls {
    /// Authorities that are trusted, PEM. Default: those of the system.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ca: FileOrContent,
    /// Our certificate, PEM. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cert: FileOrContent,
    /// Its key, PEM.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) key: FileOrContent,
    /// Takes any certificate. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) insecure_skip_verify: bool,
}
