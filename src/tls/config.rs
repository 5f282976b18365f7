//! TLS options to rustls: versions, suites, key exchange, ALPN, client authentication, session resumption.
//!
//! Traefik: TLS options (tcp-udp-tls.md §6). Differs: TLS 1.0 and 1.1 and the CBC, RC4 and RSA-key-exchange suites
//! are not to be had; a list that holds others too works without them.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs as crypto;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::{NamedGroup, ServerConfig, SupportedProtocolVersion, version};

use super::certificate::{Certificates, Resolver, provider};
use super::client_auth;
use super::options::Options;
use crate::config::value::FileOrContent;

/// Sessions that a peer remembers for clients without tickets, per TLS options.
const SESSIONS_MAX: usize = 4096;

/// Why TLS options cannot be used. Handshakes for names of routers that ask for them are closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("invalid CipherSuite: {0}")]
    CipherSuite(String),
    #[error(
        "none of cipherSuites can be served: use an ECDHE suite with AES-GCM or ChaCha20-Poly1305"
    )]
    NoCipherSuite,
    #[error("invalid CurveID in curvePreferences: {0}")]
    Curve(String),
    #[error(
        "none of curvePreferences can be served: use X25519MLKEM768, X25519, CurveP256 or CurveP384"
    )]
    NoCurve,
    #[error(
        "no TLS version is left between minVersion `{min}` and maxVersion `{max}`: 1.2 and 1.3 can be served"
    )]
    Versions { min: String, max: String },
    #[error("unknown client auth type \"{0}\"")]
    ClientAuthType(String),
    #[error("{0}")]
    ClientAuth(String),
    #[error("{0}")]
    Rustls(String),
}

/// TLS options, built: what a handshake with them needs.
#[derive(Debug)]
pub(crate) struct Acceptance {
    /// Qualified name; `default` for the default options.
    pub(crate) options: Arc<str>,
    /// `None` where the options could not be built.
    pub(crate) config: Option<Arc<ServerConfig>>,
}

/// What lives on when certificates change and options do not: keys and memory of sessions.
///
/// Each set of options has its own, since a session begun without a client certificate must not resume where one is
/// required.
#[derive(Debug, Clone)]
pub(crate) struct Resumption {
    ticketer: Arc<dyn rustls::server::ProducesTickets>,
    sessions: Arc<ServerSessionMemoryCache>,
}

impl Resumption {
    pub(crate) fn new() -> Result<Self, Error> {
        let ticketer = crypto::Ticketer::new().map_err(|error| Error::Rustls(error.to_string()))?;
        Ok(Self { ticketer, sessions: ServerSessionMemoryCache::new(SESSIONS_MAX) })
    }
}

/// Builds the server side for `options`.
pub(crate) fn build(
    options: &Options,
    certificates: Arc<Certificates>,
    resumption: &Resumption,
) -> Result<Arc<ServerConfig>, Error> {
    let versions = versions(&options.min_version, &options.max_version)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(suited_provider(options)?))
        .with_protocol_versions(&versions)
        .map_err(|error| Error::Rustls(error.to_string()))?;
    let (authorities, kind) = match &options.client_auth {
        Some(auth) => (
            auth.ca_files.iter().map(FileOrContent::as_str).collect(),
            auth.client_auth_type.as_str(),
        ),
        None => (Vec::new(), ""),
    };
    let builder = match client_auth::verifier(&authorities, kind)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let resolver = Resolver { certificates, strict: options.sni_strict };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = match options.alpn_protocols.as_slice() {
        [] => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        given => given.iter().map(|name| name.as_bytes().to_vec()).collect(),
    };
    config.send_tls13_tickets = 1;
    if options.disable_session_tickets {
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    } else {
        config.ticketer = resumption.ticketer.clone();
        config.session_storage = resumption.sessions.clone();
    }
    Ok(Arc::new(config))
}

/// Unknown names are ignored, as Traefik does.
fn versions(min: &str, max: &str) -> Result<Vec<&'static SupportedProtocolVersion>, Error> {
    let number = |name: &str, otherwise: u8| match name {
        "VersionTLS10" => 0,
        "VersionTLS11" => 1,
        "VersionTLS12" => 2,
        "VersionTLS13" => 3,
        _ => otherwise,
    };
    let range = number(min, 2)..=number(max, 3);
    let mut versions = Vec::new();
    if range.contains(&3) {
        versions.push(&version::TLS13);
    }
    if range.contains(&2) {
        versions.push(&version::TLS12);
    }
    if versions.is_empty() {
        return Err(Error::Versions { min: min.to_owned(), max: max.to_owned() });
    }
    Ok(versions)
}

