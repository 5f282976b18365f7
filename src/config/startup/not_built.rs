//! Options that decode and have no effect yet: said once at start, never ignored in silence.

use super::{Experimental, Startup};
use crate::entrypoint;

/// A key, and whether it is set.
type Entry<T = Startup> = (&'static str, fn(&T) -> bool);

/// Keys that are not built yet. A part that is built takes its line out of here.
const NOT_BUILT: &[Entry] = &[
    ("global.sendAnonymousUsage", |s| s.global.send_anonymous_usage),
    ("certificatesResolvers", |s| !s.certificates_resolvers.is_empty()),
    ("providers.docker", |s| s.providers.docker.is_some()),
    ("providers.swarm", |s| s.providers.swarm.is_some()),
    ("providers.kubernetesIngress", |s| s.providers.kubernetes_ingress.is_some()),
    ("providers.kubernetesIngressNGINX", |s| s.providers.kubernetes_ingress_nginx.is_some()),
    ("providers.kubernetesCRD", |s| s.providers.kubernetes_crd.is_some()),
    ("providers.kubernetesGateway", |s| s.providers.kubernetes_gateway.is_some()),
    ("providers.knative", |s| s.providers.knative.is_some()),
    ("providers.rest", |s| s.providers.rest.is_some()),
    ("providers.consulCatalog", |s| s.providers.consul_catalog.is_some()),
    ("providers.nomad", |s| s.providers.nomad.is_some()),
    ("providers.ecs", |s| s.providers.ecs.is_some()),
    ("providers.consul", |s| s.providers.consul.is_some()),
    ("providers.etcd", |s| s.providers.etcd.is_some()),
    ("providers.zooKeeper", |s| s.providers.zoo_keeper.is_some()),
    ("providers.redis", |s| s.providers.redis.is_some()),
    ("providers.http", |s| s.providers.http.is_some()),
    ("providers.plugin", |s| !s.providers.plugin.is_empty()),
    ("experimental.plugins", |s| experimental(s, |e| !e.plugins.is_empty())),
    ("experimental.localPlugins", |s| experimental(s, |e| !e.local_plugins.is_empty())),
    ("cluster.join", |s| s.cluster.as_ref().is_some_and(|cluster| !cluster.join.is_empty())),
];

/// Keys that are not meant to be built: their texts say why.
const WITHOUT_EFFECT: &[Entry] = &[
    ("api.debug", |s| s.api.as_ref().is_some_and(|api| api.debug)),
    ("experimental.fastProxy", |s| experimental(s, |e| e.fast_proxy.is_some())),
];

/// The same, below `entryPoints.NAME`.
const OF_ENTRY_POINTS: &[Entry<entrypoint::Options>] =
    &[("allowACMEByPass", |options| options.allow_acme_by_pass)];

/// All that may be built one day, with `NAME` for names.
#[cfg(test)]
pub(crate) fn all() -> Vec<String> {
    let of_entry_points = OF_ENTRY_POINTS.iter().map(|(key, _)| format!("entryPoints.NAME.{key}"));
    NOT_BUILT.iter().map(|(key, _)| (*key).to_owned()).chain(of_entry_points).collect()
}

/// The keys that are set and not built.
pub(crate) fn not_built(startup: &Startup) -> Vec<String> {
    let set = NOT_BUILT.iter().chain(WITHOUT_EFFECT).filter(|(_, is_set)| is_set(startup));
    let mut keys: Vec<String> = set.map(|(key, _)| (*key).to_owned()).collect();
    for (name, entry_point) in &startup.entry_points {
        let set = OF_ENTRY_POINTS.iter().filter(|(_, is_set)| is_set(entry_point));
        keys.extend(set.map(|(key, _)| format!("entryPoints.{name}.{key}")));
    }
    keys
}

fn experimental(startup: &Startup, test: fn(&Experimental) -> bool) -> bool {
    startup.experimental.as_ref().is_some_and(test)
}
