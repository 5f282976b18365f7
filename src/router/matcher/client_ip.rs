//! `ClientIP(address)`: the client's address is that one, or in that network in CIDR notation. `X-Forwarded-For`
//! does not count.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Arguments, Matcher, MatcherError, any_of};
use crate::router::Target;
use crate::router::rule::Tree;

#[derive(Debug)]
pub(crate) struct ClientIp(pub(super) IpNet);

/// In the syntax of v2 there may be several.
pub(super) fn build(arguments: Arguments<'_>) -> Result<Tree, MatcherError> {
    any_of(arguments, |text| Ok(Matcher::ClientIp(Box::new(ClientIp(network(text)?)))))
}

/// A network, or an address as a network of its own.
pub(in crate::router) fn network(text: &str) -> Result<IpNet, MatcherError> {
    let network = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical())));
    network.ok_or_else(|| MatcherError::Address(text.to_owned()))
}

impl ClientIp {
    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        self.0.contains(&target.client())
    }
}

#[cfg(test)]
mod tests {
    use crate::router::Syntax;
    use crate::router::matcher::testing::{error, matches, matches_v2};
    use crate::router::target::testing::{Head, get};

    #[test]
    fn compares_addresses_and_networks() {
        for (argument, client, is_match) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.0/24", "192.0.2.200", true),
            ("192.0.2.9/24", "192.0.2.200", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "192.0.2.1", false),
        ] {
            let head = Head { client: client.parse().unwrap(), ..get("h", "/") };
            let head = head.with_header("x-forwarded-for", "203.0.113.1");
            let rule = format!("ClientIP(`{argument}`)");
            assert_eq!(matches(&rule, &head), is_match, "{rule} {client}");
        }
        assert!(matches_v2("ClientIP(`10.0.0.1`, `192.0.2.1`)", &get("h", "/")));
    }

    #[test]
    fn refuses_what_is_no_address() {
        assert!(error("ClientIP(`x/24`)", Syntax::V3).contains("neither an IP address nor a CIDR"));
    }
}
