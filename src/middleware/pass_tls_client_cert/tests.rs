//! What servers are told of clients' certificates.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa,
    Issuer as Signer, KeyPair, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::*;
use crate::middleware::testing::{header, passed, secure, with_certificates};

fn name(parts: Vec<(DnType, DnValue)>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in parts {
        name.push(kind, value);
    }
    name
}

fn utf8(text: &str) -> DnValue {
    DnValue::Utf8String(text.to_owned())
}

/// A client's certificate with all that can be told of it, and its authority's.
fn chain() -> Vec<CertificateDer<'static>> {
    let serial = DnType::CustomDnType(vec![2, 5, 4, 5]);
    let component = DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]);
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name = name(vec![
        (DnType::CommonName, utf8("Our CA")),
        (DnType::OrganizationName, utf8("Cheese & Co, Inc")),
        (DnType::CountryName, utf8("FR")),
        (serial.clone(), utf8("1")),
        (component.clone(), utf8("org")),
    ]);
    authority.serial_number = Some(SerialNumber::from(vec![7]));
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let mut client = CertificateParams::default();
    client.distinguished_name = name(vec![
        (DnType::CommonName, DnValue::BmpString("ann ü".try_into().unwrap())),
        (DnType::OrganizationalUnitName, utf8("Simple Ops")),
        (DnType::OrganizationName, utf8("Cheese")),
        (DnType::LocalityName, utf8("TOULOUSE")),
        (DnType::StateOrProvinceName, utf8("Signing State")),
        (DnType::CountryName, utf8("DE")),
        (serial, utf8("42")),
        (component, utf8("cheese")),
    ]);
    client.serial_number = Some(SerialNumber::from(vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    client.not_before = OffsetDateTime::from_unix_timestamp(1_600_000_000).unwrap();
    client.not_after = OffsetDateTime::from_unix_timestamp(2_000_000_000).unwrap();
    client.subject_alt_names = vec![
        SanType::URI("spiffe://cheese.test/ann".try_into().unwrap()),
        SanType::IpAddress("10.0.1.2".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
        SanType::Rfc822Name("ann@cheese.test".try_into().unwrap()),
        SanType::DnsName("*.cheese.test".try_into().unwrap()),
    ];
    let signer = Signer::new(authority, &authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = client.signed_by(&key, &signer).unwrap();
    vec![certificate.der().clone(), authority_certificate.der().clone()]
}

async fn told(json: &str, chain: Vec<CertificateDer<'static>>) -> HeaderMap {
    let options: PassTlsClientCert = serde_json::from_str(json).unwrap();
    let forged = [
        ("x-forwarded-tls-client-cert", "MII"),
        ("x-forwarded-tls-client-cert-info", "Subject"),
        ("x_forwarded_tls_client_cert_info", "Subject"),
    ];
    passed(&options, with_certificates("/", &forged, chain)).await.headers().clone()
}

const ALL: &str = r#"{"pem": true, "info": {"notAfter": true, "notBefore": true, "sans": true, "serialNumber": true,
    "subject": {"country": true, "province": true, "locality": true, "organization": true, "organizationalUnit": true,
        "commonName": true, "serialNumber": true, "domainComponent": true},
    "issuer": {"country": true, "province": true, "locality": true, "organization": true, "commonName": true,
        "serialNumber": true, "domainComponent": true}}}"#;

#[tokio::test]
async fn all_parts_come_in_traefiks_order_and_escaped() {
    let mut chain = chain();
    chain.truncate(1);
    let headers = told(ALL, chain.clone()).await;
    assert_eq!(
        header(&headers, "x-forwarded-tls-client-cert-info"),
        "Subject%3D%22DC%3Dcheese%2CC%3DDE%2CST%3DSigning+State%2CL%3DTOULOUSE%2CO%3DCheese%2COU%3DSimple+Ops%2CSN%3D42\
         %2CCN%3Dann+%C3%BC%22%3BIssuer%3D%22DC%3Dorg%2CC%3DFR%2CO%3DCheese+%26+Co%2C+Inc%2CSN%3D1%2CCN%3DOur+CA%22%3B\
         SerialNumber%3D%224722366482869645213696%22%3BNB%3D%221600000000%22%3BNA%3D%222000000000%22%3B\
         SAN%3D%22%2A.cheese.test%2Cann%40cheese.test%2C10.0.1.2%2C2001%3Adb8%3A%3A1%2Cspiffe%3A%2F%2Fcheese.test%2Fann%22"
    );
    let encoded = header(&headers, "x-forwarded-tls-client-cert");
    assert_eq!(STANDARD.decode(encoded).unwrap(), chain[0].as_ref());
    assert!(!headers.contains_key("x_forwarded_tls_client_cert_info"));
}

#[tokio::test]
async fn each_certificate_of_the_chain_is_told() {
    let chain = chain();
    let json = r#"{"pem": true, "info": {"subject": {"organization": true}}}"#;
    let headers = told(json, chain.clone()).await;
    assert_eq!(
        header(&headers, "x-forwarded-tls-client-cert-info"),
        "Subject%3D%22O%3DCheese%22%2CSubject%3D%22O%3DCheese+%26+Co%2C+Inc%22"
    );
    let encoded = header(&headers, "x-forwarded-tls-client-cert");
    let second = encoded.split(',').nth(1).unwrap();
    assert_eq!(STANDARD.decode(second).unwrap(), chain[1].as_ref());
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_told() {
    let headers = told(r#"{"info": {"issuer": {}}}"#, chain()).await;
    assert_eq!(header(&headers, "x-forwarded-tls-client-cert-info"), "%2C");
    assert_eq!(header(&headers, "x-forwarded-tls-client-cert"), "MII");
}

#[tokio::test]
async fn without_a_certificate_forged_headers_go() {
    let headers = told(ALL, Vec::new()).await;
    assert!(headers.keys().all(|name| !name.as_str().contains("client")), "{headers:?}");
    let options: PassTlsClientCert = serde_json::from_str(ALL).unwrap();
    let seen = passed(&options, secure("GET", "/", &[])).await;
    assert!(seen.headers().is_empty());
}

#[tokio::test]
async fn what_is_no_certificate_is_told_as_nothing() {
    let broken = vec![CertificateDer::from(vec![0x30, 0x82, 1, 2])];
    let headers = told(r#"{"info": {"sans": true}}"#, broken).await;
    assert_eq!(header(&headers, "x-forwarded-tls-client-cert-info"), "");
}
