//! Options of the startup configuration that belong to no other part.
//!
//! Traefik v3: install configuration. Same keys, same defaults; `api.writable` and `api.tokenFile` are our own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Duration, FileOrContent, is_default};
use crate::tls::options::Spiffe as SpiffeServers;

/// `global`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Global {
    /// Looks for new releases. Default: true. Differs: we never look.
    pub(crate) check_new_version: bool,
    /// Sends statistics. Default: false. Differs: we never do.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) send_anonymous_usage: bool,
    /// Has no effect, as in Traefik; entry points have a key of this name. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) not_append_x_forwarded_for: bool,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            check_new_version: true,
            send_anonymous_usage: false,
            not_append_x_forwarded_for: false,
        }
    }
}

/// `core`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Core {
    /// `v2` or `v3`. Default: v3. Deprecated.
    pub(crate) default_rule_syntax: String,
}

impl Default for Core {
    fn default() -> Self {
        Self { default_rule_syntax: "v3".to_owned() }
    }
}

/// `spiffe`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spiffe {
    /// Address of the Workload API, `unix:///PATH` or `tcp://IP:PORT`. Required.
    #[serde(rename = "workloadAPIAddr", skip_serializing_if = "String::is_empty")]
    pub(crate) workload_api_addr: String,
}

/// `ocsp`: presence turns stapling on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ocsp {
    /// Other addresses for responders, by the address in the certificate. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) responder_overrides: BTreeMap<String, String>,
}

/// `serversTransport`: `default@internal` for HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "StartupServersTransport")]
pub(crate) struct ServersTransport {
    /// Takes any certificate. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) insecure_skip_verify: bool,
    /// Authorities that sign the servers' certificates, each a path or PEM text. Default: those of the
    /// system.
    #[serde(rename = "rootCAs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) root_cas: Vec<FileOrContent>,
    /// Idle connections kept for each server. Default: 200.
    pub(crate) max_idle_conns_per_host: i64,
    /// Time limits towards servers.
    pub(crate) forwarding_timeouts: ForwardingTimeouts,
    /// Verifies servers by SPIFFE ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe: Option<SpiffeServers>,
}

impl Default for ServersTransport {
    fn default() -> Self {
        Self {
            insecure_skip_verify: false,
            root_cas: Vec::new(),
            max_idle_conns_per_host: 200,
            forwarding_timeouts: ForwardingTimeouts::default(),
            spiffe: None,
        }
    }
}

/// `serversTransport.forwardingTimeouts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "StartupForwardingTimeouts")]
#[expect(clippy::struct_field_names, reason = "Traefik's names")]
pub(crate) struct ForwardingTimeouts {
    /// To connect. Default: 30 s.
    pub(crate) dial_timeout: Duration,
    /// Until the head of the response. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) response_header_timeout: Duration,
    /// How long a connection may idle. Default: 90 s.
    pub(crate) idle_conn_timeout: Duration,
}

impl Default for ForwardingTimeouts {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(30),
            response_header_timeout: Duration::ZERO,
            idle_conn_timeout: Duration::from_secs(90),
        }
    }
}

/// `tcpServersTransport`: `default@internal` for TCP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "StartupTcpServersTransport")]
pub(crate) struct TcpServersTransport {
    /// Time between two TCP keep-alive probes. Default: 15 s.
    pub(crate) dial_keep_alive: Duration,
    /// To connect. Default: 30 s.
    pub(crate) dial_timeout: Duration,
    /// How long the other side may go on after one side has ended; negative: for ever. Default: 0.
    ///
    /// Differs: Traefik 3.7.9 reads it and forgets it.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) termination_delay: Duration,
    /// TLS towards servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TcpTransportTls>,
}

impl Default for TcpServersTransport {
    fn default() -> Self {
        Self {
            dial_keep_alive: Duration::from_secs(15),
            dial_timeout: Duration::from_secs(30),
            termination_delay: Duration::ZERO,
            tls: None,
        }
    }
}

