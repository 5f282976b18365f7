//! `PathRegexp(expression)`: the expression matches somewhere in the routing path.

use super::{Arguments, Matcher, MatcherError, one};
use crate::router::Target;
use crate::router::pattern::Pattern;
use crate::router::rule::Tree;

#[derive(Debug)]
pub(crate) struct PathRegexp(pub(super) Pattern);

pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    one(arguments, |expression| {
        Pattern::new(expression)
            .map(|pattern| Matcher::PathRegexp(PathRegexp(pattern)))
            .map_err(|source| MatcherError::Pattern { matcher: "PathRegexp", source })
    })
}

impl PathRegexp {
    /// For templates of v2.
    pub(super) fn new(pattern: Pattern) -> Self {
        Self(pattern)
    }

    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        self.0.is_match_bytes(target.path())
    }
}

#[cfg(test)]
mod tests {
    use crate::router::Syntax;
    use crate::router::matcher::testing::{error, matches};
    use crate::router::target::testing::get;

    #[test]
    fn is_not_anchored_and_sees_the_routing_path() {
        for (expression, uri, is_match) in [
            (r"\.(png|jpg)$", "/a/b.jpg", true),
            (r"\.(png|jpg)$", "/a/b.jpg/", false),
            ("^/a b$", "/a%20b", true),
            ("%2F", "/a%2fb", true),
            ("^/.$", "/%ff", true),
        ] {
            let rule = format!("PathRegexp(`{expression}`)");
            assert_eq!(matches(&rule, &get("h", uri)), is_match, "{rule} {uri}");
        }
        assert!(error("PathRegexp(`[`)", Syntax::V3).contains("compiling PathRegexp matcher"));
    }
}
