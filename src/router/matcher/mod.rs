//! Matchers: what a rule can ask of a request. A matcher is its file, a line in a table below, and a variant.

pub(super) mod client_ip;
mod header;
mod header_regexp;
mod host;
mod host_regexp;
mod method;
mod path;
mod path_prefix;
mod path_regexp;
mod query;
mod query_regexp;
pub(super) mod template;
mod v2;

use std::borrow::Cow;
use std::fmt;

pub(super) use host::{Host, wildcard_parent};

use super::Target;
use super::pattern::PatternError;
use super::rule::{Asks, Syntax, Tree};

/// One thing asked of a request.
#[derive(Debug)]
pub(crate) enum Matcher {
    Host(Host),
    HostRegexp(host_regexp::HostRegexp),
    Path(path::Path),
    PathPrefix(path_prefix::PathPrefix),
    PathRegexp(path_regexp::PathRegexp),
    Method(method::Method),
    Header(Box<header::Header>),
    HeaderRegexp(Box<header_regexp::HeaderRegexp>),
    Query(query::Query),
    QueryRegexp(Box<query_regexp::QueryRegexp>),
    ClientIp(Box<client_ip::ClientIp>),
}

impl Asks for Matcher {
    type Target<'t> = Target<'t>;

    fn find(name: &str, syntax: Syntax) -> Option<&'static Definition> {
        find(name, syntax)
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        match self {
            Self::Host(matcher) => matcher.matches(target),
            Self::HostRegexp(matcher) => matcher.matches(target),
            Self::Path(matcher) => matcher.matches(target),
            Self::PathPrefix(matcher) => matcher.matches(target),
            Self::PathRegexp(matcher) => matcher.matches(target),
            Self::Method(matcher) => matcher.matches(target),
            Self::Header(matcher) => matcher.matches(target),
            Self::HeaderRegexp(matcher) => matcher.matches(target),
            Self::Query(matcher) => matcher.matches(target),
            Self::QueryRegexp(matcher) => matcher.matches(target),
            Self::ClientIp(matcher) => matcher.matches(target),
        }
    }
}

/// As in a rule of v3; a header that no request can have is written `?`.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = |name: &Option<::http::HeaderName>| {
            name.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string)
        };
        match self {
            Self::Host(host) => write!(f, "Host(`{host}`)"),
            Self::HostRegexp(one) => write!(f, "HostRegexp(`{}`)", one.0.as_str()),
            Self::Path(one) => write!(f, "Path(`{}`)", one.literal()),
            Self::PathPrefix(one) => write!(f, "PathPrefix(`{}`)", one.literal()),
            Self::PathRegexp(one) => write!(f, "PathRegexp(`{}`)", one.0.as_str()),
            Self::Method(one) => write!(f, "Method(`{}`)", one.0),
            Self::Header(one) => write!(f, "Header(`{}`, `{}`)", header(&one.name), one.value),
            Self::HeaderRegexp(one) => {
                write!(f, "HeaderRegexp(`{}`, `{}`)", header(&one.name), one.pattern.as_str())
            }
            Self::Query(one) => write!(f, "Query(`{}`, `{}`)", one.0.0, one.0.1),
            Self::QueryRegexp(one) => {
                write!(f, "QueryRegexp(`{}`, `{}`)", one.name, one.pattern.as_str())
            }
            Self::ClientIp(one) => write!(f, "ClientIP(`{}`)", one.0),
        }
    }
}

/// Why arguments make no matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MatcherError {
    #[error("unexpected number of parameters; got {got}, expected one of {}", list(.expected))]
    Count { got: usize, expected: &'static [usize] },
    #[error("no args for matcher {0}")]
    NoArguments(&'static str),
    #[error("empty args for matcher {0}")]
    EmptyArgument(&'static str),
    #[error("invalid value {value:?} for {matcher} matcher, non-ASCII characters are not allowed")]
    NotAscii { matcher: &'static str, value: String },
    #[error("invalid value for {matcher} matcher, {value:?} is not a valid hostname")]
    HostName { matcher: &'static str, value: String },
    #[error("invalid protocol value for ALPN matcher, {0:?} is not allowed")]
    Protocol(String),
    #[error("path {0:?} does not start with a '/'")]
    NoSlash(String),
    #[error("compiling {matcher} matcher: {source}")]
    Pattern {
        matcher: &'static str,
        #[source]
        source: PatternError,
    },
    #[error(
        "initializing IP checker for ClientIP matcher: {0:?} is neither an IP address nor a CIDR"
    )]
    Address(String),
    #[error("number of parameters must be multiple of 2, got {0}")]
    Unpaired(usize),
    #[error("unbalanced braces in {0:?}")]
    Braces(String),
    #[error("missing name or pattern in {0:?}")]
    Template(String),
    #[error(
        "{0:?} contains capture groups in its regexp. Only non-capturing groups are accepted: e.g. (?:pattern) instead of (pattern)"
    )]
    Groups(String),
}

