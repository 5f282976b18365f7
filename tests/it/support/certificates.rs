//! Certificates of the fixtures: authorities, servers and clients, made for one run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;

type Authority = Issuer<'static, KeyPair>;

/// A chain and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Everything that `needs` of a folder asks for.
pub(crate) struct Certificates {
    authorities: HashMap<String, (Arc<Authority>, String)>,
    clients: HashMap<String, (Vec<CertificateDer<'static>>, Vec<u8>)>,
    /// Authority of backends that no entry signs for.
    own: Arc<Authority>,
    signs: HashMap<String, String>,
}

fn subject(value: Option<&Value>, otherwise: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    match value.and_then(Value::as_object) {
        Some(parts) => {
            for (key, value) in parts {
                let kind = match key.as_str() {
                    "CN" => DnType::CommonName,
                    "O" => DnType::OrganizationName,
                    "OU" => DnType::OrganizationalUnitName,
                    "C" => DnType::CountryName,
                    "L" => DnType::LocalityName,
                    "ST" => DnType::StateOrProvinceName,
                    other => panic!("subject part {other}"),
                };
                name.push(kind, value.as_str().unwrap());
            }
        }
        None => name.push(DnType::CommonName, otherwise),
    }
    name
}

fn authority(name: DistinguishedName) -> (Arc<Authority>, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Arc::new(Issuer::new(params, key)), pem)
}

fn leaf(
    names: &[String],
    name: DistinguishedName,
    issuer: &Authority,
) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.subject_alt_names =
        names.iter().map(|name| SanType::DnsName(name.as_str().try_into().unwrap())).collect();
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap(), key)
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .map(|list| list.iter().map(|one| one.as_str().unwrap().to_owned()).collect())
        .unwrap_or_default()
}

fn write(folder: &Path, file: &Value, text: &str) {
    let path = folder.join(file.as_str().unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

impl Certificates {
    /// Makes what `folder.json` needs, and writes the files below `folder`.
    pub(crate) fn make(folder: &Path, needs: &Value) -> Self {
        let (own, _) = authority(subject(None, "fixtures"));
        let mut made = Self {
            authorities: HashMap::new(),
            clients: HashMap::new(),
            own,
            signs: HashMap::new(),
        };
        let list = needs.as_array().cloned().unwrap_or_default();
        for need in &list {
            if let Some(name) = need["ca"].as_str().filter(|_| need.get("clientCert").is_none()) {
                let pair = authority(subject(need.get("subject"), name));
                write(folder, &need["file"], &pair.1);
                for backend in strings(&need["signs"]) {
                    made.signs.insert(backend, name.to_owned());
                }
                made.authorities.insert(name.to_owned(), pair);
            }
        }
        for need in &list {
            if need.get("cert").is_some() {
                let names = strings(&need["cert"]);
                let (certificate, key) = leaf(&names, subject(None, &names[0]), &made.own);
                write(folder, &need["certFile"], &certificate.pem());
                write(folder, &need["keyFile"], &key.serialize_pem());
            }
            if let Some(name) = need["clientCert"].as_str() {
                let ca = need["ca"].as_str().unwrap();
                let issuer = made
                    .authorities
                    .entry(ca.to_owned())
                    .or_insert_with(|| authority(subject(None, ca)))
                    .0
                    .clone();
                let names = strings(&need["sans"]);
                let (certificate, key) = leaf(&names, subject(need.get("subject"), name), &issuer);
                made.clients.insert(
                    name.to_owned(),
                    (vec![certificate.der().clone()], key.serialize_der()),
                );
            }
        }
        made
    }

    /// What the backend `name` presents for the DNS name `dns`.
    pub(crate) fn backend(&self, name: &str, dns: &str) -> Identity {
        let issuer = match self.signs.get(name).and_then(|ca| self.authorities.get(ca)) {
            Some((issuer, _)) => issuer.clone(),
            None => self.own.clone(),
        };
        let (certificate, key) = leaf(&[dns.to_owned()], subject(None, dns), &issuer);
        (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    /// The client certificate `name`.
    pub(crate) fn client(&self, name: &str) -> Identity {
        let (chain, key) = &self.clients[name];
        (chain.clone(), PrivatePkcs8KeyDer::from(key.clone()).into())
    }
}
