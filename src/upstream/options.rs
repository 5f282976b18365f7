//! Options of `http.serversTransports`: how connections to servers are made and kept.
//!
//! Traefik v3: `ServersTransport`. Same options, same defaults.

use serde::{Deserialize, Serialize};

use crate::config::value::{Duration, FileOrContent};
use crate::tls::options::Spiffe;

/// An entry of `http.serversTransports`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServersTransport")]
pub(crate) struct Options {
    /// Name for SNI and for checking the server's certificate. Default: the host of the server's URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) server_name: String,
    /// Takes any certificate. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) insecure_skip_verify: bool,
    /// Authorities that sign servers' certificates, in place of the system's: file names or PEM texts.
    #[serde(rename = "rootCAs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) root_cas: Vec<FileOrContent>,
    /// Certificates that are shown to servers which ask for one; the first that fits is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) certificates: Vec<Certificate>,
    /// Go's names of TLS 1.2 suites. Default: all that rustls has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cipher_suites: Vec<String>,
    /// `VersionTLS10` to `VersionTLS13`. Default: 1.2. As in Traefik 3.7, it is refused without `maxVersion`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) min_version: String,
    /// As `minVersion`. Default: the newest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) max_version: String,
    /// Idle connections kept per server. Default: 0, which means 2; a negative number keeps none.
    ///
    /// Differs: the limit is shared out evenly among the cores and rounded up, one per core at least; those above it
    /// are closed after a second and not at once, so that a burst finds the connections of the one before.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max_idle_conns_per_host: i64,
    /// Time limits. Default: those of [`ForwardingTimeouts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forwarding_timeouts: Option<ForwardingTimeouts>,
    /// Speaks HTTP/1.1 to `https` servers even if they offer HTTP/2. Default: false.
    #[serde(rename = "disableHTTP2", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) disable_http2: bool,
    /// A URI that must be among the alternative names of the server's certificate. Default: not checked.
    #[serde(rename = "peerCertURI", skip_serializing_if = "String::is_empty")]
    pub(crate) peer_cert_uri: String,
    /// Verifies servers by SPIFFE ids, and shows them ours; excludes the other options of TLS. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe: Option<Spiffe>,
}

/// `certificates` of a transport.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServersTransportCertificate")]
pub(crate) struct Certificate {
    /// The chain, leaf first: a file name or PEM text.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) cert_file: FileOrContent,
    /// The key of the leaf: a file name or PEM text.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) key_file: FileOrContent,
}

/// `forwardingTimeouts` of a transport.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "they are Traefik's")]
pub(crate) struct ForwardingTimeouts {
    /// For making a TCP connection. 0: as long as the system tries. Default: 30 s.
    pub(crate) dial_timeout: Duration,
    /// From the end of the request until the head of the response. 0: none. Default: 0.
    #[serde(skip_serializing_if = "is_zero_duration")]
    pub(crate) response_header_timeout: Duration,
    /// How long an unused connection is kept. 0: until the server closes it. Default: 90 s.
    pub(crate) idle_conn_timeout: Duration,
    /// HTTP/2: silence after which the server is pinged. 0: never. Default: 0.
    #[serde(skip_serializing_if = "is_zero_duration")]
    pub(crate) read_idle_timeout: Duration,
    /// HTTP/2: the connection is closed if a ping is not answered within it. Default: 15 s.
    pub(crate) ping_timeout: Duration,
}

impl Default for ForwardingTimeouts {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(30),
            response_header_timeout: Duration::ZERO,
            idle_conn_timeout: Duration::from_secs(90),
            read_idle_timeout: Duration::ZERO,
            ping_timeout: Duration::from_secs(15),
        }
    }
}

impl Options {
    /// True where TLS is configured in another way than by `spiffe`.
    pub(super) fn has_tls_without_spiffe(&self) -> bool {
        let Self { server_name, root_cas, certificates, cipher_suites, .. } = self;
        self.insecure_skip_verify
            || !server_name.is_empty()
            || !root_cas.is_empty()
            || !certificates.is_empty()
            || !cipher_suites.is_empty()
            || !self.min_version.is_empty()
            || !self.max_version.is_empty()
            || !self.peer_cert_uri.is_empty()
    }

    /// Idle connections that a core keeps per server.
    pub(super) fn idle_per_core(&self, cores: usize) -> usize {
        let total = match self.max_idle_conns_per_host {
            0 => 2,
            given => usize::try_from(given).unwrap_or(0),
        };
        total.div_ceil(cores.max(1))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero_duration(duration: &Duration) -> bool {
    *duration == Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_transport_shows_as_in_traefiks_api() {
        let options = Options {
            max_idle_conns_per_host: 200,
            forwarding_timeouts: Some(ForwardingTimeouts::default()),
            ..Options::default()
        };
        let shown = serde_json::to_value(&options).unwrap();
        let expected = serde_json::json!({
            "maxIdleConnsPerHost": 200,
            "forwardingTimeouts": { "dialTimeout": "30s", "idleConnTimeout": "1m30s", "pingTimeout": "15s" },
        });
        assert_eq!(shown, expected);
        let read: Options = serde_json::from_value(shown).unwrap();
        assert_eq!(read, options);
    }

    #[test]
    fn idle_connections_are_shared_out_among_cores() {
        let with = |max| Options { max_idle_conns_per_host: max, ..Options::default() };
        assert_eq!(with(0).idle_per_core(1), 2);
        assert_eq!(with(0).idle_per_core(8), 1);
        assert_eq!(with(200).idle_per_core(3), 67);
        assert_eq!(with(-1).idle_per_core(4), 0);
    }
}
