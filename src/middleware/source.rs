//! Where a request comes from: what rate limits and allow lists count by.
//!
//! Traefik v3: `sourceCriterion` and `ipStrategy`.

use std::borrow::Cow;
use std::net::IpAddr;

use ::http::{HeaderName, HeaderValue};
use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{BuildError, is_default};
use crate::http::Request;

/// What counts as one source; at most one of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SourceCriterion {
    /// By address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_strategy: Option<IpStrategy>,
    /// By the value of a request header. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) request_header_name: String,
    /// By the request's host. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) request_host: bool,
}

/// Which address of a request counts. Default: the connection's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "IPStrategy")]
pub(crate) struct IpStrategy {
    /// The so many-th address of `X-Forwarded-For` from the right. Default: 0, none; wins over `excludedIPs`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) depth: i64,
    /// The right-most address of `X-Forwarded-For` that is in none of these networks.
    #[serde(rename = "excludedIPs", skip_serializing_if = "is_default")]
    pub(crate) excluded_ips: Vec<String>,
    /// Bits, 1 to 128: IPv6 addresses of one such network count as one. Without effect on `excludedIPs`.
    #[serde(rename = "ipv6Subnet", skip_serializing_if = "Option::is_none")]
    pub(crate) ipv6_subnet: Option<u8>,
}

/// What a request is counted under.
pub(super) enum Source {
    Address(Address),
    Header(HeaderName),
    Host,
}

impl Source {
    /// The criterion of `options`, or `default` where they name none.
    pub(super) fn new(
        options: Option<&SourceCriterion>,
        default: &SourceCriterion,
    ) -> Result<Self, BuildError> {
        let given = options.filter(|options| !is_default(*options)).unwrap_or(default);
        let several = BuildError::option(
            "sourceCriterion",
            "ipStrategy, requestHeaderName and requestHost are mutually exclusive",
        );
        match (&given.ip_strategy, given.request_header_name.as_str(), given.request_host) {
            (Some(strategy), "", false) => Ok(Self::Address(Address::new(Some(strategy))?)),
            (None, "", true) => Ok(Self::Host),
            (None, "", false) => Ok(Self::Address(Address::new(None)?)),
            (None, name, false) => HeaderName::try_from(name).map(Self::Header).map_err(|error| {
                BuildError::option(
                    "sourceCriterion.requestHeaderName",
                    format!("`{name}`: {error}"),
                )
            }),
            _ => Err(several),
        }
    }

    /// The source of `request`; empty where it has none.
    pub(super) fn of<'a>(&self, request: &'a Request) -> Cow<'a, [u8]> {
        match self {
            Self::Address(address) => match address.of(request) {
                Some(Found::Ip(ip)) => Cow::Owned(ip.to_string().into_bytes()),
                Some(Found::Text(text)) => Cow::Borrowed(text.as_bytes()),
                None => Cow::Borrowed(b""),
            },
            Self::Header(name) => Cow::Borrowed(
                request.headers().get(name).map_or(b"".as_slice(), HeaderValue::as_bytes),
            ),
            Self::Host => Cow::Borrowed(request.host().unwrap_or_default().as_bytes()),
        }
    }
}

/// Which address of a request counts.
pub(super) enum Address {
    Remote { subnet: Option<u8> },
    Depth { depth: usize, subnet: Option<u8> },
    Excluding(Vec<IpNet>),
}

/// What stands where an address should be.
pub(super) enum Found<'a> {
    Ip(IpAddr),
    /// An entry of `X-Forwarded-For` that is no address.
    Text(&'a str),
}

impl Address {
    pub(super) fn new(options: Option<&IpStrategy>) -> Result<Self, BuildError> {
        let Some(options) = options else { return Ok(Self::Remote { subnet: None }) };
        let subnet = options.ipv6_subnet;
        if subnet.is_some_and(|bits| bits == 0 || bits > 128) {
            return Err(BuildError::option("ipStrategy.ipv6Subnet", "must be from 1 to 128"));
        }
        if let Some(depth) = usize::try_from(options.depth).ok().filter(|depth| *depth > 0) {
            return Ok(Self::Depth { depth, subnet });
        }
        if options.excluded_ips.is_empty() {
            return Ok(Self::Remote { subnet });
        }
        let excluded: Result<_, _> = options
            .excluded_ips
            .iter()
            .map(|text| network("ipStrategy.excludedIPs", text))
            .collect();
        Ok(Self::Excluding(excluded?))
    }

