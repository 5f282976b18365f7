//! Client certificates: who must show one, and who checks it.
//!
//! Traefik: TLS options, `clientAuth` (tcp-udp-tls.md §6).

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::provider;
use super::config::Error;

/// Traefik's `clientAuthType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

/// The verifier for these options; `None` where no certificate is asked for.
pub(crate) fn verifier(
    authorities: &[&str],
    kind: &str,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    let kind = match kind {
        "" if authorities.is_empty() => Kind::None,
        "" | "RequireAndVerifyClientCert" => Kind::RequireAndVerify,
        "NoClientCert" => Kind::None,
        "RequestClientCert" => Kind::Request,
        "RequireAnyClientCert" => Kind::RequireAny,
        "VerifyClientCertIfGiven" => Kind::VerifyIfGiven,
        other => return Err(Error::ClientAuthType(other.to_owned())),
    };
    match kind {
        Kind::None => Ok(None),
        Kind::Request => Ok(Some(Arc::new(AnyCertificate { mandatory: false }))),
        Kind::RequireAny => Ok(Some(Arc::new(AnyCertificate { mandatory: true }))),
        Kind::VerifyIfGiven | Kind::RequireAndVerify => {
            let builder = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots(authorities)?),
                provider().clone(),
            );
            let builder =
                if kind == Kind::VerifyIfGiven { builder.allow_unauthenticated() } else { builder };
            let verifier = builder.build().map_err(|error| Error::ClientAuth(error.to_string()))?;
            Ok(Some(verifier))
        }
    }
}

fn roots(authorities: &[&str]) -> Result<RootCertStore, Error> {
    if authorities.is_empty() {
        return Err(Error::ClientAuth(
            "invalid clientAuthType: a verifying type needs caFiles".to_owned(),
        ));
    }
    let mut roots = RootCertStore::empty();
    for text in authorities {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let refused = |error: &dyn std::fmt::Display| {
                Error::ClientAuth(format!("invalid certificate(s) content in caFiles: {error}"))
            };
            roots
                .add(certificate.map_err(|error| refused(&error))?)
                .map_err(|error| refused(&error))?;
            found = true;
        }
        if !found {
            return Err(Error::ClientAuth(
                "invalid certificate(s) content: no certificate in an entry of caFiles".to_owned(),
            ));
        }
    }
    Ok(roots)
}

/// Takes whatever certificate the client shows; that the client holds its key is still checked.
#[derive(Debug)]
struct AnyCertificate {
    mandatory: bool,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_decides_and_mistakes_are_named() {
        assert!(verifier(&[], "").unwrap().is_none());
        assert!(verifier(&[], "NoClientCert").unwrap().is_none());
        assert!(!verifier(&[], "RequestClientCert").unwrap().unwrap().client_auth_mandatory());
        assert!(verifier(&[], "RequireAnyClientCert").unwrap().unwrap().client_auth_mandatory());
        assert!(verifier(&[], "VerifyClientCertIfGiven").is_err());
        assert!(verifier(&[], "Sometimes").is_err());
        assert!(verifier(&["no pem"], "").is_err());
    }
}
