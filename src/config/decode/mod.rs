//! From the tree to serde types, by Traefik's key rules.
//!
//! Keys of structs are the same in any case, keys of maps keep theirs. An unknown key is an error, a null or an empty
//! list leaves the default, `true` makes an optional object with its defaults, `false` removes it. Texts, numbers and
//! booleans stand for each other where the type says which is meant, and a text for a list is split at commas.

mod access;
mod error;
mod scalar;

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::node::{Document, Entry, Format, Kind, Node, Scalar, Value};
use access::{MapEntries, Pieces, StructEntries};
use error::Failure;
pub(crate) use error::{Error, nearest};
use scalar::ScalarDecoder;

/// How often `false` may remove an object: each time the whole is decoded anew.
const REMOVALS_MAX: usize = 64;

/// Which keys the root of a document may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// Those of the type only.
    Strict,
    /// Others are ignored: a file may hold startup and dynamic configuration.
    Shared,
}

/// Decodes a whole document.
pub(crate) fn document<T: DeserializeOwned>(document: &Document, root: Root) -> Result<T, Error> {
    part(document, &document.root, "", root)
}

/// Decodes a part of a document; `path` says where it stands.
pub(crate) fn part<T: DeserializeOwned>(
    document: &Document,
    node: &Node,
    path: &str,
    root: Root,
) -> Result<T, Error> {
    let removed = RefCell::default();
    let shared = root == Root::Shared;
    loop {
        match T::deserialize(Decoder { node, removed: &removed, shared }) {
            Ok(value) => return Ok(value),
            // An object is asked for by its fields, and only then known to be one: its option is decided anew.
            Err(failure) => match failure.removes() {
                Some(id) if removed.borrow().len() < REMOVALS_MAX => {
                    removed.borrow_mut().insert(id);
                }
                _ => return Err(failure.into_error(&document.source, path)),
            },
        }
    }
}

/// Decodes one object that is written in JSON. The error is a sentence.
pub(crate) fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    Document::parse("", text, Format::Json)
        .and_then(|parsed| document(&parsed, Root::Strict))
        .map_err(|error| error.sentence())
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    node: &'a Node,
    /// Objects that `false` has removed, by the address of their node.
    removed: &'a RefCell<HashSet<usize>>,
    /// Unknown keys of this node are passed over.
    shared: bool,
}

impl<'a> Decoder<'a> {
    fn inner(&self, node: &'a Node) -> Self {
        Self { node, removed: self.removed, shared: false }
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self.node).addr()
    }

    fn is_removed(&self) -> bool {
        self.removed.borrow().contains(&self.id())
    }

    fn at(&self, failure: Failure) -> Failure {
        failure.at(self.node.position)
    }

    fn expected(&self, what: &str) -> Failure {
        let found = self.node.describe();
        self.at(Failure::custom(format!("expected {what}, found {found}")))
    }

    /// The one value. Of a path that was given several times it is the last.
    fn scalar(&self, what: &str) -> Result<&'a Scalar, Failure> {
        match &self.node.value {
            Value::Scalar(scalar) => Ok(scalar),
            Value::List(items) => match items.last().map(|item| &item.value) {
                Some(Value::Scalar(scalar)) if scalar.kind == Kind::Untyped => Ok(scalar),
                _ => Err(self.expected(what)),
            },
            Value::Null | Value::Map(_) => Err(self.expected(what)),
        }
    }

    fn text(&self) -> Result<&'a str, Failure> {
        match self.node.value {
            Value::Null => Ok(""),
            _ => self.scalar("a text").map(|scalar| scalar.text.as_str()),
        }
    }

    /// The one value, for its type to read.
    fn value(&self, what: &str) -> Result<ScalarDecoder<'a>, Failure> {
        let Scalar { text, kind } = self.scalar(what)?;
        Ok(ScalarDecoder { text, kind: *kind, position: self.node.position })
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.value("a number")?.$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Decoder<'de> {
    type Error = Failure;

    /// Free-form values: the notation says what they are.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let value = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::List(items) => visitor.visit_seq(Pieces::nodes(self, items.iter())),
            Value::Map(entries) => visitor.visit_map(MapEntries::new(self, entries, true)),
            Value::Scalar(_) => self.value("a value")?.deserialize_any(visitor),
        };
        value.map_err(|failure| self.at(failure))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.value("a boolean")?.deserialize_bool(visitor)
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_borrowed_str(self.text()?).map_err(|failure: Failure| self.at(failure))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.is_removed() || matches!(self.node.value, Value::Null) {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let pieces = match &self.node.value {
            Value::Null => Pieces::nodes(self, [].iter()),
            Value::Scalar(scalar) => Pieces::split(self, [scalar]),
            Value::List(items) => match untyped(items) {
                Some(scalars) => Pieces::split(self, scalars),
                None => Pieces::nodes(self, items.iter()),
            },
            // Indexes of a dotted path.
            Value::Map(entries) if indexed(entries) => {
                Pieces::nodes(self, entries.iter().map(|entry| &entry.node))
            }
            Value::Map(_) => return Err(self.expected("a list")),
        };
        visitor.visit_seq(pieces).map_err(|failure| self.at(failure))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let entries = self.object()?;
        visitor.visit_map(MapEntries::new(self, entries, false)).map_err(|failure| self.at(failure))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let entries = self.object()?;
        let access = StructEntries::new(self, entries, fields)?;
        visitor.visit_map(access).map_err(|failure| self.at(failure))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.value("a text")?.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! { bytes byte_buf identifier }
}

impl<'a> Decoder<'a> {
    /// The entries of an object; `true` and nothing stand for an empty one.
    fn object(&self) -> Result<&'a [Entry], Failure> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            Value::Null => Ok(&[]),
            Value::Scalar(_) | Value::List(_) => match self.scalar("an object")?.text.trim() {
                "" => Ok(&[]),
                text if text.eq_ignore_ascii_case("true") => Ok(&[]),
                text if text.eq_ignore_ascii_case("false") && self.is_removed() => Ok(&[]),
                text if text.eq_ignore_ascii_case("false") => {
                    Err(self.at(Failure::removal(self.id())))
                }
                _ => Err(self.expected("an object")),
            },
        }
    }
}

/// The values of a path that was given several times.
fn untyped(items: &[Node]) -> Option<Vec<&Scalar>> {
    let scalars = items.iter().map(|item| match &item.value {
        Value::Scalar(scalar) if scalar.kind == Kind::Untyped => Some(scalar),
        _ => None,
    });
    scalars.collect::<Option<Vec<_>>>().filter(|scalars| !scalars.is_empty())
}

/// True for keys that are all numbers, as indexes of a list are.
fn indexed(entries: &[Entry]) -> bool {
    entries
        .iter()
        .all(|entry| !entry.key.is_empty() && entry.key.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
