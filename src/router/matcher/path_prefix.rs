//! `PathPrefix(prefix)`: the routing path begins with `prefix`, wherever its segments end: `/foo` takes `/foobar`.

use super::path::check_slash;
use super::{Arguments, Matcher, MatcherError, one};
use crate::router::Target;
use crate::router::rule::Tree;

#[derive(Debug)]
pub(crate) struct PathPrefix(Box<str>);

pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    one(arguments, literal)
}

pub(super) fn literal(prefix: &str) -> Result<Matcher, MatcherError> {
    check_slash(prefix)?;
    Ok(Matcher::PathPrefix(PathPrefix(prefix.into())))
}

impl PathPrefix {
    pub(crate) fn literal(&self) -> &str {
        &self.0
    }

    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        target.path().starts_with(self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use crate::router::Syntax;
    use crate::router::matcher::testing::{error, matches};
    use crate::router::target::testing::get;

    #[test]
    fn is_a_prefix_of_the_text() {
        for (prefix, uri, is_match) in [
            ("/foo", "/foo", true),
            ("/foo", "/foobar", true),
            ("/foo/", "/foo", false),
            ("/foo", "/fo", false),
            ("/", "/%2F", true),
            ("/a/", "/a%2Fb", false),
        ] {
            let rule = format!("PathPrefix(`{prefix}`)");
            assert_eq!(matches(&rule, &get("h", uri)), is_match, "{rule} {uri}");
        }
        assert!(error("PathPrefix(`x`)", Syntax::V3).ends_with("does not start with a '/'"));
    }
}
