//! Which encoding a client gets, by its `Accept-Encoding`.

use ::http::HeaderMap;
use ::http::header::{ACCEPT_ENCODING, HeaderValue};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Brotli,
    Zstd,
}

impl Encoding {
    /// The encoding of a name, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Brotli, Self::Zstd]
            .into_iter()
            .find(|encoding| encoding.name().eq_ignore_ascii_case(name))
    }

    /// As it stands in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    pub(super) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// What the server prefers.
pub(super) struct Preferences {
    /// Best first; not empty.
    pub(super) encodings: Box<[Encoding]>,
    /// Where the client says nothing, or `*`.
    pub(super) default: Option<Encoding>,
}

/// What an item of `Accept-Encoding` stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Named {
    Encoding(Encoding),
    Identity,
    Any,
}

impl Preferences {
    /// The encoding for a client; `None` where it is to get the body as it is.
    ///
    /// The highest weight wins, then the server's order. Of equal weights `*` comes first and `identity` last.
    pub(super) fn choose(&self, headers: &HeaderMap) -> Option<Encoding> {
        let mut lines = headers.get_all(ACCEPT_ENCODING).iter().peekable();
        if lines.peek().is_none() {
            return self.default;
        }
        let mut refused = Vec::new();
        let mut best: Option<(f32, usize, Named)> = None;
        let items = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
        for (named, weight) in items.filter_map(item) {
            let Some(rank) = self.rank(named) else { continue };
            if weight <= 0.0 {
                refused.push(named);
            } else if best
                .is_none_or(|(high, first, _)| weight > high || (weight >= high && rank < first))
            {
                best = Some((weight, rank, named));
            }
        }
        match best?.2 {
            Named::Encoding(encoding) => Some(encoding),
            Named::Identity => None,
            Named::Any => {
                let mut mine = self.default.iter().chain(&self.encodings).copied();
                mine.find(|encoding| !refused.contains(&Named::Encoding(*encoding)))
            }
        }
    }

    /// Its place among equals; `None` for what we do not have.
    fn rank(&self, named: Named) -> Option<usize> {
        match named {
            Named::Any => Some(0),
            Named::Identity => Some(self.encodings.len() + 1),
            Named::Encoding(encoding) => {
                self.encodings.iter().position(|mine| *mine == encoding).map(|place| place + 1)
            }
        }
    }
}

/// An item and its weight: 0 where it cannot be read, as for Traefik.
fn item(text: &str) -> Option<(Named, f32)> {
    let (name, parameter) = match text.split_once(';') {
        Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
        None => (text.trim(), None),
    };
    let named = match name {
        "*" => Named::Any,
        name if name.eq_ignore_ascii_case("identity") => Named::Identity,
        name => Named::Encoding(Encoding::named(name)?),
    };
    let weight = parameter
        .and_then(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .map_or(1.0, |(_, weight)| weight.trim().parse().unwrap_or(0.0));
    Some((named, if f32::is_finite(weight) { weight } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(encodings: &[Encoding], default: Option<Encoding>, lines: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, line.parse().unwrap());
        }
        let preferences = Preferences { encodings: encodings.into(), default };
        preferences.choose(&headers).map_or("none", Encoding::name)
    }

    const ALL: &[Encoding] = &[Encoding::Gzip, Encoding::Brotli, Encoding::Zstd];

    #[test]
    fn the_client_s_weights_win_then_the_server_s_order() {
        for (lines, wanted) in [
            (&["gzip"][..], "gzip"),
            (&["br"], "br"),
            (&["zstd, br, gzip"], "gzip"),
            (&["zstd", "br"], "br"),
            (&["gzip;q=0.5, br;q=0.9, zstd;q=0.1"], "br"),
            (&["gzip ; q=0.5 , br;Q=0.9"], "br"),
            (&["GZIP"], "gzip"),
            (&["identity, gzip"], "gzip"),
            (&["identity, gzip;q=0.9"], "none"),
            (&["gzip;q=0"], "none"),
            (&["gzip;q=x"], "none"),
            (&["gzip;q=NaN"], "none"),
            (&["compress"], "none"),
            (&[""], "none"),
            (&["*"], "gzip"),
            (&["br, *;q=0.1"], "br"),
            (&["*, gzip;q=0"], "br"),
            (&["*;q=0"], "none"),
            (&[], "none"),
        ] {
            assert_eq!(chosen(ALL, None, lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn the_server_s_list_and_default_count() {
        let mine = &[Encoding::Brotli, Encoding::Gzip][..];
        assert_eq!(chosen(mine, None, &["gzip, br"]), "br");
        assert_eq!(chosen(mine, None, &["zstd"]), "none");
        assert_eq!(chosen(mine, Some(Encoding::Gzip), &[]), "gzip");
        assert_eq!(chosen(mine, Some(Encoding::Gzip), &["*"]), "gzip");
        assert_eq!(chosen(mine, Some(Encoding::Gzip), &[""]), "none");
    }

    proptest! {
        #[test]
        fn nothing_panics(line in "[gzipbrstd;q=0-9., *]{0,60}") {
            let _chosen = chosen(ALL, None, &[&line]);
        }
    }
}
