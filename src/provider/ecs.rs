//! Options of `providers.ecs`.
//!
//! Traefik v3: providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Secret, is_default};

/// `providers.ecs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "Traefik's names")]
pub(crate) struct Ecs {
    /// Expression over labels that containers must meet. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) constraints: String,
    /// Containers are used unless a label says no. Default: true.
    pub(crate) exposed_by_default: bool,
    /// Seconds between two looks. Default: 15.
    pub(crate) refresh_seconds: i64,
    /// Template of the rule of routers that have none.
    pub(crate) default_rule: String,
    /// Clusters to look at. Default: default.
    pub(crate) clusters: Vec<String>,
    /// Looks at all clusters. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) auto_discover_clusters: bool,
    /// Leaves tasks out that are not healthy. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) healthy_tasks_only: bool,
    /// Also uses tasks outside of AWS. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ecs_anywhere: bool,
    /// AWS region. Default: that of the machine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) region: String,
    /// Access key. Default: from the environment.
    #[serde(rename = "accessKeyID", skip_serializing_if = "String::is_empty")]
    pub(crate) access_key_id: String,
    /// Secret of the access key. Default: from the environment.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) secret_access_key: Secret,
}

impl Default for Ecs {
    fn default() -> Self {
        Self {
            constraints: String::new(),
            exposed_by_default: true,
            refresh_seconds: 15,
            default_rule: "Host(`{{ normalize .Name }}`)".to_owned(),
            clusters: vec!["default".to_owned()],
            auto_discover_clusters: false,
            healthy_tasks_only: false,
            ecs_anywhere: false,
            region: String::new(),
            access_key_id: String::new(),
            secret_access_key: Secret::default(),
        }
    }
}
