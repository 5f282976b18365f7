//! `ipAllowList`: lets only listed addresses connect. `ipWhiteList` is its deprecated name.
//!
//! Traefik v3: TCP middlewares, `IPAllowList`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Admission, BuildError, Middleware};
use crate::tcp::options;

pub(super) struct IpAllowList(Vec<IpNet>);

impl IpAllowList {
    pub(super) fn new(options: &options::IpAllowList) -> Result<Self, BuildError> {
        if options.source_range.is_empty() {
            return Err(BuildError::NoRange);
        }
        let network = |text: &String| {
            let trimmed = text.trim();
            let network = trimmed.parse::<IpNet>().ok().or_else(|| {
                trimmed.parse::<IpAddr>().ok().map(|address| address.to_canonical().into())
            });
            network.ok_or_else(|| BuildError::Network(text.clone()))
        };
        options.source_range.iter().map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl Middleware for IpAllowList {
    fn admit(&self, client: IpAddr) -> Admission {
        let client = client.to_canonical();
        if self.0.iter().any(|network| network.contains(&client)) {
            Admission::Admitted(None)
        } else {
            Admission::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ranges: &[&str]) -> Result<IpAllowList, BuildError> {
        let source_range = ranges.iter().map(ToString::to_string).collect();
        IpAllowList::new(&options::IpAllowList { source_range })
    }

    #[test]
    fn only_listed_addresses_pass() {
        let list = list(&["127.0.0.0/29", "::1", " 10.0.0.1"]).unwrap();
        for (client, passes) in [
            ("127.0.0.7", true),
            ("::ffff:127.0.0.7", true),
            ("127.0.0.9", false),
            ("::1", true),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
        ] {
            let admission = list.admit(client.parse().unwrap());
            assert_eq!(matches!(admission, Admission::Admitted(_)), passes, "{client}");
        }
    }

    #[test]
    fn a_list_needs_addresses() {
        assert_eq!(list(&[]).err(), Some(BuildError::NoRange));
        assert_eq!(list(&["x"]).err(), Some(BuildError::Network("x".to_owned())));
    }
}
