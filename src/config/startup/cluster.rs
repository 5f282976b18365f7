//! Options of `cluster`: how this peer finds the others. Our own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Duration, Secret, is_default};

/// `cluster`. Absent: one peer alone, nothing on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Cluster {
    /// Unique name of this peer. Default: the host name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// The peer port: gRPC over mutual TLS. Default: :7300.
    pub(crate) address: String,
    /// How the others reach it, `host:port`. Default: `address`, which must name a host then.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) advertise: String,
    /// Folder of the store and of this peer's identity; created with mode 0700. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) data_dir: String,
    /// The cluster's secret. One of `secret` and `secretFile` is required.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) secret: Secret,
    /// File with the secret; the first line is used, further ones are still accepted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) secret_file: String,
    /// How a new cluster forms: address by name, the same everywhere; ignored once `dataDir` has one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) initial_peers: BTreeMap<String, String>,
    /// Addresses of peers that are asked to add this one; excludes `initialPeers`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) join: Vec<String>,
    /// Time between two signs of life of the leader. Default: 100 ms.
    pub(crate) heartbeat_interval: Duration,
    /// A follower waits between this and twice this before it stands for election. Default: 500 ms.
    pub(crate) election_timeout: Duration,
    /// Longest wait of a write. Default: 5 s.
    pub(crate) request_timeout: Duration,
    /// Log entries between two state snapshots. Default: 10000.
    pub(crate) snapshot_threshold: u64,
    /// Time between two exchanges of counters and sessions. Default: 50 ms.
    pub(crate) sync_interval: Duration,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: String::new(),
            address: ":7300".to_owned(),
            advertise: String::new(),
            data_dir: String::new(),
            secret: Secret::default(),
            secret_file: String::new(),
            initial_peers: BTreeMap::new(),
            join: Vec::new(),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(500),
            request_timeout: Duration::from_secs(5),
            snapshot_threshold: 10_000,
            sync_interval: Duration::from_millis(50),
        }
    }
}
