//! `inFlightReq`: limits the requests that one source has under way.
//!
//! Traefik v3: HTTP middlewares, `InFlightReq`.

use serde::{Deserialize, Serialize};

use super::source::SourceCriterion;
use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `inFlightReq`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct InFlightReq {
    /// Requests of one source at once.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) amount: i64,
    /// What counts as one source. Default: the request's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_criterion: Option<SourceCriterion>,
}

impl Build for InFlightReq {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("inFlightReq"))
    }
}
