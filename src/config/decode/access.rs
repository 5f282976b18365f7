//! Lists, maps and structs for serde.

use std::collections::VecDeque;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess};

use super::Decoder;
use super::error::{Failure, nearest};
use super::scalar::ScalarDecoder;
use crate::config::node::{Entry, Kind, Node, Scalar, Value};

/// The elements of a list.
pub(super) struct Pieces<'a> {
    decoder: Decoder<'a>,
    number: usize,
    rest: VecDeque<Piece<'a>>,
}

enum Piece<'a> {
    Node(&'a Node),
    Text(&'a str),
}

impl<'a> Pieces<'a> {
    pub(super) fn nodes(decoder: Decoder<'a>, nodes: impl Iterator<Item = &'a Node>) -> Self {
        Self { decoder, number: 0, rest: nodes.map(Piece::Node).collect() }
    }

    /// Texts with commas between the elements.
    pub(super) fn split(
        decoder: Decoder<'a>,
        scalars: impl IntoIterator<Item = &'a Scalar>,
    ) -> Self {
        let texts = scalars.into_iter().flat_map(|scalar| scalar.text.split(','));
        let texts = texts.map(str::trim).filter(|text| !text.is_empty());
        Self { decoder, number: 0, rest: texts.map(Piece::Text).collect() }
    }
}

impl<'de> SeqAccess<'de> for Pieces<'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        let Some(piece) = self.rest.pop_front() else { return Ok(None) };
        let element = match piece {
            Piece::Node(node) => seed.deserialize(self.decoder.inner(node)),
            Piece::Text(text) => {
                let position = self.decoder.node.position;
                seed.deserialize(ScalarDecoder { text, kind: Kind::Untyped, position })
            }
        };
        let number = self.number;
        self.number += 1;
        element.map(Some).map_err(|failure| failure.inside(&number.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The entries of a map, whose keys keep their case.
pub(super) struct MapEntries<'a> {
    decoder: Decoder<'a>,
    rest: std::slice::Iter<'a, Entry>,
    /// Entries without a value are entries, too.
    nulls: bool,
    value: Option<&'a Entry>,
}

impl<'a> MapEntries<'a> {
    pub(super) fn new(decoder: Decoder<'a>, entries: &'a [Entry], nulls: bool) -> Self {
        Self { decoder, rest: entries.iter(), nulls, value: None }
    }
}

impl<'de> MapAccess<'de> for MapEntries<'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let nulls = self.nulls;
        let Some(entry) = self.rest.find(|e| nulls || !matches!(e.node.value, Value::Null)) else {
            return Ok(None);
        };
        self.value = Some(entry);
        let key: StrDeserializer<'_, Failure> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|failure| failure.at(entry.position))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        value(self.decoder, self.value.take(), seed)
    }
}

/// The entries of a struct: keys are fields in any case; entries that say nothing are left out.
pub(super) struct StructEntries<'a> {
    decoder: Decoder<'a>,
    rest: std::vec::IntoIter<(&'static str, &'a Entry)>,
    value: Option<&'a Entry>,
}

impl<'a> StructEntries<'a> {
    pub(super) fn new(
        decoder: Decoder<'a>,
        entries: &'a [Entry],
        fields: &'static [&'static str],
    ) -> Result<Self, Failure> {
        let mut known: Vec<(&'static str, &'a Entry)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(field) = fields.iter().find(|f| f.eq_ignore_ascii_case(&entry.key)) else {
                if decoder.shared {
                    continue;
                }
                let message = format!("field not found, node: {}", entry.key);
                let hint = nearest(&entry.key, fields);
                return Err(Failure::custom(message).hinting(hint).at(entry.position));
            };
            if known.iter().any(|(name, _)| name == field) {
                let message =
                    format!("duplicate key `{}`: keys are the same in any case", entry.key);
                return Err(Failure::custom(message).at(entry.position));
            }
            let silent = match &entry.node.value {
                Value::Null => true,
                Value::List(items) => items.is_empty(),
                Value::Scalar(_) | Value::Map(_) => false,
            };
            if !silent {
                known.push((field, entry));
            }
        }
        Ok(Self { decoder, rest: known.into_iter(), value: None })
    }
}

impl<'de> MapAccess<'de> for StructEntries<'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let Some((field, entry)) = self.rest.next() else { return Ok(None) };
        self.value = Some(entry);
        let key: StrDeserializer<'_, Failure> = field.into_deserializer();
        seed.deserialize(key).map(Some).map_err(|failure| failure.at(entry.position))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        value(self.decoder, self.value.take(), seed)
    }
}

fn value<'de, V: DeserializeSeed<'de>>(
    decoder: Decoder<'de>,
    entry: Option<&'de Entry>,
    seed: V,
) -> Result<V::Value, Failure> {
    let entry = entry.ok_or_else(|| Failure::custom("a value without a key"))?;
    seed.deserialize(decoder.inner(&entry.node)).map_err(|failure| failure.inside(&entry.key))
}
