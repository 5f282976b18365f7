//! `Method(name)`: the request's method is `name`, which is read in upper case.

use super::{Arguments, Matcher, MatcherError, any_of};
use crate::router::Target;
use crate::router::rule::Tree;

#[derive(Debug)]
pub(crate) struct Method(pub(super) Box<str>);

/// In the syntax of v2 there may be several.
pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    any_of(arguments, |name| Ok(Matcher::Method(Method(name.to_ascii_uppercase().into()))))
}

impl Method {
    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        target.method().as_str() == &*self.0
    }
}

#[cfg(test)]
mod tests {
    use ::http::Method;

    use crate::router::matcher::testing::{matches, matches_v2};
    use crate::router::target::testing::{Head, get};

    #[test]
    fn the_argument_is_upper_cased_and_the_request_is_not() {
        let get = get("h", "/");
        assert!(matches("Method(`get`)", &get));
        assert!(!matches("Method(`POST`)", &get));
        let odd = Head { method: Method::from_bytes(b"get").unwrap(), ..get };
        assert!(!matches("Method(`get`)", &odd));
    }

    #[test]
    fn v2_takes_a_list() {
        assert!(matches_v2("Method(`POST`, `GET`)", &get("h", "/")));
    }
}
