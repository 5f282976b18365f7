//! Options of the providers of key-value stores.
//!
//! Traefik v3: providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{ClientTls, Secret, is_default};

/// `providers.consul`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Consul {
    /// What all keys begin with. Default: traefik.
    pub(crate) root_key: String,
    /// Where the store answers, `host:port`. Default: 127.0.0.1:8500.
    pub(crate) endpoints: Vec<String>,
    /// Token to show. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) token: Secret,
    /// TLS towards the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
    /// Each becomes a provider of its own, `consul-NAME`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) namespaces: Vec<String>,
}

impl Default for Consul {
    fn default() -> Self {
        Self {
            root_key: "traefik".to_owned(),
            endpoints: vec!["127.0.0.1:8500".to_owned()],
            token: Secret::default(),
            tls: None,
            namespaces: Vec::new(),
        }
    }
}

/// `providers.etcd`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Etcd {
    /// What all keys begin with. Default: traefik.
    pub(crate) root_key: String,
    /// Where the store answers, `host:port`. Default: 127.0.0.1:2379.
    pub(crate) endpoints: Vec<String>,
    /// User. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    /// Password. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) password: Secret,
    /// TLS towards the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            root_key: "traefik".to_owned(),
            endpoints: vec!["127.0.0.1:2379".to_owned()],
            username: String::new(),
            password: Secret::default(),
            tls: None,
        }
    }
}

/// `providers.redis`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Redis {
    /// What all keys begin with. Default: traefik.
    pub(crate) root_key: String,
    /// Where the store answers, `host:port`. Default: 127.0.0.1:6379.
    pub(crate) endpoints: Vec<String>,
    /// User. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    /// Password. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) password: Secret,
    /// Number of the database. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) db: i64,
    /// TLS towards the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
    /// Finds the server through Redis Sentinel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sentinel: Option<Sentinel>,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            root_key: "traefik".to_owned(),
            endpoints: vec!["127.0.0.1:6379".to_owned()],
            username: String::new(),
            password: Secret::default(),
            db: 0,
            tls: None,
            sentinel: None,
        }
    }
}

/// `providers.redis.sentinel`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Sentinel {
    /// Name of the master. Required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) master_name: String,
    /// User of the sentinels. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    /// Password of the sentinels. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) password: Secret,
    /// Reads from the nearest server. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) latency_strategy: bool,
    /// Reads from any server. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) random_strategy: bool,
    /// Reads from replicas only. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) replica_strategy: bool,
    /// Also uses replicas that have lost their master. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) use_disconnected_replicas: bool,
}

/// `providers.zooKeeper`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ZooKeeper {
    /// What all keys begin with. Default: traefik.
    pub(crate) root_key: String,
    /// Where the store answers, `host:port`. Default: 127.0.0.1:2181.
    pub(crate) endpoints: Vec<String>,
    /// User. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    /// Password. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) password: Secret,
}

impl Default for ZooKeeper {
    fn default() -> Self {
        Self {
            root_key: "traefik".to_owned(),
            endpoints: vec!["127.0.0.1:2181".to_owned()],
            username: String::new(),
            password: Secret::default(),
        }
    }
}
