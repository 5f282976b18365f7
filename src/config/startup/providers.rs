//! Options of `providers`: the table of all providers.
//!
//! Traefik v3: providers. Same keys, same defaults.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::Duration;

use crate::provider::file::options::File;
use crate::provider::{consul_catalog, docker, ecs, http, kubernetes, kv, nomad, rest, swarm};

/// Providers by precedence, first wins.
pub(crate) const PRECEDENCE: [&str; 17] = [
    "kubernetesgateway",
    "kubernetescrd",
    "kubernetes",
    "kubernetesingressnginx",
    "swarm",
    "docker",
    "file",
    "redis",
    "knative",
    "consul",
    "consulcatalog",
    "nomad",
    "etcd",
    "ecs",
    "http",
    "zookeeper",
    "rest",
];

/// `providers`: one that is present is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "Traefik's names")]
pub(crate) struct Providers {
    /// Least time between two updates of one provider. Default: 2 s.
    pub(crate) providers_throttle_duration: Duration,
    /// Names of providers; of equal rules that of the first wins. Default: from kubernetesgateway to rest.
    pub(crate) precedence: Vec<String>,
    /// Labels of Docker containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) docker: Option<docker::Docker>,
    /// Labels of Docker Swarm services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) swarm: Option<swarm::Swarm>,
    /// Files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<File>,
    /// Kubernetes ingresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kubernetes_ingress: Option<kubernetes::ingress::KubernetesIngress>,
    /// Kubernetes ingresses with the annotations of ingress-nginx.
    #[serde(rename = "kubernetesIngressNGINX", skip_serializing_if = "Option::is_none")]
    pub(crate) kubernetes_ingress_nginx: Option<kubernetes::ingress_nginx::KubernetesIngressNginx>,
    /// Custom resources of Kubernetes.
    #[serde(rename = "kubernetesCRD", skip_serializing_if = "Option::is_none")]
    pub(crate) kubernetes_crd: Option<kubernetes::crd::KubernetesCrd>,
    /// Kubernetes Gateway API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kubernetes_gateway: Option<kubernetes::gateway::KubernetesGateway>,
    /// Knative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) knative: Option<kubernetes::knative::Knative>,
    /// Configurations put to the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rest: Option<rest::Rest>,
    /// Tags of services in Consul.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consul_catalog: Option<consul_catalog::ConsulCatalog>,
    /// Tags of services in Nomad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nomad: Option<nomad::Nomad>,
    /// Labels of containers in AWS ECS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ecs: Option<ecs::Ecs>,
    /// Keys in Consul.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consul: Option<kv::Consul>,
    /// Keys in etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) etcd: Option<kv::Etcd>,
    /// Keys in `ZooKeeper`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zoo_keeper: Option<kv::ZooKeeper>,
    /// Keys in Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redis: Option<kv::Redis>,
    /// An endpoint that is polled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<http::Http>,
    /// Providers of plugins, with their own options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) plugin: BTreeMap<String, serde_json::Value>,
}

impl Default for Providers {
    fn default() -> Self {
        Self {
            providers_throttle_duration: Duration::from_secs(2),
            precedence: PRECEDENCE.map(str::to_owned).to_vec(),
            docker: None,
            swarm: None,
            file: None,
            kubernetes_ingress: None,
            kubernetes_ingress_nginx: None,
            kubernetes_crd: None,
            kubernetes_gateway: None,
            knative: None,
            rest: None,
            consul_catalog: None,
            nomad: None,
            ecs: None,
            consul: None,
            etcd: None,
            zoo_keeper: None,
            redis: None,
            http: None,
            plugin: BTreeMap::new(),
        }
    }
}
