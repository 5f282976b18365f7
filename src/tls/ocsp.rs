//! OCSP (RFC 6960): what to ask about a certificate, and whether an answer may be stapled.
//!
//! Traefik v3: `ocsp`. Differs: an answer is verified before it is stapled, it goes when it has expired or when the
//! certificate is revoked, and a chain without its issuer is not asked about.

#[cfg(test)]
mod tests;

use std::time::Duration;

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Reader, SliceReader};
use rustls_pki_types::CertificateDer;
use sha1::{Digest, Sha1};
use x509_ocsp::{
    CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request, ResponseData,
    SingleResponse, TbsRequest,
};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_OCSP;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::time::ASN1Time;

use super::certificate::{Pair, provider};

/// How far the clocks of responders may be ahead of ours.
const SKEW: Duration = Duration::from_mins(5);
/// Certificates of a response that are tried as its signer's.
const SIGNERS_MAX: usize = 8;
/// How long an answer without `nextUpdate` is good: there is newer information all the time (RFC 6960 §4.2.2.1).
const WITHOUT_END: Duration = Duration::from_hours(24);
/// `AlgorithmIdentifier` of SHA-1, which is what responders can be asked with (RFC 5019 §2.1.1).
const SHA1: &[u8] = &[0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00];
/// `id-pkix-ocsp-basic`
const BASIC: &str = "1.3.6.1.5.5.7.48.1.1";

/// Why nothing can be asked, or an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the certificate's chain does not hold its issuer: add it to `certFile`")]
    NoIssuer,
    #[error("the certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the response cannot be read: {0}")]
    Unreadable(String),
    #[error("the responder answers {0}")]
    Refused(&'static str),
    #[error("the response is about another certificate")]
    Other,
    #[error("the response is signed by nobody that may do so")]
    Signature,
    #[error("the response is of the future")]
    Early,
    #[error("the response has expired")]
    Late,
    #[error("the responder does not know the certificate")]
    Unknown,
    #[error("the certificate is revoked")]
    Revoked,
}

impl From<der::Error> for Error {
    fn from(error: der::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// What to ask about one certificate.
#[derive(Debug)]
pub(crate) struct Question {
    /// Where the certificate says that answers are to be had.
    pub(crate) responder: String,
    /// The request, in DER.
    pub(crate) request: Vec<u8>,
    id: CertId,
    issuer: CertificateDer<'static>,
}

/// An answer that may be stapled. Times are since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Good {
    /// When a newer one should be asked for: half-way to its end, as Traefik does.
    pub(crate) renew: Duration,
    /// When it must be stapled no longer.
    pub(crate) end: Duration,
}

impl Question {
    /// `None` for a certificate that names no responder.
    pub(crate) fn about(pair: &Pair) -> Result<Option<Self>, Error> {
        let chain = &pair.key().cert;
        let Some(leaf) = chain.first() else { return Ok(None) };
        let leaf = parse(leaf)?;
        let Some(responder) = responder(&leaf) else { return Ok(None) };
        let issuer_der = chain.get(1).ok_or(Error::NoIssuer)?;
        let issuer = parse(issuer_der)?;
        if issuer.subject().as_raw() != leaf.issuer().as_raw() {
            return Err(Error::NoIssuer);
        }
        let key = &issuer.tbs_certificate.subject_pki.subject_public_key.data;
        let id = tlv(
            0x30,
            &[
                SHA1,
                &tlv(0x04, &[&Sha1::digest(issuer.subject().as_raw())]),
                &tlv(0x04, &[&Sha1::digest(key)]),
                &tlv(0x02, &[leaf.raw_serial()]),
            ],
        );
        let id = CertId::from_der(&id).map_err(|error| Error::Certificate(error.to_string()))?;
        let one = Request { req_cert: id.clone(), single_request_extensions: None };
        let tbs_request = TbsRequest { request_list: vec![one], ..TbsRequest::default() };
        let request = OcspRequest { tbs_request, optional_signature: None };
        let request = request.to_der().map_err(|error| Error::Certificate(error.to_string()))?;
        Ok(Some(Self { responder, request, id, issuer: issuer_der.clone() }))
    }

    /// Reads and verifies a response (RFC 6960 §3.2) that came at `now`.
    pub(crate) fn judge(&self, response: &[u8], now: Duration) -> Result<Good, Error> {
        let response = OcspResponse::from_der(response)?;
        if let Some(refusal) = refusal(response.response_status) {
            return Err(Error::Refused(refusal));
        }
        let bytes = response.response_bytes.ok_or(Error::Refused("nothing"))?;
        if bytes.response_type.to_string() != BASIC {
            return Err(Error::Unreadable(format!("its type is {}", bytes.response_type)));
        }
        let signed = Signed::read(bytes.response.as_bytes())?;
        self.verify(&signed, now)?;
        let data = ResponseData::from_der(signed.data)?;
        let about = data.responses.iter().find(|one| self.is_asked(&one.cert_id));
        judge(about.ok_or(Error::Other)?, now)
    }

    fn is_asked(&self, id: &CertId) -> bool {
        // Parameters of the algorithm may be missing or null.
        id.hash_algorithm.oid == self.id.hash_algorithm.oid
            && id.issuer_name_hash == self.id.issuer_name_hash
            && id.issuer_key_hash == self.id.issuer_key_hash
            && id.serial_number == self.id.serial_number
    }

