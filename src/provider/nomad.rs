//! Options of `providers.nomad`.
//!
//! Traefik v3: providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{ClientTls, Duration, Secret, is_default};

/// `providers.nomad`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Nomad {
    /// Template of the rule of routers that have none.
    pub(crate) default_rule: String,
    /// Expression over tags that services must meet. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) constraints: String,
    /// Where Nomad answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<Endpoint>,
    /// What tags begin with. Default: traefik.
    pub(crate) prefix: String,
    /// Reads from any server. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) stale: bool,
    /// Services are used unless a tag says no. Default: true.
    pub(crate) exposed_by_default: bool,
    /// Time between two looks. Default: 15 s.
    pub(crate) refresh_interval: Duration,
    /// Keeps services without a server. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_empty_services: bool,
    /// Follows changes. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) watch: bool,
    /// Time between two updates, with `watch`. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) throttle_duration: Duration,
    /// Each becomes a provider of its own, `nomad-NAME`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) namespaces: Vec<String>,
}

impl Default for Nomad {
    fn default() -> Self {
        Self {
            default_rule: "Host(`{{ normalize .Name }}`)".to_owned(),
            constraints: String::new(),
            endpoint: None,
            prefix: "traefik".to_owned(),
            stale: false,
            exposed_by_default: true,
            refresh_interval: Duration::from_secs(15),
            allow_empty_services: false,
            watch: false,
            throttle_duration: Duration::ZERO,
            namespaces: Vec::new(),
        }
    }
}

/// `providers.nomad.endpoint`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "NomadEndpoint")]
#[expect(clippy::struct_field_names, reason = "Traefik's names")]
pub(crate) struct Endpoint {
    /// Address. Default: `http://127.0.0.1:4646`.
    pub(crate) address: String,
    /// Region. Default: the agent's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) region: String,
    /// Token to show. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) token: Secret,
    /// TLS towards Nomad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
    /// How long a blocking query may wait. Default: 0, Nomad's own limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) endpoint_wait_time: Duration,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:4646".to_owned(),
            region: String::new(),
            token: Secret::default(),
            tls: None,
            endpoint_wait_time: Duration::ZERO,
        }
    }
}
