//! `metrics.statsD` and `metrics.datadog`: lines in datagrams.
//!
//! Traefik v3: observability, metrics. Same names, types and units: milliseconds for `StatsD`, seconds and tags for
//! Datadog. An `address` of Datadog may begin with `unix://`, `unixgram://` or `unixstream://`.
//!
//! Differs: many lines share a datagram; over a stream each packet begins with its length, as Datadog's agent wants
//! it. Of one series at most some thousand durations are sent at an interval, with the rate at which they were chosen.
//! `StatsD` knows no labels: of several series the sum is sent, and of servers that are up and of the end of certificates
//! the least.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UdpSocket, UnixDatagram, UnixStream};

use super::family::{Durations, Family, Label, Value};
use super::push::Sink;

/// Bytes of a datagram that crosses an Ethernet in one piece.
const UDP_BYTES_MAX: usize = 1432;
/// Bytes of a packet to an agent on this machine.
const UNIX_BYTES_MAX: usize = 8192;
const ADDRESS: &str = "localhost:8125";
const PREFIX: &str = "traefik";

/// Who reads the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    StatsD,
    Datadog,
}

/// Where they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Udp(String),
    /// A datagram socket, or else a stream.
    Unix(PathBuf),
    Datagram(PathBuf),
    Stream(PathBuf),
}

impl Address {
    fn parse(dialect: Dialect, text: &str) -> Self {
        let unix = |scheme: &str| text.strip_prefix(scheme).map(PathBuf::from);
        match dialect {
            _ if text.is_empty() => Self::Udp(ADDRESS.to_owned()),
            Dialect::StatsD => Self::Udp(text.to_owned()),
            Dialect::Datadog => unix("unix://")
                .map(Self::Unix)
                .or_else(|| unix("unixgram://").map(Self::Datagram))
                .or_else(|| unix("unixstream://").map(Self::Stream))
                .unwrap_or_else(|| Self::Udp(text.to_owned())),
        }
    }
}

/// Sends lines to an agent.
pub(super) struct Datagrams {
    dialect: Dialect,
    address: Address,
    /// With the dot that follows it.
    prefix: String,
}

impl Datagrams {
    pub(super) fn new(dialect: Dialect, address: &str, prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { PREFIX } else { prefix };
        Self { dialect, address: Address::parse(dialect, address), prefix: format!("{prefix}.") }
    }

    fn lines(&self, families: &[Family]) -> Vec<String> {
        let mut lines = Vec::new();
        for family in families {
            let Some(name) = name(&family.name) else { continue };
            let name = format!("{}{name}", self.prefix);
            match self.dialect {
                Dialect::StatsD => {
                    if let Some(value) = without_labels(family) {
                        write(&mut lines, &name, &value, "", (1000.0, "ms"));
                    }
                }
                Dialect::Datadog => {
                    for point in &family.points {
                        let tags = tags(&point.labels);
                        write(&mut lines, &name, &point.value, &tags, (1.0, "h"));
                    }
                }
            }
        }
        lines
    }
}

#[async_trait]
impl Sink for Datagrams {
    fn name(&self) -> &'static str {
        match self.dialect {
            Dialect::StatsD => "metrics.statsD",
            Dialect::Datadog => "metrics.datadog",
        }
    }

    fn encode(&self, families: &[Family], _: Duration) -> Vec<Vec<u8>> {
        let bytes_max = match self.address {
            Address::Udp(_) => UDP_BYTES_MAX,
            Address::Unix(_) | Address::Datagram(_) | Address::Stream(_) => UNIX_BYTES_MAX,
        };
        packets(self.lines(families), bytes_max)
    }

    async fn send(&self, packets: Vec<Vec<u8>>) -> Result<(), String> {
        let sent = match &self.address {
            Address::Udp(address) => over_udp(address, &packets).await,
            Address::Datagram(path) => over_unix(path, &packets).await,
            Address::Stream(path) => over_stream(path, &packets).await,
            Address::Unix(path) => match over_unix(path, &packets).await {
                // The socket is a stream.
                Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                    over_stream(path, &packets).await
                }
                result => result,
            },
        };
        sent.map_err(|error| error.to_string())
    }
}

