//! Replaces what a regular expression matches, in Go's notation of replacements.
//!
//! Go's `regexp`, `Expand`: `$name` takes the longest name, so `$1x` is the group `1x`; a group that does not exist
//! is empty; `$$` is a dollar sign.

use ::regex::{Captures, Regex};

use super::BuildError;

/// A regular expression and what its matches become.
pub(super) struct Rewrite {
    regex: Regex,
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Rewrite {
    pub(super) fn new(pattern: &str, replacement: &str) -> Result<Self, BuildError> {
        let regex = compile("regex", pattern)?;
        let parts = parts(&regex, replacement);
        Ok(Self { regex, parts })
    }

    /// `text` with all matches replaced; `None` where there is none.
    pub(super) fn apply(&self, text: &str) -> Option<String> {
        if !self.regex.is_match(text) {
            return None;
        }
        Some(self.regex.replace_all(text, |found: &Captures<'_>| self.expand(found)).into_owned())
    }

    fn expand(&self, found: &Captures<'_>) -> String {
        let mut expanded = String::new();
        for part in &self.parts {
            expanded.push_str(match part {
                Part::Text(text) => text,
                Part::Group(number) => found.get(*number).map_or("", |group| group.as_str()),
            });
        }
        expanded
    }
}

/// Compiles an option that holds a regular expression.
pub(super) fn compile(option: &'static str, pattern: &str) -> Result<Regex, BuildError> {
    Regex::new(pattern).map_err(|error| BuildError::option(option, format!("`{pattern}`: {error}")))
}

/// Cuts a replacement into texts and groups. Groups that do not exist are left out.
fn parts(regex: &Regex, replacement: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            text.push('$');
            rest = tail;
            continue;
        }
        let Some((name, tail)) = name(after) else {
            text.push('$');
            rest = after;
            continue;
        };
        rest = tail;
        if let Some(number) = group(regex, name) {
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Group(number));
        }
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

/// The name behind a dollar sign, in braces or not, and what comes after it.
fn name(text: &str) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    if let Some(braced) = text.strip_prefix('{') {
        let (name, tail) = braced.split_once('}')?;
        return (!name.is_empty() && name.chars().all(is_part)).then_some((name, tail));
    }
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    if end == 0 { None } else { text.split_at_checked(end) }
}

fn group(regex: &Regex, name: &str) -> Option<usize> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return name.parse().ok().filter(|number| *number < regex.captures_len());
    }
    regex.capture_names().position(|known| known == Some(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replacements_are_go_s() {
        for (pattern, replacement, text, wanted) in [
            ("(a)(b)", "$2$1", "xaby", "xbay"),
            ("(a)", "$1x", "a", ""),
            ("(a)", "${1}x", "a", "ax"),
            ("(?P<word>a)", "<$word>", "aa", "<a><a>"),
            ("(?P<word>a)", "${word}${other}$9", "a", "a"),
            ("a", "$$1", "a", "$1"),
            ("a", "$", "a", "$"),
            ("a", "${", "a", "${"),
            ("a", "${x-y}$-", "a", "${x-y}$-"),
            (".*", "x", "abc", "x"),
            ("(a)|(b)", "[$1|$2]", "ab", "[a|][|b]"),
        ] {
            let rewrite = Rewrite::new(pattern, replacement).unwrap();
            assert_eq!(rewrite.apply(text).as_deref(), Some(wanted), "{pattern} {replacement}");
        }
        assert_eq!(Rewrite::new("a", "b").unwrap().apply("xyz"), None);
    }

    proptest! {
        #[test]
        fn any_replacement_works(replacement in "[$a-z0-9{}_-]{0,12}") {
            Rewrite::new("(a)", &replacement).unwrap().apply("a");
        }
    }
}
