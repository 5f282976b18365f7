//! A configuration as entries: one key and one value for each object, as it is replicated.
//!
//! Keys are `http/routers/NAME`, `tls/certificates/000000`; in names `/` and `%` are percent-encoded. Values are JSON,
//! equal for equal objects.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Configuration, Http, Tcp, Tls, Udp};

/// What names cannot hold in a key.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'/').add(b'%');

/// Why an entry is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry `{key}`: {message}")]
pub(crate) struct EntryError {
    pub(crate) key: String,
    pub(crate) message: String,
}

type Entries = BTreeMap<String, Vec<u8>>;

impl Configuration {
    /// The key of an object, such as `http/routers/NAME` for the kind `http/routers`.
    pub(crate) fn entry_key(kind: &str, name: &str) -> String {
        format!("{kind}/{}", utf8_percent_encode(name, ESCAPED))
    }

    /// All objects. Sections without objects leave nothing behind.
    pub(crate) fn entries(&self) -> Entries {
        let mut entries = Entries::new();
        let Self { http, tcp, udp, tls } = self;
        if let Some(http) = http {
            put(&mut entries, "http/routers", &http.routers);
            put(&mut entries, "http/services", &http.services);
            put(&mut entries, "http/middlewares", &http.middlewares);
            put(&mut entries, "http/serversTransports", &http.servers_transports);
        }
        if let Some(tcp) = tcp {
            put(&mut entries, "tcp/routers", &tcp.routers);
            put(&mut entries, "tcp/services", &tcp.services);
            put(&mut entries, "tcp/middlewares", &tcp.middlewares);
            put(&mut entries, "tcp/serversTransports", &tcp.servers_transports);
        }
        if let Some(udp) = udp {
            put(&mut entries, "udp/routers", &udp.routers);
            put(&mut entries, "udp/services", &udp.services);
        }
        if let Some(tls) = tls {
            let numbered = tls.certificates.iter().enumerate();
            let certificates = numbered.map(|(i, pair)| (format!("{i:06}"), pair)).collect();
            put(&mut entries, "tls/certificates", &certificates);
            put(&mut entries, "tls/options", &tls.options);
            put(&mut entries, "tls/stores", &tls.stores);
        }
        entries
    }

    /// The configuration that entries hold. A bad entry is left out and reported; it does no harm to the others.
    pub(crate) fn from_entries<K: AsRef<str>, V: AsRef<[u8]>>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> (Self, Vec<EntryError>) {
        let mut configuration = Self::default();
        let mut certificates = BTreeMap::new();
        let mut errors = Vec::new();
        for (key, value) in entries {
            let (key, value) = (key.as_ref(), value.as_ref());
            if let Err(message) = configuration.take(key, value, &mut certificates) {
                errors.push(EntryError { key: key.to_owned(), message });
            }
        }
        if !certificates.is_empty() {
            let tls = configuration.tls.get_or_insert_default();
            tls.certificates = certificates.into_values().collect();
        }
        (configuration, errors)
    }

    /// Puts one entry where it belongs.
    fn take(
        &mut self,
        key: &str,
        value: &[u8],
        certificates: &mut BTreeMap<String, crate::tls::options::CertificateOptions>,
    ) -> Result<(), String> {
        let mut parts = key.splitn(3, '/');
        let (Some(section), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("not of the form section/kind/name".to_owned());
        };
        let name = percent_decode_str(name).decode_utf8().map(Cow::into_owned);
        let name = name.map_err(|_source| "the name is not UTF-8".to_owned())?;
        match (section, kind) {
            ("http", "routers") => insert(&mut self.http().routers, name, value),
            ("http", "services") => insert(&mut self.http().services, name, value),
            ("http", "middlewares") => insert(&mut self.http().middlewares, name, value),
            ("http", "serversTransports") => {
                insert(&mut self.http().servers_transports, name, value)
            }
            ("tcp", "routers") => insert(&mut self.tcp().routers, name, value),
            ("tcp", "services") => insert(&mut self.tcp().services, name, value),
            ("tcp", "middlewares") => insert(&mut self.tcp().middlewares, name, value),
            ("tcp", "serversTransports") => insert(&mut self.tcp().servers_transports, name, value),
            ("udp", "routers") => insert(&mut self.udp().routers, name, value),
            ("udp", "services") => insert(&mut self.udp().services, name, value),
            ("tls", "certificates") => insert(certificates, name, value),
            ("tls", "options") => insert(&mut self.tls().options, name, value),
            ("tls", "stores") => insert(&mut self.tls().stores, name, value),
            _ => Err(format!("no such kind of object: {section}/{kind}")),
        }
    }

    fn http(&mut self) -> &mut Http {
        self.http.get_or_insert_default()
    }

    fn tcp(&mut self) -> &mut Tcp {
        self.tcp.get_or_insert_default()
    }

    fn udp(&mut self) -> &mut Udp {
        self.udp.get_or_insert_default()
    }

    fn tls(&mut self) -> &mut Tls {
        self.tls.get_or_insert_default()
    }
}

/// Adds the objects of one kind.
fn put<T: Serialize>(entries: &mut Entries, kind: &str, objects: &BTreeMap<String, T>) {
    for (name, object) in objects {
        let value = serde_json::to_vec(object).expect("options have text keys and no own failures");
        entries.insert(Configuration::entry_key(kind, name), value);
    }
}

/// Decodes one object. An unknown key is an error: a peer that does not know an option must not run without it.
fn insert<T: DeserializeOwned>(
    objects: &mut BTreeMap<String, T>,
    name: String,
    value: &[u8],
) -> Result<(), String> {
    let object = crate::config::decode::json(value)?;
    objects.insert(name, object);
    Ok(())
}
