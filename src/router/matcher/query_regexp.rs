//! `QueryRegexp(name, expression)`: the expression matches somewhere in one of the query's parameters of that name.
//! `QueryRegexp(name)` is `Query(name)`.

use super::{Arguments, Matcher, MatcherError, query};
use crate::router::Target;
use crate::router::pattern::Pattern;
use crate::router::rule::Tree;

#[derive(Debug)]
pub(crate) struct QueryRegexp {
    pub(super) name: Box<str>,
    pub(super) pattern: Pattern,
    only_first: bool,
}

pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    let [name, expression] = arguments else {
        return query::build(arguments);
    };
    let pattern = Pattern::new(expression)
        .map_err(|source| MatcherError::Pattern { matcher: "QueryRegexp", source })?;
    let matcher = QueryRegexp { name: (&**name).into(), pattern, only_first: false };
    Ok(Tree::Is(Matcher::QueryRegexp(Box::new(matcher))))
}

impl QueryRegexp {
    /// For templates of v2, which look at the first parameter of the name.
    pub(super) fn of_first(name: &str, pattern: Pattern) -> Self {
        Self { name: name.into(), pattern, only_first: true }
    }

    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        let count = if self.only_first { 1 } else { usize::MAX };
        query::values(target.query(), &self.name)
            .take(count)
            .any(|value| self.pattern.is_match_bytes(&value))
    }
}

#[cfg(test)]
mod tests {
    use crate::router::matcher::testing::matches;
    use crate::router::target::testing::get;

    #[test]
    fn any_value_of_the_name_counts() {
        for (rule, uri, is_match) in [
            ("QueryRegexp(`a`, `^[0-9]+$`)", "/?a=x&a=12", true),
            ("QueryRegexp(`a`, `^[0-9]+$`)", "/?a=x", false),
            ("QueryRegexp(`a`, `b c`)", "/?a=b+c", true),
            ("QueryRegexp(`a`, `.*`)", "/?b=1", false),
            ("QueryRegexp(`a`)", "/?a", true),
            ("QueryRegexp(`a`)", "/?a=1", false),
        ] {
            assert_eq!(matches(rule, &get("h", uri)), is_match, "{rule} {uri}");
        }
    }
}
