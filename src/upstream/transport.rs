//! A transport: what the connections to servers have in common, and their pools.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls_pki_types::ServerName;

use super::connector::{Scheme, Target};
use super::pool::{Pool, Settings};
use super::spiffe::Identity;
use super::tls::Configs;
use super::{Certificate, Options, h2};
use crate::config::value::ClientTls;
use crate::cores;

/// Why a transport or a server cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildError {
    /// An option has a value that cannot work.
    #[error("option `{option}`: {problem}")]
    Option { option: &'static str, problem: String },
    /// The address of a TCP server cannot be used.
    #[error("{0}")]
    Address(&'static str),
    /// The URL of a server cannot be used.
    #[error("server URL `{url}`: {problem}")]
    Url { url: String, problem: &'static str },
}

impl BuildError {
    pub(super) fn option(option: &'static str, problem: impl Into<String>) -> Self {
        Self::Option { option, problem: problem.into() }
    }
}

/// A transport, built. Servers at the same address share a pool in it, whatever service they belong to.
pub(crate) struct Transport {
    settings: Settings,
    /// For SNI and certificates, in place of the server's host.
    server_name: Option<ServerName<'static>>,
    response_header_timeout: Option<Duration>,
    /// Only servers own their pools: a server that is configured no more takes its connections with it.
    pools: Mutex<HashMap<(Scheme, String, u16), Weak<Pool>>>,
}

impl Transport {
    /// Builds a transport without SPIFFE. It does no I/O but for reading the system's authorities, once per process.
    pub(crate) fn build(options: &Options) -> Result<Arc<Self>, BuildError> {
        Self::build_with(options, None)
    }

    /// The same, where `identity` is ours if the options ask for SPIFFE.
    pub(crate) fn build_with(
        options: &Options,
        identity: Option<&Identity>,
    ) -> Result<Arc<Self>, BuildError> {
        let server_name = match options.server_name.as_str() {
            "" => None,
            name => Some(ServerName::try_from(name.to_owned()).map_err(|_error| {
                BuildError::option("serverName", format!("`{name}` is no host name"))
            })?),
        };
        let timeouts = options.forwarding_timeouts.clone().unwrap_or_default();
        let settings = Settings {
            dial_timeout: timeouts.dial_timeout.positive(),
            idle_timeout: timeouts.idle_conn_timeout.positive(),
            idle_per_core: options.idle_per_core(cores::count()),
            http2: h2::Settings {
                read_idle_timeout: timeouts.read_idle_timeout.positive(),
                // Go takes 0 for its default.
                ping_timeout: timeouts.ping_timeout.positive().unwrap_or(h2::PING_TIMEOUT),
            },
            tls: Arc::new(Configs::build(options, identity)?),
            offers_http2: !options.disable_http2,
        };
        Ok(Arc::new(Self {
            settings,
            server_name,
            response_header_timeout: timeouts.response_header_timeout.positive(),
            pools: Mutex::default(),
        }))
    }

    /// Builds a transport to a server that is no service, with so many idle connections.
    pub(crate) fn of_client(
        tls: &ClientTls,
        max_idle_conns_per_host: i64,
    ) -> Result<Arc<Self>, BuildError> {
        let mut options = Options {
            insecure_skip_verify: tls.insecure_skip_verify,
            max_idle_conns_per_host,
            ..Options::default()
        };
        if !tls.ca.is_empty() {
            options.root_cas.push(tls.ca.clone());
        }
        if tls.cert.is_empty() != tls.key.is_empty() {
            return Err(BuildError::option("cert", "`cert` and `key` go together"));
        }
        if !tls.cert.is_empty() {
            let (cert_file, key_file) = (tls.cert.clone(), tls.key.clone());
            options.certificates.push(Certificate { cert_file, key_file });
        }
        Self::build(&options)
    }

    /// From the end of a request until the head of its response.
    pub(super) fn response_header_timeout(&self) -> Option<Duration> {
        self.response_header_timeout
    }

    /// The pool of the server at `host`, which has no brackets.
    pub(super) fn pool(
        &self,
        scheme: Scheme,
        host: &str,
        port: u16,
    ) -> Result<Arc<Pool>, &'static str> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (scheme, host.to_owned(), port);
        if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
            return Ok(pool);
        }
        let server_name = match (&self.server_name, scheme) {
            (_, Scheme::Http | Scheme::H2c) => None,
            (Some(name), Scheme::Https) => Some(name.clone()),
            (None, Scheme::Https) => Some(
                ServerName::try_from(host.to_owned())
                    .map_err(|_error| "the host cannot stand in a certificate: set serverName")?,
            ),
        };
        let address = host.parse().ok().map(|ip| std::net::SocketAddr::new(ip, port));
        let target = Target { scheme, host: host.to_owned(), port, address, server_name };
        let pool = Arc::new(Pool::new(target, self.settings.clone()));
        pools.retain(|_, pool| pool.strong_count() > 0);
        pools.insert(key, Arc::downgrade(&pool));
        Ok(pool)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::options::Spiffe;

    #[test]
    fn servers_at_one_address_share_a_pool_until_all_are_gone() {
        let transport = Transport::build(&Options::default()).unwrap();
        let first = transport.pool(Scheme::Http, "10.0.0.1", 80).unwrap();
        let second = transport.pool(Scheme::Http, "10.0.0.1", 80).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let other = transport.pool(Scheme::Https, "10.0.0.1", 80).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        drop((first, second));
        let third = transport.pool(Scheme::Http, "10.0.0.2", 80).unwrap();
        let count = transport.pools.lock().unwrap().len();
        assert_eq!(count, 2, "the first pool is forgotten");
        drop((third, other));
    }

    /// http.md, `serversTransports.spiffe`: exclusive with TLS fields, and not without a Workload API.
    #[test]
    fn spiffe_needs_an_identity_and_excludes_other_tls() {
        let options = Options { spiffe: Some(Spiffe::default()), ..Options::default() };
        let error = Transport::build(&options).unwrap_err().to_string();
        assert!(
            error.contains("SPIFFE is enabled for this transport, but not configured"),
            "{error}"
        );
        let identity = Identity::default();
        assert!(Transport::build_with(&options, Some(&identity)).is_ok());
        let both = Options { server_name: "a.test".to_owned(), ..options };
        let error = Transport::build_with(&both, Some(&identity)).unwrap_err().to_string();
        assert!(error.contains("cannot be defined at the same time"), "{error}");
    }
}
