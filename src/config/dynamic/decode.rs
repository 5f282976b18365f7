//! Decodes documents object by object, so that all bad objects are found at once.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{Configuration, Http, Tcp, Tls, Udp};
use crate::config::decode::{Error, Root, nearest, part};
use crate::config::node::{Document, Node, Value};

impl Configuration {
    /// Decodes a document strictly: one bad object and nothing of it is used, as in Traefik. All errors are listed.
    pub(crate) fn decode(document: &Document) -> Result<Self, Vec<Error>> {
        let (configuration, errors) = Self::decode_each(document);
        if errors.is_empty() { Ok(configuration) } else { Err(errors) }
    }

    /// Decodes what can be decoded, with an error for each object that cannot. Unknown keys at the root are ignored:
    /// a file may hold the startup configuration, too.
    pub(crate) fn decode_each(document: &Document) -> (Self, Vec<Error>) {
        let mut reader = Reader { document, errors: Vec::new() };
        let mut configuration = Self::default();
        for (key, node) in reader.object(&document.root, "") {
            match key.to_ascii_lowercase().as_str() {
                "http" => configuration.http = reader.http(node),
                "tcp" => configuration.tcp = reader.tcp(node),
                "udp" => configuration.udp = reader.udp(node),
                "tls" => configuration.tls = reader.tls(node),
                _ => {}
            }
        }
        (configuration, reader.errors)
    }
}

/// Errors that are listed of one document; who has more starts with these.
const ERRORS_MAX: usize = 100;

struct Reader<'a> {
    document: &'a Document,
    errors: Vec<Error>,
}

impl<'a> Reader<'a> {
    fn http(&mut self, node: &'a Node) -> Option<Http> {
        let kinds = ["routers", "services", "middlewares", "serversTransports"];
        let [routers, services, middlewares, transports] = self.section(node, "http", kinds)?;
        Some(Http {
            routers: self.objects(routers, "http.routers"),
            services: self.objects(services, "http.services"),
            middlewares: self.objects(middlewares, "http.middlewares"),
            servers_transports: self.objects(transports, "http.serversTransports"),
        })
    }

    fn tcp(&mut self, node: &'a Node) -> Option<Tcp> {
        let kinds = ["routers", "services", "middlewares", "serversTransports"];
        let [routers, services, middlewares, transports] = self.section(node, "tcp", kinds)?;
        Some(Tcp {
            routers: self.objects(routers, "tcp.routers"),
            services: self.objects(services, "tcp.services"),
            middlewares: self.objects(middlewares, "tcp.middlewares"),
            servers_transports: self.objects(transports, "tcp.serversTransports"),
        })
    }

    fn udp(&mut self, node: &'a Node) -> Option<Udp> {
        let [routers, services] = self.section(node, "udp", ["routers", "services"])?;
        Some(Udp {
            routers: self.objects(routers, "udp.routers"),
            services: self.objects(services, "udp.services"),
        })
    }

    fn tls(&mut self, node: &'a Node) -> Option<Tls> {
        let kinds = ["certificates", "options", "stores"];
        let [certificates, options, stores] = self.section(node, "tls", kinds)?;
        Some(Tls {
            certificates: certificates.map(|node| self.certificates(node)).unwrap_or_default(),
            options: self.objects(options, "tls.options"),
            stores: self.objects(stores, "tls.stores"),
        })
    }

    /// Certificates are a list: of objects one by one, of a dotted path by their indexes.
    fn certificates<T: DeserializeOwned>(&mut self, node: &'a Node) -> Vec<T> {
        let path = "tls.certificates";
        let items: Vec<&Node> = match &node.value {
            Value::List(items) => items.iter().collect(),
            Value::Map(entries) => entries.iter().map(|entry| &entry.node).collect(),
            Value::Null => Vec::new(),
            Value::Scalar(_) => return self.part(node, path).unwrap_or_default(),
        };
        let numbered = items.into_iter().enumerate();
        numbered.filter_map(|(i, item)| self.part(item, &format!("{path}.{i}"))).collect()
    }

    /// The kinds of objects of a section; `None` where the section itself is absent.
    fn section<const N: usize>(
        &mut self,
        node: &'a Node,
        section: &'static str,
        kinds: [&'static str; N],
    ) -> Option<[Option<&'a Node>; N]> {
        if matches!(node.value, Value::Null) {
            return None;
        }
        let mut found = [None; N];
        for (key, inner) in self.object(node, section) {
            let slot = kinds.iter().position(|kind| kind.eq_ignore_ascii_case(key));
            match slot.and_then(|slot| found.get_mut(slot)) {
                Some(slot) if slot.is_none() => *slot = Some(inner),
                Some(_) => self.fail(inner, section, format!("duplicate key `{key}`"), None),
                None => {
                    let hint = nearest(key, &kinds);
                    self.fail(inner, section, format!("field not found, node: {key}"), hint);
                }
            }
        }
        Some(found)
    }

    /// The objects of one kind by name.
    fn objects<T: DeserializeOwned>(
        &mut self,
        node: Option<&'a Node>,
        path: &str,
    ) -> BTreeMap<String, T> {
        let mut objects = BTreeMap::new();
        let Some(node) = node else { return objects };
        for (name, inner) in self.object(node, path) {
            if matches!(inner.value, Value::Null) {
                continue;
            }
            if let Some(object) = self.part(inner, &format!("{path}.{name}")) {
                objects.insert(name.to_owned(), object);
            }
        }
        objects
    }

    fn part<T: DeserializeOwned>(&mut self, node: &'a Node, path: &str) -> Option<T> {
        match part(self.document, node, path, Root::Strict) {
            Ok(object) => Some(object),
            Err(error) => {
                self.report(error);
                None
            }
        }
    }

    /// The entries of an object.
    fn object(&mut self, node: &'a Node, path: &str) -> Vec<(&'a str, &'a Node)> {
        if let Some(entries) = node.entries() {
            return entries.iter().map(|entry| (entry.key.as_str(), &entry.node)).collect();
        }
        let message = format!("expected an object, found {}", node.describe());
        self.fail(node, path, message, None);
        Vec::new()
    }

    fn fail(&mut self, node: &Node, path: &str, message: String, hint: Option<&str>) {
        let error = Error::of_source(&self.document.source, node.position, message);
        let (path, hint) = (path.to_owned(), hint.map(Into::into));
        self.report(Error { path, hint, ..error });
    }

    fn report(&mut self, error: Error) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }
}
