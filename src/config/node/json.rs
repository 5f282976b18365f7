//! JSON to a tree.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{DEPTH_MAX, Entry, Kind, Lines, Node, Problem, Value};

pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let lines = Lines::new(text);
    if text.trim().is_empty() {
        return Ok(Node::default());
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(|e| problem(&lines, 0, &e))?;
    node(raw, &lines, 1)
}

/// Each level is read without its insides, so that a value's place is known: where its text lies in the whole.
fn node(raw: &RawValue, lines: &Lines<'_>, depth: usize) -> Result<Node, Problem> {
    let text = raw.get();
    let offset = text.as_ptr().addr().saturating_sub(lines.text.as_ptr().addr());
    let position = lines.position(offset);
    if depth > DEPTH_MAX {
        return Err(Problem::too_deep(position));
    }
    let bad = |error: serde_json::Error| problem(lines, offset, &error);
    let value = match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text).map_err(bad)?;
            let mut keys = HashSet::with_capacity(members.len());
            let mut entries = Vec::with_capacity(members.len());
            for (key, raw) in members {
                let node = node(raw, lines, depth + 1)?;
                if !keys.insert(key.clone()) {
                    return Err(Problem::new(node.position, format!("duplicate key `{key}`")));
                }
                entries.push(Entry { key, position: node.position, node });
            }
            Value::Map(entries)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(bad)?;
            Value::List(
                items.into_iter().map(|i| node(i, lines, depth + 1)).collect::<Result<_, _>>()?,
            )
        }
        Some(b'"') => {
            let text: String = serde_json::from_str(text).map_err(bad)?;
            return Ok(Node::scalar(text, Kind::Text, position));
        }
        Some(b'n') => Value::Null,
        Some(b't' | b'f') => return Ok(Node::scalar(text, Kind::Bool, position)),
        _ => return Ok(Node::scalar(text, Kind::Number, position)),
    };
    Ok(Node::new(value, position))
}

/// An error of a part, placed in the whole.
fn problem(lines: &Lines<'_>, offset: usize, error: &serde_json::Error) -> Problem {
    let start = lines.position(offset);
    let mut position = super::Position { line: error.line(), column: error.column().max(1) };
    if offset > 0 {
        position = if error.line() > 1 {
            super::Position { line: start.line + error.line() - 1, ..position }
        } else {
            super::Position { column: start.column + error.column().saturating_sub(1), ..start }
        };
    }
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    Problem::new(position, message)
}

/// The members of an object in their order, duplicates included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}
