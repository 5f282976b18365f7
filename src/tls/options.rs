//! Options of `tls`: what operators write. Traefik: TLS (tcp-udp-tls.md §6).

use crate::config::value::FileOrContent;

/// An entry of `tls.options`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Options {
    /// `VersionTLS10` to `VersionTLS13`; unknown names are ignored. Default: 1.2.
    pub(crate) min_version: String,
    /// As `minVersion`. Default: the newest.
    pub(crate) max_version: String,
    /// Go's names of TLS 1.2 suites. Default: all that can be served.
    pub(crate) cipher_suites: Vec<String>,
    /// Groups for key exchange, most preferred first. Default: post-quantum hybrids first.
    pub(crate) curve_preferences: Vec<String>,
    /// Who must show a certificate. Default: nobody.
    pub(crate) client_auth: Option<ClientAuth>,
    /// Refuses handshakes for names that no certificate is for. Default: false.
    pub(crate) sni_strict: bool,
    /// Protocols offered, most preferred first. Default: `h2`, `http/1.1`.
    pub(crate) alpn_protocols: Vec<String>,
    /// No session resumption. Default: false.
    pub(crate) disable_session_tickets: bool,
}

/// `clientAuth` of TLS options.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ClientAuth {
    /// Authorities that sign clients' certificates, each a path or PEM text.
    pub(crate) ca_files: Vec<FileOrContent>,
    /// Go's name of the policy. Default: `RequireAndVerifyClientCert` with `caFiles`, `NoClientCert` without.
    pub(crate) client_auth_type: String,
}
