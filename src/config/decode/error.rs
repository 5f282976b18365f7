//! Errors of decoding: where, what, and what was probably meant.

use std::fmt;

use crate::config::node::{Position, Source};

/// Why a source cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    /// Keys from the root, with dots between; empty for the whole.
    pub(crate) path: String,
    pub(crate) message: String,
    /// The known key or value that is nearest to what stands there.
    pub(crate) hint: Option<Box<str>>,
    /// File name, or what else the source is; may be empty.
    pub(crate) file: Box<str>,
    /// From 1; 0 where it is not known.
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The line itself.
    pub(crate) excerpt: Option<Box<str>>,
}

impl Error {
    /// An error of a place in a source.
    pub(crate) fn of_source(source: &Source, at: Position, message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
            hint: None,
            file: source.name.as_str().into(),
            line: at.line,
            column: at.column,
            excerpt: source.line(at.line).map(Into::into),
        }
    }

    /// As one sentence, without the place.
    pub(crate) fn sentence(&self) -> String {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        let hint = self.hint.as_ref().map(|hint| format!("; did you mean `{hint}`?"));
        format!("{path}{}{}", self.message, hint.unwrap_or_default())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}", self.file)?;
            if self.line > 0 {
                write!(f, ":{}:{}", self.line, self.column)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.sentence())?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{:>6} | {excerpt}", self.line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// An error on its way out of the tree: it learns its place and path there.
#[derive(Debug)]
pub(super) struct Failure(Box<Detail>);

#[derive(Debug, Default)]
struct Detail {
    /// Innermost first.
    path: Vec<String>,
    message: String,
    hint: Option<Box<str>>,
    position: Option<Position>,
    /// No error: the object at this address is to be taken for absent.
    removes: Option<usize>,
}

impl Failure {
    pub(super) fn removal(id: usize) -> Self {
        let message = "too many objects are removed by `false`".to_owned();
        Self(Box::new(Detail { message, removes: Some(id), ..Detail::default() }))
    }

    pub(super) fn removes(&self) -> Option<usize> {
        self.0.removes
    }

    /// Sets the place, unless it is known more exactly.
    pub(super) fn at(mut self, position: Position) -> Self {
        self.0.position.get_or_insert(position);
        self
    }

    pub(super) fn inside(mut self, key: &str) -> Self {
        self.0.path.push(key.to_owned());
        self
    }

    pub(super) fn hinting(mut self, hint: Option<&str>) -> Self {
        self.0.hint = hint.map(Into::into);
        self
    }

    pub(super) fn into_error(self, source: &Source, base: &str) -> Error {
        let Detail { path, message, hint, position, .. } = *self.0;
        let base = (!base.is_empty()).then_some(base);
        let path: Vec<&str> =
            base.into_iter().chain(path.iter().rev().map(String::as_str)).collect();
        let path = path.join(".");
        let place = position.unwrap_or_default();
        Error { path, hint, ..Error::of_source(source, place, message) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Failure {}

impl serde::de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Box::new(Detail { message: message.to_string(), ..Detail::default() }))
    }
}

/// The word that is so near to `text` that it was probably meant.
pub(crate) fn nearest(text: &str, words: &[&'static str]) -> Option<&'static str> {
    const LENGTH_MAX: usize = 64;
    if text.len() > LENGTH_MAX {
        return None;
    }
    let text = text.to_lowercase();
    let distances = words.iter().map(|word| (distance(&text, &word.to_lowercase()), *word));
    let (distance, word) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (text.len() / 3).max(1)).then_some(word)
}

/// Edits that make one text of the other: insertions, deletions, replacements, swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let get = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut best = (get(&last, j) + usize::from(x != y))
                .min(get(&last, j + 1) + 1)
                .min(get(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(get(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}
