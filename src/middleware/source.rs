//! Where a request comes from: what rate limits and allow lists count by.
//!
//! Traefik v3: `sourceCriterion` and `ipStrategy`.

use serde::{Deserialize, Serialize};

use super::is_default;

/// What counts as one source; at most one of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SourceCriterion {
    /// By address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_strategy: Option<IpStrategy>,
    /// By the value of a request header. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) request_header_name: String,
    /// By the request's host. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) request_host: bool,
}

/// Which address of a request counts. Default: the connection's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "IPStrategy")]
pub(crate) struct IpStrategy {
    /// The so many-th address of `X-Forwarded-For` from the right. Default: 0, none; wins over `excludedIPs`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) depth: i64,
    /// The right-most address of `X-Forwarded-For` that is in none of these networks.
    #[serde(rename = "excludedIPs", skip_serializing_if = "is_default")]
    pub(crate) excluded_ips: Vec<String>,
    /// Bits, 1 to 128: IPv6 addresses of one such network count as one. Not with `excludedIPs`.
    #[serde(rename = "ipv6Subnet", skip_serializing_if = "Option::is_none")]
    pub(crate) ipv6_subnet: Option<u8>,
}
