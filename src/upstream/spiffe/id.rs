//! SPIFFE ids: `spiffe://TRUST-DOMAIN/PATH` (SPIFFE-ID §2), in options and in certificates (X509-SVID §2).

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::tls::options;

/// Longest id (SPIFFE-ID §2.3).
const BYTES_MAX: usize = 2048;
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// A valid id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::upstream) struct Id {
    text: String,
    /// Bytes of the trust domain.
    domain: usize,
}

const SCHEME: &str = "spiffe://";

impl Id {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= BYTES_MAX)?;
        let (domain, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let is_segment = |segment: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(allowed)
        };
        let path_is_valid = path.is_empty() || path.split('/').skip(1).all(is_segment);
        (is_trust_domain(domain) && path_is_valid)
            .then(|| Self { text: text.to_owned(), domain: domain.len() })
    }

    pub(super) fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..SCHEME.len() + self.domain).unwrap_or_default()
    }
}

fn is_trust_domain(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=TRUST_DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// The id in a leaf: its only URI, and the leaf signs no others.
pub(super) fn of_certificate(der: &[u8]) -> Option<Id> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    if parsed.is_ca() {
        return None;
    }
    let names = parsed.subject_alternative_name().ok().flatten()?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let id = Id::parse(uris.next()?)?;
    uris.next().is_none().then_some(id)
}

/// Which servers are talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::upstream) enum Allowed {
    Any,
    Member(String),
    OneOf(Vec<Id>),
}

impl Allowed {
    /// Ids win over a trust domain, as in Traefik.
    pub(in crate::upstream) fn parse(options: &options::Spiffe) -> Result<Self, String> {
        if !options.ids.is_empty() {
            let parsed = options.ids.iter().map(|text| {
                Id::parse(text)
                    .ok_or_else(|| format!("`{text}` is no SPIFFE id: write spiffe://DOMAIN/PATH"))
            });
            return parsed.collect::<Result<_, _>>().map(Self::OneOf);
        }
        if options.trust_domain.is_empty() {
            return Ok(Self::Any);
        }
        let domain = options.trust_domain.strip_prefix(SCHEME).unwrap_or(&options.trust_domain);
        let domain = domain.split('/').next().unwrap_or_default();
        if !is_trust_domain(domain) {
            return Err(format!("`{}` is no trust domain", options.trust_domain));
        }
        Ok(Self::Member(domain.to_owned()))
    }

    pub(super) fn permits(&self, id: &Id) -> bool {
        match self {
            Self::Any => true,
            Self::Member(domain) => id.trust_domain() == domain,
            Self::OneOf(ids) => ids.contains(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_the_standard_says() {
        for (text, domain) in [
            ("spiffe://a.test/service/one", "a.test"),
            ("spiffe://a.test", "a.test"),
            ("spiffe://a_b-1/X.y_z-0", "a_b-1"),
        ] {
            assert_eq!(Id::parse(text).unwrap().trust_domain(), domain);
        }
        let long = format!("spiffe://a/{}", "x".repeat(2048));
        let long_domain = format!("spiffe://{}/x", "a".repeat(256));
        for text in [
            "",
            "spiffe://",
            "spiffe:///a",
            "http://a.test/x",
            "spiffe://A.test/x",
            "SPIFFE://a.test/x",
            "spiffe://a.test/",
            "spiffe://a.test//x",
            "spiffe://a.test/x/",
            "spiffe://a.test/.",
            "spiffe://a.test/../x",
            "spiffe://a.test/x?y",
            "spiffe://a.test:80/x",
            "spiffe://u@a.test/x",
            "spiffe://a.test/%41",
            &long,
            &long_domain,
        ] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }

    /// http.md, `serversTransports.spiffe`: ids, else the trust domain, else any.
    #[test]
    fn ids_win_over_the_trust_domain_and_nothing_permits_any() {
        let allowed = |ids: &[&str], trust_domain: &str| {
            let ids = ids.iter().map(ToString::to_string).collect();
            Allowed::parse(&options::Spiffe { ids, trust_domain: trust_domain.to_owned() })
        };
        let permits = |allowed: &Allowed, id: &str| allowed.permits(&Id::parse(id).unwrap());
        let both = allowed(&["spiffe://a.test/one", "spiffe://b.test/two"], "c.test").unwrap();
        assert!(permits(&both, "spiffe://b.test/two") && !permits(&both, "spiffe://c.test/x"));
        assert!(!permits(&both, "spiffe://a.test/one/more"));
        let domain = allowed(&[], "a.test").unwrap();
        assert!(permits(&domain, "spiffe://a.test/any") && !permits(&domain, "spiffe://b.test/x"));
        assert_eq!(allowed(&[], "spiffe://a.test"), Ok(domain));
        assert!(permits(&allowed(&[], "").unwrap(), "spiffe://x.test/y"));
        assert!(allowed(&["a.test"], "").is_err() && allowed(&[], "A b").is_err());
    }

    #[test]
    fn a_certificate_has_one_uri_and_signs_nothing() {
        let certificate = |uris: &[&str], is_ca: bool| {
            let mut params = rcgen::CertificateParams::default();
            params.subject_alt_names =
                uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap())).collect();
            if is_ca {
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        assert_eq!(
            of_certificate(&certificate(&["spiffe://a/b"], false)),
            Id::parse("spiffe://a/b")
        );
        for (uris, is_ca) in [
            (&["spiffe://a/b"][..], true),
            (&["spiffe://a/b", "spiffe://a/c"][..], false),
            (&["https://a/b"][..], false),
            (&[][..], false),
        ] {
            assert_eq!(of_certificate(&certificate(uris, is_ca)), None, "{uris:?}");
        }
        assert_eq!(of_certificate(b"nonsense"), None);
    }
}
