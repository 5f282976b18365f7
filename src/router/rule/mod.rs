//! Rules: which requests, or which connections, a router takes. Parsed once, matched for each.
//!
//! Traefik v3: HTTP routers, rules. Errors read as Traefik's do.

mod lexer;
mod parser;
mod tree;

pub(super) use tree::Tree;

use std::fmt;

use super::Target;
use super::matcher::{Definition, Matcher, MatcherError};

/// Limit of a rule's text.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// The two rule languages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// The language of today.
    #[default]
    V3,
    /// That of Traefik v2: matchers take lists, paths and hosts are templates.
    V2,
}

impl Syntax {
    /// The language of a router whose option `ruleSyntax` is `name`. Names that Traefik does not know mean v3.
    pub(crate) fn of(name: &str, default: Self) -> Self {
        match name {
            "" => default,
            "v2" => Self::V2,
            _ => Self::V3,
        }
    }
}

/// A kind of matchers that rules are made of: those for requests, those for connections.
pub(crate) trait Asks: fmt::Display + Sized + 'static {
    /// What is asked something of.
    type Target<'t>;

    /// The matcher that `name` means.
    fn find(name: &str, syntax: Syntax) -> Option<&'static Definition<Self>>;

    fn matches(&self, target: &Self::Target<'_>) -> bool;
}

/// A rule about requests, ready to match.
#[derive(Debug)]
pub(crate) struct Rule {
    tree: Tree,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    #[error("error while parsing rule {rule}: {source}")]
    Parse {
        rule: String,
        #[source]
        source: SyntaxError,
    },
    #[error("error while adding rule {rule}: error while adding rule {matcher}: {source}")]
    Matcher {
        rule: String,
        matcher: String,
        #[source]
        source: MatcherError,
    },
    #[error("error while parsing rule {start}…: longer than {TEXT_BYTES_MAX} bytes")]
    TooLong { start: String },
}

/// A mistake in the syntax of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SyntaxError {
    #[error("1:{column}: expected {expected}, found {found}")]
    Unexpected { column: usize, expected: &'static str, found: String },
    #[error("1:{column}: {reason}")]
    Literal { column: usize, reason: &'static str },
    #[error("unsupported function: {0}")]
    UnsupportedFunction(String),
    #[error("1:{column}: nested deeper than {max} levels")]
    TooDeep { column: usize, max: usize },
    #[error("more than {max} regular expressions")]
    TooManyPatterns { max: usize },
}

impl Rule {
    /// Parses `text`. Depth and size of the result are limited.
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self, RuleError> {
        Ok(Self { tree: parse(text, syntax)? })
    }

    pub(crate) fn matches(&self, target: &Target<'_>) -> bool {
        self.tree.matches(target)
    }

    /// The first thing that the rule asks and the request does not have; `None` where it matches.
    pub(crate) fn refusal(&self, target: &Target<'_>) -> Option<String> {
        self.tree.refusal(target)
    }

    /// The names in `Host` matchers that are not negated, in lower case, in the order of the rule.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let mut hosts = Vec::new();
        self.tree.visit_positive(&mut |matcher| {
            if let Matcher::Host(host) = matcher {
                let name = host.to_string();
                if !hosts.contains(&name) {
                    hosts.push(name);
                }
            }
        });
        hosts
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// Parses `text`. Depth and size of the result are limited.
pub(super) fn parse<M: Asks>(text: &str, syntax: Syntax) -> Result<Tree<M>, RuleError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(RuleError::TooLong { start: text.chars().take(64).collect() });
    }
    parser::parse(text, syntax).map_err(|error| error.of_rule(text))
}

#[cfg(test)]
mod tests;
