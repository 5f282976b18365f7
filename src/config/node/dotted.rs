//! Dotted paths to a tree: flags, environment variables, labels, keys of key-value stores.

use std::collections::HashMap;
use std::sync::Arc;

use super::{DEPTH_MAX, Document, Entry, Kind, Node, Position, Source, Value};
use crate::config::decode::Error;

/// Longest part of a path in bytes.
const SEGMENT_MAX: usize = 1024;

/// Builds a tree from paths. Segments are the same in any case; the first spelling stays.
#[derive(Default)]
pub(crate) struct Dotted {
    root: Branch,
    lines: Vec<String>,
}

#[derive(Default)]
struct Branch {
    values: Vec<String>,
    children: Vec<(String, Branch)>,
    index: HashMap<String, usize>,
    line: usize,
}

impl Dotted {
    /// Adds a value. `line` is what messages show of it. A path given twice holds both values: a list takes both,
    /// anything else the last.
    pub(crate) fn insert<'a>(
        &mut self,
        path: impl IntoIterator<Item = &'a str>,
        value: &str,
        line: impl Into<String>,
    ) -> Result<(), String> {
        self.lines.push(line.into());
        let line = self.lines.len();
        let mut branch = &mut self.root;
        for (depth, segment) in path.into_iter().enumerate() {
            if segment.is_empty() || segment.len() > SEGMENT_MAX {
                return Err("a part of the path is empty or too long".to_owned());
            }
            if depth + 1 >= DEPTH_MAX {
                return Err(format!("nested deeper than {DEPTH_MAX} levels"));
            }
            branch = branch.child(segment, line);
        }
        branch.values.push(value.to_owned());
        Ok(())
    }

    /// Replaces what stands at a path.
    pub(crate) fn set<'a>(
        &mut self,
        path: impl IntoIterator<Item = &'a str> + Clone,
        value: &str,
        line: impl Into<String>,
    ) -> Result<(), String> {
        let mut branch = Some(&mut self.root);
        for segment in path.clone() {
            branch = branch.and_then(|branch| branch.existing(segment));
        }
        if let Some(branch) = branch {
            branch.values.clear();
        }
        self.insert(path, value, line)
    }

    /// The tree, in the order in which paths were added; `name` stands in messages.
    pub(crate) fn finish(self, name: &str) -> Document {
        let source = Arc::new(Source::new(name, self.lines.join("\n")));
        Document { source, root: self.root.finish() }
    }
}

impl Branch {
    fn existing(&mut self, segment: &str) -> Option<&mut Self> {
        let at = *self.index.get(&segment.to_ascii_lowercase())?;
        self.children.get_mut(at).map(|(_, child)| child)
    }

    fn child(&mut self, segment: &str, line: usize) -> &mut Self {
        let next = self.children.len();
        let at = *self.index.entry(segment.to_ascii_lowercase()).or_insert(next);
        if at == next {
            self.children.push((segment.to_owned(), Self { line, ..Self::default() }));
        }
        &mut self.children.get_mut(at).expect("the index points at children").1
    }

    /// Puts indexes into the order of their numbers; other keys stay as they are.
    fn order(&mut self) {
        self.children.sort_by_key(|(key, _)| key.parse::<u64>().ok());
        self.index.clear();
        for (at, (key, child)) in self.children.iter_mut().enumerate() {
            self.index.insert(key.to_ascii_lowercase(), at);
            child.order();
        }
    }

    fn finish(self) -> Node {
        let position = Position { line: self.line, column: 1 };
        let scalar = |text| Node::scalar(text, Kind::Untyped, position);
        if !self.children.is_empty() {
            let entries = self.children.into_iter().map(|(key, child)| Entry {
                key,
                position: Position { line: child.line, column: 1 },
                node: child.finish(),
            });
            return Node::new(Value::Map(entries.collect()), position);
        }
        let mut values = self.values;
        match (values.pop(), values.is_empty()) {
            (None, _) => Node::new(Value::Null, position),
            (Some(value), true) => scalar(value),
            (Some(last), false) => {
                let all = values.into_iter().chain([last]);
                Node::new(Value::List(all.map(scalar).collect()), position)
            }
        }
    }
}

/// The segments of a dotted path: `a.b[0].c` is `a`, `b`, `0`, `c`.
pub(crate) fn segments(path: &str) -> impl Iterator<Item = &str> + Clone {
    path.split('.').flat_map(|part| {
        let (name, indexes) = part.split_once('[').unwrap_or((part, ""));
        let indexes = indexes.split('[').filter(|index| !index.is_empty());
        std::iter::once(name).chain(indexes.map(|index| index.trim_end_matches(']')))
    })
}

/// Flags: `--a.b=value`, `--a.b value`, `-a.b`. Keys are lower-cased, maps' included.
pub(crate) fn flags<S: AsRef<str>>(arguments: &[S]) -> Result<Document, Error> {
    let mut dotted = Dotted::default();
    let mut rest = arguments.iter().map(AsRef::as_ref).enumerate().peekable();
    let lines = || arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n");
    let fail = |number: usize, message: String| {
        let position = Position { line: number + 1, column: 1 };
        Error::of_source(&Source::new("command line", lines()), position, message)
    };
    while let Some((number, argument)) = rest.next() {
        let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let Some(flag) = flag.filter(|flag| !flag.is_empty() && !flag.starts_with(['-', '=']))
        else {
            return Err(fail(number, format!("`{argument}` is not a flag: flags begin with `--`")));
        };
        let (path, value) = match flag.split_once('=') {
            Some((path, value)) => (path, value),
            None => match rest.next_if(|(_, next)| !next.starts_with('-')) {
                Some((_, value)) => (flag, value),
                None => (flag, "true"),
            },
        };
        let path = path.to_lowercase();
        let added = dotted.insert(segments(&path), value, argument);
        added.map_err(|message| fail(number, format!("`{argument}`: {message}")))?;
    }
    dotted.root.order();
    Ok(dotted.finish("command line"))
}

/// Environment variables: `TRAEFIK_A_B`, or `PONTOON_A_B`, which wins. Others are passed over.
pub(crate) fn environment<N: AsRef<str>, V: AsRef<str>>(variables: &[(N, V)]) -> Document {
    let mut found: Vec<(usize, String, &str, &str)> = Vec::new();
    for (name, value) in variables {
        let name = name.as_ref();
        let lower = name.to_lowercase();
        for (rank, prefix) in ["traefik_", "pontoon_"].into_iter().enumerate() {
            if let Some(path) = lower.strip_prefix(prefix) {
                found.push((rank, path.to_owned(), name, value.as_ref()));
            }
        }
    }
    found.sort();
    let mut dotted = Dotted::default();
    for (_, path, name, value) in &found {
        // A name with two `_` in a row, or at its end, is none of ours: it is passed over as others are.
        // Values may be secrets, so messages show the name only.
        if path.split('_').all(|segment| !segment.is_empty()) {
            let _known_to_fit = dotted.set(path.split('_'), value, *name);
        }
    }
    dotted.root.order();
    dotted.finish("environment")
}
