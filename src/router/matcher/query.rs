//! `Query(name, value)`: one of the query's parameters of that name has exactly that value. `Query(name)`: one is
//! empty.

use std::borrow::Cow;

use super::{Arguments, Matcher, MatcherError, one};
use crate::router::Target;
use crate::router::rule::Tree;
use crate::router::target::escaped_octet;

#[derive(Debug)]
pub(crate) struct Query(pub(super) Box<(Box<str>, Box<str>)>);

pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    let value = arguments.get(1).map_or("", |value| &**value);
    one(arguments, |name| Ok(equal(name, value)))
}

pub(super) fn equal(name: &str, value: &str) -> Matcher {
    Matcher::Query(Query(Box::new((name.into(), value.into()))))
}

impl Query {
    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        let (name, value) = &*self.0;
        values(target.query(), name).any(|found| *found == *value.as_bytes())
    }
}

/// The decoded values of the parameters called `name`. As Go does, those with an invalid escape or a `;` are left
/// out.
pub(super) fn values<'q>(query: &'q str, name: &str) -> impl Iterator<Item = Cow<'q, [u8]>> {
    query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')).filter_map(
        move |pair| {
            let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
            if *decoded(found)? != *name.as_bytes() {
                return None;
            }
            decoded(value)
        },
    )
}

/// Without escapes, and with spaces for `+`.
fn decoded(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let (octet, tail) = escaped_octet(rest)?;
                out.push(octet);
                rest = tail;
            }
            other => out.push(other),
        }
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use crate::router::Syntax;
    use crate::router::matcher::testing::{error, matches};
    use crate::router::target::testing::get;

    #[test]
    fn any_decoded_value_of_the_name_counts() {
        for (rule, uri, is_match) in [
            ("Query(`a`, `1`)", "/?a=1", true),
            ("Query(`a`, `1`)", "/?a=2&a=1", true),
            ("Query(`a`, `1`)", "/?a=12", false),
            ("Query(`a`, `1`)", "/?A=1", false),
            ("Query(`a`, `x y`)", "/?a=x+y", true),
            ("Query(`a b`, `x/y`)", "/?a%20b=x%2Fy", true),
            ("Query(`a`, `%`)", "/?a=%", false),
            ("Query(`a`, `1`)", "/?b=%&a=1", true),
            ("Query(`a`, `1`)", "/?x;a=1", false),
            ("Query(`a`)", "/?a", true),
            ("Query(`a`)", "/?a=", true),
            ("Query(`a`)", "/?a=1", false),
            ("Query(`a`)", "/", false),
        ] {
            assert_eq!(matches(rule, &get("h", uri)), is_match, "{rule} {uri}");
        }
    }

    #[test]
    fn takes_one_or_two_arguments() {
        assert!(
            error("Query(`a`, `b`, `c`)", Syntax::V3)
                .ends_with("unexpected number of parameters; got 3, expected one of [1 2]")
        );
    }
}
