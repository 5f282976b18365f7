//! `rateLimit`: a token bucket for each source of requests.
//!
//! Traefik v3: HTTP middlewares, `RateLimit`.
//!
//! Differs: a bucket is forgotten when it is full again and not before, where Traefik forgets it after a second or a
//! period without requests; with Redis, an average of 0 means no limit, too, where Traefik refuses everything.

mod buckets;
mod shared;

use std::sync::Arc;

use ::http::{HeaderValue, StatusCode, header};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::buckets::{Buckets, Rate};
use self::shared::SharedBuckets;
use super::secret::Secret;
use super::source::{Source, SourceCriterion};
use super::{
    Build, BuildContext, BuildError, Middleware, Next, Shared, is_default, status_response,
};
use crate::config::value::{ClientTls, Duration};
use crate::http::{ProxyError, Request, Response, plain_text};

/// Options of `rateLimit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RateLimit {
    /// Requests per period. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) average: i64,
    /// Default: 1 s.
    pub(crate) period: Duration,
    /// Requests that may come at once. Default: 1.
    pub(crate) burst: i64,
    /// What counts as one source. Default: the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_criterion: Option<SourceCriterion>,
    /// Keeps the buckets in Redis, for all peers together; without it, each peer counts for itself. Default: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redis: Option<Redis>,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            average: 0,
            period: Duration::from_secs(1),
            burst: 1,
            source_criterion: None,
            redis: None,
        }
    }
}

/// Options of `rateLimit.redis`. Redis 5 or newer, or what speaks like it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Redis {
    /// `host:port`; several are nodes of one cluster. Default: `localhost:6379`.
    pub(crate) endpoints: Vec<String>,
    /// How to speak TLS with it. Default: plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
    /// Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) username: String,
    /// Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) password: Secret,
    /// Number of the database; a cluster has only 0. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) db: i64,
    /// Connections of each router that uses this; they are shared out among the cores. Default: 0, ten for each core.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) pool_size: i64,
    /// Idle connections that are kept at least, once there was a request. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) min_idle_conns: i64,
    /// Connections at most. Default: 0, those of `poolSize`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_active_conns: i64,
    /// For a reply. Default, also in place of what is not positive: 3 s.
    pub(crate) read_timeout: Duration,
    /// For sending a command. Default, also in place of what is not positive: 3 s.
    pub(crate) write_timeout: Duration,
    /// For a connection. Default, also in place of what is not positive: 5 s.
    pub(crate) dial_timeout: Duration,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            endpoints: vec!["localhost:6379".to_owned()],
            tls: None,
            username: String::new(),
            password: Secret::default(),
            db: 0,
            pool_size: 0,
            min_idle_conns: 0,
            max_active_conns: 0,
            read_timeout: Duration::from_secs(3),
            write_timeout: Duration::from_secs(3),
            dial_timeout: Duration::from_secs(5),
        }
    }
}

impl Build for RateLimit {
    fn build(&self, context: &BuildContext<'_>) -> Result<Shared, BuildError> {
        if self.average < 0 || self.period.is_negative() {
            return Err(BuildError::Other("average and period must not be negative".to_owned()));
        }
        let source = Source::new(self.source_criterion.as_ref(), &SourceCriterion::default())?;
        let shared = match &self.redis {
            Some(redis) => Some(SharedBuckets::new(context.name, redis, self.rate())?),
            None => None,
        };
        let store = match shared {
            _ if self.average == 0 => Store::None,
            Some(shared) => Store::Redis(Box::new(shared)),
            None => Store::Own(Buckets::new(self.rate())),
        };
        Ok(Arc::new(Limiter { store, source }))
    }
}

impl RateLimit {
    fn rate(&self) -> Rate {
        let second = 1e9;
        let period = self.period.positive().map_or(second, |period| period.as_secs_f64() * 1e9);
        let average = self.average as f64;
        let per_second = average * second / period;
        let wait_max =
            if per_second >= 1.0 { second / (2.0 * per_second.floor()) } else { second / 2.0 };
        Rate { interval: period / average, burst: self.burst.max(1) as f64, wait_max }
    }
}

struct Limiter {
    store: Store,
    source: Source,
}

/// Where the buckets are.
enum Store {
    /// There is no limit.
    None,
    /// Each peer counts for itself.
    Own(Buckets),
    Redis(Box<SharedBuckets>),
}

