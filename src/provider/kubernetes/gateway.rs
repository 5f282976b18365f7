//! Options of `providers.kubernetesGateway`.
//!
//! Traefik v3: Kubernetes providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Duration, FileOrContent, is_default};

/// `providers.kubernetesGateway`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KubernetesGateway {
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
    /// Uses resources of the experimental channel (`TCPRoute`). Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) experimental_channel: bool,
    /// What is written to the status of gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_address: Option<StatusAddress>,
    /// Lets Kubernetes balance unless an annotation says no. Default: false.
    #[serde(rename = "nativeLBByDefault", skip_serializing_if = "is_default")]
    pub(crate) native_lb_by_default: bool,
    /// Calls a second to the API, on average. Default: 50.
    pub(crate) qps: f64,
    /// Calls to the API at once. Default: 100.
    pub(crate) burst: i64,
    /// Namespaces whose objects may refer to other providers. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cross_provider_namespaces: Vec<String>,
}

impl Default for KubernetesGateway {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            token: FileOrContent::default(),
            cert_auth_file_path: String::new(),
            namespaces: Vec::new(),
            label_selector: String::new(),
            throttle_duration: Duration::ZERO,
            experimental_channel: false,
            status_address: None,
            native_lb_by_default: false,
            qps: 50.0,
            burst: 100,
            cross_provider_namespaces: Vec::new(),
        }
    }
}

/// `providers.kubernetesGateway.statusAddress`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StatusAddress {
    /// Address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ip: String,
    /// Host name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hostname: String,
    /// Service whose status is copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<ServiceRef>,
}

/// A service of Kubernetes by its name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceRef {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
}
