//! Options of `tcp`: routers, middlewares, services, transports.
//!
//! Traefik v3: TCP. Same keys, same defaults; serialised as Traefik's API shows them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Domain, Duration, FileOrContent, is_default};

use crate::tls::options::{KeyPair, Spiffe};

/// An entry of `tcp.routers`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpRouter")]
pub(crate) struct Router {
    /// Where the router listens. Default: the default entry points.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) entry_points: Vec<String>,
    /// Names of TCP middlewares, in the order in which a connection passes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) middlewares: Vec<String>,
    /// Name of the service that gets the connections. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) service: String,
    /// Which connections the router takes, in the rule language. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) rule: String,
    /// `v2` or `v3`. Default: `core.defaultRuleSyntax`. Deprecated.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) rule_syntax: String,
    /// Higher is tried first. Default (0): length of the rule in bytes; −1 for ``HostSNI(`*`)``.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) priority: i64,
    /// Present: the router takes TLS connections only. Absent: only those without. May be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<RouterTls>,
}

/// `tls` of a TCP router.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpRouterTls")]
pub(crate) struct RouterTls {
    /// Hands the encrypted bytes on, so that the server ends TLS. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) passthrough: bool,
    /// Name of an entry of `tls.options`. Default: `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) options: String,
    /// Name of the certificate resolver that gets certificates for the router's names. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cert_resolver: String,
    /// Names that the resolver asks certificates for. Default: those of `HostSNI` in the rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) domains: Vec<Domain>,
}

/// An entry of `tcp.middlewares`: exactly one type is set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpMiddleware")]
pub(crate) struct Middleware {
    /// Limits the connections of each client address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight_conn: Option<InFlightConn>,
    /// Admits connections from listed addresses only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_allow_list: Option<IpAllowList>,
    /// As `ipAllowList`. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_white_list: Option<IpAllowList>,
}

/// Options of `inFlightConn`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct InFlightConn {
    /// Connections of one client address at a time, at most; further ones are closed. Required.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) amount: i64,
}

/// Options of `ipAllowList`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpIpAllowList")]
pub(crate) struct IpAllowList {
    /// Addresses or networks that may connect. Required.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) source_range: Vec<String>,
}

/// An entry of `tcp.services`: exactly one type is set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpService")]
pub(crate) struct Service {
    /// Spreads connections over servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_balancer: Option<LoadBalancer>,
    /// Spreads connections over services by weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weighted: Option<Weighted>,
}

/// `loadBalancer` of a TCP service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpLoadBalancer")]
pub(crate) struct LoadBalancer {
    /// The servers; a connection without a usable one is closed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) servers: Vec<Server>,
    /// Name of an entry of `tcp.serversTransports`. Default: `default@internal`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) servers_transport: String,
    /// Deprecated: belongs to the servers transport.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    /// Deprecated: belongs to the servers transport. In nanoseconds, as Traefik 3.7.9 uses the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) termination_delay: Option<i64>,
    /// Asks the servers whether they live. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<HealthCheck>,
}

/// A server of a TCP service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpServer")]
pub(crate) struct Server {
    /// `host:port`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) address: String,
    /// Speaks TLS to the server. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) tls: bool,
}

/// The PROXY protocol towards servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpProxyProtocol")]
pub(crate) struct ProxyProtocol {
    /// 1 or 2. Default: 2.
    pub(crate) version: i64,
}

impl Default for ProxyProtocol {
    fn default() -> Self {
        Self { version: 2 }
    }
}

/// `healthCheck` of a TCP load balancer; without `send` and `expect` a connection is enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpHealthCheck")]
pub(crate) struct HealthCheck {
    /// Port to ask instead of the server's. Default: 0, the server's.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) port: u16,
    /// Text to send, at most 65535 bytes. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) send: String,
    /// Text that must come back, at most 65535 bytes. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) expect: String,
    /// Time between two probes of a healthy server. Default: 30 s.
    pub(crate) interval: Duration,
    /// Time between two probes of a server that failed. Default: as `interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unhealthy_interval: Option<Duration>,
    /// Time limit of a probe. Default: 5 s.
    pub(crate) timeout: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            port: 0,
            send: String::new(),
            expect: String::new(),
            interval: Duration::from_secs(30),
            unhealthy_interval: None,
            timeout: Duration::from_secs(5),
        }
    }
}

/// `weighted` of a TCP service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpWeighted")]
pub(crate) struct Weighted {
    /// The services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<WeightedService>,
    /// Passes the children's health on; each of them must have a health check then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<Propagate>,
}

/// A child of a weighted TCP service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpWeightedService")]
pub(crate) struct WeightedService {
    /// Name of the service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Its share in relation to the others'. Default: 1.
    pub(crate) weight: Option<i64>,
}

impl Default for WeightedService {
    fn default() -> Self {
        Self { name: String::new(), weight: Some(1) }
    }
}

/// `healthCheck` of a weighted service: presence is all there is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpPropagateHealth")]
pub(crate) struct Propagate {}

/// An entry of `tcp.serversTransports`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpServersTransport")]
pub(crate) struct ServersTransport {
    /// Time limit to connect. Default: 30 s.
    pub(crate) dial_timeout: Duration,
    /// Time between two TCP keep-alive probes. Default: 15 s.
    pub(crate) dial_keep_alive: Duration,
    /// How long the other side may go on after one side has ended; negative: for ever. Default: 100 ms.
    pub(crate) termination_delay: Duration,
    /// Sends a PROXY protocol header. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    /// TLS towards the servers. Default: no options of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TransportTls>,
}

impl Default for ServersTransport {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(30),
            dial_keep_alive: Duration::from_secs(15),
            termination_delay: Duration::from_millis(100),
            proxy_protocol: None,
            tls: None,
        }
    }
}

/// `tls` of a TCP servers transport.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TcpTransportTls")]
pub(crate) struct TransportTls {
    /// Name asked for and verified. Default: the server's host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) server_name: String,
    /// Takes any certificate. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) insecure_skip_verify: bool,
    /// Authorities that sign the servers' certificates, each a path or PEM text. Default: those of the
    /// system.
    #[serde(rename = "rootCAs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) root_cas: Vec<FileOrContent>,
    /// Certificates to show to the servers. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) certificates: Vec<KeyPair>,
    /// A URI that the server's certificate must hold among its names. Default: none.
    #[serde(rename = "peerCertURI", skip_serializing_if = "String::is_empty")]
    pub(crate) peer_cert_uri: String,
    /// Verifies servers by SPIFFE ids instead; excludes the other options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe: Option<Spiffe>,
}
