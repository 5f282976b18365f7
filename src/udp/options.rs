//! Options of `udp`: routers and services.
//!
//! Traefik v3: UDP. Same keys, same defaults; serialised as Traefik's API shows them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An entry of `udp.routers`. Of several on one entry point only one is used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "UdpRouter")]
pub(crate) struct Router {
    /// Where the router listens. Default: all UDP entry points.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) entry_points: Vec<String>,
    /// Name of the service that gets the datagrams. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) service: String,
}

/// An entry of `udp.services`: exactly one type is set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "UdpService")]
pub(crate) struct Service {
    /// Spreads sessions over servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_balancer: Option<LoadBalancer>,
    /// Spreads sessions over services by weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weighted: Option<Weighted>,
}

/// `loadBalancer` of a UDP service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "UdpLoadBalancer")]
pub(crate) struct LoadBalancer {
    /// The servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) servers: Vec<Server>,
}

/// A server of a UDP service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "UdpServer")]
pub(crate) struct Server {
    /// `host:port`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) address: String,
}

/// `weighted` of a UDP service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "UdpWeighted")]
pub(crate) struct Weighted {
    /// The services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<WeightedService>,
}

/// A child of a weighted UDP service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "UdpWeightedService")]
pub(crate) struct WeightedService {
    /// Name of the service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Its share in relation to the others'. Default: 1.
    pub(crate) weight: Option<i64>,
}

impl Default for WeightedService {
    fn default() -> Self {
        Self { name: String::new(), weight: Some(1) }
    }
}
