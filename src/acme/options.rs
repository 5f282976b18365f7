//! Options of `certificatesResolvers.NAME`.
//!
//! Traefik v3: certificate resolvers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Duration, FileOrContent, Secret, is_default};

/// An entry of `certificatesResolvers`: `acme` or `tailscale`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "CertificatesResolver")]
pub(crate) struct Resolver {
    /// Certificates from an ACME authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acme: Option<Acme>,
    /// Certificates for `*.ts.net` from the local tailscale daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tailscale: Option<Tailscale>,
}

/// `tailscale`: presence is all there is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tailscale {}

/// `acme` of a resolver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Acme {
    /// Address that the authority may write to. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) email: String,
    /// Directory of the authority. Default: Let's Encrypt.
    pub(crate) ca_server: String,
    /// Authorities to go on with after repeated failures, in this order. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ca_servers: Vec<String>,
    /// Common name of the root to prefer. Default: the authority's choice.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) preferred_chain: String,
    /// Certificate profile to ask for. Default: the authority's choice.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) profile: String,
    /// Addresses put into certificate requests. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) email_addresses: Vec<String>,
    /// Leaves the common name out of certificate requests. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_common_name: bool,
    /// File for account and certificates where no cluster is configured. Default: acme.json.
    pub(crate) storage: String,
    /// `EC256`, `EC384`, `RSA2048`, `RSA4096` or `RSA8192`. Default: RSA4096.
    pub(crate) key_type: String,
    /// Lifetime that certificates have, in hours; says when they are renewed. Default: 2160.
    pub(crate) certificates_duration: i64,
    /// How long names that no router asks for are still renewed. Default: 30 days.
    pub(crate) keep_unused: Duration,
    /// Time limit of a call to the authority. Default: 2 min.
    pub(crate) client_timeout: Duration,
    /// Time limit until the head of its answer. Default: 30 s.
    pub(crate) client_response_header_timeout: Duration,
    /// Time limit until the certificate is issued. Default: 30 s.
    pub(crate) certificate_timeout: Duration,
    /// Authorities that sign the ACME server's own certificate. Default: those of the system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ca_certificates: Vec<FileOrContent>,
    /// Adds those of the system to `caCertificates`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ca_system_cert_pool: bool,
    /// Name verified in the ACME server's own certificate. Default: its host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ca_server_name: String,
    /// External account binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eab: Option<Eab>,
    /// Proves names by HTTP-01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http_challenge: Option<HttpChallenge>,
    /// Proves names by TLS-ALPN-01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_challenge: Option<TlsChallenge>,
    /// Proves names by DNS-01; needed for wildcards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dns_challenge: Option<DnsChallenge>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            email: String::new(),
            ca_server: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            ca_servers: Vec::new(),
            preferred_chain: String::new(),
            profile: String::new(),
            email_addresses: Vec::new(),
            disable_common_name: false,
            storage: "acme.json".to_owned(),
            key_type: "RSA4096".to_owned(),
            certificates_duration: 2160,
            keep_unused: Duration::from_secs(30 * 24 * 3600),
            client_timeout: Duration::from_secs(120),
            client_response_header_timeout: Duration::from_secs(30),
            certificate_timeout: Duration::from_secs(30),
            ca_certificates: Vec::new(),
            ca_system_cert_pool: false,
            ca_server_name: String::new(),
            eab: None,
            http_challenge: None,
            tls_challenge: None,
            dns_challenge: None,
        }
    }
}

/// `acme.eab`: external account binding.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Eab {
    /// Identifier of the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) kid: String,
    /// The key, base64url.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) hmac_encoded: Secret,
}

/// `acme.httpChallenge`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpChallenge {
    /// Entry point that the authority reaches on port 80. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) entry_point: String,
    /// Time to wait before the authority is told to look. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) delay: Duration,
}

/// `acme.tlsChallenge`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TlsChallenge {
    /// Time to wait before the authority is told to look. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) delay: Duration,
}

/// `acme.dnsChallenge`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DnsChallenge {
    /// Code of the DNS provider; its credentials are in the environment. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) provider: String,
    /// Name servers to ask instead of the system's, `host:port`. Default: the system's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resolvers: Vec<String>,
    /// When the record counts as visible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) propagation: Option<Propagation>,
    /// Deprecated: `propagation.delayBeforeChecks`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) delay_before_check: Duration,
    /// Deprecated: `propagation.disableChecks`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_propagation_check: bool,
}

/// `acme.dnsChallenge.propagation`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Propagation {
    /// Does not look whether the record is visible. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_checks: bool,
    /// Does not ask the authoritative name servers. Default: false.
    #[serde(rename = "disableANSChecks", skip_serializing_if = "is_default")]
    pub(crate) disable_ans_checks: bool,
    /// Asks all recursive name servers. Default: false.
    #[serde(rename = "requireAllRNS", skip_serializing_if = "is_default")]
    pub(crate) require_all_rns: bool,
    /// Time to wait before the first look. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) delay_before_checks: Duration,
}
