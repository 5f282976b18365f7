//! Regular expressions as Go reads them, run by the `regex` crate: linear time, limited size.
//!
//! Go and Rust agree on most of RE2's syntax. What differs is rewritten: `\d`, `\w` and `\s` are ASCII in Go; inside
//! brackets, `[`, `&&`, `--` and `~~` are plain characters there; a `{` that begins no repetition is one, too;
//! `\Q…\E` quotes.
//!
//! Differs: a repeated repetition (`a**`) is accepted, an octal escape (`\052`) is refused.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// Limit of the compiled program of one expression, in bytes.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// A compiled expression. Boxed: most rules have none.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Box<Regex>);

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp `{pattern}`: {reason}")]
pub(crate) struct PatternError {
    pattern: String,
    reason: String,
}

impl Pattern {
    /// Compiles an expression in Go's syntax. It is not anchored.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        let regex = RegexBuilder::new(&translate(pattern))
            .size_limit(PROGRAM_BYTES_MAX)
            .dfa_size_limit(PROGRAM_BYTES_MAX)
            .nest_limit(100)
            .build()
            .map_err(|error| PatternError {
                pattern: pattern.to_owned(),
                reason: one_line(&error),
            })?;
        Ok(Self(Box::new(regex)))
    }

    /// The expression, as it was translated.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Octets that are not UTF-8 count as U+FFFD, as in Go.
    pub(crate) fn is_match_bytes(&self, text: &[u8]) -> bool {
        self.0.is_match(&String::from_utf8_lossy(text))
    }

    /// The number of capture groups.
    pub(crate) fn groups(&self) -> usize {
        self.0.captures_len() - 1
    }
}

/// The crate draws its messages over several lines; the last one says what is wrong.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Rewrites Go's syntax to that of the `regex` crate.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, &mut out, false),
            '[' => class(&mut chars, &mut out),
            '{' if !begins_repetition(chars.clone()) => out.push_str("\\{"),
            other => out.push(other),
        }
    }
    out
}

/// What stands behind a backslash.
fn escape(chars: &mut Peekable<Chars<'_>>, out: &mut String, in_class: bool) {
    let Some(c) = chars.next() else {
        out.push('\\');
        return;
    };
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        '<' | '>' => out.push(c),
        'Q' => quoted(chars, out),
        'p' | 'P' | 'x' => {
            out.extend(['\\', c]);
            if chars.peek() == Some(&'{') {
                for inner in chars.by_ref() {
                    out.push(inner);
                    if inner == '}' {
                        break;
                    }
                }
            }
        }
        other => out.extend(['\\', other]),
    }
}

/// `\Q…\E`, of which the `\Q` has been read.
fn quoted(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next_if_eq(&'E').is_some() {
            break;
        }
        text.push(c);
    }
    out.push_str(&regex::escape(&text));
}

/// A class in brackets, of which the `[` has been read.
fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    if chars.next_if_eq(&']').is_some() {
        out.push_str("\\]");
    }
    let mut after_dash = false;
    while let Some(c) = chars.next() {
        match c {
            ']' => {
                out.push(']');
                return;
            }
            '\\' => escape(chars, out, true),
            '[' if chars.peek() == Some(&':') => {
                out.push('[');
                for inner in chars.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' | '&' | '~' => out.extend(['\\', c]),
            '-' if after_dash => out.push_str("\\-"),
            other => out.push(other),
        }
        after_dash = c == '-' && !after_dash;
    }
}

/// True where `chars`, which follow a `{`, are `n}`, `n,}` or `n,m}`.
fn begins_repetition(mut chars: Peekable<Chars<'_>>) -> bool {
    let digits = |chars: &mut Peekable<Chars<'_>>| {
        let mut count = 0_usize;
        while chars.next_if(char::is_ascii_digit).is_some() {
            count += 1;
        }
        count
    };
    if digits(&mut chars) == 0 {
        return false;
    }
    if chars.next_if_eq(&',').is_some() {
        digits(&mut chars);
    }
    chars.next() == Some('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (pattern, text, matches) in [
            (r"^\d+$", "42", true),
            (r"^\d+$", "٤٢", false),
            (r"^[\d.]+$", "4.2", true),
            (r"^[^\d]+$", "4", false),
            (r"^[\D]+$", "ab", true),
            (r"^\w+$", "é", false),
            (r"^a\sb$", "a b", true),
            (r"^[[a]+$", "[a", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^]a]+$", "b", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^[a~~b]+$", "~", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"^[+--]+$", ",", true),
            (r"^{x}$", "{x}", true),
            (r"^a{2}$", "aa", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^\Qa.b\E.$", "a.bc", true),
            (r"^\Qa.b\E.$", "axbc", false),
            (r"^\p{Greek}\x{41}$", "αA", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^\<$", "<", true),
            (r"(?i)FOO", "xfoox", true),
            (r"^(?P<name>a|b)$", "b", true),
            (r"^.$", "\n", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_match(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn refuses_what_is_no_expression_or_too_big() {
        for pattern in ["(", "[", "*", r"\", "(?=a)", r"(a)\1", "((a{1000}){1000}){1000}"] {
            let error = Pattern::new(pattern).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
        }
        assert_eq!(
            Pattern::new("(").unwrap_err().to_string(),
            "error parsing regexp `(`: unclosed group"
        );
        assert!(Pattern::new(&"(".repeat(10_000)).is_err());
    }

    #[test]
    fn repeated_repetitions_are_accepted_and_octal_escapes_refused() {
        assert!(Pattern::new("a**").is_ok());
        assert!(Pattern::new(r"\052").is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(pattern in r"[\\\[\]{}()a-c0-9,:&^~QEdwpx-]{0,24}", text in "\\PC{0,8}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                pattern.is_match(&text);
            }
        }
    }
}
