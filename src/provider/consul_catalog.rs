//! Options of `providers.consulCatalog`.
//!
//! Traefik v3: providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{ClientTls, Duration, Secret, is_default};

/// `providers.consulCatalog`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConsulCatalog {
    /// Expression over tags that services must meet. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) constraints: String,
    /// Where Consul answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<Endpoint>,
    /// What tags begin with. Default: traefik.
    pub(crate) prefix: String,
    /// Time between two looks. Default: 15 s.
    pub(crate) refresh_interval: Duration,
    /// Reads through the leader, checked with a quorum. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) require_consistent: bool,
    /// Reads from any server. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) stale: bool,
    /// Reads the agent's cache. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cache: bool,
    /// Services are used unless a tag says no. Default: true.
    pub(crate) exposed_by_default: bool,
    /// Template of the rule of routers that have none.
    pub(crate) default_rule: String,
    /// Uses Consul Connect. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) connect_aware: bool,
    /// Services are in Connect unless a tag says no. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) connect_by_default: bool,
    /// Our own name in Connect. Default: traefik.
    pub(crate) service_name: String,
    /// Follows changes. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) watch: bool,
    /// Check results with which a service is used. Default: passing, warning.
    pub(crate) strict_checks: Vec<String>,
    /// Each becomes a provider of its own, `consulcatalog-NAME`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) namespaces: Vec<String>,
}

impl Default for ConsulCatalog {
    fn default() -> Self {
        Self {
            constraints: String::new(),
            endpoint: None,
            prefix: "traefik".to_owned(),
            refresh_interval: Duration::from_secs(15),
            require_consistent: false,
            stale: false,
            cache: false,
            exposed_by_default: true,
            default_rule: "Host(`{{ normalize .Name }}`)".to_owned(),
            connect_aware: false,
            connect_by_default: false,
            service_name: "traefik".to_owned(),
            watch: false,
            strict_checks: vec!["passing".to_owned(), "warning".to_owned()],
            namespaces: Vec::new(),
        }
    }
}

/// `providers.consulCatalog.endpoint`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ConsulCatalogEndpoint")]
#[expect(clippy::struct_field_names, reason = "Traefik's names")]
pub(crate) struct Endpoint {
    /// `host:port`. Default: 127.0.0.1:8500.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) address: String,
    /// `http` or `https`. Default: http.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) scheme: String,
    /// Data centre. Default: the agent's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) datacenter: String,
    /// Token to show. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) token: Secret,
    /// TLS towards Consul.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
    /// HTTP basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http_auth: Option<HttpAuth>,
    /// How long a blocking query may wait. Default: 0, Consul's own limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) endpoint_wait_time: Duration,
}

/// `providers.consulCatalog.endpoint.httpAuth`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpAuth {
    /// User.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    /// Password.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) password: Secret,
}
