//! `metrics.influxDB2`: the line protocol over HTTP.
//!
//! Traefik v3: observability, metrics. Same names; counters have a field `count`, gauges `value`, durations the
//! percentiles `p50`, `p90`, `p95` and `p99` in seconds.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use ::http::{Method, Request, Uri};
use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::family::{Family, Label, Value};
use super::push::Sink;
use crate::observe::options::InfluxDb2;
use crate::observe::outlet::{Connect, Outlet};

/// Bytes of one request, about.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Characters of an answer that are shown.
const ANSWER_SHOWN_MAX: usize = 200;

/// Writes to a bucket.
pub(super) struct Influx {
    outlet: Arc<dyn Outlet>,
    uri: Uri,
    token: HeaderValue,
    labels: Vec<Label>,
}

impl Influx {
    pub(super) fn new(options: &InfluxDb2, connect: Connect) -> Result<Self, String> {
        if options.token.is_empty() || options.org.is_empty() || options.bucket.is_empty() {
            return Err("token, org or bucket property is missing".to_owned());
        }
        let address = options.address.trim_end_matches('/');
        let wrong = || format!("invalid address `{address}`: write `http://host:port`");
        let (scheme, rest) = address.split_once("://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (org, bucket) = (escaped(&options.org), escaped(&options.bucket));
        let uri = format!("{path}/api/v2/write?bucket={bucket}&org={org}&precision=ns");
        let token = HeaderValue::try_from(format!("Token {}", options.token.expose()));
        let mut token = token.map_err(|_invalid| "the token cannot be sent".to_owned())?;
        token.set_sensitive(true);
        let labels = options.additional_labels.iter();
        Ok(Self {
            outlet: connect(&format!("{scheme}://{authority}"), None)?,
            uri: uri.parse().map_err(|_invalid| wrong())?,
            token,
            labels: labels.map(|(name, value)| Label::new(name.clone(), value.clone())).collect(),
        })
    }

    fn lines(&self, families: &[Family], now: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        for family in families {
            let Some(name) = name(&family.name) else { continue };
            for point in &family.points {
                let Some(fields) = fields(&point.value) else { continue };
                let mut tags: Vec<&Label> = self.labels.iter().chain(&point.labels).collect();
                tags.sort_by(|one, other| one.name.cmp(&other.name));
                let mut line = escaped(&name, &[',', ' ']);
                for tag in tags.iter().filter(|tag| !tag.value.is_empty()) {
                    let special = [',', ' ', '='];
                    let (name, value) =
                        (escaped(&tag.name, &special), escaped(&tag.value, &special));
                    write!(line, ",{name}={value}").expect("writing to memory does not fail");
                }
                writeln!(line, " {fields} {}", now.as_nanos())
                    .expect("writing to memory does not fail");
                lines.push(line);
            }
        }
        lines
    }
}

#[async_trait]
impl Sink for Influx {
    fn name(&self) -> &'static str {
        "metrics.influxDB2"
    }

    fn encode(&self, families: &[Family], now: Duration) -> Vec<Vec<u8>> {
        let mut bodies: Vec<Vec<u8>> = Vec::new();
        for line in self.lines(families, now) {
            match bodies.last_mut() {
                Some(body) if body.len() < BODY_BYTES_MAX => {
                    body.extend_from_slice(line.as_bytes());
                }
                Some(_) | None => bodies.push(line.into_bytes()),
            }
        }
        bodies
    }

    async fn send(&self, bodies: Vec<Vec<u8>>) -> Result<(), String> {
        for body in bodies {
            let mut request = Request::new(Bytes::from(body));
            *request.method_mut() = Method::POST;
            request.uri_mut().clone_from(&self.uri);
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, self.token.clone());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            let agent = HeaderValue::from_static(concat!("pontoon/", env!("CARGO_PKG_VERSION")));
            headers.insert(USER_AGENT, agent);
            let reply = self.outlet.post(request).await?;
            if !reply.status.is_success() {
                let text = String::from_utf8_lossy(&reply.body);
                let shown: String = text.chars().take(ANSWER_SHOWN_MAX).collect();
                return Err(format!("the server answers {}: {}", reply.status, shown.trim()));
            }
        }
        Ok(())
    }
}

