//! SPIFFE: our own identity from the Workload API, and the identities that servers must have.
//!
//! Traefik v3: `spiffe` of the startup configuration and of transports. X.509-SVIDs as the standard says: servers are
//! verified against the bundle of their trust domain, and shown ours.
//!
//! Differs: the start does not wait for the first SVID: until it is there, connections that need it fail.

mod id;
mod workload;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(super) use self::id::Allowed;
use self::workload::Endpoint;
use crate::tls::certificate::provider;

/// Wait after the first failure of the Workload API; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Who we are, as the Workload API says last; nobody before it has said something. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Identity(Arc<ArcSwapOption<Svid>>);

/// An X.509-SVID with the authorities of the trust domains that it may talk to.
#[derive(Debug)]
struct Svid {
    key: Arc<CertifiedKey>,
    /// By trust domain.
    bundles: HashMap<String, Arc<RootCertStore>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Follows the Workload API at `address` until told to stop.
    pub(crate) async fn run(self, address: String, stop: CancellationToken) {
        let endpoint = match Endpoint::parse(&address) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::error!(%error, address, "spiffe.workloadAPIAddr cannot be used");
                return;
            }
        };
        let mut wait = WAIT_MIN;
        loop {
            let mut delivered = false;
            let stream = workload::follow(&endpoint, |svid, id| {
                info!(id, "SPIFFE identity delivered");
                delivered = true;
                self.0.store(Some(Arc::new(svid)));
            });
            let Some(ended) = stop.run_until_cancelled(stream).await else { return };
            if delivered {
                wait = WAIT_MIN;
            }
            if let Err(error) = ended {
                warn!(%error, address, "the SPIFFE Workload API is not to be had; what it said last stays");
            }
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }
}

/// Shows our SVID to servers that ask for a certificate.
impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.0.load().as_ref()?.key.clone();
        key.key.choose_scheme(schemes).is_some().then_some(key)
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}

/// Checks servers by their SPIFFE ids; their host names do not matter.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) identity: Identity,
    pub(super) allowed: Allowed,
}

fn refused() -> Error {
    CertificateError::ApplicationVerificationFailure.into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let id = id::of_certificate(leaf).ok_or_else(refused)?;
        let svid = self.identity.0.load_full();
        let svid = svid.ok_or_else(|| {
            Error::General(
                "there is no SPIFFE identity yet: the Workload API has not answered".into(),
            )
        })?;
        let roots = svid.bundles.get(id.trust_domain()).ok_or(CertificateError::UnknownIssuer)?;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            roots,
            intermediates,
            now,
            provider().signature_verification_algorithms.all,
        )?;
        if !self.allowed.permits(&id) {
            return Err(refused());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
