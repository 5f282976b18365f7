//! `trustedIPs`: addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

/// A list of addresses and networks.
#[derive(Debug, Clone, Default)]
pub(super) struct Networks(Vec<IpNet>);

impl Networks {
    /// Each entry is an address or a network (`10.0.0.0/8`); the entry that is neither is the error.
    pub(super) fn parse(entries: &[String]) -> Result<Self, String> {
        let parse = |entry: &String| {
            let text = entry.trim();
            let network =
                text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            network.ok_or_else(|| entry.clone())
        };
        entries.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_told_from_mistakes() {
        let networks = Networks::parse(&["10.0.0.0/8".into(), "::1".into()]).unwrap();
        for (address, expected) in
            [("10.9.9.9", true), ("::ffff:10.0.0.1", true), ("::1", true), ("11.0.0.1", false)]
        {
            assert_eq!(networks.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert_eq!(Networks::parse(&["10.0.0.0/33".into()]).unwrap_err(), "10.0.0.0/33");
    }
}
