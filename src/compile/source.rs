//! What one provider says, as objects that keep their identity: an entry whose bytes are the same is the same `Arc`.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use pontoon_cluster::Map;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::decode;
use crate::{middleware, router, service, tcp, tls, udp, upstream};

/// Objects of one kind by their name, without `@provider`.
pub(crate) type Objects<T> = Map<Arc<str>, Arc<T>>;

/// The provider of objects that follow from the startup configuration.
pub(crate) const INTERNAL: &str = "internal";

/// Everything that one provider configures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    pub(crate) routers: Objects<router::Options>,
    pub(crate) services: Objects<service::Options>,
    pub(crate) middlewares: Objects<middleware::Options>,
    pub(crate) transports: Objects<upstream::Options>,
    pub(crate) tcp_routers: Objects<tcp::options::Router>,
    pub(crate) tcp_services: Objects<tcp::options::Service>,
    pub(crate) tcp_middlewares: Objects<tcp::options::Middleware>,
    pub(crate) tcp_transports: Objects<tcp::options::ServersTransport>,
    pub(crate) udp_routers: Objects<udp::options::Router>,
    pub(crate) udp_services: Objects<udp::options::Service>,
    pub(crate) tls_options: Objects<tls::options::Options>,
    pub(crate) tls_stores: Objects<tls::options::StoreOptions>,
    pub(crate) tls_certificates: Objects<tls::options::CertificateOptions>,
    /// Entries that cannot be decoded, by key, with what is wrong.
    pub(crate) errors: BTreeMap<Arc<str>, Arc<str>>,
}

impl Source {
    /// The source with `changes` applied: each an entry's key and its canonical JSON, or `None` where it is gone.
    pub(crate) fn with<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Self {
        let mut next = self.clone();
        for (key, bytes) in changes {
            next.errors.remove(key);
            if let Err(error) = next.put(key, bytes) {
                next.errors.insert(key.into(), error.into());
            }
        }
        next
    }

    fn put(&mut self, entry: &str, bytes: Option<&[u8]>) -> Result<(), String> {
        let (kind, name) =
            entry.rsplit_once('/').ok_or_else(|| format!("`{entry}` is no key of an object"))?;
        let name = percent_decode_str(name)
            .decode_utf8()
            .map_err(|_error| format!("the name in `{entry}` is not UTF-8"))?;
        match kind {
            "http/routers" => set(&mut self.routers, &name, bytes),
            "http/services" => set(&mut self.services, &name, bytes),
            "http/middlewares" => set(&mut self.middlewares, &name, bytes),
            "http/serversTransports" => set(&mut self.transports, &name, bytes),
            "tcp/routers" => set(&mut self.tcp_routers, &name, bytes),
            "tcp/services" => set(&mut self.tcp_services, &name, bytes),
            "tcp/middlewares" => set(&mut self.tcp_middlewares, &name, bytes),
            "tcp/serversTransports" => set(&mut self.tcp_transports, &name, bytes),
            "udp/routers" => set(&mut self.udp_routers, &name, bytes),
            "udp/services" => set(&mut self.udp_services, &name, bytes),
            "tls/options" => set(&mut self.tls_options, &name, bytes),
            "tls/stores" => set(&mut self.tls_stores, &name, bytes),
            "tls/certificates" => set(&mut self.tls_certificates, &name, bytes),
            other => Err(format!("`{other}` is no kind of object")),
        }
    }
}

/// Decodes one object. An unknown key is an error: a peer that does not know an option must not run without it.
fn set<T: Serialize + DeserializeOwned>(
    objects: &mut Objects<T>,
    name: &str,
    bytes: Option<&[u8]>,
) -> Result<(), String> {
    let Some(bytes) = bytes else {
        objects.remove(name);
        return Ok(());
    };
    match decoded(bytes) {
        Ok(object) => drop(objects.insert(name.into(), Arc::new(object))),
        Err(error) => {
            objects.remove(name);
            return Err(error);
        }
    }
    Ok(())
}

/// Entries are canonical, so an object that would be written the same has no key that is not known here. The strict
/// decoder costs several times as much; it decides the rest, and words the error.
fn decoded<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match serde_json::from_slice::<T>(bytes) {
        Ok(object) if serde_json::to_vec(&object).is_ok_and(|again| again == bytes) => Ok(object),
        _ => decode::json(bytes),
    }
}

/// All providers by name. `Arc`s are the same as long as a provider says the same.
pub(crate) type Sources = BTreeMap<Arc<str>, Arc<Source>>;

/// `name@provider` for a reference made by an object of `provider`; absolute references stay as they are.
pub(crate) fn qualify(name: &str, provider: &str) -> String {
    if name.contains('@') { name.to_owned() } else { format!("{name}@{provider}") }
}

/// Name and provider of a qualified name.
pub(crate) fn split(qualified: &str) -> (&str, &str) {
    qualified.rsplit_once('@').unwrap_or((qualified, ""))
}
