//! Mutual TLS: whoever has the secret can make a certificate, nobody else can.
//!
//! The key of the certificate authority is derived from the secret. Each peer signs itself a
//! certificate when it starts, which lives as long as the process.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version::TLS13};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::secret::{self, Secret};

/// The name in every peer's certificate: the secret is what counts, not the name.
pub(crate) const PEER_NAME: &str = "peer.pontoon.internal";
/// What stands before an Ed25519 seed in PKCS #8, RFC 8410.
const ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why the certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key could not be derived.
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// A certificate could not be made.
    #[error("cannot make the certificates of the peers")]
    Certificate(#[from] rcgen::Error),
    /// TLS does not take them.
    #[error("cannot use the certificates of the peers")]
    Tls(#[from] rustls::Error),
    /// TLS does not take the authority.
    #[error("cannot verify peers")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

fn authority(secret: &Secret) -> Result<(CertificateParams, KeyPair), Error> {
    let seed: [u8; 32] = secret.derive(&[b"certificate authority"])?;
    let key = PrivatePkcs8KeyDer::from([ED25519_PREFIX.as_slice(), &seed].concat());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("pontoon {}", secret.name()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok((params, key))
}

impl Tls {
    /// Presents a certificate of the first secret, accepts those of all.
    pub(crate) fn new(secrets: &[Secret]) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for secret in secrets {
            let (params, key) = authority(secret)?;
            roots.add(params.self_signed(&key)?.der().clone())?;
        }
        let roots = Arc::new(roots);
        let (params, key) = authority(secrets.first().ok_or(secret::Error::None)?)?;
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![PEER_NAME.to_owned()])?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let chain = vec![params.signed_by(&own, &issuer)?.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));

        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }
}
