//! `Path(path)`: the routing path is `path`, to the octet.

use super::{Arguments, Matcher, MatcherError, one};
use crate::router::Target;
use crate::router::rule::Tree;

#[derive(Debug)]
pub(crate) struct Path(Box<str>);

pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    one(arguments, exact)
}

pub(super) fn exact(path: &str) -> Result<Matcher, MatcherError> {
    check_slash(path)?;
    Ok(Matcher::Path(Path(path.into())))
}

pub(super) fn check_slash(path: &str) -> Result<(), MatcherError> {
    if !path.starts_with('/') {
        return Err(MatcherError::NoSlash(path.to_owned()));
    }
    Ok(())
}

impl Path {
    pub(crate) fn literal(&self) -> &str {
        &self.0
    }

    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        target.path() == self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::router::Syntax;
    use crate::router::matcher::testing::{error, matches};
    use crate::router::target::testing::get;

    #[test]
    fn is_exact_on_the_routing_path() {
        for (path, uri, is_match) in [
            ("/a", "/a?x=1", true),
            ("/a", "/a/", false),
            ("/a", "/A", false),
            ("/a b", "/a%20b", true),
            ("/a%2Fb", "/a%2fb", true),
            ("/a/b", "/a%2fb", false),
            ("/café", "/caf%C3%A9", true),
        ] {
            let rule = format!("Path(`{path}`)");
            assert_eq!(matches(&rule, &get("h", uri)), is_match, "{rule} {uri}");
        }
    }

    #[test]
    fn refuses_a_path_without_slash() {
        assert_eq!(
            error("Host(`h`) && Path(`x`)", Syntax::V3),
            "error while adding rule Path: path \"x\" does not start with a '/'"
        );
    }
}
