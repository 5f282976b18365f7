//! Options of `tls`: what operators write. Traefik v3: TLS. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Domain, FileOrContent, is_default};

/// An entry of `tls.options`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "TlsOptions")]
pub(crate) struct Options {
    /// `VersionTLS10` to `VersionTLS13`; unknown names are ignored. Default: 1.2.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) min_version: String,
    /// As `minVersion`. Default: the newest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) max_version: String,
    /// Go's names of TLS 1.2 suites. Default: all that can be served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cipher_suites: Vec<String>,
    /// Groups for key exchange, most preferred first. Default: post-quantum hybrids first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) curve_preferences: Vec<String>,
    /// Who must show a certificate. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_auth: Option<ClientAuth>,
    /// Refuses handshakes for names that no certificate is for. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) sni_strict: bool,
    /// Protocols offered, most preferred first. Default: `h2`, `http/1.1`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) alpn_protocols: Vec<String>,
    /// No session resumption. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_session_tickets: bool,
    /// Deprecated: the server's order is always used, whatever stands here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefer_server_cipher_suites: Option<bool>,
}

/// `clientAuth` of TLS options.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClientAuth {
    /// Authorities that sign clients' certificates, each a path or PEM text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ca_files: Vec<FileOrContent>,
    /// Go's name of the policy. Default: `RequireAndVerifyClientCert` with `caFiles`, `NoClientCert`
    /// without.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) client_auth_type: String,
}

/// An entry of `tls.certificates`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CertificateOptions {
    /// The certificate with its chain: a path or PEM text. Required.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) cert_file: FileOrContent,
    /// Its private key: a path or PEM text. Required.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) key_file: FileOrContent,
    /// Stores that hold it; only `default` is ever served. Default: `default`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stores: Vec<String>,
}

/// A certificate and its key, for a default certificate or to show to servers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KeyPair {
    /// The certificate with its chain: a path or PEM text.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) cert_file: FileOrContent,
    /// Its private key: a path or PEM text.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) key_file: FileOrContent,
}

/// An entry of `tls.stores`. Only the one named `default` has an effect.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StoreOptions {
    /// Served where no other certificate fits. Default: one signed by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_certificate: Option<KeyPair>,
    /// Gets that certificate from a resolver; `defaultCertificate` wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_generated_cert: Option<GeneratedCert>,
}

/// `defaultGeneratedCert` of a store.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GeneratedCert {
    /// Name of the certificate resolver.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) resolver: String,
    /// The names of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<Domain>,
}

/// Which SPIFFE ids servers may have; neither option set: any. Needs `spiffe` in the startup configuration, and excludes
/// the other options of TLS.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "SpiffeServers")]
pub(crate) struct Spiffe {
    /// The ids, `spiffe://DOMAIN/PATH` to the letter; they win over `trustDomain`. Default: any of the trust domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ids: Vec<String>,
    /// The trust domain. Default: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) trust_domain: String,
}
