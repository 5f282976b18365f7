//! TLS to servers: whom to trust, what to show.
//!
//! Authorities are those of the options, else the system's bundle (`SSL_CERT_FILE` names another), else Mozilla's list.
//!
//! Differs: rustls has no TLS 1.0 and 1.1 and no CBC, RC4 and RSA-key-exchange suites.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion, version,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::spiffe::{self, Allowed, Identity};
use super::transport::BuildError;
use super::{Certificate, Options};
use crate::tls::Pair;
use crate::tls::certificate::provider;
use crate::tls::options::Spiffe;

/// Where systems keep their authorities; the first that has some is used.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The client side of a transport's handshakes, once with and once without HTTP/2.
#[derive(Debug)]
pub(super) struct Configs {
    /// Offers HTTP/2 and 1.1; only 1.1 where HTTP/2 is disabled.
    pub(super) any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 only: for upgrades.
    pub(super) http1: Arc<ClientConfig>,
}

impl Configs {
    /// Builds both from a transport's options. With `spiffe` among them, `identity` is ours.
    pub(super) fn build(
        options: &Options,
        identity: Option<&Identity>,
    ) -> Result<Self, BuildError> {
        let http1 = match &options.spiffe {
            Some(servers) => spiffe_config(options, servers, identity)?,
            None => config(options)?,
        };
        let mut any = http1.clone();
        if !options.disable_http2 {
            any.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(Self { any: Arc::new(any), http1: Arc::new(http1) })
    }
}

/// For HTTP/1.1.
fn config(options: &Options) -> Result<ClientConfig, BuildError> {
    let verifier = Verifier::build(options)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(suited_provider(options)?))
        .with_protocol_versions(&versions(options)?)
        .map_err(|error| BuildError::option("cipherSuites", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut http1 = if options.certificates.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_resolver(Arc::new(Shown::build(&options.certificates)?))
    };
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(http1)
}

/// The same where SPIFFE says who is who.
fn spiffe_config(
    options: &Options,
    servers: &Spiffe,
    identity: Option<&Identity>,
) -> Result<ClientConfig, BuildError> {
    if options.has_tls_without_spiffe() {
        let problem = "TLS and SPIFFE configuration cannot be defined at the same time";
        return Err(BuildError::option("spiffe", problem));
    }
    let identity = identity.ok_or_else(|| {
        let problem = "SPIFFE is enabled for this transport, but not configured: set \
                       spiffe.workloadAPIAddr in the startup configuration";
        BuildError::option("spiffe", problem)
    })?;
    let allowed =
        Allowed::parse(servers).map_err(|problem| BuildError::option("spiffe", problem))?;
    let verifier = spiffe::Verifier { identity: identity.clone(), allowed };
    let mut config = ClientConfig::builder_with_provider(provider().clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::option("spiffe", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(identity.clone()));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Who was trusted when a session began may be trusted no longer.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Traefik 3.7 takes a missing `maxVersion` for 0 once `minVersion` is set, and refuses the pair.
fn versions(options: &Options) -> Result<Vec<&'static SupportedProtocolVersion>, BuildError> {
    let number = |option: &'static str, name: &str, otherwise: u8| match name {
        "" => Ok(otherwise),
        "VersionTLS10" => Ok(0),
        "VersionTLS11" => Ok(1),
        "VersionTLS12" => Ok(2),
        "VersionTLS13" => Ok(3),
        other => Err(BuildError::option(option, format!("invalid TLS version `{other}`"))),
    };
    let min = number("minVersion", &options.min_version, 2)?;
    let max = number("maxVersion", &options.max_version, 3)?;
    if !options.min_version.is_empty() && options.max_version.is_empty() {
        return Err(BuildError::option("minVersion", "is above maxVersion: set maxVersion, too"));
    }
    if min > max {
        return Err(BuildError::option("minVersion", "is above maxVersion"));
    }
    let mut versions = Vec::new();
    if max >= 3 {
        versions.push(&version::TLS13);
    }
    if min <= 2 && max >= 2 {
        versions.push(&version::TLS12);
    }
    if versions.is_empty() {
        return Err(BuildError::option("maxVersion", "only TLS 1.2 and 1.3 can be spoken"));
    }
    Ok(versions)
}

/// The provider with the suites that the options name; those of TLS 1.3 are always there, as in Go.
fn suited_provider(options: &Options) -> Result<CryptoProvider, BuildError> {
    let mut suited = provider().as_ref().clone();
    if options.cipher_suites.is_empty() {
        return Ok(suited);
    }
    let mut chosen = Vec::new();
    for name in &options.cipher_suites {
        if !name.starts_with("TLS_") {
            let problem = format!("invalid CipherSuite: {name}");
            return Err(BuildError::option("cipherSuites", problem));
        }
        // Go has two names for the ChaCha20 suites.
        let base = name.strip_suffix("_CHACHA20_POLY1305_SHA256");
        chosen.push(base.map_or_else(|| name.clone(), |base| format!("{base}_CHACHA20_POLY1305")));
    }
    suited.cipher_suites.retain(|have| {
        let name = have.suite().as_str().unwrap_or_default();
        let name = name.strip_suffix("_SHA256").filter(|n| n.ends_with("POLY1305")).unwrap_or(name);
        have.tls13().is_some() || chosen.iter().any(|chosen| chosen == name)
    });
    Ok(suited)
}

/// The authorities of the machine, read once.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = |path: &str| {
        let text = std::fs::read(path).ok()?;
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
        let (added, _ignored) = roots.add_parsable_certificates(certificates);
        (added > 0).then_some(roots)
    };
    let mozilla = || RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let make = || {
        let named = std::env::var("SSL_CERT_FILE").ok();
        let found = named.iter().map(String::as_str).chain(BUNDLES).find_map(read);
        Arc::new(found.unwrap_or_else(mozilla))
    };
    ROOTS.get_or_init(make).clone()
}

