//! A configuration as entries: one key and one value for each object, as it is replicated.
//!
//! Keys are `http/routers/NAME`, `tls/certificates/000000`; in names `/` and `%` are percent-encoded. Values are JSON,
//! equal for equal objects.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::Configuration;

/// What names cannot hold in a key.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'/').add(b'%');

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
}

/// Adds the objects of one kind.
fn put<T: Serialize>(entries: &mut Entries, kind: &str, objects: &BTreeMap<String, T>) {
    for (name, object) in objects {
        let value = serde_json::to_vec(object).expect("options have text keys and no own failures");
        entries.insert(Configuration::entry_key(kind, name), value);
    }
}
