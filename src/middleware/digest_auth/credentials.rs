//! `Authorization: Digest` (RFC 7616, section 3.4).

use std::collections::HashMap;

use ::http::{HeaderMap, header};

use super::md5;

/// What a client answers to a challenge.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) realm: Option<String>,
    pub(super) nonce: String,
    pub(super) uri: String,
    pub(super) response: String,
    pub(super) algorithm: Option<String>,
    pub(super) cnonce: String,
    pub(super) opaque: String,
    pub(super) qop: String,
    /// Hexadecimal.
    pub(super) nc: String,
}

impl Credentials {
    /// `None` where there are none, several, or none that can be understood.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let line = std::str::from_utf8(lines.next()?.as_bytes()).ok()?;
        if lines.next().is_some() {
            return None;
        }
        Self::parse(line)
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let (scheme, rest) = line.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let mut values = parameters(rest)?;
        let mut take = |name: &str| values.remove(name);
        Some(Self {
            username: take("username").filter(|name| !name.is_empty())?,
            realm: take("realm"),
            nonce: take("nonce")?,
            uri: take("uri")?,
            response: take("response")?,
            algorithm: take("algorithm"),
            cnonce: take("cnonce")?,
            opaque: take("opaque").unwrap_or_default(),
            qop: take("qop")?,
            nc: take("nc").filter(|count| count.bytes().all(|digit| digit.is_ascii_hexdigit()))?,
        })
    }

    /// The digest that whoever knows `ha1` would send.
    pub(super) fn response_for(&self, ha1: &str, method: &str) -> String {
        let ha2 = md5(&[method, &self.uri]);
        md5(&[ha1, &self.nonce, &self.nc, &self.cnonce, &self.qop, &ha2])
    }
}

/// `name=value` pairs with commas between them, names in lower case. `None` where one is broken or stands twice.
fn parameters(text: &str) -> Option<HashMap<String, String>> {
    let mut values = HashMap::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after.trim_start())?;
        let after = after.trim_start();
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        if values.insert(name.trim_end().to_ascii_lowercase(), value).is_some() {
            return None;
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    Some(values)
}

/// A token or a quoted text, and what stands behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (token, rest) = text.split_at_checked(end)?;
        return Some((token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = r#"Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=MD5,
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001,
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth,
        response="8ca523f5e9506fed4657c9700eebdbec", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;

    #[test]
    fn the_example_of_the_rfc_fits() {
        let given = Credentials::parse(&LINE.replace('\n', " ")).unwrap();
        assert_eq!(given.username, "Mufasa");
        let ha1 = md5(&["Mufasa", "http-auth@example.org", "Circle of Life"]);
        assert_eq!(given.response_for(&ha1, "GET"), given.response);
        assert_ne!(given.response_for(&ha1, "POST"), given.response);
    }

    #[test]
    fn quoted_texts_may_hold_anything() {
        let values = parameters(r#"a="x, \"y\"=\\", B=c ,, d = "" "#).unwrap();
        assert_eq!(values["a"], r#"x, "y"=\"#);
        assert_eq!(values["b"], "c");
        assert_eq!(values["d"], "");
    }

    #[test]
    fn broken_lines_are_no_credentials() {
        for text in [r#"a="x"#, "a", r#"a="x" b=c"#, "a=b, A=c", r#"a="x\"#] {
            assert_eq!(parameters(text), None, "{text}");
        }
        for line in ["Digest", "Basic YTpi", "Digest username=a", &LINE.replace("00000001", "1x")] {
            assert_eq!(Credentials::parse(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "(Digest )?[a-c\"\\\\,= é]{0,30}") {
            let _parsed = Credentials::parse(&line);
        }
    }
}
