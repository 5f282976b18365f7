//! Options of `providers.kubernetesIngress`.
//!
//! Traefik v3: Kubernetes providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Duration, FileOrContent, is_default};

/// `providers.kubernetesIngress`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KubernetesIngress {
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
    /// Ingress class to use. Default: those of our controller.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ingress_class: String,
    /// What is written to the status of ingresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ingress_endpoint: Option<IngressEndpoint>,
    /// Keeps services without endpoints. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_empty_services: bool,
    /// Follows services of type `ExternalName`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_external_name_services: bool,
    /// Does not read `IngressClass` objects. Deprecated. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_ingress_class_lookup: bool,
    /// Reads nothing that has no namespace. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_cluster_scope_resources: bool,
    /// Lets Kubernetes balance unless an annotation says no. Default: false.
    #[serde(rename = "nativeLBByDefault", skip_serializing_if = "is_default")]
    pub(crate) native_lb_by_default: bool,
    /// Prefixes match whole segments only. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) strict_prefix_matching: bool,
    /// Namespaces whose objects may refer to other providers. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cross_provider_namespaces: Vec<String>,
}

/// `providers.kubernetesIngress.ingressEndpoint`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IngressEndpoint {
    /// Address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ip: String,
    /// Host name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hostname: String,
    /// Service whose status is copied, `namespace/name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) published_service: String,
}
