//! Matchers of TCP rules: `HostSNI`, `HostSNIRegexp`, `ClientIP`, `ALPN`.

use std::fmt;

use ipnet::IpNet;

use super::Target;
use crate::router::matcher::template::{Kind, compile, literal};
use crate::router::matcher::{
    Arguments, Definition, MatcherError, any_of, client_ip, named, wildcard_parent,
};
use crate::router::pattern::Pattern;
use crate::router::rule::{Asks, Syntax, Tree};

/// ACME's protocol for challenges, which is no router's business.
const ACME: &str = "acme-tls/1";

/// One thing asked of a connection.
#[derive(Debug)]
pub(super) enum Matcher {
    HostSni(Name),
    HostSniRegexp(Pattern),
    ClientIp(IpNet),
    Alpn(Box<str>),
}

/// What `HostSNI` asks for, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Exact(Box<str>),
    /// What follows `*.`: exactly one label more.
    Wildcard(Box<str>),
    /// Any connection, with TLS or without.
    Any,
}

impl Asks for Matcher {
    type Target<'t> = Target<'t>;

    fn find(name: &str, syntax: Syntax) -> Option<&'static Definition<Self>> {
        match syntax {
            Syntax::V3 => named(&V3, name),
            Syntax::V2 => named(&V2, name),
        }
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        match self {
            Self::HostSni(Name::Any) => true,
            Self::HostSni(Name::Exact(name)) => *target.server_name == **name,
            Self::HostSni(Name::Wildcard(parent)) => {
                wildcard_parent(target.server_name) == Some(parent)
            }
            Self::HostSniRegexp(pattern) => pattern.is_match(target.server_name),
            Self::ClientIp(network) => network.contains(&target.client.to_canonical()),
            Self::Alpn(protocol) => {
                target.protocols.iter().any(|offered| **offered == *protocol.as_bytes())
            }
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostSni(Name::Any) => f.write_str("HostSNI(`*`)"),
            Self::HostSni(Name::Exact(name)) => write!(f, "HostSNI(`{name}`)"),
            Self::HostSni(Name::Wildcard(parent)) => write!(f, "HostSNI(`*.{parent}`)"),
            Self::HostSniRegexp(pattern) => write!(f, "HostSNIRegexp(`{}`)", pattern.as_str()),
            Self::ClientIp(network) => write!(f, "ClientIP(`{network}`)"),
            Self::Alpn(protocol) => write!(f, "ALPN(`{protocol}`)"),
        }
    }
}

static V3: [Definition<Matcher>; 4] = [
    Definition::literal("HostSNI", &[1], |arguments| host_sni(arguments, true)),
    Definition::pattern("HostSNIRegexp", &[1], host_sni_regexp),
    Definition::literal("ClientIP", &[1], client_ip),
    Definition::literal("ALPN", &[1], alpn),
];

static V2: [Definition<Matcher>; 4] = [
    Definition::literal("HostSNI", &[], |arguments| host_sni(arguments, false)),
    Definition::pattern("HostSNIRegexp", &[], templates),
    Definition::literal("ClientIP", &[], client_ip),
    Definition::literal("ALPN", &[], alpn),
];