/// Go's names of suites that rustls does not have; accepted in lists beside others.
const UNSERVED_SUITES: [&str; 15] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_FALLBACK_SCSV",
];
const UNSERVED_SUITES_TOO: [&str; 2] =
    ["TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"];

/// The provider with only the suites and groups that the options name.
fn suited_provider(options: &Options) -> Result<CryptoProvider, Error> {
    let mut suited = provider().as_ref().clone();
    if !options.cipher_suites.is_empty() {
        let mut chosen = Vec::new();
        for name in &options.cipher_suites {
            match suite(name) {
                Some(suite) => chosen.push(suite),
                None if UNSERVED_SUITES.contains(&name.as_str())
                    || UNSERVED_SUITES_TOO.contains(&name.as_str()) => {}
                None => return Err(Error::CipherSuite(name.clone())),
            }
        }
        if chosen.is_empty() {
            return Err(Error::NoCipherSuite);
        }
        // The list speaks of TLS 1.2 only; the suites of 1.3 cannot be chosen (Go).
        suited
            .cipher_suites
            .retain(|have| have.tls13().is_some() || chosen.contains(&have.suite()));
    }
    if !options.curve_preferences.is_empty() {
        let mut groups = Vec::new();
        for name in &options.curve_preferences {
            let group = curve(name).ok_or_else(|| Error::Curve(name.clone()))?;
            groups
                .extend(crypto::ALL_KX_GROUPS.iter().copied().filter(|have| have.name() == group));
        }
        if groups.is_empty() {
            return Err(Error::NoCurve);
        }
        suited.kx_groups = groups;
    }
    Ok(suited)
}

fn suite(name: &str) -> Option<rustls::CipherSuite> {
    use rustls::CipherSuite as S;
    Some(match name {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"
        | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
            S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
            S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "TLS_AES_128_GCM_SHA256" => S::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => S::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => S::TLS13_CHACHA20_POLY1305_SHA256,
        _ => return None,
    })
}

fn curve(name: &str) -> Option<NamedGroup> {
    Some(match name {
        "CurveP256" | "secp256r1" => NamedGroup::secp256r1,
        "CurveP384" | "secp384r1" => NamedGroup::secp384r1,
        "CurveP521" | "secp521r1" => NamedGroup::secp521r1,
        "X25519" | "x25519" => NamedGroup::X25519,
        "X25519MLKEM768" | "x25519mlkem768" => NamedGroup::X25519MLKEM768,
        "SecP256r1MLKEM768" | "secp256r1mlkem768" => NamedGroup::secp256r1MLKEM768,
        // rustls has no name for it; none of its groups is the reserved number.
        "SecP384r1MLKEM1024" | "secp384r1mlkem1024" => NamedGroup::Unknown(0x11ed),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificate::generated_default;

    fn built(options: &Options) -> Result<Arc<ServerConfig>, Error> {
        let certificates = Certificates::new(&[], generated_default().unwrap());
        build(options, Arc::new(certificates), &Resumption::new().unwrap())
    }

    #[test]
    fn unknown_names_are_refused_and_unserved_ones_only_alone() {
        let with = |suites: &[&str]| Options {
            cipher_suites: suites.iter().map(ToString::to_string).collect(),
            ..Options::default()
        };
        assert_eq!(built(&with(&["NOPE"])).unwrap_err(), Error::CipherSuite("NOPE".to_owned()));
        assert_eq!(
            built(&with(&["TLS_RSA_WITH_AES_128_CBC_SHA"])).unwrap_err(),
            Error::NoCipherSuite
        );
        let mixed =
            with(&["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
        assert!(built(&mixed).is_ok());
        let curves = |names: &[&str]| Options {
            curve_preferences: names.iter().map(ToString::to_string).collect(),
            ..Options::default()
        };
        assert!(built(&curves(&["CurveP384", "CurveP521"])).is_ok());
        assert_eq!(built(&curves(&["CurveP521"])).unwrap_err(), Error::NoCurve);
        assert_eq!(built(&curves(&["P9"])).unwrap_err(), Error::Curve("P9".to_owned()));
    }

    #[test]
    fn a_range_without_served_versions_is_refused() {
        assert!(versions("", "VersionTLS11").is_err());
        assert_eq!(versions("VersionTLS10", "VersionTLS12").unwrap(), [&version::TLS12]);
        assert_eq!(versions("nonsense", "").unwrap().len(), 2);
    }
}
