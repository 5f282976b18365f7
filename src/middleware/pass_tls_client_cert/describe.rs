//! Parts of a certificate as Traefik writes them: `Subject="C=FR,CN=x";Issuer="…";SerialNumber="…";NB="…";NA="…";SAN="…"`.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, Oid, Tag, oid};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use super::{Info, Issuer, Subject};

const COUNTRY: Oid<'static> = oid!(2.5.4.6);
const PROVINCE: Oid<'static> = oid!(2.5.4.8);
const LOCALITY: Oid<'static> = oid!(2.5.4.7);
const ORGANIZATION: Oid<'static> = oid!(2.5.4.10);
const ORGANIZATIONAL_UNIT: Oid<'static> = oid!(2.5.4.11);
const SERIAL_NUMBER: Oid<'static> = oid!(2.5.4.5);
const COMMON_NAME: Oid<'static> = oid!(2.5.4.3);
const DOMAIN_COMPONENT: Oid<'static> = oid!(0.9.2342.19200300.100.1.25);

/// What Go's `QueryEscape` leaves as it is.
const PLAIN_IN_QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');

/// The chosen parts of each certificate, escaped as in a query.
pub(super) fn info(options: &Info, chain: &[CertificateDer<'_>]) -> String {
    let texts: Vec<String> = chain.iter().map(|certificate| of_one(options, certificate)).collect();
    query_escaped(&texts.join(","))
}

fn query_escaped(text: &str) -> String {
    utf8_percent_encode(text, PLAIN_IN_QUERY).to_string().replace(' ', "+")
}

/// Nothing of a certificate that cannot be read, which no handshake accepts anyway.
fn of_one(options: &Info, certificate: &CertificateDer<'_>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return String::new();
    };
    let mut fields = Vec::new();
    let mut put = |name: &str, value: String| fields.push(format!("{name}=\"{value}\""));
    for (name, text) in [
        ("Subject", options.subject.as_ref().map(|of| subject(of, certificate.subject()))),
        ("Issuer", options.issuer.as_ref().map(|of| issuer(of, certificate.issuer()))),
    ] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            put(name, text);
        }
    }
    if options.serial_number {
        put("SerialNumber", certificate.serial.to_string());
    }
    if options.not_before {
        put("NB", unix(certificate.validity().not_before.timestamp()));
    }
    if options.not_after {
        put("NA", unix(certificate.validity().not_after.timestamp()));
    }
    if options.sans {
        let names = alternative_names(&certificate);
        if !names.is_empty() {
            put("SAN", names.join(","));
        }
    }
    fields.join(";")
}

/// Go writes times before 1970 as the unsigned number of the same bits.
fn unix(seconds: i64) -> String {
    seconds.cast_unsigned().to_string()
}

fn subject(options: &Subject, name: &X509Name<'_>) -> String {
    parts(
        name,
        &[
            (options.domain_component, DOMAIN_COMPONENT, "DC"),
            (options.country, COUNTRY, "C"),
            (options.province, PROVINCE, "ST"),
            (options.locality, LOCALITY, "L"),
            (options.organization, ORGANIZATION, "O"),
            (options.organizational_unit, ORGANIZATIONAL_UNIT, "OU"),
            (options.serial_number, SERIAL_NUMBER, "SN"),
            (options.common_name, COMMON_NAME, "CN"),
        ],
    )
}

fn issuer(options: &Issuer, name: &X509Name<'_>) -> String {
    parts(
        name,
        &[
            (options.domain_component, DOMAIN_COMPONENT, "DC"),
            (options.country, COUNTRY, "C"),
            (options.province, PROVINCE, "ST"),
            (options.locality, LOCALITY, "L"),
            (options.organization, ORGANIZATION, "O"),
            (options.serial_number, SERIAL_NUMBER, "SN"),
            (options.common_name, COMMON_NAME, "CN"),
        ],
    )
}

/// The attributes that are asked for, in this order. Of serial numbers and common names, Go keeps the last.
fn parts(name: &X509Name<'_>, wanted: &[(bool, Oid<'_>, &str)]) -> String {
    let mut parts = Vec::new();
    for (_, kind, label) in wanted.iter().filter(|(asked, ..)| *asked) {
        let single = *kind == SERIAL_NUMBER || *kind == COMMON_NAME;
        let values = name.iter_attributes().filter(|attribute| attribute.attr_type() == kind);
        let values: Vec<String> = values.map(|attribute| text(attribute.attr_value())).collect();
        let skipped = if single { values.len().saturating_sub(1) } else { 0 };
        let given = values.iter().skip(skipped).filter(|value| !value.is_empty());
        parts.extend(given.map(|value| format!("{label}={value}")));
    }
    parts.join(",")
}

/// The text of an attribute; old kinds of strings are read as Go reads them.
fn text(value: &Any<'_>) -> String {
    let bytes = value.data;
    match value.tag() {
        Tag::BmpString => {
            let (pairs, _odd) = bytes.as_chunks::<2>();
            char::decode_utf16(pairs.iter().map(|pair| u16::from_be_bytes(*pair)))
                .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        Tag::T61String => bytes.iter().copied().map(char::from).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// DNS names, addresses of mail, IP addresses, URIs: in this order.
fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let mut kinds: [Vec<String>; 4] = Default::default();
    let [dns, mail, addresses, uris] = &mut kinds;
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => dns.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => mail.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            _ => {}
        }
    }
    kinds.concat()
}

fn address(bytes: &[u8]) -> Option<String> {
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
        _ => return None,
    };
    Some(ip.to_string())
}
