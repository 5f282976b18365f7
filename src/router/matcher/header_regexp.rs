//! `HeaderRegexp(name, expression)`: the expression matches somewhere in one of the headers of that name.

use ::http::HeaderName;

use super::header::field_name;
use super::{Arguments, Matcher, MatcherError};
use crate::router::Target;
use crate::router::pattern::Pattern;
use crate::router::rule::Tree;

#[derive(Debug)]
pub(crate) struct HeaderRegexp {
    pub(super) name: Option<HeaderName>,
    pub(super) pattern: Pattern,
}

pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    let [name, expression] = arguments else {
        return Err(MatcherError::Count { got: arguments.len(), expected: &[2] });
    };
    let pattern = Pattern::new(expression)
        .map_err(|source| MatcherError::Pattern { matcher: "HeaderRegexp", source })?;
    let matcher = HeaderRegexp { name: field_name(name), pattern };
    Ok(Tree::Is(Matcher::HeaderRegexp(Box::new(matcher))))
}

impl HeaderRegexp {
    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        self.name.as_ref().is_some_and(|name| {
            let mut values = target.headers().get_all(name).iter();
            values.any(|value| self.pattern.is_match_bytes(value.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::router::matcher::testing::matches;
    use crate::router::target::testing::get;

    #[test]
    fn any_value_of_the_name_counts() {
        let head = get("h", "/").with_header("x-a", "abc").with_header("x-a", "v2");
        for (rule, is_match) in [
            ("HeaderRegexp(`X-A`, `^v[0-9]$`)", true),
            ("HeaderRegexp(`X-A`, `b`)", true),
            ("HeaderRegexp(`X-A`, `B`)", false),
            ("HeaderRegexp(`X-B`, `.*`)", false),
        ] {
            assert_eq!(matches(rule, &head), is_match, "{rule}");
        }
    }
}
