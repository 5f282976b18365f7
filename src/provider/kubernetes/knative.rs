//! Options of `providers.knative`.
//!
//! Traefik v3: Kubernetes providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Duration, FileOrContent, is_default};

/// `providers.knative`. Needs `experimental.knative`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Knative {
    /// Address of the Kubernetes API. Default: that of the cluster we run in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) endpoint: String,
    /// Token to show: a path or the token. Default: that of our service account.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) token: FileOrContent,
    /// Authority that signs the API's certificate. Default: that of our service account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cert_auth_file_path: String,
    /// Namespaces to look at. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) namespaces: Vec<String>,
    /// Which objects are used. Default: all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) label_selector: String,
    /// Time between two updates. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) throttle_duration: Duration,
    /// Entry points of public services. Default: the default ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) public_entrypoints: Vec<String>,
    /// Our service for public traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_service: Option<KnativeService>,
    /// Entry points of private services. Default: the default ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) private_entrypoints: Vec<String>,
    /// Our service for private traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) private_service: Option<KnativeService>,
}

/// A service of Kubernetes by its name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KnativeService {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
}
