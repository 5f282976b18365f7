//! `Header(name, value)`: one of the headers of that name has exactly that value.

use ::http::HeaderName;
use ::http::header::{HOST, TRAILER, TRANSFER_ENCODING};

use super::{Arguments, Matcher, MatcherError};
use crate::router::Target;
use crate::router::rule::Tree;

#[derive(Debug)]
pub(crate) struct Header {
    pub(super) name: Option<HeaderName>,
    pub(super) value: Box<str>,
}

pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    let [name, value] = arguments else {
        return Err(MatcherError::Count { got: arguments.len(), expected: &[2] });
    };
    let header = Header { name: field_name(name), value: (&**value).into() };
    Ok(Tree::Is(Matcher::Header(Box::new(header))))
}

/// `None` where no request can have such a header. Go keeps `Host` and what frames a message out of the headers, so
/// rules of Traefik do not see these.
pub(super) fn field_name(name: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    (![HOST, TRAILER, TRANSFER_ENCODING].contains(&name)).then_some(name)
}

impl Header {
    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        self.name.as_ref().is_some_and(|name| {
            target.headers().get_all(name).iter().any(|value| value == self.value.as_ref())
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::router::Syntax;
    use crate::router::matcher::testing::{error, matches};
    use crate::router::target::testing::get;

    #[test]
    fn any_value_of_the_name_counts_and_must_be_equal() {
        let head = get("h", "/").with_header("x-a", "1").with_header("x-a", "Two");
        for (rule, is_match) in [
            ("Header(`X-A`, `1`)", true),
            ("Header(`x-a`, `Two`)", true),
            ("Header(`X-A`, `two`)", false),
            ("Header(`X-B`, `1`)", false),
            ("Header(`no name`, `1`)", false),
            ("Header(`Host`, `h`)", false),
        ] {
            assert_eq!(matches(rule, &head), is_match, "{rule}");
        }
    }

    #[test]
    fn takes_two_arguments() {
        assert_eq!(
            error("Header(`a`)", Syntax::V3),
            "error while adding rule Header: unexpected number of parameters; got 1, expected one \
             of [2]"
        );
    }
}
