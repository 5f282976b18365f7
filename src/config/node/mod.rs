//! The tree that every source of configuration decodes to, with the place where each part stands.

mod dotted;
mod json;
mod toml;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use super::decode::Error;

pub(crate) use dotted::{environment, flags};

/// Largest source in bytes.
pub(crate) const SIZE_MAX: usize = 64 << 20;
/// Deepest nesting.
pub(crate) const DEPTH_MAX: usize = 64;

/// Where a part stands: line and column from 1; line 0 where that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One part of a configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) position: Position,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Value {
    /// Written, but without a value: counts as absent.
    #[default]
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A single value; the type that it decodes to says what its text means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

/// How a scalar is written, for where the type leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bool,
    Number,
    /// Of a flag, a variable, a label: no notation of types.
    Untyped,
}

/// A key and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) position: Position,
    pub(crate) node: Node,
}

/// A text with its name, for messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// File name, or what else the text is.
    pub(crate) name: String,
    text: String,
}

/// A whole source, decoded to a tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    pub(crate) source: Arc<Source>,
    pub(crate) root: Node,
}

/// Notations of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Yaml,
    Toml,
    Json,
}

impl Format {
    /// By the extension of the file's name: `.yaml`, `.yml`, `.toml`, `.json`.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Document {
    /// Parses `text`; `name` stands in messages. Bounded in size and depth; never panics.
    pub(crate) fn parse(name: &str, text: &str, format: Format) -> Result<Self, Error> {
        if text.len() > SIZE_MAX {
            let message = format!("larger than {SIZE_MAX} bytes");
            return Err(Error::of_source(&Source::new(name, ""), Position::default(), message));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Arc::new(Source::new(name, text));
        let root = match format {
            Format::Yaml => yaml::parse(text),
            Format::Toml => toml::parse(text),
            Format::Json => json::parse(text),
        };
        match root {
            Ok(root) => Ok(Self { source, root }),
            Err(Problem { position, message }) => Err(Error::of_source(&source, position, message)),
        }
    }
}

impl Source {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// A line for a message, shortened.
    pub(crate) fn line(&self, number: usize) -> Option<String> {
        const SHOWN_MAX: usize = 160;
        let line = self.text.lines().nth(number.checked_sub(1)?)?;
        let line = line.trim_end();
        (!line.is_empty()).then(|| match line.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
            None => line.to_owned(),
        })
    }
}

impl Node {
    pub(crate) fn new(value: Value, position: Position) -> Self {
        Self { value, position }
    }

    pub(crate) fn scalar(text: impl Into<String>, kind: Kind, position: Position) -> Self {
        Self::new(Value::Scalar(Scalar { text: text.into(), kind }), position)
    }

    /// The entries of a map, of which null is an empty one; `None` for others.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// The part at a key, in any case.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let entries = self.entries()?;
        entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(key)).map(|entry| &entry.node)
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar(Scalar { kind: Kind::Bool, .. }) => "a boolean",
            Value::Scalar(Scalar { kind: Kind::Number, .. }) => "a number",
            Value::Scalar(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }
}

/// Why a text is no tree.
#[derive(Debug)]
struct Problem {
    position: Position,
    message: String,
}

impl Problem {
    fn new(position: Position, message: impl Into<String>) -> Self {
        Self { position, message: message.into() }
    }

    fn too_deep(position: Position) -> Self {
        Self::new(position, format!("nested deeper than {DEPTH_MAX} levels"))
    }
}

/// Positions of bytes in a text.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// Characters in front of each [`BLOCK`] of bytes: a document may be one long line, and each of its values has a
    /// position.
    characters: Vec<usize>,
}

const BLOCK: usize = 1024;

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let starts = std::iter::once(0).chain(breaks.map(|(i, _)| i + 1)).collect();
        let mut before = 0;
        let blocks = text.as_bytes().chunks(BLOCK).map(|block| {
            let start = before;
            before += characters(block);
            start
        });
        let characters = blocks.collect();
        Self { text, starts, characters }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = line.checked_sub(1).and_then(|i| self.starts.get(i)).copied().unwrap_or(0);
        let column = self.characters_before(offset).saturating_sub(self.characters_before(start));
        Position { line, column: column + 1 }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let block = offset / BLOCK;
        let rest = self.text.as_bytes().get(block * BLOCK..offset).unwrap_or_default();
        self.characters.get(block).copied().unwrap_or(0) + characters(rest)
    }
}

/// Bytes that continue a character are none of their own.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests;
