//! `ipAllowList`: lets only listed addresses pass.
//!
//! Traefik v3: HTTP middlewares, `IPAllowList`; its old name `ipWhiteList` lives here too.

use std::sync::Arc;

use ::http::StatusCode;
use async_trait::async_trait;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::source::{self, Address, Found, IpStrategy};
use super::{
    Build, BuildContext, BuildError, Middleware, Next, Shared, is_default, status_response,
};
use crate::http::{ProxyError, Request, Response};

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

impl Build for IpAllowList {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let status = match self.reject_status_code {
            0 => StatusCode::FORBIDDEN,
            code => StatusCode::from_u16(code)
                .ok()
                .filter(|status| status.canonical_reason().is_some())
                .ok_or_else(|| BuildError::Other(format!("invalid HTTP status code {code}")))?,
        };
        checker(&self.source_range, self.ip_strategy.as_ref(), status)
    }
}

impl Build for IpWhiteList {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        checker(&self.source_range, self.ip_strategy.as_ref(), StatusCode::FORBIDDEN)
    }
}

fn checker(
    ranges: &[String],
    strategy: Option<&IpStrategy>,
    status: StatusCode,
) -> Result<Shared, BuildError> {
    if ranges.is_empty() {
        return Err(BuildError::Other(
            "sourceRange is empty, IPAllowLister not created".to_owned(),
        ));
    }
    let allowed: Result<_, _> =
        ranges.iter().map(|text| source::network("sourceRange", text.trim())).collect();
    Ok(Arc::new(Checker { allowed: allowed?, address: Address::new(strategy)?, status }))
}

struct Checker {
    allowed: Vec<IpNet>,
    address: Address,
    status: StatusCode,
}

#[async_trait]
impl Middleware for Checker {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let allowed = match self.address.of(&request) {
            Some(Found::Ip(ip)) => source::contains(&self.allowed, ip),
            Some(Found::Text(_)) | None => false,
        };
        if !allowed {
            return Ok(status_response(self.status));
        }
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{refused, request, response, text};

    fn allowing(ranges: &[&str]) -> IpAllowList {
        IpAllowList {
            source_range: ranges.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn listed_addresses_pass() {
        for ranges in [["192.0.2.1"], ["192.0.2.0/24"], ["::ffff:192.0.2.1"]] {
            let answer = response(&allowing(&ranges), request("GET", "/", &[])).await;
            assert_eq!(answer.status(), 200, "{ranges:?}");
        }
    }

    #[tokio::test]
    async fn others_get_the_status_and_its_text() {
        let answer = response(&allowing(&["10.0.0.0/8"]), request("GET", "/", &[])).await;
        assert_eq!(answer.status(), 403);
        assert_eq!(text(answer.into_body()).await, "Forbidden");
        let hidden = IpAllowList { reject_status_code: 404, ..allowing(&["10.0.0.0/8"]) };
        assert_eq!(response(&hidden, request("GET", "/", &[])).await.status(), 404);
        let old = IpWhiteList { source_range: vec!["10.0.0.0/8".to_owned()], ip_strategy: None };
        assert_eq!(response(&old, request("GET", "/", &[])).await.status(), 403);
    }

    #[tokio::test]
    async fn without_an_address_nobody_passes() {
        let strategy = IpStrategy { depth: 2, ..Default::default() };
        let list = IpAllowList { ip_strategy: Some(strategy), ..allowing(&["0.0.0.0/0", "::/0"]) };
        let short = request("GET", "/", &[("x-forwarded-for", "10.0.0.1")]);
        assert_eq!(response(&list, short).await.status(), 403);
        let long = request("GET", "/", &[("x-forwarded-for", "10.0.0.1, 10.0.0.2")]);
        assert_eq!(response(&list, long).await.status(), 200);
    }

    #[test]
    fn refuses_empty_lists_and_wrong_values() {
        assert_eq!(refused(&allowing(&[])), "sourceRange is empty, IPAllowLister not created");
        assert_eq!(
            refused(&allowing(&["nowhere"])),
            "option `sourceRange`: `nowhere` is no IP address and no network"
        );
        let odd = IpAllowList { reject_status_code: 999, ..allowing(&["::1"]) };
        assert_eq!(refused(&odd), "invalid HTTP status code 999");
    }
}
