//! Certificates as the API shows them (api.md §6). Never a private key.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};
use x509_parser::public_key::PublicKey;

use crate::hex;
use crate::tls::Pair;

/// Less than this many seconds before its end a certificate is a warning: 30 days.
const SOON: i64 = 30 * 24 * 3600;

pub(super) fn all(pairs: &[Arc<Pair>]) -> Vec<Value> {
    pairs.iter().filter_map(|pair| one(pair)).collect()
}

fn instant(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

fn first<'a>(
    mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> String {
    values.next().and_then(|value| value.as_str().ok()).unwrap_or_default().to_owned()
}

fn organization(name: &X509Name<'_>) -> String {
    first(name.iter_organization())
}

fn one(pair: &Pair) -> Option<Value> {
    let leaf = &pair.leaf()?;
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let now = i64::try_from(crate::clock::now().as_secs()).unwrap_or(i64::MAX);
    let not_after = parsed.validity().not_after.timestamp();
    let status = match not_after - now {
        ..=0 => "expired",
        left if left < SOON => "warning",
        _ => "enabled",
    };
    let (key_type, key_size) = match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => ("RSA", key.key_size()),
        Ok(PublicKey::EC(key)) => ("ECDSA", key.key_size()),
        _ => ("Unknown", 0),
    };
    let fingerprint = hex::lower(&Sha256::digest(leaf));
    Some(json!({
        "name": fingerprint,
        "sans": pair.names,
        "notBefore": instant(parsed.validity().not_before.timestamp()),
        "notAfter": instant(not_after),
        "serialNumber": parsed.serial.to_string(),
        "commonName": first(parsed.subject().iter_common_name()),
        "organization": organization(parsed.subject()),
        "country": first(parsed.subject().iter_country()),
        "issuerOrg": organization(parsed.issuer()),
        "issuerCN": first(parsed.issuer().iter_common_name()),
        "issuerCountry": first(parsed.issuer().iter_country()),
        "version": format!("v{}", parsed.version().0 + 1),
        "keyType": key_type,
        "keySize": key_size,
        "signatureAlgorithm": signature(&parsed.signature_algorithm.algorithm.to_id_string()),
        "certFingerprint": fingerprint,
        "publicKeyFingerprint": hex::lower(&Sha256::digest(parsed.public_key().raw)),
        "status": status,
    }))
}

/// Go's name of a signature algorithm.
fn signature(id: &str) -> &str {
    match id {
        "1.2.840.113549.1.1.11" => "SHA256-RSA",
        "1.2.840.113549.1.1.12" => "SHA384-RSA",
        "1.2.840.113549.1.1.13" => "SHA512-RSA",
        "1.2.840.10045.4.3.2" => "ECDSA-SHA256",
        "1.2.840.10045.4.3.3" => "ECDSA-SHA384",
        "1.2.840.10045.4.3.4" => "ECDSA-SHA512",
        "1.3.101.112" => "Ed25519",
        other => other,
    }
}
