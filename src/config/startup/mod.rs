//! Startup configuration: what is read once, from a file, flags or the environment.
//!
//! A table of contents: it puts the option types of all parts under Traefik's keys.

mod check;
mod cluster;
mod load;
pub(crate) mod not_built;
mod options;
mod providers;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observe::options::{AccessLog, Log, Metrics, Tracing};

pub(crate) use cluster::Cluster;
pub(crate) use load::{Inputs, Loaded, Origin, load};
pub(crate) use not_built::not_built;
pub(crate) use options::{
    Api, Core, Experimental, Global, Ocsp, Ping, ServersTransport, Spiffe, TcpServersTransport,
};
pub(crate) use providers::{PRECEDENCE, Providers};

/// The entry point that internal routers are on, unless said otherwise.
const INTERNAL_ENTRY_POINT: &str = "traefik";

/// The startup configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Startup {
    /// What concerns the whole program.
    pub(crate) global: Global,
    /// Syntax of rules. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) core: Option<Core>,
    /// How hosts of rules are resolved. Default: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_resolver: Option<crate::entrypoint::host_resolver::Options>,
    /// Identity from a SPIFFE workload API. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe: Option<Spiffe>,
    /// OCSP stapling. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ocsp: Option<Ocsp>,
    /// Where to listen, by name. Default: `http` on port 80.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) entry_points: BTreeMap<String, crate::entrypoint::Options>,
    /// How HTTP servers are connected to where a service says nothing.
    pub(crate) servers_transport: ServersTransport,
    /// How TCP servers are connected to where a service says nothing.
    pub(crate) tcp_servers_transport: TcpServersTransport,
    /// Where dynamic configuration comes from.
    pub(crate) providers: Providers,
    /// Where certificates come from, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) certificates_resolvers: BTreeMap<String, crate::acme::options::Resolver>,
    /// What the program says about itself. Default: errors, on standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<Log>,
    /// A line for each request. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_log: Option<AccessLog>,
    /// Metrics. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<Metrics>,
    /// Traces. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tracing: Option<Tracing>,
    /// API and dashboard. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api: Option<Api>,
    /// `/ping`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ping: Option<Ping>,
    /// What Traefik calls experimental.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) experimental: Option<Experimental>,
    /// The other peers. Default: one peer alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<Cluster>,
}

impl Startup {
    /// Adds what Traefik adds: an entry point where there is none, that of internal routers where one needs it, and
    /// today's addresses of Let's Encrypt for its old ones.
    fn complete(&mut self) {
        if self.entry_points.is_empty() {
            self.entry_points.insert("http".to_owned(), listening_on(":80"));
        }
        if self.needs_internal_entry_point()
            && !self.entry_points.contains_key(INTERNAL_ENTRY_POINT)
        {
            self.entry_points.insert(INTERNAL_ENTRY_POINT.to_owned(), listening_on(":8080"));
        }
        for resolver in self.certificates_resolvers.values_mut() {
            if let Some(acme) = &mut resolver.acme {
                let host = match acme.ca_server.as_str() {
                    "https://acme-v01.api.letsencrypt.org/directory" => "acme-v02",
                    "https://acme-staging.api.letsencrypt.org/directory" => "acme-staging-v02",
                    _ => continue,
                };
                acme.ca_server = format!("https://{host}.api.letsencrypt.org/directory");
            }
        }
    }

    /// True where an internal router is on the entry point `traefik`.
    fn needs_internal_entry_point(&self) -> bool {
        let on_it =
            |entry_point: &str, manual: bool| entry_point == INTERNAL_ENTRY_POINT && !manual;
        let prometheus = self.metrics.as_ref().and_then(|metrics| metrics.prometheus.as_ref());
        self.api.as_ref().is_some_and(|api| api.insecure)
            || self.ping.as_ref().is_some_and(|ping| on_it(&ping.entry_point, ping.manual_routing))
            || prometheus.is_some_and(|p| on_it(&p.entry_point, p.manual_routing))
            || self.providers.rest.as_ref().is_some_and(|rest| rest.insecure)
    }
}

fn listening_on(address: &str) -> crate::entrypoint::Options {
    crate::entrypoint::Options { address: address.to_owned(), ..Default::default() }
}

#[cfg(test)]
mod tests;
