//! Options of services: an entry of `http.services`.
//!
//! Traefik v3: HTTP services. Same names, same defaults; a default that Traefik's API shows is shown here too.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::Duration;

/// An entry of `http.services`: exactly one of the five types is set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "Service")]
pub(crate) struct Options {
    /// Spreads requests over servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_balancer: Option<LoadBalancer>,
    /// Spreads requests over services by client address: a client stays with its service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) highest_random_weight: Option<HighestRandomWeight>,
    /// Spreads requests over services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weighted: Option<Weighted>,
    /// Sends copies of requests to other services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mirroring: Option<Mirroring>,
    /// Uses a second service while the first one fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failover: Option<Failover>,
    /// Middlewares in front of the service, whichever router uses it. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) middlewares: Vec<String>,
}

impl Options {
    /// A load balancer without servers that uses a transport, to see whether the transport can be built.
    pub(crate) fn through(servers_transport: String) -> Self {
        let balancer = LoadBalancer { servers_transport, ..LoadBalancer::default() };
        Self { load_balancer: Some(balancer), ..Self::default() }
    }

    /// The types that are set, as Traefik's API names them (`loadbalancer`).
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        [
            (self.load_balancer.is_some(), "loadbalancer"),
            (self.highest_random_weight.is_some(), "highestrandomweight"),
            (self.weighted.is_some(), "weighted"),
            (self.mirroring.is_some(), "mirroring"),
            (self.failover.is_some(), "failover"),
        ]
        .into_iter()
        .filter_map(|(set, kind)| set.then_some(kind))
        .collect()
    }
}

/// `loadBalancer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceLoadBalancer")]
pub(crate) struct LoadBalancer {
    /// Keeps a client on its server. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sticky: Option<Sticky>,
    /// The servers. None: every request is answered 503.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) servers: Vec<Server>,
    /// `wrr`, `p2c`, `hrw` or `leasttime`. Default: `wrr`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) strategy: String,
    /// Asks the servers for their health. Default: none, servers count as healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<HealthCheck>,
    /// Judges the servers by the requests that they get. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) passive_health_check: Option<PassiveHealthCheck>,
    /// Passes the client's `Host` on; false puts the server's there. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pass_host_header: Option<bool>,
    /// How responses are passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_forwarding: Option<ResponseForwarding>,
    /// Name in `http.serversTransports`. Default: `default@internal`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) servers_transport: String,
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self {
            sticky: None,
            servers: Vec::new(),
            strategy: "wrr".to_owned(),
            health_check: None,
            passive_health_check: None,
            pass_host_header: Some(true),
            response_forwarding: Some(ResponseForwarding::default()),
            servers_transport: String::new(),
        }
    }
}

/// A server of a `loadBalancer`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceServer")]
pub(crate) struct Server {
    /// `http://`, `https://` or `h2c://`, host and port. A path counts only with `preservePath`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) url: String,
    /// Share of the requests; 0 and less: not used. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<i64>,
    /// Puts the URL's path before the request's. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) preserve_path: bool,
}

/// `sticky`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceSticky")]
pub(crate) struct Sticky {
    /// A cookie names the server. Default: none, nothing is sticky.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookie: Option<Cookie>,
}

/// `sticky.cookie`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceStickyCookie")]
pub(crate) struct Cookie {
    /// Characters that a name must not have become `_`. Default: `_` and five hex digits that depend on the service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Attribute `Secure`. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) secure: bool,
    /// Attribute `HttpOnly`. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) http_only: bool,
    /// Attribute `SameSite`: `none`, `lax` or `strict`. Default: no such attribute.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) same_site: String,
    /// Attribute `Max-Age` in seconds; 0: a session cookie; negative: it is deleted at once. Default: 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max_age: i64,
    /// Attribute `Path`. Default: `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Attribute `Domain`. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) domain: String,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: String::new(),
            secure: false,
            http_only: false,
            same_site: String::new(),
            max_age: 0,
            path: Some("/".to_owned()),
            domain: String::new(),
        }
    }
}

/// `responseForwarding`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResponseForwarding {
    /// The longest time that a part of a response may be held back. Default: 100 ms.
    ///
    /// Differs: nothing is ever held back, so every value is kept and none changes anything.
    pub(crate) flush_interval: Duration,
}

impl Default for ResponseForwarding {
    fn default() -> Self {
        Self { flush_interval: Duration::from_millis(100) }
    }
}

/// `healthCheck` of a `loadBalancer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceHealthCheck")]
pub(crate) struct HealthCheck {
    /// In place of the server's scheme. Default: the server's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) scheme: String,
    /// `http` or `grpc` (`grpc.health.v1`, in the clear unless `scheme` is `https`). Default: `http`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) mode: String,
    /// Path and query, resolved against the server's URL (RFC 3986, section 5). Default: empty, the URL itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    /// Default: `GET`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) method: String,
    /// The only status that counts as healthy; 0: 200 to 399. Default: 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) status: i64,
    /// In place of the server's port. Default: 0, the server's.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) port: i64,
    /// Time between two probes. Zero and less: the default. Default: 30 s.
    pub(crate) interval: Duration,
    /// The same for a server that is down. Default: `interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unhealthy_interval: Option<Duration>,
    /// Time limit of a probe. Zero and less: the default. Default: 5 s.
    pub(crate) timeout: Duration,
    /// `Host` of probes. Default: the server's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hostname: String,
    /// Follows redirects; false judges the redirect itself. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) follow_redirects: Option<bool>,
    /// More headers of probes. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            scheme: String::new(),
            mode: "http".to_owned(),
            path: String::new(),
            method: String::new(),
            status: 0,
            port: 0,
            interval: Duration::from_secs(30),
            unhealthy_interval: None,
            timeout: Duration::from_secs(5),
            hostname: String::new(),
            follow_redirects: Some(true),
            headers: BTreeMap::new(),
        }
    }
}

