//! `rateLimit`: a token bucket for each source of requests.
//!
//! Traefik v3: HTTP middlewares, `RateLimit`.

use serde::{Deserialize, Serialize};

use super::client_tls::ClientTls;
use super::secret::Secret;
use super::source::SourceCriterion;
use super::{Build, BuildContext, BuildError, Shared, is_default};
use crate::config::value::Duration;

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
    /// Keeps the buckets in Redis.
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

/// Options of `rateLimit.redis`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Redis {
    /// `host:port`. Default: `localhost:6379`.
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
    /// Number of the database. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) db: i64,
    /// Connections; 0 lets the client choose. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) pool_size: i64,
    /// Idle connections that are kept. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) min_idle_conns: i64,
    /// Connections at once; 0 means no limit. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_active_conns: i64,
    /// Default: 3 s.
    pub(crate) read_timeout: Duration,
    /// Default: 3 s.
    pub(crate) write_timeout: Duration,
    /// Default: 5 s.
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
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("rateLimit"))
    }
}
