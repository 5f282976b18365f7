//! `errors`: shows the page of a service in the place of an error.
//!
//! Traefik v3: HTTP middlewares, `Errors`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `errors`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Errors {
    /// Statuses and ranges (`502-504`) that are caught.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) status: Vec<String>,
    /// New statuses by statuses and ranges.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) status_rewrites: BTreeMap<String, u16>,
    /// Service that has the pages.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) service: String,
    /// Path and query of the page; `{status}`, `{originalStatus}` and `{url}` are replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) query: String,
    /// Request headers that the page request gets. Default: absent, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_request_headers: Option<Vec<String>>,
}

impl Build for Errors {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("errors"))
    }
}
