//! The PROXY protocol, versions 1 and 2: the header in front of a connection that names the real client.
//!
//! Specification: haproxy.org, `proxy-protocol.txt`. Traefik: `proxyProtocol` of entry points (tcp-udp-tls.md §7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::networks::Networks;
use super::options;

/// Longest version 1 header, with its line end.
const V1_BYTES_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;
/// Longest version 2 header that is read, with its extensions.
pub(super) const HEADER_BYTES_MAX: usize = 4096;

/// Whose header is believed. That of others is read and ignored.
#[derive(Debug)]
pub(super) struct Policy {
    insecure: bool,
    trusted: Networks,
}

impl Policy {
    /// The error is the entry of `trustedIPs` that is no address and no network.
    pub(super) fn new(options: &options::ProxyProtocol) -> Result<Self, String> {
        Ok(Self { insecure: options.insecure, trusted: Networks::parse(&options.trusted_ips)? })
    }

    pub(super) fn believes(&self, sender: IpAddr) -> bool {
        self.insecure || self.trusted.contains(sender)
    }
}

/// The two ends of a connection, as a header names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Not to be told yet.
    Incomplete,
    /// No header: the client itself speaks.
    Absent,
    /// A header of `bytes`; without ends where the sender speaks for itself (`LOCAL`, `UNKNOWN`).
    Header { bytes: usize, ends: Option<Ends> },
    /// The beginning of a header that is none: the connection must be closed.
    Malformed,
}

/// Looks at the first bytes of a connection.
pub(crate) fn parse(first: &[u8]) -> Parsed {
    if first.starts_with(V2_START) {
        version_2(first)
    } else if first.starts_with(V1_START) {
        version_1(first)
    } else if V2_START.starts_with(first) || V1_START.starts_with(first) {
        Parsed::Incomplete
    } else {
        Parsed::Absent
    }
}

fn version_1(first: &[u8]) -> Parsed {
    let window = first.get(..V1_BYTES_MAX).unwrap_or(first);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if first.len() >= V1_BYTES_MAX { Parsed::Malformed } else { Parsed::Incomplete };
    };
    let line = window.get(V1_START.len()..end).and_then(|line| std::str::from_utf8(line).ok());
    let Some(line) = line else { return Parsed::Malformed };
    let bytes = end + 2;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Parsed::Header { bytes, ends: None };
    }
    match version_1_ends(line) {
        Some(ends) => Parsed::Header { bytes, ends: Some(ends) },
        None => Parsed::Malformed,
    }
}

/// `TCP4 source destination source-port destination-port`
fn version_1_ends(line: &str) -> Option<Ends> {
    let mut words = line.split(' ');
    let family = words.next()?;
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok())?
    };
    let ends = Ends {
        source: SocketAddr::new(source, port()?),
        destination: SocketAddr::new(destination, port()?),
    };
    words.next().is_none().then_some(ends)
}

fn version_2(first: &[u8]) -> Parsed {
    let Some(&[command, family, high, low]) = first.get(V2_START.len()..V2_FIXED_BYTES) else {
        return Parsed::Incomplete;
    };
    let bytes = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Parsed::Malformed,
    };
    if bytes > HEADER_BYTES_MAX {
        return Parsed::Malformed;
    }
    let Some(addresses) = first.get(V2_FIXED_BYTES..bytes) else { return Parsed::Incomplete };
    if local {
        return Parsed::Header { bytes, ends: None };
    }
    let ends = match family {
        0x11 => version_2_ends::<4>(addresses),
        0x21 => version_2_ends::<16>(addresses),
        // Datagrams, Unix sockets and what is still to come: to be taken as if the sender spoke for itself.
        _ => return Parsed::Header { bytes, ends: None },
    };
    match ends {
        Some(ends) => Parsed::Header { bytes, ends: Some(ends) },
        None => Parsed::Malformed,
    }
}

