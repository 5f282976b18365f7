//! Options of `providers.kubernetesIngressNGINX`.
//!
//! Traefik v3: Kubernetes providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Duration, FileOrContent, is_default};

/// `providers.kubernetesIngressNGINX`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KubernetesIngressNginx {
    /// Address of the Kubernetes API. Default: that of the cluster we run in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) endpoint: String,
    /// Token to show: a path or the token. Default: that of our service account.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) token: FileOrContent,
    /// Authority that signs the API's certificate. Default: that of our service account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cert_auth_file_path: String,
    /// Time between two updates. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) throttle_duration: Duration,
    /// Namespace to look at. Default: all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) watch_namespace: String,
    /// Selects namespaces by label; excludes `watchNamespace`. Default: all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) watch_namespace_selector: String,
    /// Ingress class to use. Default: nginx.
    pub(crate) ingress_class: String,
    /// Controller of the class. Default: k8s.io/ingress-nginx.
    pub(crate) controller_class: String,
    /// Also uses ingresses without a class. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) watch_ingress_without_class: bool,
    /// Also finds the class by its name. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ingress_class_by_name: bool,
    /// Service whose status is copied, `namespace/name`. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) publish_service: String,
    /// Addresses that are written to the status of ingresses. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) publish_status_address: Vec<String>,
    /// Service for requests that no rule takes, `namespace/name`. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) default_backend_service: String,
    /// Does not follow services of type `ExternalName`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_svc_external_name: bool,
    /// How the client's address is found for allow lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_allow_list_strategy: Option<NginxIpStrategy>,
    /// Entry point for HTTP. Default: the default ones.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) http_entry_point: String,
    /// Entry point for HTTPS. Default: the default ones.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) https_entry_point: String,
    /// Address that authenticates all requests. Default: none.
    #[serde(rename = "globalAuthURL", skip_serializing_if = "String::is_empty")]
    pub(crate) global_auth_url: String,
    /// Statuses answered by the default backend. Default: none.
    #[serde(rename = "customHTTPErrors", skip_serializing_if = "Vec::is_empty")]
    pub(crate) custom_http_errors: Vec<i64>,
    /// Response headers that annotations may set. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) global_allowed_response_headers: Vec<String>,
    /// Annotations may refer to other namespaces. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_cross_namespace_resources: bool,
    /// Allows snippets. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_snippet_annotations: bool,
    /// Checks paths by their type. Default: true.
    pub(crate) strict_validate_path_type: bool,
    /// Reads whole request bodies first. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) proxy_request_buffering: bool,
    /// Bytes of a request body kept in memory. Default: 16384.
    pub(crate) client_body_buffer_size: i64,
    /// Bytes of a request body, at most. Default: 1 MiB.
    pub(crate) proxy_body_size: i64,
    /// Reads whole responses first. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) proxy_buffering: bool,
    /// Bytes of one response buffer. Default: 8192.
    pub(crate) proxy_buffer_size: i64,
    /// Number of response buffers. Default: 4.
    pub(crate) proxy_buffers_number: i64,
    /// Seconds to connect. Default: 60.
    pub(crate) proxy_connect_timeout: i64,
    /// Seconds between two reads. Default: 60.
    pub(crate) proxy_read_timeout: i64,
    /// Seconds between two writes. Default: 60.
    pub(crate) proxy_send_timeout: i64,
    /// When the next server is tried. Default: error timeout.
    pub(crate) proxy_next_upstream: String,
    /// Servers tried, at most. Default: 3.
    pub(crate) proxy_next_upstream_tries: i64,
    /// Seconds for all tries. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) proxy_next_upstream_timeout: i64,
    /// Seconds that a connection to a server may idle. Default: 60.
    pub(crate) upstream_keepalive_timeout: i64,
}

impl Default for KubernetesIngressNginx {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            token: FileOrContent::default(),
            cert_auth_file_path: String::new(),
            throttle_duration: Duration::ZERO,
            watch_namespace: String::new(),
            watch_namespace_selector: String::new(),
            ingress_class: "nginx".to_owned(),
            controller_class: "k8s.io/ingress-nginx".to_owned(),
            watch_ingress_without_class: false,
            ingress_class_by_name: false,
            publish_service: String::new(),
            publish_status_address: Vec::new(),
            default_backend_service: String::new(),
            disable_svc_external_name: false,
            ip_allow_list_strategy: None,
            http_entry_point: String::new(),
            https_entry_point: String::new(),
            global_auth_url: String::new(),
            custom_http_errors: Vec::new(),
            global_allowed_response_headers: Vec::new(),
            allow_cross_namespace_resources: false,
            allow_snippet_annotations: false,
            strict_validate_path_type: true,
            proxy_request_buffering: false,
            client_body_buffer_size: 16384,
            proxy_body_size: 1_048_576,
            proxy_buffering: false,
            proxy_buffer_size: 8192,
            proxy_buffers_number: 4,
            proxy_connect_timeout: 60,
            proxy_read_timeout: 60,
            proxy_send_timeout: 60,
            proxy_next_upstream: "error timeout".to_owned(),
            proxy_next_upstream_tries: 3,
            proxy_next_upstream_timeout: 0,
            upstream_keepalive_timeout: 60,
        }
    }
}

/// `providers.kubernetesIngressNGINX.ipAllowListStrategy`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NginxIpStrategy {
    /// Position in `X-Forwarded-For` from the right. Default: 0, the connection's address.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) depth: i64,
    /// Addresses or networks to pass over in `X-Forwarded-For`. Default: none.
    #[serde(rename = "excludedIPs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) excluded_ips: Vec<String>,
    /// Length of the IPv6 prefix that counts as one client. Default: the whole address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ipv6_subnet: Option<i64>,
}