/// `passiveHealthCheck`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServicePassiveHealthCheck")]
pub(crate) struct PassiveHealthCheck {
    /// Failures count for so long, and a server that failed too often is left out for so long. Default: 10 s.
    pub(crate) failure_window: Duration,
    /// Failures within the window that take a server out. Default: 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max_failed_attempts: i64,
}

impl Default for PassiveHealthCheck {
    fn default() -> Self {
        Self { failure_window: Duration::from_secs(10), max_failed_attempts: 1 }
    }
}

/// `healthCheck` of a service made of services: `{}` makes it report whether it is up, which all its parts must do too.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceStatusPropagation")]
pub(crate) struct Propagation {}

/// `weighted`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceWeighted")]
pub(crate) struct Weighted {
    /// The services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<Child>,
    /// Keeps a client on its service. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sticky: Option<Sticky>,
    /// Leaves out services that are down. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<Propagation>,
}

/// `highestRandomWeight`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceHighestRandomWeight")]
pub(crate) struct HighestRandomWeight {
    /// The services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<Child>,
    /// Leaves out services that are down. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<Propagation>,
}

/// A service in `weighted` or `highestRandomWeight`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceChild")]
pub(crate) struct Child {
    /// Its name; without `@provider` it is one of the same provider.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Share of the requests; 0 and less: not used. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<i64>,
}

impl Default for Child {
    fn default() -> Self {
        Self { name: String::new(), weight: Some(1) }
    }
}

/// `mirroring`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceMirroring")]
pub(crate) struct Mirroring {
    /// The service that answers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) service: String,
    /// Mirrors get the body too. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mirror_body: Option<bool>,
    /// Bytes; a request with a larger body is not mirrored. −1: no limit but our own of 32 MiB. Default: −1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_body_size: Option<i64>,
    /// The services that get copies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mirrors: Vec<Mirror>,
    /// Reports whether `service` is up. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<Propagation>,
}

impl Default for Mirroring {
    fn default() -> Self {
        Self {
            service: String::new(),
            mirror_body: Some(true),
            max_body_size: Some(-1),
            mirrors: Vec::new(),
            health_check: None,
        }
    }
}

/// A service that gets copies.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceMirror")]
pub(crate) struct Mirror {
    /// Its name; without `@provider` it is one of the same provider.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Percent of the requests, 0 to 100. Default: 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) percent: i64,
}

/// `failover`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceFailover")]
pub(crate) struct Failover {
    /// The service that is used while it is up.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) service: String,
    /// The service that is used otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) fallback: String,
    /// Reports whether one of the two is up. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<Propagation>,
    /// Answers of `service` that count as failures. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errors: Option<FailoverErrors>,
}

/// `failover.errors`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ServiceFailoverErrors")]
pub(crate) struct FailoverErrors {
    /// Status codes (`503`) and ranges (`500-504`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) status: Vec<String>,
    /// Bytes of a request body that are kept for the second try; a larger one is answered 413. −1: no limit; a body
    /// over 32 MiB then gets no second try. Default: −1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_request_body_bytes: Option<i64>,
}

impl Default for FailoverErrors {
    fn default() -> Self {
        Self { status: Vec::new(), max_request_body_bytes: Some(-1) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn decoded(value: &Value) -> Options {
        let options: Options = serde_json::from_value(value.clone()).unwrap();
        let written = serde_json::to_value(&options).unwrap();
        assert_eq!(serde_json::from_value::<Options>(written).unwrap(), options, "round trip");
        options
    }

    #[test]
    fn shows_the_defaults_that_traefik_shows() {
        let options = decoded(&json!({"loadBalancer": {"servers": [{"url": "http://a"}],
            "healthCheck": {"path": "/ping"}, "passiveHealthCheck": {}, "sticky": {"cookie": {}}}}));
        assert_eq!(
            serde_json::to_value(&options).unwrap(),
            json!({"loadBalancer": {
                "sticky": {"cookie": {"path": "/"}},
                "servers": [{"url": "http://a"}],
                "strategy": "wrr",
                "healthCheck": {"mode": "http", "path": "/ping", "interval": "30s", "timeout": "5s",
                    "followRedirects": true},
                "passiveHealthCheck": {"failureWindow": "10s", "maxFailedAttempts": 1},
                "passHostHeader": true,
                "responseForwarding": {"flushInterval": "100ms"},
            }})
        );
        assert_eq!(options.kinds(), ["loadbalancer"]);
    }

    #[test]
    fn composites_show_their_defaults_too() {
        let options = decoded(&json!({
            "weighted": {"services": [{"name": "a"}], "healthCheck": {}},
            "mirroring": {"service": "a", "mirrors": [{"name": "b"}]},
            "failover": {"service": "a", "fallback": "b", "errors": {"status": ["500-504"]}},
            "highestRandomWeight": {"services": [{"name": "a", "weight": 0}]},
            "middlewares": ["m"],
        }));
        assert_eq!(
            serde_json::to_value(&options).unwrap(),
            json!({
                "weighted": {"services": [{"name": "a", "weight": 1}], "healthCheck": {}},
                "mirroring": {"service": "a", "mirrorBody": true, "maxBodySize": -1, "mirrors": [{"name": "b"}]},
                "failover": {"service": "a", "fallback": "b",
                    "errors": {"status": ["500-504"], "maxRequestBodyBytes": -1}},
                "highestRandomWeight": {"services": [{"name": "a", "weight": 0}]},
                "middlewares": ["m"],
            })
        );
        assert_eq!(options.kinds().len(), 4);
    }
}
