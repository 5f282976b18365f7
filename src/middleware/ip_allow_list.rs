//! `ipAllowList`: lets only listed addresses pass.
//!
//! Traefik v3: HTTP middlewares, `IPAllowList`; its old name `ipWhiteList` lives here too.

use serde::{Deserialize, Serialize};

use super::source::IpStrategy;
use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `ipAllowList`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "IPAllowList")]
pub(crate) struct IpAllowList {
    /// Addresses and networks (CIDR) that may pass. Must not be empty.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) source_range: Vec<String>,
    /// Which address counts. Default: the connection's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_strategy: Option<IpStrategy>,
    /// Status of the refusal. Default: 0, which means 403.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) reject_status_code: u16,
}

/// Options of `ipWhiteList`, the deprecated name of `ipAllowList`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "IPWhiteList")]
pub(crate) struct IpWhiteList {
    /// Addresses and networks (CIDR) that may pass. Must not be empty.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) source_range: Vec<String>,
    /// Which address counts. Default: the connection's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_strategy: Option<IpStrategy>,
}

impl Build for IpWhiteList {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("ipWhiteList"))
    }
}

impl Build for IpAllowList {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("ipAllowList"))
    }
}
