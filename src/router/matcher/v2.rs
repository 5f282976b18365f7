//! Matchers of the v2 syntax that differ from today's: they take lists, and templates where today's take text.
//!
//! Traefik v2: routers, rules. Deprecated there; chosen by `ruleSyntax: v2`.

use super::template::{Kind, compile, literal};
use super::{
    Arguments, Matcher, MatcherError, any_of, header, header_regexp, host, host_regexp, path,
    path_prefix, path_regexp, query_regexp,
};
use crate::router::rule::Tree;

const HOST: Kind = Kind { matcher: "HostRegexp", default: "[^.]+", start: "(?i)^", end: "$" };
const PATH: Kind = Kind { matcher: "Path", default: "[^/]+", start: "^", end: "$" };
const PREFIX: Kind = Kind { matcher: "PathPrefix", default: "[^/]+", start: "^", end: "" };
const QUERY: Kind = Kind { matcher: "Query", default: ".*", start: "^", end: "$" };

/// `Host(names…)`, `HostHeader(names…)`: no wildcards.
pub(super) fn hosts(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    any_of(arguments, host::exact)
}

/// `HostRegexp(templates…)`: anchored.
pub(super) fn host_templates(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    any_of(arguments, |template| {
        host_regexp::check_ascii(template)?;
        let pattern = match compile(template, HOST)? {
            Some(pattern) => pattern,
            None => literal(template, HOST)?,
        };
        Ok(Matcher::HostRegexp(host_regexp::HostRegexp::new(pattern)))
    })
}

/// `Path(templates…)`: anchored.
pub(super) fn paths(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    any_of(arguments, |template| {
        path::check_slash(template)?;
        match compile(template, PATH)? {
            Some(pattern) => Ok(Matcher::PathRegexp(path_regexp::PathRegexp::new(pattern))),
            None => path::exact(template),
        }
    })
}

/// `PathPrefix(templates…)`: anchored at the start.
pub(super) fn path_prefixes(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    any_of(arguments, |template| {
        path::check_slash(template)?;
        match compile(template, PREFIX)? {
            Some(pattern) => Ok(Matcher::PathRegexp(path_regexp::PathRegexp::new(pattern))),
            None => path_prefix::literal(template),
        }
    })
}

/// `Headers(name, value, …)`: all pairs must match.
pub(super) fn headers(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    pairs(arguments, header::build)
}

/// `HeadersRegexp(name, expression, …)`: all pairs must match.
pub(super) fn header_patterns(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    pairs(arguments, header_regexp::build)
}

fn pairs(
    arguments: Arguments<'_>,
    make: fn(Arguments<'_>) -> Result<Tree, MatcherError>,
) -> Result<Tree, MatcherError> {
    if !arguments.len().is_multiple_of(2) {
        return Err(MatcherError::Unpaired(arguments.len()));
    }
    let terms: Result<_, _> = arguments.chunks(2).map(make).collect();
    terms.map(Tree::all)
}

/// `Query("name=value", …)`: all must match. The value is a template; without one, any value will do.
pub(super) fn queries(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    let make = |argument: &str| {
        let (name, template) = argument.split_once('=').ok_or(MatcherError::Unpaired(1))?;
        let template = if template.is_empty() { "{value}" } else { template };
        let pattern = match compile(template, QUERY)? {
            Some(pattern) => pattern,
            None => literal(template, QUERY)?,
        };
        let matcher = query_regexp::QueryRegexp::of_first(name, pattern);
        Ok(Tree::Is(Matcher::QueryRegexp(Box::new(matcher))))
    };
    let terms: Result<_, _> = arguments.iter().map(|argument| make(argument)).collect();
    terms.map(Tree::all)
}

#[cfg(test)]
mod tests {
    use crate::router::matcher::testing::{error, matches_v2};
    use crate::router::target::testing::get;
    use crate::router::{Rule, Syntax};

    #[test]
    fn lists_and_templates_match() {
        for (rule, host, uri, is_match) in [
            ("Host(`a.test`, `b.test`)", "B.test:80", "/", true),
            ("HostHeader(`a.test`)", "a.test.", "/", true),
            ("Host(`*.test`)", "a.test", "/", false),
            ("Host(`a.test`)", "", "/", false),
            ("HostRegexp(`{sub:[a-z]+}.old.test`)", "abc.old.test", "/", true),
            ("HostRegexp(`{sub:[a-z]+}.old.test`)", "a1.old.test", "/", false),
            ("HostRegexp(`a.test`, `{any}.b.test`)", "x.b.test", "/", true),
            ("HostRegexp(`a.test`)", "xa.test", "/", false),
            ("HostRegexp(`A.test`)", "a.test", "/", true),
            ("Path(`/products/{id:[0-9]+}`)", "h", "/products/42", true),
            ("Path(`/products/{id:[0-9]+}`)", "h", "/products/42x", false),
            ("Path(`/a`, `/b`)", "h", "/b", true),
            ("Path(`/{one}`)", "h", "/x/y", false),
            ("PathPrefix(`/img`, `/css`)", "h", "/css/site.css", true),
            ("PathPrefix(`/{v:v[0-9]}/`)", "h", "/v1/x", true),
            ("Query(`mobile=true`)", "h", "/?x=1&mobile=true", true),
            ("Query(`mobile=true`)", "h", "/?mobile=false&mobile=true", false),
            ("Query(`a=1`, `b={n:[0-9]}`)", "h", "/?a=1&b=2", true),
            ("Query(`a=1`, `b={n:[0-9]}`)", "h", "/?a=1", false),
            ("Query(`a=`)", "h", "/?a=any", true),
        ] {
            assert_eq!(matches_v2(rule, &get(host, uri)), is_match, "{rule} {host} {uri}");
        }
    }

    #[test]
    fn pairs_of_headers_must_all_match() {
        let head = get("h", "/").with_header("x-a", "1").with_header("x-b", "2");
        assert!(matches_v2("Headers(`X-A`, `1`)", &head));
        assert!(matches_v2("Headers(`X-A`, `1`, `X-B`, `2`)", &head));
        assert!(!matches_v2("Headers(`X-A`, `1`, `X-B`, `3`)", &head));
        assert!(matches_v2("HeadersRegexp(`X-A`, `^[0-9]$`)", &head));
        assert!(error("Headers(`X-A`)", Syntax::V2).contains("must be multiple of 2, got 1"));
        assert!(error("Query(`a`)", Syntax::V2).contains("must be multiple of 2"));
    }

    #[test]
    fn names_of_v3_are_unknown() {
        assert_eq!(
            Rule::parse("HeaderRegexp(`X-A`, `.*`)", Syntax::V2).unwrap_err().to_string(),
            "error while parsing rule HeaderRegexp(`X-A`, `.*`): unsupported function: HeaderRegexp"
        );
    }
}