async fn over_udp(address: &str, packets: &[Vec<u8>]) -> io::Result<()> {
    let mut found = tokio::net::lookup_host(address).await?;
    let to = found.next().ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no such host"))?;
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from).await?;
    socket.connect(to).await?;
    for packet in packets {
        socket.send(packet).await?;
    }
    Ok(())
}

async fn over_unix(path: &Path, packets: &[Vec<u8>]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    for packet in packets {
        socket.send(packet).await?;
    }
    Ok(())
}

async fn over_stream(path: &Path, packets: &[Vec<u8>]) -> io::Result<()> {
    let mut stream = UnixStream::connect(path).await?;
    for packet in packets {
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        stream.write_all(&length.to_le_bytes()).await?;
        stream.write_all(packet).await?;
    }
    stream.shutdown().await
}

/// What Traefik calls a family here; `None` for what it does not have.
fn name(family: &str) -> Option<Cow<'static, str>> {
    let name = match family {
        "traefik_config_reloads_total" => "config.reload.total",
        "traefik_config_last_reload_success" => "config.reload.lastSuccessTimestamp",
        "traefik_open_connections" => "open.connections",
        "traefik_tls_certs_not_after" => "tls.certs.notAfterTimestamp",
        "traefik_service_retries_total" => "service.retries.total",
        "traefik_service_server_up" => "service.server.up",
        other => {
            let (kind, rest) = other.strip_prefix("traefik_")?.split_once('_')?;
            let rest = match rest {
                "requests_total" => "request.total",
                "requests_tls_total" => "request.tls.total",
                "request_duration_seconds" => "request.duration",
                "requests_bytes_total" => "requests.bytes.total",
                "responses_bytes_total" => "responses.bytes.total",
                _ => return None,
            };
            return Some(format!("{kind}.{rest}").into());
        }
    };
    Some(name.into())
}

/// The series of a family as one.
fn without_labels(family: &Family) -> Option<Value> {
    let least =
        matches!(&*family.name, "traefik_service_server_up" | "traefik_tls_certs_not_after");
    let values = family.points.iter().map(|point| point.value.clone());
    values.reduce(|one, other| match (one, other) {
        (Value::Counter(one), Value::Counter(other)) => Value::Counter(one + other),
        (Value::Gauge(one), Value::Gauge(other)) if least => Value::Gauge(one.min(other)),
        (Value::Gauge(one), Value::Gauge(other)) => Value::Gauge(one + other),
        (Value::Durations(mut one), Value::Durations(other)) => {
            one.count += other.count;
            one.samples.extend(other.samples);
            Value::Durations(one)
        }
        (one, _) => one,
    })
}

fn tags(labels: &[Label]) -> String {
    let mut text = String::new();
    for label in labels {
        let mark = if text.is_empty() { "|#" } else { "," };
        // What ends a tag or a line in this format.
        let value = label.value.replace([',', '|', '\n', '\r'], "_");
        write!(text, "{mark}{}:{value}", label.name).expect("writing to memory does not fail");
    }
    text
}

/// The lines of one series. `factor` and `unit` are those of durations.
fn write(
    lines: &mut Vec<String>,
    name: &str,
    value: &Value,
    tags: &str,
    (factor, unit): (f64, &str),
) {
    match value {
        Value::Counter(0.0) => {}
        Value::Counter(value) => lines.push(format!("{name}:{value:.6}|c{tags}")),
        Value::Gauge(value) => lines.push(format!("{name}:{value:.6}|g{tags}")),
        Value::Durations(Durations { count, samples, .. }) => {
            let kept = samples.len() as f64;
            let rate = if (*count as f64) > kept {
                format!("|@{:.6}", kept / *count as f64)
            } else {
                String::new()
            };
            lines.extend(samples.iter().map(|seconds| {
                let value = f64::from(*seconds) * factor;
                format!("{name}:{value:.6}|{unit}{rate}{tags}")
            }));
        }
    }
}

