//! `Host(name)`: the request's host is `name`. `*.example.com` means exactly one label more, `*` any request.

use std::fmt;

use super::{Arguments, Matcher, MatcherError, one};
use crate::router::Target;
use crate::router::rule::Tree;
use crate::router::target::canonical_host;

/// A host name, in lower case and without trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Exact(Box<str>),
    /// What follows `*.`.
    Wildcard(Box<str>),
    Any,
}

pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    one(arguments, |name| {
        let name = checked(name)?;
        Ok(Matcher::Host(match name.strip_prefix('*') {
            Some("") => Host::Any,
            Some(rest) if rest.len() > 1 && rest.starts_with('.') => {
                Host::Wildcard(rest.trim_start_matches('.').into())
            }
            Some(_) | None => Host::Exact(name),
        }))
    })
}

/// A name without wildcards, as in the syntax of v2.
pub(super) fn exact(name: &str) -> Result<Matcher, MatcherError> {
    checked(name).map(|name| Matcher::Host(Host::Exact(name)))
}

fn checked(name: &str) -> Result<Box<str>, MatcherError> {
    if !name.is_ascii() {
        return Err(MatcherError::NotAscii { matcher: "Host", value: name.to_owned() });
    }
    // A port in a rule never matches, as in Traefik: only the request's is taken off.
    if name.contains(':') && !name.starts_with('[') {
        return Ok(name.to_ascii_lowercase().into());
    }
    Ok(canonical_host(name).into())
}

impl Host {
    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        self.is(target.host()) || target.flat_host().is_some_and(|host| self.is(host))
    }

    fn is(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => !host.is_empty() && host == &**name,
            Self::Wildcard(parent) => wildcard_parent(host) == Some(parent),
            Self::Any => true,
        }
    }
}

/// What follows the first label of `host`.
pub(crate) fn wildcard_parent(host: &str) -> Option<&str> {
    host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::router::matcher::testing::{error, matches};
    use crate::router::target::testing::get;
    use crate::router::{Rule, Syntax};

    #[test]
    fn compares_canonical_names() {
        for (rule, host, is_match) in [
            ("example.com", "EXAMPLE.com:8080", true),
            ("Example.com", "example.com", true),
            ("example.com.", "example.com", true),
            ("example.com", "example.com.", true),
            ("example.com", "www.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "A.Example.com.:80", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*", "anything", true),
            ("*", "", true),
            ("example.com", "", false),
            ("[::1]", "[::1]:80", true),
            ("::1", "[::1]", true),
            ("example.com:80", "example.com:80", false),
        ] {
            assert_eq!(
                matches(&format!("Host(`{rule}`)"), &get(host, "/")),
                is_match,
                "{rule} {host}"
            );
        }
    }

    /// static.md §2, `hostResolver`: used by `Host`.
    #[test]
    fn the_name_behind_an_alias_matches_too() {
        for (rule, is_match) in [
            ("Host(`alias.test`)", true),
            ("Host(`real.example.test`)", true),
            ("Host(`*.example.test`)", true),
            ("Host(`example.test`)", false),
            ("HostRegexp(`^real`)", true),
            ("HostRegexp(`^$`)", false),
        ] {
            let head = get("alias.test", "/");
            let target = head.target().with_flat_host(Some("real.example.test"));
            assert_eq!(Rule::parse(rule, Syntax::V3).unwrap().matches(&target), is_match, "{rule}");
        }
    }

    #[test]
    fn refuses_what_is_not_ascii() {
        assert_eq!(
            error("Host(`é.test`)", Syntax::V3),
            "error while adding rule Host: invalid value \"é.test\" for Host matcher, non-ASCII \
             characters are not allowed"
        );
    }
}
