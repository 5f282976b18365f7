//! YAML 1.2 to a tree: anchors, merge keys, no duplicate keys, expansion bounded.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::{DEPTH_MAX, Entry, Kind, Node, Position, Problem, SIZE_MAX, Scalar, Value};

/// What copies of parts (one for each anchor, one for each alias) may add up to, in nodes and in bytes of text.
const COPIED_NODES_MAX: usize = 2_000_000;
const COPIED_BYTES_MAX: usize = SIZE_MAX;

pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let mark = error.marker();
            let position = Position { line: mark.line(), column: mark.col() + 1 };
            Problem::new(position, error.info())
        })?;
        let position = Position { line: span.start.line(), column: span.start.col() + 1 };
        builder.take(event, position)?;
    }
    Ok(builder.root.unwrap_or_default())
}

#[derive(Default)]
struct Builder {
    /// Collections that are open, outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    copied: Weight,
    root: Option<Node>,
}

/// A collection that has begun.
struct Open {
    anchor: usize,
    position: Position,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(Map),
}

#[derive(Default)]
struct Map {
    entries: Vec<Entry>,
    lines: HashMap<String, usize>,
    /// Of `<<`, in the order of precedence.
    merged: Vec<Vec<Entry>>,
    /// A key that waits for its value.
    key: Option<(Key, Position)>,
}

enum Key {
    Named(String),
    Merge,
}

/// Size of a tree.
#[derive(Default, Clone, Copy)]
struct Weight {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, position: Position) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain);
                if plain && tag.is_none() && text == "<<" && self.wants_key() {
                    return self.key(Key::Merge, position);
                }
                let node = scalar(&text, plain, tag.as_deref(), position)?;
                self.value(node, anchor, Some(&text))
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(anchor, position, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => {
                self.open(anchor, position, Content::Map(Map::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, position),
            // Begin and end of stream and document, comments.
            _ => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map(map), .. }) if map.key.is_none())
    }

    fn open(&mut self, anchor: usize, position: Position, content: Content) -> Result<(), Problem> {
        if self.wants_key() {
            return Err(Problem::new(position, "a key must be a single value"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Problem::too_deep(position));
        }
        self.open.push(Open { anchor, position, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(Open { anchor, position, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map(map) => Value::Map(map.finish()),
        };
        self.value(Node::new(value, position), anchor, None)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<(), Problem> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Problem::new(position, "an alias to a part that contains it"));
        };
        let weight = Weight::of(node);
        if self.open.len() + weight.depth > DEPTH_MAX {
            return Err(Problem::too_deep(position));
        }
        self.copied.grow(weight, position)?;
        let node = node.clone();
        let text = match &node.value {
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        self.value(node, 0, text.as_deref())
    }

    /// Puts a finished part where it belongs; `text` is that of a scalar, which may be a key.
    fn value(&mut self, node: Node, anchor: usize, text: Option<&str>) -> Result<(), Problem> {
        let position = node.position;
        if anchor != 0 {
            self.copied.grow(Weight::of(&node), position)?;
            self.anchors.insert(anchor, node.clone());
        }
        if self.wants_key() {
            let text =
                text.ok_or_else(|| Problem::new(position, "a key must be a single value"))?;
            return self.key(Key::Named(text.to_owned()), position);
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None if self.root.is_none() => self.root = Some(node),
            None if matches!(node.value, Value::Null) => {}
            None => return Err(Problem::new(position, "only one document may stand in a file")),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(map)) => map.value(node)?,
        }
        Ok(())
    }

    fn key(&mut self, key: Key, position: Position) -> Result<(), Problem> {
        if let Some(Open { content: Content::Map(map), .. }) = self.open.last_mut() {
            if let Key::Named(name) = &key
                && let Some(line) = map.lines.insert(name.clone(), position.line)
            {
                let message = format!("duplicate key `{name}`: first on line {line}");
                return Err(Problem::new(position, message));
            }
            map.key = Some((key, position));
        }
        Ok(())
    }
}

impl Map {
    fn value(&mut self, node: Node) -> Result<(), Problem> {
        match self.key.take() {
            Some((Key::Named(key), position)) => self.entries.push(Entry { key, position, node }),
            Some((Key::Merge, position)) => {
                let parts = match node.value {
                    Value::List(items) => items.into_iter().map(|item| item.value).collect(),
                    single => vec![single],
                };
                for part in parts {
                    match part {
                        Value::Map(entries) => self.merged.push(entries),
                        Value::Null => {}
                        Value::Scalar(_) | Value::List(_) => {
                            return Err(Problem::new(position, "`<<` merges objects only"));
                        }
                    }
                }
            }
            None => {}
        }
        Ok(())
    }

    /// The entries; merged ones come last and only where their key is not taken.
    fn finish(self) -> Vec<Entry> {
        let Self { mut entries, lines, merged, .. } = self;
        let mut taken: HashSet<String> = lines.into_keys().collect();
        for entry in merged.into_iter().flatten() {
            if taken.insert(entry.key.clone()) {
                entries.push(entry);
            }
        }
        entries
    }
}

impl Weight {
    fn grow(&mut self, by: Self, position: Position) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(by.nodes);
        self.bytes = self.bytes.saturating_add(by.bytes);
        if self.nodes > COPIED_NODES_MAX || self.bytes > COPIED_BYTES_MAX {
            return Err(Problem::new(position, "aliases expand to too much"));
        }
        Ok(())
    }

    fn of(node: &Node) -> Self {
        let mut weight = Self { nodes: 1, bytes: 0, depth: 0 };
        let mut add = |inner: Self, key: usize| {
            weight.nodes = weight.nodes.saturating_add(inner.nodes);
            weight.bytes = weight.bytes.saturating_add(inner.bytes).saturating_add(key);
            weight.depth = weight.depth.max(inner.depth + 1);
        };
        match &node.value {
            Value::Null => {}
            Value::Scalar(scalar) => weight.bytes = scalar.text.len(),
            Value::List(items) => items.iter().for_each(|item| add(Self::of(item), 0)),
            Value::Map(entries) => {
                for entry in entries {
                    add(Self::of(&entry.node), entry.key.len());
                }
            }
        }
        weight
    }
}

/// A scalar by the core schema.
fn scalar(text: &str, plain: bool, tag: Option<&Tag>, position: Position) -> Result<Node, Problem> {
    if let Some(tag) = tag {
        let known = ["str", "bool", "int", "float", "null"];
        let Some(name) = known.iter().find(|name| tag.is_yaml_core_schema_tag(name)) else {
            let message = format!("tag `{}{}` is not supported", tag.handle(), tag.suffix());
            return Err(Problem::new(position, message));
        };
        if *name == "str" {
            return Ok(Node::scalar(text, Kind::Text, position));
        }
    } else if !plain {
        return Ok(Node::scalar(text, Kind::Text, position));
    }
    let kind = match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Node::new(Value::Null, position)),
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Bool,
        _ => match number(text) {
            Some(number) => return Ok(Node::scalar(number, Kind::Number, position)),
            None => Kind::Text,
        },
    };
    Ok(Node::new(Value::Scalar(Scalar { text: text.to_owned(), kind }), position))
}

/// The text of a number, in decimal where it was written otherwise.
fn number(text: &str) -> Option<String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let radix = |prefix: &str, radix| {
        let digits = digits.strip_prefix(prefix)?;
        let number = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
        Some(if text.starts_with('-') { -number } else { number }.to_string())
    };
    radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)).or_else(|| {
        let decimal = text.replace('_', "");
        let number =
            decimal.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        (number && decimal.parse::<f64>().is_ok()).then_some(decimal)
    })
}
