//! What differs between two states of all documents.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::source::{Objects, Source, Sources};

/// Another object that one holds, or an object that has changed: `KIND` and qualified name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Service,
    Middleware,
    Transport,
}

impl Key {
    pub(crate) fn new(kind: Kind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }

    pub(crate) fn service(name: impl Into<Arc<str>>) -> Self {
        Self::new(Kind::Service, name)
    }

    pub(crate) fn middleware(name: impl Into<Arc<str>>) -> Self {
        Self::new(Kind::Middleware, name)
    }
}

/// Objects of HTTP and of TLS that are new, gone or have other options.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Services, middlewares and transports.
    pub(crate) objects: BTreeSet<Key>,
    /// Qualified names.
    pub(crate) routers: Vec<Arc<str>>,
    /// Something of certificates, stores or options.
    pub(crate) tls: bool,
}

impl Changes {
    pub(crate) fn between(old: &Sources, new: &Sources) -> Self {
        let mut changes = Self::default();
        let nothing = Arc::new(Source::default());
        let providers: BTreeSet<&Arc<str>> = old.keys().chain(new.keys()).collect();
        for provider in providers {
            let before = old.get(provider).unwrap_or(&nothing);
            let after = new.get(provider).unwrap_or(&nothing);
            if !Arc::ptr_eq(before, after) {
                changes.add(provider, before, after);
            }
        }
        changes
    }

    fn add(&mut self, provider: &Arc<str>, old: &Source, new: &Source) {
        let mut object = |kind, names: Vec<Arc<str>>| {
            self.objects.extend(names.into_iter().map(|name| Key::new(kind, name)));
        };
        object(Kind::Service, differing(provider, &old.services, &new.services));
        object(Kind::Middleware, differing(provider, &old.middlewares, &new.middlewares));
        object(Kind::Transport, differing(provider, &old.transports, &new.transports));
        let routers = differing(provider, &old.routers, &new.routers);
        self.routers.extend(routers);
        self.tls |= !old.tls_options.is_copy_of(&new.tls_options)
            || !old.tls_stores.is_copy_of(&new.tls_stores)
            || !old.tls_certificates.is_copy_of(&new.tls_certificates);
    }
}

/// Qualified names.
fn differing<T>(provider: &Arc<str>, old: &Objects<T>, new: &Objects<T>) -> Vec<Arc<str>> {
    let name = |short: &Arc<str>| format!("{short}@{provider}").into();
    old.differences(new, Arc::ptr_eq).into_iter().map(|found| name(found.key)).collect()
}
