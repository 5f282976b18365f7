//! Which TLS options a handshake gets, by the server name.
//!
//! Traefik: names come from the `Host()` rules of the entry point's TLS routers (tcp-udp-tls.md §3, §6).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use super::config::Acceptance;

/// How to go on with a handshake.
pub(crate) enum Choice {
    /// Shake hands with this configuration; `options` is the qualified name of the TLS options (`default` for the
    /// default).
    Accept { config: Arc<ServerConfig>, options: Arc<str> },
    /// The options of this name could not be built: close the connection.
    Close,
}

/// What handshakes need, for one entry point.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    exact: HashMap<String, Arc<Acceptance>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Arc<Acceptance>>,
    /// For all other names; `None` only in the empty plan.
    default: Option<Arc<Acceptance>>,
}

impl Tables {
    /// `hosts` are names of routers in lower case, wildcards as `*.parent`, each with its options.
    pub(crate) fn new(
        hosts: impl IntoIterator<Item = (String, Arc<Acceptance>)>,
        default: Arc<Acceptance>,
    ) -> Self {
        let mut tables = Self { default: Some(default), ..Self::default() };
        for (host, acceptance) in hosts {
            match host.strip_prefix("*.") {
                Some(parent) => tables.wildcard.insert(parent.to_owned(), acceptance),
                None => tables.exact.insert(host, acceptance),
            };
        }
        tables
    }

    /// Chooses by SNI (any case; `None` where the client sent none); `local` stands in for a missing name.
    pub(crate) fn choose(&self, server_name: Option<&str>, local: IpAddr) -> Choice {
        let name = match server_name {
            Some(name) => name.trim_end_matches('.').to_ascii_lowercase(),
            None if self.exact.is_empty() => String::new(),
            None => local.to_canonical().to_string(),
        };
        let found = self
            .exact
            .get(&name)
            .or_else(|| name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent)))
            .or(self.default.as_ref());
        match found.map(|acceptance| (acceptance, &acceptance.config)) {
            Some((acceptance, Some(config))) => {
                Choice::Accept { config: config.clone(), options: acceptance.options.clone() }
            }
            _ => Choice::Close,
        }
    }

    /// The options that a request for `host` (lower case, no port) would have been shaken with.
    pub(crate) fn options_of(&self, host: &str) -> Option<&Arc<str>> {
        self.exact
            .get(host)
            .or_else(|| host.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent)))
            .or(self.default.as_ref())
            .map(|acceptance| &acceptance.options)
    }
}