/// `tcpServersTransport.tls`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "StartupTcpTransportTls")]
pub(crate) struct TcpTransportTls {
    /// Takes any certificate. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) insecure_skip_verify: bool,
    /// Authorities that sign the servers' certificates, each a path or PEM text. Default: those of the
    /// system.
    #[serde(rename = "rootCAs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) root_cas: Vec<FileOrContent>,
    /// Verifies servers by SPIFFE ids.
    ///
    /// Differs: Traefik 3.7.9 takes ids and trust domain from `serversTransport.spiffe` instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe: Option<SpiffeServers>,
}

/// `api`: presence makes the service `api@internal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Api {
    /// Put before the paths of API and dashboard. Default: /.
    pub(crate) base_path: String,
    /// Answers on the entry point `traefik` without authentication. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) insecure: bool,
    /// The dashboard, beside the API. Default: true.
    pub(crate) dashboard: bool,
    /// Debugging endpoints. Default: false.
    ///
    /// Differs: they tell of Go's runtime, which is not here; the option is named at start.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) debug: bool,
    /// No advertisement in the dashboard, which has none anyway; told by `/api/version`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_dashboard_ad: bool,
    /// Name shown in the dashboard. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) dashboard_name: String,
    /// Allows calls that change the configuration; needs `tokenFile`. Default: false. Our own.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) writable: bool,
    /// File with the tokens of the write calls, `name role sha256:HEX` a line; re-read on change. Default:
    /// none. Our own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) token_file: String,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            base_path: "/".to_owned(),
            insecure: false,
            dashboard: true,
            debug: false,
            disable_dashboard_ad: false,
            dashboard_name: String::new(),
            writable: false,
            token_file: String::new(),
        }
    }
}

/// `ping`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ping {
    /// Entry point that answers `/ping`. Default: traefik.
    pub(crate) entry_point: String,
    /// Makes no router; the user's own one names `ping@internal`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) manual_routing: bool,
    /// Status while the program ends. Default: 503.
    pub(crate) terminating_status_code: u16,
}

impl Default for Ping {
    fn default() -> Self {
        Self {
            entry_point: "traefik".to_owned(),
            manual_routing: false,
            terminating_status_code: 503,
        }
    }
}

/// `experimental`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Experimental {
    /// Plugins from the registry, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) plugins: BTreeMap<String, Plugin>,
    /// Plugins from `./plugins-local/src`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) local_plugins: BTreeMap<String, Plugin>,
    /// Does not start without all plugins. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) abort_on_plugin_failure: bool,
    /// Another HTTP/1 proxy of Traefik's.
    ///
    /// Differs: there is one proxy, which is always used; the option is named at start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fast_proxy: Option<FastProxy>,
    /// Allows `otlp` in `log` and `accessLog`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) otlp_logs: bool,
    /// Allows `providers.knative`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) knative: bool,
    /// Deprecated, without effect.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) http3: bool,
    /// Deprecated, without effect.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) kubernetes_gateway: bool,
    /// Deprecated, without effect.
    #[serde(rename = "kubernetesIngressNGINX", skip_serializing_if = "is_default")]
    pub(crate) kubernetes_ingress_nginx: bool,
}

/// An entry of `experimental.plugins` or `localPlugins`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Plugin {
    /// Name of the module. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) module_name: String,
    /// Release. Required for those from the registry.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
    /// Digest of the archive. Default: not checked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hash: String,
    /// What the plugin may use.
    pub(crate) settings: PluginSettings,
}

/// `settings` of a plugin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PluginSettings {
    /// Environment variables that it sees. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) envs: Vec<String>,
    /// Folders that it sees. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounts: Vec<String>,
    /// Allows unsafe code. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) use_unsafe: bool,
}

/// `experimental.fastProxy`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FastProxy {
    /// Marks requests. Default: false.
    ///
    /// Differs: there is one proxy, which is always used.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) debug: bool,
}
