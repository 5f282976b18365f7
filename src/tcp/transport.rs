//! `tcp.serversTransports`: how servers are connected to, and how connections to them end.

use std::sync::Arc;
use std::time::Duration;

use super::options::{ServersTransport, TransportTls};
use super::proxy_protocol::Version;
use crate::config::value;
use crate::upstream::{self, Identity, StreamTransport};

/// Go's time between two probes where 0 is configured.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Why a transport cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("unknown proxyProtocol version: {0}")]
    Version(i64),
    #[error("{0}")]
    Upstream(#[from] upstream::BuildError),
}

/// A transport, built.
pub(crate) struct Transport {
    pub(super) stream: Arc<StreamTransport>,
    /// See [`Cut`].
    pub(super) cut: Cut,
    /// The PROXY header that is sent, if any.
    pub(super) header: Option<Version>,
}

/// How long one side may go on after the other has ended; `None`: for ever.
pub(super) type Cut = Option<Duration>;

/// Negative means for ever.
pub(super) fn cut(delay: value::Duration) -> Cut {
    (!delay.is_negative()).then(|| delay.into())
}

impl Transport {
    /// `identity` is ours, where the options ask for SPIFFE.
    pub(crate) fn build(
        options: &ServersTransport,
        identity: Option<&Identity>,
    ) -> Result<Arc<Self>, Error> {
        let tls = options.tls.as_ref().map(tls).unwrap_or_default();
        let dial_timeout = options.dial_timeout.positive();
        let keep_alive = match options.dial_keep_alive {
            time if time.is_negative() => None,
            time => Some(time.positive().unwrap_or(KEEP_ALIVE)),
        };
        let header = options.proxy_protocol.as_ref();
        Ok(Arc::new(Self {
            stream: Arc::new(StreamTransport::build_with(
                dial_timeout,
                keep_alive,
                &tls,
                identity,
            )?),
            cut: cut(options.termination_delay),
            header: header.map(|header| Version::new(header.version)).transpose()?,
        }))
    }
}

fn tls(options: &TransportTls) -> upstream::Options {
    let certificates = options.certificates.iter().map(|pair| upstream::Certificate {
        cert_file: pair.cert_file.clone(),
        key_file: pair.key_file.clone(),
    });
    upstream::Options {
        server_name: options.server_name.clone(),
        insecure_skip_verify: options.insecure_skip_verify,
        root_cas: options.root_cas.clone(),
        certificates: certificates.collect(),
        peer_cert_uri: options.peer_cert_uri.clone(),
        spiffe: options.spiffe.clone(),
        ..upstream::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(options: Value) -> Result<Arc<Transport>, String> {
        let options: ServersTransport = serde_json::from_value(options).unwrap();
        Transport::build(&options, Some(&Identity::default())).map_err(|error| error.to_string())
    }

    #[test]
    fn options_mean_what_traefik_means() {
        let default = built(json!({})).unwrap();
        assert_eq!(default.cut, Some(Duration::from_millis(100)));
        assert!(default.header.is_none());
        assert_eq!(built(json!({"terminationDelay": "-1ms"})).unwrap().cut, None);
        let with = |options| built(json!({"proxyProtocol": options})).map(|one| one.header);
        assert_eq!(with(json!({})), Ok(Some(Version::Two)));
        assert_eq!(with(json!({"version": 1})), Ok(Some(Version::One)));
        assert_eq!(with(json!({"version": 3})), Err("unknown proxyProtocol version: 3".to_owned()));
    }

    /// tcp-udp-tls.md §4: `spiffe` is exclusive with the others.
    #[test]
    fn spiffe_excludes_other_tls() {
        let spiffe = |more: Value| {
            let mut tls = json!({"spiffe": {"trustDomain": "a.test"}});
            tls.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            built(json!({"tls": tls})).err().unwrap_or_default()
        };
        assert_eq!(spiffe(json!({})), "");
        assert!(spiffe(json!({"serverName": "a"})).contains("at the same time"));
        assert!(
            built(json!({"tls": {"serverName": "a b"}})).err().unwrap().contains("no host name")
        );
    }
}
