//! Where a `Location` of the authenticator leads, seen from outside (RFC 3986, section 5.2).

use ::http::Uri;

use crate::http::path;

/// The authenticator's URL, against which relative ones are resolved.
#[derive(Debug, Clone)]
pub(super) struct Base {
    scheme: String,
    /// Host and port, without a user's name.
    authority: String,
    path: String,
    query: Option<String>,
}

impl Base {
    /// `None` where the URL has no host.
    pub(super) fn new(url: &Uri) -> Option<Self> {
        let authority = url.authority()?.as_str();
        let host = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
        Some(Self {
            scheme: url.scheme_str()?.to_owned(),
            authority: host.to_owned(),
            path: url.path().to_owned(),
            query: url.query().map(ToOwned::to_owned),
        })
    }

    /// `reference` as an absolute URL; `None` where it is none at all.
    pub(super) fn resolve(&self, reference: &str) -> Option<String> {
        if reference.bytes().any(|byte| byte.is_ascii_control()) {
            return None;
        }
        if has_scheme(reference) {
            return Some(reference.to_owned());
        }
        if reference.starts_with("//") {
            return Some(format!("{}:{reference}", self.scheme));
        }
        let (reference, fragment) = cut(reference, '#');
        let (given, query) = cut(reference, '?');
        if given.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return None;
        }
        let query = match query {
            None if given.is_empty() => self.query.as_deref(),
            query => query,
        };
        let path = match given {
            "" => self.path.clone(),
            rooted if rooted.starts_with('/') => path::without_dots(rooted),
            relative => {
                let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                path::without_dots(&format!("{folder}/{relative}"))
            }
        };
        let mut url = format!("{}://{}{path}", self.scheme, self.authority);
        for (mark, part) in [('?', query), ('#', fragment)] {
            if let Some(part) = part {
                url.push(mark);
                url.push_str(part);
            }
        }
        Some(url)
    }
}

fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Base {
        Base::new(&"http://ann:secret@auth.test:8000/a/check?x=1".parse().unwrap()).unwrap()
    }

    #[test]
    fn locations_become_absolute() {
        for (reference, url) in [
            ("https://login.test/?a#b", "https://login.test/?a#b"),
            ("//login.test/x", "http://login.test/x"),
            ("/login?next=/", "http://auth.test:8000/login?next=/"),
            ("login", "http://auth.test:8000/a/login"),
            ("../up/./x#here", "http://auth.test:8000/up/x#here"),
            ("?y=2", "http://auth.test:8000/a/check?y=2"),
            ("#top", "http://auth.test:8000/a/check?x=1#top"),
        ] {
            assert_eq!(base().resolve(reference).as_deref(), Some(url), "{reference}");
        }
        for reference in ["/a\r\nb", ":x", "1x:y"] {
            assert_eq!(base().resolve(reference), None, "{reference}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_refused_or_absolute(reference in "\\PC{0,20}") {
            if let Some(url) = base().resolve(&reference) {
                prop_assert!(has_scheme(&url), "{}", url);
            }
        }
    }
}
