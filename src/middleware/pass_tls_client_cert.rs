//! `passTLSClientCert`: tells the server about the client's certificate.
//!
//! Traefik v3: HTTP middlewares, `PassTLSClientCert`.
//!
//! Differs: where the connection has no certificate, the headers are taken off the request even if the entry point
//! trusts the client's, so that they always speak of this connection.

mod describe;

use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{ProxyError, Request, Response};

/// Options of `passTLSClientCert`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "PassTLSClientCert")]
pub(crate) struct PassTlsClientCert {
    /// Sends the whole chain in `X-Forwarded-Tls-Client-Cert`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) pem: bool,
    /// Sends parts of it in `X-Forwarded-Tls-Client-Cert-Info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) info: Option<Info>,
}

/// Options of `passTLSClientCert.info`. Default of all: left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "TLSClientCertificateInfo")]
pub(crate) struct Info {
    /// End of validity.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) not_after: bool,
    /// Start of validity.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) not_before: bool,
    /// Subject alternative names.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) sans: bool,
    /// Serial number of the certificate.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) serial_number: bool,
    /// Parts of the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Subject>,
    /// Parts of the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<Issuer>,
}

/// Options of `passTLSClientCert.info.subject`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "TLSClientCertificateSubject")]
pub(crate) struct Subject {
    /// C
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) country: bool,
    /// ST
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) province: bool,
    /// L
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) locality: bool,
    /// O
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) organization: bool,
    /// OU
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) organizational_unit: bool,
    /// CN
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) common_name: bool,
    /// SN
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) serial_number: bool,
    /// DC
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) domain_component: bool,
}

/// Options of `passTLSClientCert.info.issuer`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "TLSClientCertificateIssuer")]
pub(crate) struct Issuer {
    /// C
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) country: bool,
    /// ST
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) province: bool,
    /// L
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) locality: bool,
    /// O
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) organization: bool,
    /// CN
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) common_name: bool,
    /// SN
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) serial_number: bool,
    /// DC
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) domain_component: bool,
}

impl Build for PassTlsClientCert {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Ok(Arc::new(Passer { pem: self.pem, info: self.info.clone() }))
    }
}

const CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert");
const INFO: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert-info");

struct Passer {
    pem: bool,
    info: Option<Info>,
}

#[async_trait]
impl Middleware for Passer {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let exchange = request.exchange().clone();
        let chain = exchange.connection.tls.as_ref().map(|tls| tls.peer_certificates.as_slice());
        let chain = chain.unwrap_or_default();
        let headers = request.headers_mut();
        if self.pem {
            put(headers, &CERTIFICATE, chain, whole);
        }
        if let Some(info) = &self.info {
            put(headers, &INFO, chain, |chain| describe::info(info, chain));
        }
        next.run(request).await
    }
}

/// Puts what `describe` says of the chain in the place of what the client says.
fn put(
    headers: &mut HeaderMap,
    name: &HeaderName,
    chain: &[CertificateDer<'_>],
    describe: impl FnOnce(&[CertificateDer<'_>]) -> String,
) {
    let same = |other: &HeaderName| other.as_str().replace('_', "-") == name.as_str();
    let forged: Vec<HeaderName> = headers.keys().filter(|name| same(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    if chain.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::try_from(describe(chain)) {
        headers.insert(name, value);
    }
}

/// The chain in Base64, without the marks and line ends of PEM.
fn whole(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| STANDARD.encode(certificate)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
