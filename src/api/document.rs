//! The document of the provider `cluster`: as JSON, from a body, merged, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use percent_encoding::percent_decode_str;
use pontoon_cluster::{Entry, Map as Entries};
use serde_json::{Map, Value, json};

use super::problem::{Mistake, Problem};
use crate::config::decode::nearest;
use crate::config::dynamic::Configuration;
use crate::config::node::{self, Document, Format, Node};

/// Entries by key, as the log holds them.
pub(crate) type Stored = Entries<Arc<str>, Entry>;
/// Entries by key, as a write wants them.
pub(crate) type Wanted = BTreeMap<String, Bytes>;

/// Kinds of objects that have a path of their own.
const KINDS: [&str; 13] = [
    "http/routers",
    "http/services",
    "http/middlewares",
    "http/serversTransports",
    "tcp/routers",
    "tcp/services",
    "tcp/middlewares",
    "tcp/serversTransports",
    "udp/routers",
    "udp/services",
    "tls/options",
    "tls/stores",
    "tls/certificates",
];
const CERTIFICATES: &str = "tls/certificates/";

/// One object of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    section: String,
    kind: String,
    name: String,
    /// Its key in the document.
    pub(crate) key: String,
}

impl Object {
    /// From the path segments below `/config`; `None` for what is no object's path.
    pub(crate) fn parse(section: &str, kind: &str, name: &str) -> Option<Result<Self, Problem>> {
        KINDS.contains(&format!("{section}/{kind}").as_str()).then_some(())?;
        if name.is_empty() {
            return None;
        }
        let bad = |detail: &str| Some(Err(Problem::bad_request(detail)));
        let Ok(name) = percent_decode_str(name).decode_utf8() else {
            return bad("the name in the path is not UTF-8");
        };
        let name = name.strip_suffix("@cluster").unwrap_or(&name).to_owned();
        if name.is_empty() || name.contains('@') {
            return bad(
                "objects of this document belong to the provider `cluster`: leave `@…` out",
            );
        }
        let key = Configuration::entry_key(&format!("{section}/{kind}"), &name);
        Some(Ok(Self { section: section.to_owned(), kind: kind.to_owned(), name, key }))
    }

    /// Decodes the object alone: the key and its canonical JSON.
    pub(crate) fn decode(&self, body: &Bytes, format: Format) -> Result<Wanted, Problem> {
        let parsed = parse(body, format)?;
        if matches!(parsed.root.value, node::Value::Null) {
            return Err(Problem::bad_request("the body is empty; DELETE removes an object"));
        }
        let inner = if self.kind == "certificates" {
            Node::new(node::Value::List(vec![parsed.root]), node::Position::default())
        } else {
            map(&self.name, parsed.root)
        };
        let root = map(&self.section, map(&self.kind, inner));
        let document = Document { source: parsed.source, root };
        let configuration = Configuration::decode(&document).map_err(mistakes)?;
        let value = configuration.entries().into_values().next();
        let value = value.ok_or_else(|| Problem::bad_request("the body holds no object"))?;
        Ok(Wanted::from([(self.key.clone(), value.into())]))
    }
}

fn map(key: &str, node: Node) -> Node {
    let position = node.position;
    let entry = node::Entry { key: key.to_owned(), position, node };
    Node::new(node::Value::Map(vec![entry]), position)
}

fn mistakes(errors: Vec<crate::config::decode::Error>) -> Problem {
    Problem::invalid(&errors.into_iter().map(Mistake::from).collect::<Vec<_>>())
}

/// The notation of a body: JSON, YAML or TOML.
pub(crate) fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    match media_type(headers).as_str() {
        "application/json" | "text/json" | "application/merge-patch+json" => Ok(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Ok(Format::Yaml),
        "application/toml" => Ok(Format::Toml),
        other => Err(unsupported(other, "application/json, application/yaml or application/toml")),
    }
}

/// Refuses what is no merge patch.
pub(crate) fn check_patch(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers).as_str() {
        "application/merge-patch+json" | "application/json" => Ok(()),
        other => Err(unsupported(other, "application/merge-patch+json")),
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

fn unsupported(given: &str, wanted: &str) -> Problem {
    let given = if given.is_empty() { "none" } else { given };
    let detail = format!("Content-Type is {given}; send {wanted}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

fn parse(body: &Bytes, format: Format) -> Result<Document, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))?;
    Document::parse("", text, format).map_err(|error| {
        let detail = match error.line {
            0 => error.message.clone(),
            line => format!("line {line}, column {}: {}", error.column, error.message),
        };
        Problem::bad_request(format!("the body cannot be read: {detail}"))
    })
}

/// Decodes a whole document strictly.
pub(crate) fn decode(body: &Bytes, format: Format) -> Result<Wanted, Problem> {
    entries(&parse(body, format)?)
}

