//! Certificates and their choice by server name.
//!
//! Traefik: TLS, "Certificate selection" (tcp-udp-tls.md §6).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("no certificate in the PEM text of `certFile`{hint}")]
    NoCertificate { hint: &'static str },
    #[error("no private key in the PEM text of `keyFile`{hint}")]
    NoKey { hint: &'static str },
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("certificate and key do not fit: {0}")]
    Mismatch(String),
}

/// A certificate chain with its key, and the names that it is for.
#[derive(Debug)]
pub(crate) struct Pair {
    /// DNS names and IP addresses of the leaf in lower case, sorted; its common name if there are none.
    pub(crate) names: Vec<String>,
    /// What rustls presents. Only its OCSP response is ever exchanged.
    key: ArcSwap<CertifiedKey>,
    /// Unix time in seconds when the leaf ends.
    pub(crate) not_after: i64,
}

impl Pair {
    /// Reads a chain and its key from PEM texts.
    pub(crate) fn from_pem(chain: &str, key: &str) -> Result<Self, CertificateError> {
        let chain_der: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).filter_map(Result::ok).collect();
        let leaf =
            chain_der.first().ok_or(CertificateError::NoCertificate { hint: hint(chain) })?.clone();
        let key_der = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_error| CertificateError::NoKey { hint: hint(key) })?;
        let (names, not_after) = describe(&leaf)?;
        let certified = CertifiedKey::from_der(chain_der, key_der, provider())
            .map_err(|error| CertificateError::Mismatch(error.to_string()))?;
        Ok(Self { names, key: ArcSwap::from_pointee(certified), not_after })
    }

    /// A pair with the chain and the key of another, and nothing stapled.
    #[cfg(test)]
    pub(crate) fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: Arc<dyn rustls::sign::SigningKey>,
    ) -> Result<Self, CertificateError> {
        let leaf = chain.first().ok_or(CertificateError::NoCertificate { hint: "" })?;
        let (names, not_after) = describe(leaf)?;
        Ok(Self { names, key: ArcSwap::from_pointee(CertifiedKey::new(chain, key)), not_after })
    }

    /// What rustls presents.
    pub(crate) fn key(&self) -> Arc<CertifiedKey> {
        self.key.load_full()
    }

    /// Presents `response` with the chain from the next handshake on; `None`: nothing.
    pub(crate) fn staple(&self, response: Option<Vec<u8>>) {
        let key = self.key();
        let (cert, key) = (key.cert.clone(), key.key.clone());
        self.key.store(Arc::new(CertifiedKey { cert, key, ocsp: response }));
    }

    /// The leaf's common name; empty where it has none.
    pub(crate) fn common_name(&self) -> String {
        let Some(leaf) = self.leaf() else { return String::new() };
        let Ok((_, parsed)) = X509Certificate::from_der(&leaf) else { return String::new() };
        let name = parsed.subject().iter_common_name().next();
        name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
    }

    /// The leaf's serial number in decimal.
    pub(crate) fn serial(&self) -> String {
        let Some(leaf) = self.leaf() else { return String::new() };
        let parsed = X509Certificate::from_der(&leaf).ok();
        parsed.map(|(_, parsed)| parsed.serial.to_string()).unwrap_or_default()
    }

    /// The leaf.
    pub(crate) fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.key.load().cert.first().cloned()
    }
}

/// What may help when a text is no PEM: a file name that nobody could read.
fn hint(text: &str) -> &'static str {
    if text.contains("-----BEGIN") { "" } else { " (is it a file name that could not be read?)" }
}

/// Names and end of validity of a leaf.
fn describe(leaf: &CertificateDer<'_>) -> Result<(Vec<String>, i64), CertificateError> {
    let unreadable =
        |error: &dyn std::fmt::Display| CertificateError::Unreadable(error.to_string());
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| unreadable(&error))?;
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        for name in &alternative.value.general_names {
            match name {
                GeneralName::DNSName(dns) => names.push(dns.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => names.extend(ip_text(bytes)),
                _ => {}
            }
        }
    }
    if names.is_empty() {
        let common = parsed.subject().iter_common_name().next();
        names.extend(common.and_then(|name| name.as_str().ok()).map(str::to_ascii_lowercase));
    }
    names.sort();
    names.dedup();
    Ok((names, parsed.validity().not_after.timestamp()))
}

