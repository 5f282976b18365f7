//! Options of `providers.docker`.
//!
//! Traefik v3: providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{ClientTls, Duration, Secret, is_default};

/// `providers.docker`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Docker {
    /// Containers are used unless a label says no. Default: true.
    pub(crate) exposed_by_default: bool,
    /// Expression over labels that containers must meet. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) constraints: String,
    /// Keeps services without a healthy container. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_empty_services: bool,
    /// Network whose addresses are used. Default: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) network: String,
    /// Uses the address and port that the container's port is bound to. Default: false.
    #[serde(rename = "useBindPortIP", skip_serializing_if = "is_default")]
    pub(crate) use_bind_port_ip: bool,
    /// Follows changes. Default: true.
    pub(crate) watch: bool,
    /// Template of the rule of routers that have none.
    pub(crate) default_rule: String,
    /// User for HTTP basic authentication. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    /// Password for HTTP basic authentication. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) password: Secret,
    /// Where Docker answers. Default: `unix:///var/run/docker.sock`.
    pub(crate) endpoint: String,
    /// TLS towards Docker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
    /// Time limit of a call. Default: 0, none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) http_client_timeout: Duration,
}

impl Default for Docker {
    fn default() -> Self {
        Self {
            exposed_by_default: true,
            constraints: String::new(),
            allow_empty_services: false,
            network: String::new(),
            use_bind_port_ip: false,
            watch: true,
            default_rule: "Host(`{{ normalize .Name }}`)".to_owned(),
            username: String::new(),
            password: Secret::default(),
            endpoint: "unix:///var/run/docker.sock".to_owned(),
            tls: None,
            http_client_timeout: Duration::ZERO,
        }
    }
}
