//! `passTLSClientCert`: tells the server about the client's certificate.
//!
//! Traefik v3: HTTP middlewares, `PassTLSClientCert`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

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
        Err(BuildError::NotBuilt("passTLSClientCert"))
    }
}