/// Both addresses of `N` bytes, then both ports.
fn version_2_ends<const N: usize>(addresses: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = addresses.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    Some(Ends {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new((*destination).into(), u16::from_be_bytes(*destination_port)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = V2_START.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        header.extend(addresses);
        header
    }

    fn v2_of(ends: Ends) -> Vec<u8> {
        let mut addresses = Vec::new();
        let family = match (ends.source.ip(), ends.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                addresses.extend(source.octets());
                addresses.extend(destination.octets());
                0x11
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                addresses.extend(source.octets());
                addresses.extend(destination.octets());
                0x21
            }
            _ => panic!("one family"),
        };
        addresses.extend(ends.source.port().to_be_bytes());
        addresses.extend(ends.destination.port().to_be_bytes());
        v2(0x21, family, &addresses)
    }

    #[test]
    fn version_1_names_both_ends() {
        let line = b"PROXY TCP4 192.168.0.1 10.0.0.1 56324 443\r\nGET /";
        let expected = ends("192.168.0.1:56324", "10.0.0.1:443");
        assert_eq!(parse(line), Parsed::Header { bytes: 43, ends: Some(expected) });
        let line = b"PROXY TCP6 ::1 ::2 1 2\r\n";
        assert_eq!(
            parse(line),
            Parsed::Header { bytes: 24, ends: Some(ends("[::1]:1", "[::2]:2")) }
        );
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Parsed::Header { bytes: 15, ends: None });
        assert_eq!(parse(b"PROXY UNKNOWN a b\r\n"), Parsed::Header { bytes: 19, ends: None });
    }

    #[test]
    fn version_1_refuses_what_is_not_to_the_letter() {
        for line in [
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
            "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
            "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Parsed::Malformed, "{line}");
        }
        let endless = format!("PROXY UNKNOWN {}", "a".repeat(200));
        assert_eq!(parse(endless.as_bytes()), Parsed::Malformed);
    }

    #[test]
    fn version_2_reads_commands_and_families() {
        let expected = ends("1.2.3.4:5", "6.7.8.9:10");
        assert_eq!(parse(&v2_of(expected)), Parsed::Header { bytes: 28, ends: Some(expected) });
        assert_eq!(parse(&v2(0x20, 0, &[])), Parsed::Header { bytes: 16, ends: None });
        assert_eq!(parse(&v2(0x21, 0x31, &[0; 216])), Parsed::Header { bytes: 232, ends: None });
        assert_eq!(parse(&v2(0x11, 0x11, &[0; 12])), Parsed::Malformed);
        assert_eq!(parse(&v2(0x21, 0x11, &[0; 11])), Parsed::Malformed);
        assert_eq!(parse(&v2(0x21, 0x11, &[0; 4096])), Parsed::Malformed);
    }

    #[test]
    fn requests_are_no_headers() {
        for first in ["GET / HTTP/1.1\r\n", "PROPFIND / HTTP/1.1", "PRI * HTTP/2.0", "\x16\x03\x01"]
        {
            assert_eq!(parse(first.as_bytes()), Parsed::Absent, "{first}");
        }
        assert_eq!(parse(b""), Parsed::Incomplete);
        assert_eq!(parse(b"PRO"), Parsed::Incomplete);
        assert_eq!(parse(b"\r\n\r\n"), Parsed::Incomplete);
    }

    #[test]
    fn only_trusted_senders_are_believed() {
        let options =
            options::ProxyProtocol { insecure: false, trusted_ips: vec!["10.0.0.0/8".into()] };
        let policy = Policy::new(&options).unwrap();
        assert!(policy.believes("10.1.1.1".parse().unwrap()));
        assert!(!policy.believes("11.1.1.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn any_input_is_answered(first: Vec<u8>, version: bool) {
            let mut input = if version { V1_START.to_vec() } else { V2_START.to_vec() };
            input.extend(&first);
            for bytes in [&first, &input] {
                if let Parsed::Header { bytes: length, .. } = parse(bytes) {
                    prop_assert!(length <= bytes.len());
                }
            }
        }

        #[test]
        fn what_was_written_is_read_and_never_early(
            source: Ipv6Addr, destination: Ipv6Addr, ports: (u16, u16), four: bool, cut: prop::sample::Index,
        ) {
            let narrow = |address: Ipv6Addr| if four {
                IpAddr::V4(Ipv4Addr::from_bits(u32::from(address.segments()[0])))
            } else {
                IpAddr::V6(address)
            };
            let ends = Ends {
                source: SocketAddr::new(narrow(source), ports.0),
                destination: SocketAddr::new(narrow(destination), ports.1),
            };
            let line = format!(
                "PROXY {} {} {} {} {}\r\n", if four { "TCP4" } else { "TCP6" },
                ends.source.ip(), ends.destination.ip(), ports.0, ports.1,
            );
            for header in [line.into_bytes(), v2_of(ends)] {
                let expected = Parsed::Header { bytes: header.len(), ends: Some(ends) };
                prop_assert_eq!(parse(&header), expected);
                prop_assert_eq!(parse(&header[..cut.index(header.len())]), Parsed::Incomplete);
            }
        }
    }
}