/// What Traefik calls a family here; `None` for what it does not have.
fn name(family: &str) -> Option<String> {
    let rest = family.strip_prefix("traefik_")?;
    let name = match rest {
        "config_reloads_total" => "config.reload.total".to_owned(),
        "config_last_reload_success" => "config.reload.lastSuccessTimestamp".to_owned(),
        "tls_certs_not_after" => "tls.certs.notAfterTimestamp".to_owned(),
        _ => rest.strip_suffix("_seconds").unwrap_or(rest).replace('_', "."),
    };
    Some(format!("traefik.{name}"))
}

/// `None` where there is nothing to tell.
fn fields(value: &Value) -> Option<String> {
    match value {
        Value::Counter(0.0) => None,
        Value::Counter(value) => Some(format!("count={value}")),
        Value::Gauge(value) => Some(format!("value={value}")),
        Value::Durations(durations) => {
            let mut samples = durations.samples.clone();
            samples.sort_by(f32::total_cmp);
            let last = samples.len().checked_sub(1)?;
            // The nearest rank, in whole percents.
            let at = |percent: usize| {
                let rank = (samples.len() * percent).div_ceil(100).saturating_sub(1);
                samples.get(rank.min(last)).copied().unwrap_or_default()
            };
            Some(format!("p50={},p90={},p95={},p99={}", at(50), at(90), at(95), at(99)))
        }
    }
}

/// A backslash before what is `special`; line ends become spaces, and a backslash at the end goes.
fn escaped(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.trim_end_matches('\\').chars() {
        let character = if character.is_control() { ' ' } else { character };
        if special.contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::family::{Durations, Point};
    use super::*;
    use crate::observe::testing::nowhere;

    fn options() -> InfluxDb2 {
        InfluxDb2 {
            address: "http://db:8086/base/".to_owned(),
            token: "t".to_owned().into(),
            org: "my org".to_owned(),
            bucket: "b".to_owned(),
            additional_labels: [("zone".to_owned(), "north=1".to_owned())].into(),
            ..InfluxDb2::default()
        }
    }

    /// static.md §8, backend `influxDB2`: names, additionalLabels.
    #[test]
    fn series_become_lines() {
        let influx = Influx::new(&options(), nowhere).unwrap();
        assert_eq!(influx.uri, "/base/api/v2/write?bucket=b&org=my%20org&precision=ns");
        let point = |value| Point { labels: vec![Label::new("code", "200")], value };
        let durations = Durations {
            count: 20,
            samples: (1..=20_u8).rev().map(f32::from).collect(),
            ..Durations::default()
        };
        let family = |name: &'static str, value| Family {
            name: name.into(),
            help: "",
            points: vec![point(value)],
        };
        let lines = influx.lines(
            &[
                family("traefik_entrypoint_requests_total", Value::Counter(3.0)),
                family("traefik_open_connections", Value::Gauge(2.0)),
                family("traefik_router_request_duration_seconds", Value::Durations(durations)),
                family("traefik_service_retries_total", Value::Counter(0.0)),
                family("pontoon_cluster_term", Value::Gauge(2.0)),
            ],
            Duration::from_nanos(17),
        );
        let tags = "code=200,zone=north\\=1";
        assert_eq!(
            lines,
            [
                format!("traefik.entrypoint.requests.total,{tags} count=3 17\n"),
                format!("traefik.open.connections,{tags} value=2 17\n"),
                format!("traefik.router.request.duration,{tags} p50=10,p90=18,p95=19,p99=20 17\n"),
            ]
        );
    }

    #[test]
    fn token_org_and_bucket_are_required() {
        let missing = Influx::new(&InfluxDb2 { org: String::new(), ..options() }, nowhere);
        assert_eq!(missing.err().unwrap(), "token, org or bucket property is missing");
        let odd = InfluxDb2 { address: "db:8086".to_owned(), ..options() };
        assert!(Influx::new(&odd, nowhere).is_err());
    }

    #[test]
    fn names_cannot_break_a_line() {
        assert_eq!(escaped("a b,c=d\ne\\", &[',', ' ', '=']), "a\\ b\\,c\\=d\\ e");
    }
}
