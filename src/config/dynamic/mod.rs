//! Dynamic configuration: what providers publish and the cluster replicates.
//!
//! A table of contents: it puts the option types of the data plane under Traefik's keys.

mod decode;
mod entries;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The dynamic configuration of one provider.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Configuration {
    /// HTTP: routers, services, middlewares, transports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<Http>,
    /// TCP: routers, services, middlewares, transports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<Tcp>,
    /// UDP: routers and services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) udp: Option<Udp>,
    /// TLS: certificates, options, stores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Tls>,
}

/// `http`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Http {
    /// Routers by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) routers: BTreeMap<String, crate::router::Options>,
    /// Services by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) services: BTreeMap<String, crate::service::Options>,
    /// Middlewares by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) middlewares: BTreeMap<String, crate::middleware::Options>,
    /// How servers are connected to, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) servers_transports: BTreeMap<String, crate::upstream::Options>,
}

/// `tcp`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tcp {
    /// Routers by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) routers: BTreeMap<String, crate::tcp::options::Router>,
    /// Services by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) services: BTreeMap<String, crate::tcp::options::Service>,
    /// Middlewares by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) middlewares: BTreeMap<String, crate::tcp::options::Middleware>,
    /// How servers are connected to, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) servers_transports: BTreeMap<String, crate::tcp::options::ServersTransport>,
}

/// `udp`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Udp {
    /// Routers by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) routers: BTreeMap<String, crate::udp::options::Router>,
    /// Services by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) services: BTreeMap<String, crate::udp::options::Service>,
}

/// `tls`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tls {
    /// Certificates that are chosen by their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) certificates: Vec<crate::tls::options::CertificateOptions>,
    /// How TLS is spoken, by name; `default` is for routers that name none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) options: BTreeMap<String, crate::tls::options::Options>,
    /// Certificate stores by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) stores: BTreeMap<String, crate::tls::options::StoreOptions>,
}

impl Configuration {
    /// Adds what `other` has. An object that stands here already stays; the keys of those left out are returned.
    pub(crate) fn merge(&mut self, other: Self) -> Vec<String> {
        let mut taken = Vec::new();
        if let Some(http) = other.http {
            let ours = self.http.get_or_insert_default();
            add(&mut ours.routers, http.routers, "http.routers", &mut taken);
            add(&mut ours.services, http.services, "http.services", &mut taken);
            add(&mut ours.middlewares, http.middlewares, "http.middlewares", &mut taken);
            let transports = http.servers_transports;
            add(&mut ours.servers_transports, transports, "http.serversTransports", &mut taken);
        }
        if let Some(tcp) = other.tcp {
            let ours = self.tcp.get_or_insert_default();
            add(&mut ours.routers, tcp.routers, "tcp.routers", &mut taken);
            add(&mut ours.services, tcp.services, "tcp.services", &mut taken);
            add(&mut ours.middlewares, tcp.middlewares, "tcp.middlewares", &mut taken);
            let transports = tcp.servers_transports;
            add(&mut ours.servers_transports, transports, "tcp.serversTransports", &mut taken);
        }
        if let Some(udp) = other.udp {
            let ours = self.udp.get_or_insert_default();
            add(&mut ours.routers, udp.routers, "udp.routers", &mut taken);
            add(&mut ours.services, udp.services, "udp.services", &mut taken);
        }
        if let Some(tls) = other.tls {
            let ours = self.tls.get_or_insert_default();
            ours.certificates.extend(tls.certificates);
            add(&mut ours.options, tls.options, "tls.options", &mut taken);
            add(&mut ours.stores, tls.stores, "tls.stores", &mut taken);
        }
        taken
    }
}

/// Moves objects over whose names are free.
fn add<T>(
    ours: &mut BTreeMap<String, T>,
    theirs: BTreeMap<String, T>,
    kind: &str,
    taken: &mut Vec<String>,
) {
    for (name, object) in theirs {
        match ours.entry(name) {
            Entry::Occupied(entry) => taken.push(format!("{kind}.{}", entry.key())),
            Entry::Vacant(entry) => {
                entry.insert(object);
            }
        }
    }
}