fn entries(document: &Document) -> Result<Wanted, Problem> {
    let sections = ["http", "tcp", "udp", "tls"];
    let mut found = Vec::new();
    for entry in document.root.entries().unwrap_or_default() {
        if !sections.iter().any(|section| section.eq_ignore_ascii_case(&entry.key)) {
            let hint = nearest(&entry.key, &sections).map(|hint| format!("did you mean `{hint}`?"));
            let message = format!("field not found, node: {}", entry.key);
            found.push(Mistake::new(entry.key.clone(), message).hinting(hint));
        }
    }
    let configuration = match Configuration::decode(document) {
        Ok(configuration) => configuration,
        Err(errors) => {
            found.extend(errors.into_iter().map(Mistake::from));
            Configuration::default()
        }
    };
    let entries = configuration.entries();
    for key in entries.keys().filter(|key| name_of(key).contains('@')) {
        found.push(
            Mistake::new(path_of(key), "names of objects cannot contain `@`")
                .hinting(Some("their provider, `cluster`, is added by itself".to_owned())),
        );
    }
    if !found.is_empty() {
        return Err(Problem::invalid(&found));
    }
    Ok(entries.into_iter().map(|(key, value)| (key, value.into())).collect())
}

/// The name of the object that a key stands for.
pub(crate) fn name_of(key: &str) -> String {
    let name = key.rsplit('/').next().unwrap_or_default();
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

/// The place of the object in a document, such as `http.routers.NAME`.
pub(crate) fn path_of(key: &str) -> String {
    let kind = key.rsplit_once('/').map_or("", |(kind, _)| kind);
    format!("{}.{}", kind.replace('/', "."), name_of(key))
}

/// The document as one JSON object in Traefik's form.
pub(crate) fn to_json(stored: &Stored) -> Value {
    let mut root = Map::new();
    for (key, entry) in stored {
        let mut parts = key.splitn(3, '/');
        let (Some(section), Some(kind), Some(_)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let value: Value = serde_json::from_slice(&entry.bytes).unwrap_or_default();
        let section = root.entry(section).or_insert_with(|| json!({}));
        let Some(section) = section.as_object_mut() else { continue };
        if key.starts_with(CERTIFICATES) {
            if let Some(list) = section.entry(kind).or_insert_with(|| json!([])).as_array_mut() {
                list.push(value);
            }
        } else if let Some(objects) =
            section.entry(kind).or_insert_with(|| json!({})).as_object_mut()
        {
            objects.insert(name_of(key), value);
        }
    }
    Value::Object(root)
}

/// Applies a merge patch to the document.
pub(crate) fn patched(stored: &Stored, patch: &Value) -> Result<Wanted, Problem> {
    let mut document = to_json(stored);
    merge(&mut document, patch);
    entries(&parse(&document.to_string().into(), Format::Json)?)
}

/// Reads a merge patch. Its depth is limited by the JSON parser.
pub(crate) fn patch(body: &Bytes) -> Result<Value, Problem> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body is no JSON: {error}")))?;
    if patch.is_object() {
        Ok(patch)
    } else {
        Err(Problem::bad_request("a merge patch of the document is an object"))
    }
}

/// RFC 7396 §2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Certificates have no names in a document: those that are stored already keep their keys, others get free ones.
pub(crate) fn keep_names(wanted: Wanted, stored: &Stored) -> Wanted {
    let (certificates, mut kept): (Wanted, Wanted) =
        wanted.into_iter().partition(|(key, _)| key.starts_with(CERTIFICATES));
    let known: Vec<(&str, &[u8])> = stored
        .iter()
        .filter(|(key, _)| key.starts_with(CERTIFICATES))
        .map(|(key, entry)| (&**key, &*entry.bytes))
        .collect();
    let mut rest = Vec::new();
    for bytes in certificates.into_values() {
        let same = known.iter().find(|(key, old)| **old == *bytes && !kept.contains_key(*key));
        match same {
            Some((key, _)) => drop(kept.insert((*key).to_owned(), bytes)),
            None => rest.push(bytes),
        }
    }
    let mut number = 0_usize;
    for bytes in rest {
        let mut key = format!("{CERTIFICATES}{number:06}");
        while kept.contains_key(&key) {
            number += 1;
            key = format!("{CERTIFICATES}{number:06}");
        }
        kept.insert(key, bytes);
    }
    kept
}

/// What a write would change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) set: Wanted,
    pub(crate) created: BTreeSet<String>,
    pub(crate) deleted: Vec<String>,
}

impl Difference {
    pub(crate) fn new(stored: &Stored, wanted: &Wanted) -> Self {
        let mut difference = Self {
            deleted: stored
                .keys()
                .filter(|key| !wanted.contains_key(&***key))
                .map(ToString::to_string)
                .collect(),
            ..Self::default()
        };
        difference.add(stored, wanted);
        difference
    }

