//! Rules of TCP routers: which connections a router takes, by what is known before a server is asked.
//!
//! Traefik v3: TCP routers, rules (tcp-udp-tls.md §1). The same language as for requests, with matchers of its own.

mod matcher;
mod table;

use std::net::IpAddr;

use matcher::{Matcher, Name};

use super::rule::{RuleError, Syntax, Tree, parse};

pub(crate) use table::{Entry, Table};

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// In lower case; empty for a connection without TLS, and for a client that names no server.
    pub(crate) server_name: &'a str,
    /// Protocols that the client offers, most preferred first.
    pub(crate) protocols: &'a [Box<[u8]>],
    /// The socket's peer, or what the PROXY header said.
    pub(crate) client: IpAddr,
}

/// A rule about connections, ready to match.
#[derive(Debug)]
pub(crate) struct Rule {
    tree: Tree<Matcher>,
}

impl Rule {
    /// Parses `text`. Depth and size of the result are limited.
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self, RuleError> {
        Ok(Self { tree: parse(text, syntax)? })
    }

    pub(crate) fn matches(&self, target: &Target<'_>) -> bool {
        self.tree.matches(target)
    }

    /// True for ``HostSNI(`*`)`` alone: tried last, and behind HTTPS routers.
    pub(crate) fn is_catch_all(&self) -> bool {
        matches!(self.tree, Tree::Is(Matcher::HostSni(Name::Any)))
    }

    /// True if it asks for the name of a server, which only TLS tells.
    pub(crate) fn names_servers(&self) -> bool {
        let mut found = false;
        self.tree.visit_positive(&mut |matcher| {
            found |= matches!(matcher, Matcher::HostSni(Name::Exact(_) | Name::Wildcard(_)));
        });
        found
    }

    /// The priority of a router that sets none.
    pub(crate) fn default_priority(&self, text: &str) -> i64 {
        if self.is_catch_all() { -1 } else { i64::try_from(text.len()).unwrap_or(i64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Rule {
        Rule::parse(text, Syntax::V3).unwrap()
    }

    #[test]
    fn only_the_lone_star_is_a_catch_all() {
        let star = parsed("hostsni( `*` )");
        assert!(star.is_catch_all() && !star.names_servers());
        assert_eq!(star.default_priority("hostsni( `*` )"), -1);
        for text in ["HostSNI(`*`) && ClientIP(`::1`)", "!HostSNI(`*`)", "HostSNIRegexp(`.*`)"] {
            let rule = parsed(text);
            assert!(!rule.is_catch_all() && !rule.names_servers(), "{text}");
            assert_eq!(rule.default_priority(text), i64::try_from(text.len()).unwrap());
        }
        assert!(parsed("ClientIP(`::1`) && (HostSNI(`a`) || HostSNI(`*`))").names_servers());
    }

    #[test]
    fn matchers_of_requests_are_unknown() {
        let error = Rule::parse("Host(`a`)", Syntax::V3).unwrap_err().to_string();
        assert_eq!(error, "error while parsing rule Host(`a`): unsupported function: Host");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(HostSNI|HostSNIRegexp|ALPN|ClientIP|\\(|\\)|`|&&|!|\\*|\\PC){0,12}") {
            for syntax in [Syntax::V3, Syntax::V2] {
                if let Ok(rule) = Rule::parse(&text, syntax) {
                    let client = IpAddr::from([127, 0, 0, 1]);
                    rule.matches(&Target { server_name: "a.test", protocols: &[], client });
                }
            }
        }
    }
}
