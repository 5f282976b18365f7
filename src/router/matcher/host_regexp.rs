//! `HostRegexp(expression)`: the expression matches somewhere in the request's host, which is in lower case.

use super::{Arguments, Matcher, MatcherError, one};
use crate::router::Target;
use crate::router::pattern::Pattern;
use crate::router::rule::Tree;

/// Without `cnameFlattening` the flattened host is empty, so what matches the empty text matches every request.
#[derive(Debug)]
pub(crate) struct HostRegexp(pub(super) Pattern);

pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    one(arguments, |expression| {
        check_ascii(expression)?;
        Pattern::new(expression)
            .map(|pattern| Matcher::HostRegexp(HostRegexp(pattern)))
            .map_err(|source| MatcherError::Pattern { matcher: "HostRegexp", source })
    })
}

pub(super) fn check_ascii(expression: &str) -> Result<(), MatcherError> {
    if !expression.is_ascii() {
        return Err(MatcherError::NotAscii { matcher: "HostRegexp", value: expression.to_owned() });
    }
    Ok(())
}

impl HostRegexp {
    /// For templates of v2.
    pub(super) fn new(pattern: Pattern) -> Self {
        Self(pattern)
    }

    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        // Traefik also asks of the name behind CNAME records, which is empty without `hostResolver`: an expression
        // that matches nothing at all matches every host.
        self.0.is_match(target.host()) || self.0.is_match(target.flat_host().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use crate::router::Syntax;
    use crate::router::matcher::testing::{error, matches};
    use crate::router::target::testing::get;

    #[test]
    fn is_not_anchored_and_sees_the_canonical_host() {
        for (expression, host, is_match) in [
            (r"^[a-z]+\.example\.com$", "Sub.Example.com:8080", true),
            (r"^[a-z]+\.example\.com$", "a.b.example.com", false),
            ("example", "www.example.com", true),
            ("EXAMPLE", "example.com", false),
            ("(?i)EXAMPLE", "example.com", true),
            ("^$", "example.com", true),
            ("^.+$", "", false),
        ] {
            let rule = format!("HostRegexp(`{expression}`)");
            assert_eq!(matches(&rule, &get(host, "/")), is_match, "{rule} {host}");
        }
    }

    #[test]
    fn refuses_bad_expressions() {
        assert_eq!(
            error("HostRegexp(`(`)", Syntax::V3),
            "error while adding rule HostRegexp: compiling HostRegexp matcher: error parsing \
             regexp `(`: unclosed group"
        );
        assert!(
            error("HostRegexp(`é`)", Syntax::V3).ends_with("non-ASCII characters are not allowed")
        );
    }
}
