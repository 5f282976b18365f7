//! The PROXY header that is sent to servers: who the client really is.
//!
//! Specification: haproxy.org, `proxy-protocol.txt`. Traefik: `proxyProtocol` of TCP transports.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::transport::Error;

const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Version {
    pub(crate) fn new(number: i64) -> Result<Self, Error> {
        match number {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            other => Err(Error::Version(other)),
        }
    }

    /// The header for a client at `source` that has connected to `destination`.
    pub(crate) fn header(self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let (mut from, mut to) = (source.ip().to_canonical(), destination.ip().to_canonical());
        if from.is_ipv4() != to.is_ipv4() {
            // A header has one family.
            (from, to) = (IpAddr::V6(mapped(from)), IpAddr::V6(mapped(to)));
        }
        let ports = (source.port(), destination.port());
        match self {
            Self::One => {
                let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
                format!("PROXY {family} {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
            }
            Self::Two => {
                let mut addresses = Vec::with_capacity(36);
                for ip in [from, to] {
                    match ip {
                        IpAddr::V4(ip) => addresses.extend(ip.octets()),
                        IpAddr::V6(ip) => addresses.extend(ip.octets()),
                    }
                }
                addresses.extend(ports.0.to_be_bytes());
                addresses.extend(ports.1.to_be_bytes());
                version_2(0x21, if from.is_ipv4() { 0x11 } else { 0x21 }, &addresses)
            }
        }
    }

    /// The header of a connection that no client has asked for: a health check.
    pub(crate) fn header_of_our_own(self) -> Vec<u8> {
        match self {
            Self::One => b"PROXY UNKNOWN\r\n".to_vec(),
            Self::Two => version_2(0x20, 0, &[]),
        }
    }
}

fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = V2_START.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(addresses.len()).unwrap_or(0).to_be_bytes());
    header.extend(addresses);
    header
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_specification() {
        let (v4, v6) = ("1.2.3.4:5".parse().unwrap(), "[::1]:6".parse().unwrap());
        assert_eq!(Version::One.header(v4, v4), b"PROXY TCP4 1.2.3.4 1.2.3.4 5 5\r\n");
        assert_eq!(Version::One.header(v4, v6), b"PROXY TCP6 ::ffff:1.2.3.4 ::1 5 6\r\n");
        let two = Version::Two.header(v4, v4);
        assert_eq!(two[12..], [0x21, 0x11, 0, 12, 1, 2, 3, 4, 1, 2, 3, 4, 0, 5, 0, 5]);
        assert_eq!(Version::Two.header(v6, v6).len(), 16 + 36);
        assert_eq!(Version::One.header_of_our_own(), b"PROXY UNKNOWN\r\n");
        assert_eq!(Version::Two.header_of_our_own()[12..], [0x20, 0, 0, 0]);
        assert!(Version::new(0).is_err());
    }
}
