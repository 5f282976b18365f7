//! Responses made by hand, good and bad.

use std::sync::Arc;

use der::asn1::{BitString, OctetString};
use der::{Any, DateTime};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SigningKey,
};
use x509_ocsp::{OcspGeneralizedTime, ResponseBytes};

use super::*;

const NOW: Duration = Duration::from_hours(500_000);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    Authority { issuer: Issuer::new(params, key), der }
}

impl Authority {
    fn pair(&self, responder: Option<&str>, with_issuer: bool) -> Pair {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        if let Some(url) = responder {
            let location = tlv(0x86, &[url.as_bytes()]);
            let method = [0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 48, 1];
            let access = tlv(0x30, &[&tlv(0x30, &[&method, &location])]);
            params.custom_extensions =
                vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)];
        }
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let issuer = pem(&self.der);
        let chain = leaf.pem() + if with_issuer { &issuer } else { "" };
        Pair::from_pem(&chain, &key.serialize_pem()).unwrap()
    }

    /// A certificate that may answer in the authority's place, or may not.
    fn delegate(&self, may: bool) -> (KeyPair, Vec<u8>) {
        let mut params = CertificateParams::default();
        params.not_before = time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap();
        if may {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        }
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        (key, der)
    }
}

fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

fn at(time: Duration) -> OcspGeneralizedTime {
    DateTime::from_unix_duration(time).unwrap().into()
}

/// A response about `question` that `key` signs, with `certificates`.
fn response(
    question: &Question,
    (from, end): (Duration, Option<Duration>),
    status: CertStatus,
    key: &KeyPair,
    certificates: &[Vec<u8>],
) -> Vec<u8> {
    let data = ResponseData {
        version: x509_ocsp::Version::V1,
        responder_id: OctetString::new(vec![7; 20]).unwrap().into(),
        produced_at: at(from),
        responses: vec![SingleResponse {
            cert_id: question.id.clone(),
            cert_status: status,
            this_update: at(from),
            next_update: end.map(at),
            single_extensions: None,
        }],
        response_extensions: None,
    };
    let data = data.to_der().unwrap();
    let signature = BitString::from_bytes(&key.sign(&data).unwrap()).unwrap().to_der().unwrap();
    // ecdsa-with-SHA256
    let algorithm = tlv(0x30, &[&tlv(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]);
    let mut inside = [data, algorithm, signature].concat();
    if !certificates.is_empty() {
        inside.extend(long(0xa0, &long(0x30, &certificates.concat())));
    }
    let whole = OcspResponse {
        response_status: OcspResponseStatus::Successful,
        response_bytes: Some(ResponseBytes {
            response_type: BASIC.parse().unwrap(),
            response: OctetString::new(long(0x30, &inside)).unwrap(),
        }),
    };
    whole.to_der().unwrap()
}

fn long(tag: u8, contents: &[u8]) -> Vec<u8> {
    Any::new(tag.try_into().unwrap(), contents).unwrap().to_der().unwrap()
}

fn hours(count: u64) -> Duration {
    Duration::from_hours(count)
}

fn fresh() -> (Duration, Option<Duration>) {
    (hours(499_999), Some(NOW + hours(3)))
}

fn asked() -> (Authority, Question) {
    let authority = authority("one");
    let pair = authority.pair(Some("http://ocsp.test/a"), true);
    let question = Question::about(&pair).unwrap().unwrap();
    (authority, question)
}

/// tcp-udp-tls.md §6, OCSP: certificates with a responder are asked about.
#[test]
fn a_question_needs_a_responder_and_the_issuer() {
    let (_, question) = asked();
    assert_eq!(question.responder, "http://ocsp.test/a");
    let request = OcspRequest::from_der(&question.request).unwrap();
    assert_eq!(request.tbs_request.request_list[0].req_cert, question.id);
    let authority = authority("one");
    assert!(Question::about(&authority.pair(None, true)).unwrap().is_none());
    let lonely = authority.pair(Some("http://ocsp.test"), false);
    assert_eq!(Question::about(&lonely).unwrap_err(), Error::NoIssuer);
}

#[test]
fn the_issuers_answer_is_good_until_its_end() {
    let (authority, question) = asked();
    let key = authority.issuer.key();
    let judged =
        |times| question.judge(&response(&question, times, CertStatus::good(), key, &[]), NOW);
    assert_eq!(judged(fresh()), Ok(Good { renew: NOW + hours(1), end: NOW + hours(3) }));
    let open = judged((NOW, None)).unwrap();
    assert_eq!(open.end, NOW + hours(24));
    assert_eq!(judged((hours(499_998), Some(NOW))), Err(Error::Late));
    assert_eq!(judged((NOW + hours(1), Some(NOW + hours(2)))), Err(Error::Early));
    let of = |status| question.judge(&response(&question, fresh(), status, key, &[]), NOW);
    assert_eq!(of(CertStatus::unknown()), Err(Error::Unknown));
    let revoked = x509_ocsp::RevokedInfo { revocation_time: at(NOW), revocation_reason: None };
    assert_eq!(of(CertStatus::revoked(revoked)), Err(Error::Revoked));
}

#[test]
fn only_the_issuer_and_its_delegates_may_answer() {
    let (authority, question) = asked();
    let by = |key: &KeyPair, certificates: &[Vec<u8>]| {
        let bytes = response(&question, fresh(), CertStatus::good(), key, certificates);
        question.judge(&bytes, NOW).map(|_| ())
    };
    let (key, der) = authority.delegate(true);
    assert_eq!(by(&key, std::slice::from_ref(&der)), Ok(()));
    assert_eq!(by(&key, &[]), Err(Error::Signature), "without its certificate");
    assert_eq!(by(&KeyPair::generate().unwrap(), &[der]), Err(Error::Signature), "another's key");
    let (key, der) = authority.delegate(false);
    assert_eq!(by(&key, &[der]), Err(Error::Signature), "not for OCSP");
    let stranger = self::authority("one");
    let (key, der) = stranger.delegate(true);
    assert_eq!(by(&key, &[der]), Err(Error::Signature), "another's delegate, of the same name");
    assert_eq!(by(stranger.issuer.key(), &[]), Err(Error::Signature));
}

#[test]
fn an_answer_about_another_certificate_is_of_no_use() {
    let (authority, question) = asked();
    let other = authority.pair(Some("http://ocsp.test"), true);
    let other = Question::about(&other).unwrap().unwrap();
    let bytes = response(&other, fresh(), CertStatus::good(), authority.issuer.key(), &[]);
    assert!(other.judge(&bytes, NOW).is_ok());
    assert_eq!(question.judge(&bytes, NOW), Err(Error::Other));
}

#[test]
fn refusals_and_nonsense_are_errors() {
    let (authority, question) = asked();
    let later = OcspResponse::try_later().to_der().unwrap();
    assert_eq!(question.judge(&later, NOW), Err(Error::Refused("`tryLater`")));
    let good = response(&question, fresh(), CertStatus::good(), authority.issuer.key(), &[]);
    for end in 0..good.len() {
        assert!(question.judge(&good[..end], NOW).is_err());
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        drop(question.judge(&bad, NOW));
    }
}

#[test]
fn a_staple_is_put_on_the_pair_and_taken_off() {
    let pair = Arc::new(authority("one").pair(None, true));
    let before = pair.key();
    pair.staple(Some(vec![1, 2]));
    assert_eq!(pair.key().ocsp.as_deref(), Some(&[1, 2][..]));
    assert!(Arc::ptr_eq(&pair.key().key, &before.key));
    pair.staple(None);
    assert_eq!(pair.key().ocsp, None);
}