/// Checks servers' certificates.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    /// Authorities of the options, whole: a server may show one of them as its own certificate.
    authorities: Vec<CertificateDer<'static>>,
    /// Must be among the alternative names, whatever else is checked.
    uri: Option<String>,
    skip: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn build(options: &Options) -> Result<Self, BuildError> {
        let mut authorities = Vec::new();
        let mut own = RootCertStore::empty();
        for text in &options.root_cas {
            let found: Vec<CertificateDer<'static>> =
                CertificateDer::pem_slice_iter(text.as_str().as_bytes())
                    .filter_map(Result::ok)
                    .collect();
            let (added, _ignored) = own.add_parsable_certificates(found.iter().cloned());
            if added == 0 {
                let problem = if text.is_path() {
                    "no certificate in it (is it a file name that could not be read?)"
                } else {
                    "no certificate in it"
                };
                return Err(BuildError::option("rootCAs", problem));
            }
            authorities.extend(found);
        }
        let roots = if authorities.is_empty() { system_roots() } else { Arc::new(own) };
        let uri = Some(options.peer_cert_uri.clone()).filter(|uri| !uri.is_empty());
        let skip = options.insecure_skip_verify;
        Ok(Self { roots, authorities, uri, skip, provider: provider().clone() })
    }

    /// The chain up to an authority, without names.
    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        // Go trusts an authority that stands for itself; webpki would refuse it as a leaf.
        if self.authorities.iter().any(|known| known.as_ref() == leaf.as_ref()) {
            return check_validity(leaf, now);
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )
    }
}