/// As Go prints a list of numbers.
fn list(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

/// The arguments of a matcher; none is empty.
pub(super) type Arguments<'a> = &'a [Cow<'a, str>];

/// A matcher's name and how it is built.
pub(crate) struct Definition<M = Matcher> {
    pub(super) name: &'static str,
    /// Numbers of arguments that it takes; empty for any.
    counts: &'static [usize],
    /// Its arguments may be regular expressions.
    pub(super) is_pattern: bool,
    make: fn(Arguments<'_>) -> Result<Tree<M>, MatcherError>,
}

impl<M> Definition<M> {
    pub(super) const fn literal(
        name: &'static str,
        counts: &'static [usize],
        make: fn(Arguments<'_>) -> Result<Tree<M>, MatcherError>,
    ) -> Self {
        Self { name, counts, is_pattern: false, make }
    }

    pub(super) const fn pattern(
        name: &'static str,
        counts: &'static [usize],
        make: fn(Arguments<'_>) -> Result<Tree<M>, MatcherError>,
    ) -> Self {
        Self { name, counts, is_pattern: true, make }
    }

    /// Checks the arguments and builds the matcher.
    pub(super) fn build(&self, arguments: Arguments<'_>) -> Result<Tree<M>, MatcherError> {
        if arguments.is_empty() {
            return Err(MatcherError::NoArguments(self.name));
        }
        if arguments.iter().any(|argument| argument.is_empty()) {
            return Err(MatcherError::EmptyArgument(self.name));
        }
        if !self.counts.is_empty() && !self.counts.contains(&arguments.len()) {
            return Err(MatcherError::Count { got: arguments.len(), expected: self.counts });
        }
        (self.make)(arguments)
    }
}

static V3: [Definition; 11] = [
    Definition::literal("Host", &[1], host::build),
    Definition::pattern("HostRegexp", &[1], host_regexp::build),
    Definition::literal("Path", &[1], path::build),
    Definition::literal("PathPrefix", &[1], path_prefix::build),
    Definition::pattern("PathRegexp", &[1], path_regexp::build),
    Definition::literal("Method", &[1], method::build),
    Definition::literal("Header", &[2], header::build),
    Definition::pattern("HeaderRegexp", &[2], header_regexp::build),
    Definition::literal("Query", &[1, 2], query::build),
    Definition::pattern("QueryRegexp", &[1, 2], query_regexp::build),
    Definition::literal("ClientIP", &[1], client_ip::build),
];

static V2: [Definition; 10] = [
    Definition::literal("Host", &[], v2::hosts),
    Definition::literal("HostHeader", &[], v2::hosts),
    Definition::pattern("HostRegexp", &[], v2::host_templates),
    Definition::literal("ClientIP", &[], client_ip::build),
    Definition::pattern("Path", &[], v2::paths),
    Definition::pattern("PathPrefix", &[], v2::path_prefixes),
    Definition::literal("Method", &[], method::build),
    Definition::literal("Headers", &[], v2::headers),
    Definition::pattern("HeadersRegexp", &[], v2::header_patterns),
    Definition::pattern("Query", &[], v2::queries),
];

/// The matcher of requests that `name` means.
fn find(name: &str, syntax: Syntax) -> Option<&'static Definition> {
    let table: &[Definition] = match syntax {
        Syntax::V3 => &V3,
        Syntax::V2 => &V2,
    };
    named(table, name)
}

/// The definition in `table` that `name` means.
pub(super) fn named<M>(
    table: &'static [Definition<M>],
    name: &str,
) -> Option<&'static Definition<M>> {
    table.iter().find(|definition| is_spelling(name, definition.name))
}

/// Four spellings of a name are accepted: its own, lower case, upper case, and lower case but for the first letter.
fn is_spelling(given: &str, name: &str) -> bool {
    let is_lower = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
    given == name
        || given.eq_ignore_ascii_case(name)
            && (is_lower(given)
                || given.bytes().all(|byte| byte.is_ascii_uppercase())
                || given.starts_with(|c: char| c.is_ascii_uppercase())
                    && given.get(1..).is_some_and(is_lower))
}

/// A matcher for the first argument.
fn one(
    arguments: Arguments<'_>,
    make: impl FnOnce(&str) -> Result<Matcher, MatcherError>,
) -> Result<Tree, MatcherError> {
    let first = arguments.first().ok_or(MatcherError::NoArguments(""))?;
    make(first).map(Tree::Is)
}

/// True where one of the arguments matches.
pub(super) fn any_of<M: Asks>(
    arguments: Arguments<'_>,
    make: impl Fn(&str) -> Result<M, MatcherError>,
) -> Result<Tree<M>, MatcherError> {
    let terms: Result<_, _> =
        arguments.iter().map(|argument| make(argument).map(Tree::Is)).collect();
    terms.map(Tree::any)
}

#[cfg(test)]
mod testing {
    //! Rules of one matcher, for tests.

    use crate::router::target::testing::Head;
    use crate::router::{Rule, Syntax};

    pub(super) fn matches(rule: &str, head: &Head) -> bool {
        Rule::parse(rule, Syntax::V3).unwrap().matches(&head.target())
    }

    pub(super) fn matches_v2(rule: &str, head: &Head) -> bool {
        Rule::parse(rule, Syntax::V2).unwrap().matches(&head.target())
    }

    /// What follows the rule in the message of its error.
    pub(super) fn error(rule: &str, syntax: Syntax) -> String {
        let message = Rule::parse(rule, syntax).unwrap_err().to_string();
        message.split_once(&format!("{rule}: ")).unwrap().1.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_spellings_are_accepted() {
        for name in ["HostRegexp", "hostregexp", "HOSTREGEXP", "Hostregexp"] {
            assert_eq!(find(name, Syntax::V3).unwrap().name, "HostRegexp", "{name}");
        }
        for name in ["hostRegexp", "HOSTRegexp", "HostRegExp", "hOSTREGEXP", "", "Hosts"] {
            assert!(find(name, Syntax::V3).is_none(), "{name}");
        }
        assert_eq!(find("Clientip", Syntax::V2).unwrap().name, "ClientIP");
    }

    #[test]
    fn names_belong_to_their_syntax() {
        assert!(find("HeaderRegexp", Syntax::V2).is_none());
        assert!(find("HeadersRegexp", Syntax::V3).is_none());
    }
}