    /// What a write of some objects changes; all others stay.
    pub(crate) fn of_objects(stored: &Stored, wanted: &Wanted, unwanted: &[String]) -> Self {
        let mut difference = Self {
            deleted: unwanted
                .iter()
                .filter(|key| stored.contains_key(key.as_str()))
                .cloned()
                .collect(),
            ..Self::default()
        };
        difference.add(stored, wanted);
        difference
    }

    fn add(&mut self, stored: &Stored, wanted: &Wanted) {
        for (key, bytes) in wanted {
            match stored.get(key.as_str()) {
                Some(entry) if *entry.bytes == **bytes => continue,
                Some(_) => {}
                None => {
                    self.created.insert(key.clone());
                }
            }
            self.set.insert(key.clone(), bytes.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.deleted.is_empty()
    }

    /// Paths of the objects and what happens to them.
    pub(crate) fn to_json(&self) -> Value {
        let set = self.set.keys().map(|key| {
            let change = if self.created.contains(key) { "created" } else { "changed" };
            json!({ "path": path_of(key), "change": change })
        });
        let deleted =
            self.deleted.iter().map(|key| json!({ "path": path_of(key), "change": "deleted" }));
        set.chain(deleted).collect()
    }
}

#[cfg(test)]
mod tests {
    use pontoon_cluster::Revision;

    use super::*;

    fn stored(entries: &[(&str, &str)]) -> Stored {
        let entry = |value: &str| Entry { revision: Revision(1), bytes: value.into() };
        entries.iter().map(|(key, value)| ((*key).into(), entry(value))).collect()
    }

    fn wanted(entries: &[(&str, &str)]) -> Wanted {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned().into())).collect()
    }

    #[test]
    fn merge_patches_follow_the_examples_of_the_rfc() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target;
            merge(&mut merged, &patch);
            assert_eq!(merged, result);
        }
    }

    #[test]
    fn paths_of_objects_are_parsed() {
        let object = Object::parse("http", "routers", "a%2Fb").unwrap().unwrap();
        assert_eq!(object.key, "http/routers/a%2Fb");
        assert_eq!(object.name, "a/b");
        let own = Object::parse("tls", "options", "modern@cluster").unwrap().unwrap();
        assert_eq!(own.name, "modern");
        assert!(Object::parse("http", "routers", "a@file").unwrap().is_err());
        assert!(Object::parse("http", "routers", "%ff").unwrap().is_err());
        assert!(Object::parse("http", "router", "a").is_none());
        assert!(Object::parse("udp", "middlewares", "a").is_none());
        assert!(Object::parse("http", "routers", "").is_none());
    }

    #[test]
    fn a_document_is_decoded_strictly_with_hints() {
        let body = Bytes::from_static(b"htp: {}\nhttp:\n  routers:\n    a: {rul: x}\n");
        assert_eq!(decode(&body, Format::Yaml).unwrap_err().status(), 422);
        let body = Bytes::from_static(b"{");
        assert_eq!(decode(&body, Format::Json).unwrap_err().status(), 400);
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let body = Bytes::from_static(
            b"{\"http\":{\"routers\":{\"a\":{\"rule\":\"Host(`a`)\",\"service\":\"s\"},\"b\":{\"rule\":\"Host(`b`)\",\"service\":\"s\"}}}}",
        );
        let before = decode(&body, Format::Json).unwrap();
        let entry = |bytes: Bytes| Entry { revision: Revision(3), bytes: (&*bytes).into() };
        let before: Stored =
            before.into_iter().map(|(key, bytes)| (key.into(), entry(bytes))).collect();
        let change = json!({"http": {"routers": {"a": null, "b": {"service": "t"}}}});
        let after = patched(&before, &change).unwrap();
        let difference = Difference::new(&before, &after);
        assert_eq!(difference.deleted, ["http/routers/a"]);
        assert_eq!(difference.set.keys().collect::<Vec<_>>(), ["http/routers/b"]);
        assert!(difference.created.is_empty());
    }

    #[test]
    fn certificates_keep_their_names_when_a_document_is_written() {
        let before = stored(&[("tls/certificates/shop", "1"), ("tls/certificates/000000", "2")]);
        let after = wanted(&[
            ("tls/certificates/000000", "2"),
            ("tls/certificates/000001", "3"),
            ("tls/certificates/000002", "1"),
        ]);
        let kept = keep_names(after, &before);
        let expected = wanted(&[
            ("tls/certificates/000000", "2"),
            ("tls/certificates/000001", "3"),
            ("tls/certificates/shop", "1"),
        ]);
        assert_eq!(kept, expected);
    }
}