    /// The address of `request`; `None` where the header that should hold it is too short.
    pub(super) fn of<'a>(&self, request: &'a Request) -> Option<Found<'a>> {
        match self {
            Self::Remote { subnet } => {
                Some(Found::Ip(masked(request.exchange().connection.remote.ip(), *subnet)))
            }
            Self::Depth { depth, subnet } => {
                let entry = forwarded_for(request).nth(depth - 1)?;
                Some(match parse(entry) {
                    Some(ip) => Found::Ip(masked(ip, *subnet)),
                    None => Found::Text(entry),
                })
            }
            Self::Excluding(networks) => forwarded_for(request)
                .filter(|entry| !entry.is_empty())
                .map(|entry| parse(entry).map_or(Found::Text(entry), Found::Ip))
                .find(|found| match found {
                    Found::Ip(ip) => !contains(networks, *ip),
                    Found::Text(_) => true,
                }),
        }
    }
}

/// The entries of `X-Forwarded-For`, from the right.
fn forwarded_for(request: &Request) -> impl Iterator<Item = &str> {
    let lines = request.headers().get_all("x-forwarded-for").into_iter();
    lines
        .rev()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.rsplit(',').map(str::trim))
}

/// An address, without its zone; an IPv4 address in IPv6's clothes is one of IPv4.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.split_once('%').map_or(text, |(address, _zone)| address);
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// `ip` with all but the first bits cleared, for IPv6.
fn masked(ip: IpAddr, subnet: Option<u8>) -> IpAddr {
    let ip = ip.to_canonical();
    let (IpAddr::V6(address), Some(bits)) = (ip, subnet) else { return ip };
    Ipv6Net::new(address, bits).map_or(ip, |network| IpAddr::V6(network.network()))
}

/// A network, or an address as a network of one.
pub(super) fn network(option: &'static str, text: &str) -> Result<IpNet, BuildError> {
    if let Some(ip) = parse(text) {
        return Ok(IpNet::from(ip));
    }
    text.parse::<IpNet>().map_err(|_error| {
        BuildError::option(option, format!("`{text}` is no IP address and no network"))
    })
}

pub(super) fn contains(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::request;

    fn found(strategy: &IpStrategy, forwarded_for: &[&str]) -> String {
        let headers: Vec<_> = forwarded_for.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let criterion =
            SourceCriterion { ip_strategy: Some(strategy.clone()), ..Default::default() };
        let source = Source::new(Some(&criterion), &criterion).unwrap();
        String::from_utf8(source.of(&request("GET", "/", &headers)).into_owned()).unwrap()
    }

    #[test]
    fn depth_counts_from_the_right() {
        let depth = |depth| IpStrategy { depth, ..Default::default() };
        let chain = ["10.0.0.1, 10.0.0.2", "10.0.0.3"];
        assert_eq!(found(&depth(1), &chain), "10.0.0.3");
        assert_eq!(found(&depth(3), &chain), "10.0.0.1");
        assert_eq!(found(&depth(4), &chain), "");
        assert_eq!(found(&depth(0), &chain), "192.0.2.1");
        assert_eq!(found(&depth(1), &["unknown"]), "unknown");
    }

    #[test]
    fn excluded_addresses_are_passed_over() {
        let excluding = |list: &[&str]| IpStrategy {
            excluded_ips: list.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let chain = ["10.0.0.1, 10.0.0.2,, 10.0.0.3"];
        assert_eq!(found(&excluding(&["10.0.0.3", "::1"]), &chain), "10.0.0.2");
        assert_eq!(found(&excluding(&["10.0.0.0/8"]), &chain), "");
        assert_eq!(found(&excluding(&["10.0.0.0/8"]), &[]), "");
        let both = IpStrategy { depth: 1, ..excluding(&["10.0.0.3"]) };
        assert_eq!(found(&both, &chain), "10.0.0.3");
    }

    #[test]
    fn a_subnet_masks_ipv6_only() {
        let masking = IpStrategy { depth: 1, ipv6_subnet: Some(64), ..Default::default() };
        assert_eq!(found(&masking, &["2001:db8:1:2:3:4:5:6"]), "2001:db8:1:2::");
        assert_eq!(found(&masking, &["10.1.2.3"]), "10.1.2.3");
        assert_eq!(found(&masking, &["::ffff:10.1.2.3"]), "10.1.2.3");
    }

    #[test]
    fn headers_and_hosts_can_be_sources() {
        let by_header =
            SourceCriterion { request_header_name: "X-User".to_owned(), ..Default::default() };
        let by_host = SourceCriterion { request_host: true, ..Default::default() };
        let request = request("GET", "/", &[("x-user", "ann"), ("host", "a.test")]);
        let of =
            |criterion| Source::new(Some(criterion), &by_host).unwrap().of(&request).into_owned();
        assert_eq!(of(&by_header), b"ann");
        assert_eq!(of(&by_host), b"a.test");
        assert_eq!(of(&SourceCriterion::default()), b"a.test");
        let two = SourceCriterion { request_host: true, ..by_header.clone() };
        assert!(Source::new(Some(&two), &by_host).is_err());
    }
}
