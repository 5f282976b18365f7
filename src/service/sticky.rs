//! Sticky sessions by cookie: the cookie names the server, so that no peer has to remember anything.
//!
//! Traefik v3: sticky sessions. Same names and values, so that clients keep their server when Traefik is replaced.

use std::collections::HashMap;

use ::http::{HeaderMap, HeaderValue, header};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::BuildError;
use super::balancer::{FNV_START, fnv1a};
use super::options::Cookie;

/// Finds the target that a request's cookie names, and makes cookies.
pub(crate) struct Sticky {
    name: String,
    /// Every value that names a target, old ones too.
    targets: HashMap<Box<str>, Target>,
    /// `Set-Cookie` by target.
    cookies: Box<[HeaderValue]>,
}

/// What a cookie names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) index: usize,
    /// False for a value that older versions made: it is followed, and replaced.
    pub(crate) current: bool,
}

impl Sticky {
    /// `targets` are URLs of servers or names of services, in the balancer's order; `service` is the qualified name.
    pub(crate) fn new<'a>(
        options: &Cookie,
        service: &str,
        targets: impl Iterator<Item = &'a str>,
    ) -> Result<Self, BuildError> {
        let name = match options.name.as_str() {
            "" => default_name(service),
            name => token(name),
        };
        let attributes = attributes(options, service);
        let mut by_value = HashMap::new();
        let mut cookies = Vec::new();
        for (index, target) in targets.enumerate() {
            let value = hex(&Sha256::digest(target), 16);
            let cookie = HeaderValue::try_from(format!("{name}={value}{attributes}"));
            cookies.push(cookie.map_err(|error| {
                BuildError::option("sticky.cookie", format!("makes no header: {error}"))
            })?);
            let hash = format!("{:x}", fnv1a(FNV_START, target.as_bytes()));
            let twice = format!("{:x}", fnv1a(FNV_START, hash.as_bytes()));
            for (value, current) in
                [(value, true), (target.to_owned(), false), (hash, false), (twice, false)]
            {
                by_value.entry(value.into_boxed_str()).or_insert(Target { index, current });
            }
        }
        Ok(Self { name, targets: by_value, cookies: cookies.into() })
    }

    /// The target that the request's cookie names. Allocates nothing.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Option<Target> {
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name)
            .find_map(|(_, value)| self.targets.get(value.trim_matches('"')).copied())
    }

    /// The cookie that names target `index`.
    pub(crate) fn cookie(&self, index: usize) -> Option<&HeaderValue> {
        self.cookies.get(index)
    }

    /// The target for a request: the one that its cookie names if that is `usable`, else one that `pick` gives. With
    /// it comes the cookie to set, where one is due.
    pub(crate) fn choose(
        sticky: Option<&Self>,
        headers: &HeaderMap,
        usable: &dyn Fn(usize) -> bool,
        pick: impl FnOnce() -> Option<usize>,
    ) -> Option<(usize, Option<HeaderValue>)> {
        let Some(sticky) = sticky else {
            return pick().map(|index| (index, None));
        };
        match sticky.find(headers).filter(|target| usable(target.index)) {
            Some(target) if target.current => Some((target.index, None)),
            Some(target) => Some((target.index, sticky.cookie(target.index).cloned())),
            None => pick().map(|index| (index, sticky.cookie(index).cloned())),
        }
    }
}

/// The name that Traefik makes for a service.
fn default_name(service: &str) -> String {
    format!("_{}", hex(&Sha1::digest(format!("_TRAEFIK_BACKEND_{service}")), 5))
}