/// Lines in packets of at most so many bytes; a longer line is alone.
fn packets(lines: Vec<String>, bytes_max: usize) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        match packets.last_mut() {
            Some(packet) if packet.len() + line.len() < bytes_max => {
                packet.extend_from_slice(line.as_bytes());
                packet.push(b'\n');
            }
            Some(_) | None => packets.push((line + "\n").into_bytes()),
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::super::family::Point;
    use super::*;

    fn family(name: &'static str, points: &[(&[(&'static str, &str)], Value)]) -> Family {
        let points = points.iter().map(|(labels, value)| Point {
            labels: labels.iter().map(|(name, value)| Label::new(*name, *value)).collect(),
            value: value.clone(),
        });
        Family { name: name.into(), help: "", points: points.collect() }
    }

    fn sample() -> Vec<Family> {
        let durations = Durations { count: 3, samples: vec![0.25, 0.5], ..Durations::default() };
        vec![
            family("traefik_config_reloads_total", &[(&[], Value::Counter(1.0))]),
            family(
                "traefik_entrypoint_requests_total",
                &[
                    (&[("code", "200"), ("entrypoint", "web")], Value::Counter(3.0)),
                    (&[("code", "404"), ("entrypoint", "a,b|c")], Value::Counter(1.0)),
                ],
            ),
            family(
                "traefik_entrypoint_request_duration_seconds",
                &[(&[("code", "200")], Value::Durations(durations))],
            ),
            family(
                "traefik_service_server_up",
                &[
                    (&[("url", "http://a")], Value::Gauge(1.0)),
                    (&[("url", "http://b")], Value::Gauge(0.0)),
                ],
            ),
            family("pontoon_cluster_term", &[(&[], Value::Gauge(3.0))]),
        ]
    }

    /// static.md §8, backend `datadog`: names, prefix and tags.
    #[test]
    fn datadog_gets_tags_and_seconds() {
        let lines = Datagrams::new(Dialect::Datadog, "", "edge").lines(&sample());
        assert_eq!(
            lines,
            [
                "edge.config.reload.total:1.000000|c",
                "edge.entrypoint.request.total:3.000000|c|#code:200,entrypoint:web",
                "edge.entrypoint.request.total:1.000000|c|#code:404,entrypoint:a_b_c",
                "edge.entrypoint.request.duration:0.250000|h|@0.666667|#code:200",
                "edge.entrypoint.request.duration:0.500000|h|@0.666667|#code:200",
                "edge.service.server.up:1.000000|g|#url:http://a",
                "edge.service.server.up:0.000000|g|#url:http://b",
            ]
        );
    }

    /// static.md §8, backend `statsD`: names, prefix, no labels.
    #[test]
    fn statsd_gets_sums_and_milliseconds() {
        let lines = Datagrams::new(Dialect::StatsD, "", "").lines(&sample());
        assert_eq!(
            lines,
            [
                "traefik.config.reload.total:1.000000|c",
                "traefik.entrypoint.request.total:4.000000|c",
                "traefik.entrypoint.request.duration:250.000000|ms|@0.666667",
                "traefik.entrypoint.request.duration:500.000000|ms|@0.666667",
                "traefik.service.server.up:0.000000|g",
            ]
        );
    }

    #[test]
    fn addresses_are_those_of_their_dialect() {
        let parse = |text| Address::parse(Dialect::Datadog, text);
        assert_eq!(parse(""), Address::Udp("localhost:8125".to_owned()));
        assert_eq!(parse("a:1"), Address::Udp("a:1".to_owned()));
        assert_eq!(parse("unix:///a/b"), Address::Unix("/a/b".into()));
        assert_eq!(parse("unixgram:///a"), Address::Datagram("/a".into()));
        assert_eq!(parse("unixstream:///a"), Address::Stream("/a".into()));
    }

    #[test]
    fn lines_share_packets_of_a_limited_size() {
        let packets = packets(vec!["aaa".to_owned(), "bbb".to_owned(), "c".repeat(20)], 9);
        assert_eq!(packets[0], b"aaa\nbbb\n");
        assert_eq!(packets[1].len(), 21);
    }
}
