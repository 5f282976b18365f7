//! `If-Match` and `If-None-Match` of writes (RFC 9110 §13.1), whose entity tags are revisions.

use http::{HeaderMap, HeaderValue, header};
use pontoon_cluster::{Expected, Revision};

use super::problem::Problem;

/// What a write wants to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Present,
    /// `If-Match` with revisions.
    At(Vec<Revision>),
}

impl Condition {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let matches = list(headers, &header::IF_MATCH)?;
        let none_matches = list(headers, &header::IF_NONE_MATCH)?;
        match (matches, none_matches) {
            (None, None) => Ok(Self::None),
            (None, Some(tags)) if tags == ["*"] => Ok(Self::Absent),
            (None, Some(_)) => Err(Problem::bad_request("If-None-Match of a write is `*`")),
            (Some(tags), None) if tags == ["*"] => Ok(Self::Present),
            (Some(tags), None) => {
                tags.into_iter().map(revision).collect::<Result<_, _>>().map(Self::At)
            }
            (Some(_), Some(_)) => {
                Err(Problem::bad_request("If-Match and If-None-Match exclude each other"))
            }
        }
    }

    /// What the state machine is to expect, where `current` is the revision now; 0 for none.
    pub(crate) fn expected(&self, current: Revision) -> Result<Expected, Problem> {
        match self {
            Self::None => Ok(Expected::Any),
            Self::Absent => Ok(Expected::Absent),
            Self::Present => Ok(Expected::Present),
            Self::At(revisions) => match revisions[..] {
                [only] => Ok(Expected::At(only)),
                _ if revisions.contains(&current) => Ok(Expected::At(current)),
                _ => Err(Problem::precondition(current)),
            },
        }
    }
}

/// 412 unless what is there now is what is expected.
pub(crate) fn check(expected: Expected, current: Revision) -> Result<(), Problem> {
    if expected.is_met_by(current) { Ok(()) } else { Err(Problem::precondition(current)) }
}

/// The members of all fields of that name.
fn list<'a>(
    headers: &'a HeaderMap,
    name: &http::HeaderName,
) -> Result<Option<Vec<&'a str>>, Problem> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let value = value.to_str().map_err(|_source| bad_tag(name.as_str()))?;
        tags.extend(value.split(',').map(str::trim).filter(|tag| !tag.is_empty()));
    }
    match (headers.contains_key(name), tags.is_empty()) {
        (false, _) => Ok(None),
        (true, true) => Err(bad_tag(name.as_str())),
        (true, false) => Ok(Some(tags)),
    }
}

fn bad_tag(name: &str) -> Problem {
    Problem::bad_request(format!("{name} holds revisions in quotes, such as \"42\", or `*`"))
}

/// A strong tag; quotes may be left out.
fn revision(tag: &str) -> Result<Revision, Problem> {
    let bare = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    bare.parse().map(Revision).map_err(|_source| bad_tag("If-Match"))
}

/// The `ETag` of a revision.
pub(crate) fn etag(revision: Revision) -> HeaderValue {
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(headers: &[(&'static str, &str)]) -> Result<Condition, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Condition::of(&map).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn headers_are_read() {
        let at =
            |revisions: &[u64]| Condition::At(revisions.iter().copied().map(Revision).collect());
        assert_eq!(condition(&[]), Ok(Condition::None));
        assert_eq!(condition(&[("if-match", "\"7\"")]), Ok(at(&[7])));
        assert_eq!(condition(&[("if-match", "7, \"8\"")]), Ok(at(&[7, 8])));
        assert_eq!(condition(&[("if-match", "*")]), Ok(Condition::Present));
        assert_eq!(condition(&[("if-none-match", "*")]), Ok(Condition::Absent));
        assert_eq!(condition(&[("if-none-match", "\"7\"")]), Err(400));
        assert_eq!(condition(&[("if-match", "W/\"7\"")]), Err(400));
        assert_eq!(condition(&[("if-match", "")]), Err(400));
        assert_eq!(condition(&[("if-match", "*"), ("if-none-match", "*")]), Err(400));
    }

    #[test]
    fn one_of_several_revisions_is_enough() {
        let condition = Condition::At(vec![Revision(3), Revision(5)]);
        assert_eq!(condition.expected(Revision(5)).unwrap(), Expected::At(Revision(5)));
        assert_eq!(condition.expected(Revision(6)).unwrap_err().status(), 412);
    }

    #[test]
    fn presence_is_not_tied_to_what_was_read() {
        let expected = Condition::Present.expected(Revision(5)).unwrap();
        assert!(check(expected, Revision(6)).is_ok());
        assert_eq!(check(expected, Revision(0)).unwrap_err().status(), 412);
    }
}
