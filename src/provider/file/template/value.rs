//! Values of templates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Lists in lists end here.
const DEPTH_MAX: usize = 32;
/// Members of a list or a map.
pub(super) const MEMBERS_MAX: usize = 100_000;
/// Bytes of one text.
pub(super) const TEXT_BYTES_MAX: usize = 4 << 20;

/// A value. Clones are cheap.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    List(Arc<Nested<Vec<Value>>>),
    Map(Arc<Nested<BTreeMap<String, Value>>>),
}

/// Members, and how deep they go.
#[derive(Debug)]
pub(super) struct Nested<T> {
    pub(super) members: T,
    depth: usize,
}

impl Value {
    pub(super) fn text(text: impl AsRef<str>) -> Result<Self, String> {
        let text = text.as_ref();
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
        }
        Ok(Self::Text(text.into()))
    }

    pub(super) fn list(members: Vec<Self>) -> Result<Self, String> {
        let depth = depth_over(members.len(), members.iter())?;
        Ok(Self::List(Arc::new(Nested { members, depth })))
    }

    pub(super) fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, String> {
        let taken = texts.into_iter().take(MEMBERS_MAX + 1);
        Self::list(taken.map(Self::text).collect::<Result<_, _>>()?)
    }

    pub(super) fn map(members: BTreeMap<String, Self>) -> Result<Self, String> {
        let depth = depth_over(members.len(), members.values())?;
        Ok(Self::Map(Arc::new(Nested { members, depth })))
    }

    fn depth(&self) -> usize {
        match self {
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => 0,
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
        }
    }

    /// Memory that it takes, without what it shares.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 16,
            Self::Text(text) => 16 + text.len(),
            Self::List(list) => 32 * (1 + list.members.len()),
            Self::Map(map) => 96 * (1 + map.members.len()),
        }
    }

    /// What `if` goes by: not empty, not zero.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.members.is_empty(),
            Self::Map(map) => !map.members.is_empty(),
        }
    }

    /// Go's name of its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "invalid",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
        }
    }

    /// Appends it as Go prints it. `limit` is the length that `out` may have.
    pub(super) fn print(&self, out: &mut String, limit: usize) -> Result<(), String> {
        match self {
            Self::Nil => out.push_str("<no value>"),
            Self::Bool(value) => write_to(out, value),
            Self::Int(number) => write_to(out, number),
            Self::Float(number) => write_to(out, number),
            Self::Text(text) => {
                if out.len() + text.len() > limit {
                    return Err(too_long(limit));
                }
                out.push_str(text);
            }
            Self::List(list) => {
                out.push('[');
                for (number, member) in list.members.iter().enumerate() {
                    if number > 0 {
                        out.push(' ');
                    }
                    member.print(out, limit)?;
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push_str("map[");
                for (number, (name, member)) in map.members.iter().enumerate() {
                    if number > 0 {
                        out.push(' ');
                    }
                    out.push_str(name);
                    out.push(':');
                    member.print(out, limit)?;
                }
                out.push(']');
            }
        }
        if out.len() > limit { Err(too_long(limit)) } else { Ok(()) }
    }

    /// As Go prints it.
    pub(super) fn shown(&self) -> Result<String, String> {
        let mut out = String::new();
        self.print(&mut out, TEXT_BYTES_MAX)?;
        Ok(out)
    }

    /// Appends it as JSON.
    pub(super) fn json(&self, out: &mut String) -> Result<(), String> {
        match self {
            Self::Nil => out.push_str("null"),
            Self::Bool(value) => write_to(out, value),
            Self::Int(number) => write_to(out, number),
            Self::Float(number) => write_to(out, number),
            Self::Text(text) => out.push_str(&serde_json::Value::from(&**text).to_string()),
            Self::List(list) => {
                out.push('[');
                for (number, member) in list.members.iter().enumerate() {
                    if number > 0 {
                        out.push(',');
                    }
                    member.json(out)?;
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push('{');
                for (number, (name, member)) in map.members.iter().enumerate() {
                    if number > 0 {
                        out.push(',');
                    }
                    out.push_str(&serde_json::Value::from(name.as_str()).to_string());
                    out.push(':');
                    member.json(out)?;
                }
                out.push('}');
            }
        }
        if out.len() > TEXT_BYTES_MAX { Err(too_long(TEXT_BYTES_MAX)) } else { Ok(()) }
    }

    /// Equality of plain values, as Go's `==` has it. Others are never equal.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Int(one), Self::Int(other)) => one == other,
            (Self::Float(one), Self::Float(other)) => one.total_cmp(other).is_eq(),
            (Self::Text(one), Self::Text(other)) => one == other,
            _ => false,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

fn depth_over<'a>(count: usize, members: impl Iterator<Item = &'a Value>) -> Result<usize, String> {
    if count > MEMBERS_MAX {
        return Err(format!("a list or map of more than {MEMBERS_MAX} members"));
    }
    let depth = 1 + members.map(Value::depth).max().unwrap_or(0);
    if depth > DEPTH_MAX {
        Err("lists or maps too deep in each other".to_owned())
    } else {
        Ok(depth)
    }
}

fn write_to(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a string does not fail");
}

fn too_long(limit: usize) -> String {
    format!("more than {limit} bytes")
}