/// `name` with `_` for every character that RFC 9110 does not allow in a token.
fn token(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// The attributes, in the order in which Go writes them.
fn attributes(options: &Cookie, service: &str) -> String {
    let mut text = String::new();
    let clean = |value: &str| -> String {
        value.chars().filter(|&c| (' '..='~').contains(&c) && c != ';').collect()
    };
    let path = clean(options.path.as_deref().unwrap_or("/"));
    if !path.is_empty() {
        text.push_str("; Path=");
        text.push_str(&path);
    }
    let domain = clean(options.domain.trim_start_matches('.'));
    if !domain.is_empty() {
        text.push_str("; Domain=");
        text.push_str(&domain);
    }
    if options.max_age != 0 {
        // Go writes a negative age as 0: the client forgets the cookie at once.
        text.push_str("; Max-Age=");
        text.push_str(&options.max_age.max(0).to_string());
    }
    if options.http_only {
        text.push_str("; HttpOnly");
    }
    if options.secure {
        text.push_str("; Secure");
    }
    match options.same_site.as_str() {
        "" => {}
        "none" => text.push_str("; SameSite=None"),
        "lax" => text.push_str("; SameSite=Lax"),
        "strict" => text.push_str("; SameSite=Strict"),
        other => warn!(service, value = other, "unknown sameSite of a sticky cookie: left out"),
    }
    text
}

/// The first `digits` hex digits of `bytes`.
fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text = crate::hex::lower(bytes.get(..digits.div_ceil(2)).unwrap_or(bytes));
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sticky(options: &Cookie) -> Sticky {
        let targets = ["stable", "canary", "http://127.0.0.1:19002"];
        Sticky::new(options, "plain@file", targets.into_iter()).unwrap()
    }

    fn asking(cookies: &[&str]) -> HeaderMap {
        let cookies = cookies.iter().map(|c| (header::COOKIE, HeaderValue::from_str(c).unwrap()));
        let mut headers = HeaderMap::new();
        cookies.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn names_and_values_are_traefiks() {
        let cookie = sticky(&Cookie::default()).cookie(0).cloned();
        assert_eq!(cookie.unwrap(), "_196da=f379ccb92b911644; Path=/");
        let cookie = sticky(&Cookie { name: "shop session:v2".into(), ..Cookie::default() });
        assert_eq!(cookie.cookie(1).unwrap(), "shop_session_v2=e100fbce008c04ec; Path=/");
    }

    #[test]
    fn attributes_stand_in_gos_order() {
        let options = Cookie {
            name: "s".into(),
            secure: true,
            http_only: true,
            same_site: "lax".into(),
            max_age: 3600,
            path: Some("/cart;x\n".into()),
            domain: ".shop.test".into(),
        };
        assert_eq!(
            sticky(&options).cookie(0).unwrap(),
            "s=f379ccb92b911644; Path=/cartx; Domain=shop.test; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"
        );
        let deleted = Cookie { name: "s".into(), max_age: -1, ..Cookie::default() };
        assert_eq!(sticky(&deleted).cookie(0).unwrap(), "s=f379ccb92b911644; Path=/; Max-Age=0");
    }

    #[test]
    fn finds_the_target_by_new_and_old_values() {
        let sticky = sticky(&Cookie { name: "s".into(), ..Cookie::default() });
        let found = |cookie: &str| sticky.find(&asking(&[cookie])).map(|t| (t.index, t.current));
        assert_eq!(found("s=e100fbce008c04ec"), Some((1, true)));
        assert_eq!(found("a=b; s=\"e100fbce008c04ec\"; c=d"), Some((1, true)));
        assert_eq!(found("s=http://127.0.0.1:19002"), Some((2, false)));
        let hash = format!("{:x}", fnv1a(FNV_START, b"canary"));
        let twice = format!("{:x}", fnv1a(FNV_START, hash.as_bytes()));
        assert_eq!(found(&format!("s={hash}")), Some((1, false)));
        assert_eq!(found(&format!("s={twice}")), Some((1, false)));
        assert_eq!(found("s=0123456789abcdef"), None);
        assert_eq!(found("x=e100fbce008c04ec"), None);
        assert_eq!(found("s"), None);
        let lines = asking(&["a=b", "s=f379ccb92b911644"]);
        assert_eq!(sticky.find(&lines).unwrap().index, 0, "HTTP/2 sends several lines");
    }

    #[test]
    fn a_target_that_is_down_is_replaced_together_with_its_cookie() {
        let sticky = sticky(&Cookie { name: "s".into(), ..Cookie::default() });
        let choose = |cookie: &str, down: usize| {
            Sticky::choose(Some(&sticky), &asking(&[cookie]), &|index| index != down, || Some(0))
        };
        assert_eq!(choose("s=e100fbce008c04ec", 0), Some((1, None)));
        let (index, cookie) = choose("s=e100fbce008c04ec", 1).unwrap();
        assert_eq!((index, cookie.unwrap()), (0, "s=f379ccb92b911644; Path=/".parse().unwrap()));
        let (index, cookie) = choose("s=canary", 0).unwrap();
        assert_eq!((index, cookie.unwrap()), (1, "s=e100fbce008c04ec; Path=/".parse().unwrap()));
    }

    proptest::proptest! {
        #[test]
        fn any_cookie_is_read_without_harm(cookie in "[ -~]{0,40}") {
            let sticky = sticky(&Cookie { name: "s".into(), ..Cookie::default() });
            let found = sticky.find(&asking(&[&cookie]));
            proptest::prop_assert!(found.is_none());
        }
    }
}
