//! Options of `providers.http`.
//!
//! Traefik v3: providers. Same keys, same defaults.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{ClientTls, Duration};

/// `providers.http`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "HttpProvider")]
pub(crate) struct Http {
    /// Asked with GET. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) endpoint: String,
    /// Time between two polls. Default: 5 s.
    pub(crate) poll_interval: Duration,
    /// Time limit of a poll. Default: 5 s.
    pub(crate) poll_timeout: Duration,
    /// Headers to send. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// TLS towards the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
    /// Bytes of an answer, at most; −1: no limit. Default: −1.
    pub(crate) max_response_body_size: i64,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            poll_interval: Duration::from_secs(5),
            poll_timeout: Duration::from_secs(5),
            headers: BTreeMap::new(),
            tls: None,
            max_response_body_size: -1,
        }
    }
}
