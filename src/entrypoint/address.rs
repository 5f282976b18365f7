//! `address` of an entry point: `[host]:port[/tcp|/udp]`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// What an entry point listens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// Where an entry point listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an address without brackets; empty for all addresses of the machine.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write `[host]:port[/tcp|/udp]`, such as `:443`")]
pub(crate) struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError(text.to_owned());
        let (place, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((place, name)) if name.eq_ignore_ascii_case("tcp") => (place, Protocol::Tcp),
            Some((place, name)) if name.eq_ignore_ascii_case("udp") => (place, Protocol::Udp),
            Some(_) => return Err(bad()),
        };
        let (host, port) = place.rsplit_once(':').ok_or_else(bad)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        let port = port.parse().ok().ok_or_else(bad)?;
        Ok(Self { host: host.to_owned(), port, protocol })
    }
}

impl Address {
    /// The socket addresses to try, best first. Asks the resolver for a name.
    pub(super) fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        if self.host.is_empty() {
            let all = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
            return Ok(all.map(|ip| SocketAddr::new(ip, self.port)).to_vec());
        }
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.take(1).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_traefik_reads_them() {
        for (text, host, port, protocol) in [
            (":80", "", 80, Protocol::Tcp),
            ("127.0.0.1:0/tcp", "127.0.0.1", 0, Protocol::Tcp),
            ("[::1]:53/UDP", "::1", 53, Protocol::Udp),
            ("localhost:8080", "localhost", 8080, Protocol::Tcp),
        ] {
            let expected = Address { host: host.to_owned(), port, protocol };
            assert_eq!(text.parse::<Address>().unwrap(), expected, "{text}");
        }
        for text in ["", "80", ":", ":65536", ":80/sctp", "::1:80", "[::1:80"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