#[async_trait]
impl Middleware for Limiter {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let taken = match &self.store {
            Store::None => return next.run(request).await,
            Store::Own(buckets) => buckets.take(&self.source.of(&request), Instant::now()),
            Store::Redis(buckets) => {
                // In a box: it is large, and part of every limiter's future.
                let Some(taken) = Box::pin(buckets.take(&self.source.of(&request))).await else {
                    let text = "Could not insert/update bucket\n";
                    return Ok(plain_text(StatusCode::INTERNAL_SERVER_ERROR, text));
                };
                taken
            }
        };
        match taken {
            Ok(wait) if wait.is_zero() => {}
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(wait) => return Ok(refusal(wait)),
        }
        next.run(request).await
    }
}

fn refusal(wait: std::time::Duration) -> Response {
    let mut response = status_response(StatusCode::TOO_MANY_REQUESTS);
    let headers = response.headers_mut();
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    let exact = Duration::from_nanos(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX));
    if let Ok(value) = HeaderValue::from_bytes(exact.to_string().as_bytes()) {
        headers.insert("x-retry-in", value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{built, fine, header, refused, request, service, text};

    fn limit(json: &str) -> RateLimit {
        serde_json::from_str(json).unwrap()
    }

    #[tokio::test]
    async fn a_user_over_the_limit_is_told_when_to_come_back() {
        let limiter = built(&limit(
            r#"{"average": 1, "period": "1m", "burst": 3, "sourceCriterion": {"requestHeaderName": "X-User"}}"#,
        ));
        let (limiter, last) = (limiter.unwrap(), service(fine));
        let ask = async |user| {
            let asked = request("GET", "/", &[("x-user", user)]);
            limiter.handle(asked, Next::directly(&last)).await.unwrap()
        };
        for _ in 0..3 {
            assert_eq!(ask("bob").await.status(), 200);
        }
        let answer = ask("bob").await;
        assert_eq!(answer.status(), 429);
        assert_eq!(header(answer.headers(), "retry-after"), "60");
        let exact = header(answer.headers(), "x-retry-in");
        assert!(exact.starts_with("59.9") && exact.ends_with('s'), "{exact}");
        assert_eq!(text(answer.into_body()).await, "Too Many Requests");
        assert_eq!(ask("zoe").await.status(), 200);
    }

    #[tokio::test]
    async fn without_an_average_everything_passes() {
        let limiter = built(&limit("{}")).unwrap();
        let last = service(fine);
        for _ in 0..100 {
            let answer = limiter.handle(request("GET", "/", &[]), Next::directly(&last)).await;
            assert_eq!(answer.unwrap().status(), 200);
        }
    }

    #[test]
    fn the_longest_wait_follows_the_rate() {
        for (json, wait_max) in [
            (r#"{"average": 1}"#, 5e8),
            (r#"{"average": 5, "period": "2s"}"#, 2.5e8),
            (r#"{"average": 1, "period": "1m"}"#, 5e8),
        ] {
            assert!((limit(json).rate().wait_max - wait_max).abs() < 1.0, "{json}");
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        assert!(refused(&limit(r#"{"average": -1}"#)).contains("must not be negative"));
        assert!(
            refused(&limit(r#"{"average": 1, "period": "-1s"}"#)).contains("must not be negative")
        );
        for (redis, problem) in [
            (r#"{"endpoints": ["localhost"]}"#, "endpoints`: `localhost` is not `host:port`"),
            (r#"{"db": -1}"#, "db`: must not be negative"),
            (r#"{"poolSize": -1}"#, "poolSize`: must not be negative"),
            (r#"{"tls": {"cert": "x"}}"#, "tls`: `cert` and `key` go together"),
            (r#"{"tls": {"ca": "x"}}"#, "rootCAs`: no certificate in it"),
        ] {
            let text = refused(&limit(&format!(r#"{{"average": 1, "redis": {redis}}}"#)));
            assert!(text.contains(problem), "{text}");
        }
    }

    #[tokio::test]
    async fn with_redis_too_an_average_of_0_means_no_limit() {
        let limiter = built(&limit(r#"{"redis": {"endpoints": ["127.0.0.1:1"]}}"#)).unwrap();
        let last = service(fine);
        let answer = limiter.handle(request("GET", "/", &[]), Next::directly(&last)).await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}