fn ip_text(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| std::net::IpAddr::from(octets).to_string());
    let v6 =
        || <[u8; 16]>::try_from(bytes).map(|octets| std::net::IpAddr::from(octets).to_string());
    v4.or_else(|_| v6()).ok()
}

/// The one crypto provider of this process: aws-lc-rs, post-quantum key exchange preferred.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// All certificates, by the names they are for.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// Full names and IP addresses.
    exact: HashMap<String, Arc<Pair>>,
    /// Wildcards by what stands behind `*.`.
    wildcard: HashMap<String, Arc<Pair>>,
    /// Presented where no name matches.
    default: Arc<Pair>,
}

impl Certificates {
    /// Of two certificates for one name the first one in `pairs` serves it.
    pub(crate) fn new(pairs: &[Arc<Pair>], default: Arc<Pair>) -> Self {
        let mut exact = HashMap::new();
        let mut wildcard = HashMap::new();
        for pair in pairs {
            for name in &pair.names {
                match name.strip_prefix("*.") {
                    Some(parent) => {
                        wildcard.entry(parent.to_owned()).or_insert_with(|| pair.clone())
                    }
                    None => exact.entry(name.clone()).or_insert_with(|| pair.clone()),
                };
            }
        }
        Self { exact, wildcard, default }
    }

    /// The certificate for `name` (lower case, no trailing dot): exact, else one-label wildcard.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Pair>> {
        self.exact
            .get(name)
            .or_else(|| name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent)))
    }
}

/// Chooses for rustls. With `strict`, a handshake for an unknown name or for none fails.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) strict: bool,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls gives the name in lower case and without a trailing dot.
        let found = hello.server_name().and_then(|name| self.certificates.find(name));
        match found {
            Some(pair) => Some(pair.key()),
            None if self.strict => None,
            None => Some(self.certificates.default.key()),
        }
    }
}

/// The certificate for connections that nothing else fits: self-signed, made once per process, as Traefik's.
///
/// Differs: P-256 instead of RSA 2048, which costs the server a twentieth per handshake.
pub(crate) fn generated_default() -> Result<Arc<Pair>, CertificateError> {
    static MADE: OnceLock<Result<Arc<Pair>, CertificateError>> = OnceLock::new();
    MADE.get_or_init(|| make_default().map(Arc::new)).clone()
}

fn make_default() -> Result<Pair, CertificateError> {
    let failed = |error: rcgen::Error| CertificateError::Unreadable(error.to_string());
    let mut random = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_unspecified| CertificateError::Unreadable("no random numbers".to_owned()))?;
    let hex = crate::hex::lower(&random);
    let (left, right) = hex.split_at(32);
    let name = format!("{left}.{right}.traefik.default");
    let mut parameters = rcgen::CertificateParams::new([name]).map_err(failed)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "TRAEFIK DEFAULT CERT");
    let now = time::OffsetDateTime::UNIX_EPOCH + crate::clock::now();
    parameters.not_before = now - time::Duration::days(1);
    parameters.not_after = now + time::Duration::days(365);
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    Pair::from_pem(&certificate.pem(), &key.serialize_pem())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn pair(names: &[&str]) -> Arc<Pair> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Arc::new(Pair::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap())
    }

    #[test]
    fn an_exact_name_wins_over_a_wildcard_of_one_label() {
        let (exact, wild) = (pair(&["a.example.test"]), pair(&["*.example.test", "127.0.0.1"]));
        let default = generated_default().unwrap();
        let all = Certificates::new(&[wild.clone(), exact.clone()], default);
        assert!(Arc::ptr_eq(all.find("a.example.test").unwrap(), &exact));
        assert!(Arc::ptr_eq(all.find("b.example.test").unwrap(), &wild));
        assert!(Arc::ptr_eq(all.find("127.0.0.1").unwrap(), &wild));
        assert!(all.find("x.b.example.test").is_none());
        assert!(all.find("example.test").is_none());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let names = vec!["a.test".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let error = Pair::from_pem(&certificate.pem(), &other.serialize_pem()).unwrap_err();
        assert!(matches!(error, CertificateError::Mismatch(_)), "{error}");
        let error = Pair::from_pem("certs/missing.crt", &other.serialize_pem()).unwrap_err();
        assert!(error.to_string().contains("is it a file name"), "{error}");
    }
}