    /// The issuer signs, or somebody whom it has given a certificate for that (RFC 6960 §4.2.2.2).
    fn verify(&self, signed: &Signed<'_>, now: Duration) -> Result<(), Error> {
        let issuer = parse(&self.issuer)?;
        if signed.is_by(&issuer) {
            return Ok(());
        }
        let mut rest = signed.certificates;
        for _ in 0..SIGNERS_MAX {
            let Ok((behind, signer)) = X509Certificate::from_der(rest) else { break };
            let whole = rest.get(..rest.len() - behind.len()).unwrap_or_default();
            rest = behind;
            if is_delegate(&signer, whole, &issuer, now) && signed.is_by(&signer) {
                return Ok(());
            }
        }
        Err(Error::Signature)
    }
}

/// True if `issuer` lets `signer` answer in its place, now.
fn is_delegate(
    signer: &X509Certificate<'_>,
    der: &[u8],
    issuer: &X509Certificate<'_>,
    now: Duration,
) -> bool {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let answers =
        signer.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.ocsp_signing);
    answers
        && signer.issuer().as_raw() == issuer.subject().as_raw()
        && ASN1Time::from_timestamp(now).is_ok_and(|now| signer.validity().is_valid_at(now))
        && Signed::read(der).is_ok_and(|signed| signed.is_by(issuer))
}

/// What is said of the one certificate.
fn judge(about: &SingleResponse, now: Duration) -> Result<Good, Error> {
    match &about.cert_status {
        CertStatus::Good(_) => {}
        CertStatus::Revoked(_) => return Err(Error::Revoked),
        CertStatus::Unknown(_) => return Err(Error::Unknown),
    }
    let from = about.this_update.0.to_unix_duration();
    let end = match &about.next_update {
        Some(end) => end.0.to_unix_duration(),
        None => from + WITHOUT_END,
    };
    if from > now + SKEW {
        return Err(Error::Early);
    }
    if end <= now {
        return Err(Error::Late);
    }
    Ok(Good { renew: from + end.saturating_sub(from) / 2, end })
}

fn refusal(status: OcspResponseStatus) -> Option<&'static str> {
    match status {
        OcspResponseStatus::Successful => None,
        OcspResponseStatus::MalformedRequest => Some("`malformedRequest`"),
        OcspResponseStatus::InternalError => Some("`internalError`"),
        OcspResponseStatus::TryLater => Some("`tryLater`"),
        OcspResponseStatus::SigRequired => Some("`sigRequired`"),
        OcspResponseStatus::Unauthorized => Some("`unauthorized`"),
    }
}

/// What certificates and basic responses have in common: data, and a signature on it.
struct Signed<'a> {
    /// With its header, as it is signed.
    data: &'a [u8],
    /// Contents of the `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// Certificates of a response, one behind the other.
    certificates: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(der: &'a [u8]) -> Result<Self, der::Error> {
        let mut reader = SliceReader::new(der)?;
        let signed = reader.sequence(|reader| {
            let data = reader.tlv_bytes()?;
            let algorithm = AnyRef::decode(reader)?.value();
            let signature = BitStringRef::decode(reader)?.raw_bytes();
            let mut certificates: &[u8] = &[];
            if !reader.is_finished() {
                // [0] EXPLICIT SEQUENCE OF Certificate
                certificates = AnyRef::from_der(AnyRef::decode(reader)?.value())?.value();
            }
            Ok(Self { data, algorithm, signature, certificates })
        })?;
        reader.finish(signed)
    }

    /// True if the signature is by the key of `signer`.
    fn is_by(&self, signer: &X509Certificate<'_>) -> bool {
        let key = &signer.tbs_certificate.subject_pki;
        // Contents of the key's `AlgorithmIdentifier`.
        let read = || {
            let mut reader = SliceReader::new(key.raw)?;
            reader.sequence(|reader| {
                let algorithm = AnyRef::decode(reader)?.value();
                reader.tlv_bytes()?;
                Ok::<_, der::Error>(algorithm)
            })
        };
        let Ok(key_algorithm) = read() else { return false };
        provider().signature_verification_algorithms.all.iter().any(|algorithm| {
            &*algorithm.signature_alg_id() == self.algorithm
                && &*algorithm.public_key_alg_id() == key_algorithm
                && algorithm
                    .verify_signature(&key.subject_public_key.data, self.data, self.signature)
                    .is_ok()
        })
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    X509Certificate::from_der(der)
        .map(|(_, parsed)| parsed)
        .map_err(|error| Error::Certificate(error.to_string()))
}

/// The first responder that the certificate names.
fn responder(leaf: &X509Certificate<'_>) -> Option<String> {
    leaf.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
            return None;
        };
        access.iter().find_map(|access| match &access.access_location {
            GeneralName::URI(uri) if access.access_method == OID_PKIX_ACCESS_DESCRIPTOR_OCSP => {
                Some((*uri).to_owned())
            }
            _ => None,
        })
    })
}

/// DER of less than 128 bytes: tag, length, contents.
fn tlv(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = u8::try_from(contents.len()).unwrap_or(u8::MAX);
    // A longer one cannot come up but for a serial number beyond all limits, which is refused as it is read.
    let mut whole = vec![tag, length.min(127)];
    whole.extend(contents);
    whole
}