fn check_validity(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_error| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > parsed.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Compares as Traefik does: with the first URI only, in any case.
fn check_uri(leaf: &CertificateDer<'_>, expected: &str) -> Result<(), Error> {
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_error| CertificateError::BadEncoding)?;
    let names = parsed.subject_alternative_name().ok().flatten();
    let first = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
    });
    if first.is_some_and(|uri| uri.eq_ignore_ascii_case(expected)) {
        return Ok(());
    }
    Err(CertificateError::ApplicationVerificationFailure.into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.skip || self.uri.is_some() {
            self.check_chain(leaf, intermediates, now)?;
        }
        if !self.skip {
            verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        }
        if let Some(uri) = &self.uri {
            check_uri(leaf, uri)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Certificates shown to servers that ask for one.
#[derive(Debug)]
struct Shown(Vec<(Arc<CertifiedKey>, Vec<Vec<u8>>)>);

impl Shown {
    fn build(certificates: &[Certificate]) -> Result<Self, BuildError> {
        let mut shown = Vec::new();
        for given in certificates {
            let pair = Pair::from_pem(given.cert_file.as_str(), given.key_file.as_str())
                .map_err(|error| BuildError::option("certificates", error.to_string()))?;
            let key = pair.key();
            let issuers = key.cert.iter().filter_map(|certificate| {
                let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
                Some(parsed.issuer().as_raw().to_vec())
            });
            shown.push((key.clone(), issuers.collect()));
        }
        Ok(Self(shown))
    }
}

impl ResolvesClientCert for Shown {
    /// The first whose chain leads to an authority that the server named and whose key can sign.
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let fits = |issuers: &[Vec<u8>]| {
            authorities.is_empty()
                || issuers.iter().any(|issuer| authorities.contains(&issuer.as_slice()))
        };
        self.0
            .iter()
            .find(|(key, issuers)| fits(issuers) && key.key.choose_scheme(schemes).is_some())
            .map(|(key, _)| key.clone())
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::FileOrContent;

    fn refused(options: &Options) -> String {
        Configs::build(options, None).unwrap_err().to_string()
    }

    #[test]
    fn min_version_alone_is_refused_as_in_traefik() {
        let with = |min: &str, max: &str| Options {
            min_version: min.into(),
            max_version: max.into(),
            ..Options::default()
        };
        assert!(refused(&with("VersionTLS12", "")).contains("set maxVersion"));
        assert!(refused(&with("VersionTLS9", "")).contains("invalid TLS version"));
        assert!(refused(&with("", "VersionTLS11")).contains("maxVersion"));
        assert!(Configs::build(&with("VersionTLS10", "VersionTLS12"), None).is_ok());
        assert_eq!(versions(&with("", "")).unwrap().len(), 2);
    }

    #[test]
    fn http2_is_offered_unless_it_is_disabled() {
        let configs = Configs::build(&Options::default(), None).unwrap();
        assert_eq!(configs.any.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(configs.http1.alpn_protocols, [b"http/1.1".to_vec()]);
        let disabled = Options { disable_http2: true, ..Options::default() };
        assert_eq!(
            Configs::build(&disabled, None).unwrap().any.alpn_protocols,
            [b"http/1.1".to_vec()]
        );
    }

    #[test]
    fn named_suites_are_the_ones_that_stay() {
        let with = |name: &str| Options { cipher_suites: vec![name.into()], ..Options::default() };
        for name in [
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ] {
            let suited = suited_provider(&with(name)).unwrap();
            let old = suited.cipher_suites.iter().filter(|suite| suite.tls13().is_none());
            assert_eq!(old.count(), 1, "{name}");
        }
        assert!(refused(&with("nope")).contains("invalid CipherSuite: nope"));
    }

    #[test]
    fn an_authority_without_certificates_is_refused() {
        let options =
            Options { root_cas: vec![FileOrContent("missing.pem".into())], ..Options::default() };
        assert!(refused(&options).contains("file name"));
    }

    fn checked(options: &Options, name: &str, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let verifier = Verifier::build(options).unwrap();
        let now = UnixTime::since_unix_epoch(crate::clock::now());
        let name = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(leaf, &[], &name, &[], now).map(|_| ())
    }

    #[test]
    fn a_trusted_self_signed_server_is_taken_by_its_name_and_uri() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        let uri = "spiffe://a.test/service".try_into().unwrap();
        parameters.subject_alt_names.push(rcgen::SanType::URI(uri));
        let certificate = parameters.self_signed(&key).unwrap();
        let trusting =
            Options { root_cas: vec![FileOrContent(certificate.pem())], ..Options::default() };
        let leaf = certificate.der();
        assert!(checked(&trusting, "a.test", leaf).is_ok());
        assert!(checked(&trusting, "b.test", leaf).is_err());
        assert!(checked(&Options::default(), "a.test", leaf).is_err());
        let skipping = Options { insecure_skip_verify: true, ..Options::default() };
        assert!(checked(&skipping, "b.test", leaf).is_ok());
        let with_uri = |uri: &str| Options { peer_cert_uri: uri.into(), ..trusting.clone() };
        assert!(checked(&with_uri("spiffe://A.test/service"), "a.test", leaf).is_ok());
        assert!(checked(&with_uri("spiffe://a.test/other"), "a.test", leaf).is_err());
        let unknown = Options { peer_cert_uri: "spiffe://a.test/service".into(), ..skipping };
        assert!(checked(&unknown, "a.test", leaf).is_err());
    }
}