/// Names; `*` alone means any connection, and with `wildcards` `*.` stands for one label.
fn host_sni(arguments: Arguments<'_>, wildcards: bool) -> Result<Tree<Matcher>, MatcherError> {
    any_of(arguments, |given| {
        if given == "*" {
            return Ok(Matcher::HostSni(Name::Any));
        }
        let (name, make): (_, fn(Box<str>) -> Name) = match given.strip_prefix("*.") {
            Some(parent) if wildcards => (parent, Name::Wildcard),
            _ => (given, Name::Exact),
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-:".contains(&byte);
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(MatcherError::HostName { matcher: "HostSNI", value: given.to_owned() });
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        Ok(Matcher::HostSni(make(name.into())))
    })
}

/// Not anchored.
fn host_sni_regexp(arguments: Arguments<'_>) -> Result<Tree<Matcher>, MatcherError> {
    any_of(arguments, |expression| {
        check_ascii(expression)?;
        Pattern::new(expression)
            .map(Matcher::HostSniRegexp)
            .map_err(|source| MatcherError::Pattern { matcher: "HostSNIRegexp", source })
    })
}

/// `{name:expression}` among text, anchored, in any case.
fn templates(arguments: Arguments<'_>) -> Result<Tree<Matcher>, MatcherError> {
    const KIND: Kind =
        Kind { matcher: "HostSNIRegexp", default: "[^.]+", start: "(?i)^", end: "$" };
    any_of(arguments, |template| {
        check_ascii(template)?;
        let pattern = match compile(template, KIND)? {
            Some(pattern) => pattern,
            None => literal(template, KIND)?,
        };
        Ok(Matcher::HostSniRegexp(pattern))
    })
}

fn check_ascii(value: &str) -> Result<(), MatcherError> {
    if value.is_ascii() {
        return Ok(());
    }
    Err(MatcherError::NotAscii { matcher: "HostSNIRegexp", value: value.to_owned() })
}

fn client_ip(arguments: Arguments<'_>) -> Result<Tree<Matcher>, MatcherError> {
    any_of(arguments, |text| client_ip::network(text).map(Matcher::ClientIp))
}

fn alpn(arguments: Arguments<'_>) -> Result<Tree<Matcher>, MatcherError> {
    any_of(arguments, |protocol| {
        if protocol == ACME {
            return Err(MatcherError::Protocol(protocol.to_owned()));
        }
        Ok(Matcher::Alpn(protocol.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;

    fn matches(rule: &str, syntax: Syntax, server_name: &str) -> bool {
        let protocols = [b"h2".as_slice().into(), b"postgresql".as_slice().into()];
        let client = "::ffff:10.1.2.3".parse().unwrap();
        let target = Target { server_name, protocols: &protocols, client };
        Rule::parse(rule, syntax).unwrap().matches(&target)
    }

    #[test]
    fn matchers_of_v3_match_as_in_traefik() {
        for (rule, name, expected) in [
            ("HostSNI(`Db.test.`)", "db.test", true),
            ("HostSNI(`db.test`)", "", false),
            ("HostSNI(`*`)", "", true),
            ("HostSNI(`*.db.test`)", "a.db.test", true),
            ("HostSNI(`*.db.test`)", "a.b.db.test", false),
            ("HostSNI(`*.db.test`)", "db.test", false),
            ("HostSNI(`*.db.test`)", ".db.test", false),
            ("HostSNIRegexp(`db[0-9]`)", "x.db7.test", true),
            ("HostSNIRegexp(`^db$`)", "x.db", false),
            ("HostSNIRegexp(`.*`)", "", true),
            ("ClientIP(`10.0.0.0/8`)", "", true),
            ("ClientIP(`10.1.2.4`)", "", false),
            ("ALPN(`postgresql`)", "", true),
            ("ALPN(`H2`)", "", false),
            ("HostSNI(`a.test`) && !ALPN(`h2`) || ClientIP(`10.1.2.3`)", "b.test", true),
        ] {
            assert_eq!(matches(rule, Syntax::V3, name), expected, "{rule} {name}");
        }
    }

    #[test]
    fn matchers_of_v2_take_lists_and_templates() {
        for (rule, name, expected) in [
            ("HostSNI(`a.test`, `b.test`)", "b.test", true),
            ("HostSNI(`*`)", "", true),
            ("HostSNIRegexp(`{s:s[0-9]+}.db.test`)", "s12.db.test", true),
            ("HostSNIRegexp(`{s:s[0-9]+}.DB.test`)", "s12.db.test", true),
            ("HostSNIRegexp(`{s:s[0-9]+}.db.test`)", "xs12.db.test", false),
            ("ALPN(`x`, `h2`)", "", true),
        ] {
            assert_eq!(matches(rule, Syntax::V2, name), expected, "{rule} {name}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (rule, syntax, text) in [
            ("HostSNI(`a b`)", Syntax::V3, "\"a b\" is not a valid hostname"),
            ("HostSNI(`é`)", Syntax::V3, "is not a valid hostname"),
            ("HostSNI(`*.a.test`)", Syntax::V2, "is not a valid hostname"),
            ("HostSNI(`a`, `b`)", Syntax::V3, "got 2, expected one of [1]"),
            ("HostSNIRegexp(`é`)", Syntax::V3, "non-ASCII characters are not allowed"),
            ("HostSNIRegexp(`(`)", Syntax::V3, "compiling HostSNIRegexp matcher"),
            ("ALPN(`acme-tls/1`)", Syntax::V3, "\"acme-tls/1\" is not allowed"),
            ("ClientIP(`x`)", Syntax::V3, "neither an IP address nor a CIDR"),
        ] {
            let error = Rule::parse(rule, syntax).unwrap_err().to_string();
            assert!(error.contains(text), "{rule}: {error}");
        }
    }
}
