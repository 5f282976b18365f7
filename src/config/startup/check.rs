//! What a start is refused for, and what is only warned of.

use super::{PRECEDENCE, Startup};
use crate::config::decode::Error;
use crate::config::node::{Document, Node};
use crate::observe::options::OtlpGrpc;

/// Options that Traefik has removed: a start with one is refused.
const REMOVED: [(&str, &str); 22] = [
    ("pilot", "there is no pilot any more"),
    ("providers.marathon", "the provider is gone"),
    ("providers.rancher", "the provider is gone"),
    ("providers.docker.swarmMode", "use `providers.swarm`"),
    ("providers.docker.tls.caOptional", "TLS client authentication is a matter of the server"),
    ("providers.swarm.tls.caOptional", "TLS client authentication is a matter of the server"),
    ("providers.etcd.tls.caOptional", "TLS client authentication is a matter of the server"),
    ("providers.redis.tls.caOptional", "TLS client authentication is a matter of the server"),
    ("providers.consul.tls.caOptional", "TLS client authentication is a matter of the server"),
    (
        "providers.consulCatalog.endpoint.tls.caOptional",
        "TLS client authentication is a matter of the server",
    ),
    (
        "providers.nomad.endpoint.tls.caOptional",
        "TLS client authentication is a matter of the server",
    ),
    ("providers.http.tls.caOptional", "TLS client authentication is a matter of the server"),
    ("providers.consul.namespace", "use `namespaces`"),
    ("providers.consulCatalog.namespace", "use `namespaces`"),
    ("providers.nomad.namespace", "use `namespaces`"),
    ("tracing.spanNameLimit", "it has no replacement"),
    ("tracing.jaeger", "use `tracing.otlp`"),
    ("tracing.zipkin", "use `tracing.otlp`"),
    ("tracing.datadog", "use `tracing.otlp`"),
    ("tracing.instana", "use `tracing.otlp`"),
    ("tracing.haystack", "use `tracing.otlp`"),
    ("tracing.elastic", "use `tracing.otlp`"),
];

/// Options that still work and should go.
const DEPRECATED: [(&str, &str); 6] = [
    ("core.defaultRuleSyntax", "write rules in v3 syntax"),
    ("experimental.http3", "HTTP/3 needs no gate"),
    ("experimental.kubernetesGateway", "the provider needs no gate"),
    ("experimental.kubernetesIngressNGINX", "the provider needs no gate"),
    ("tracing.globalAttributes", "use `tracing.resourceAttributes`"),
    ("providers.kubernetesIngress.disableIngressClassLookup", "use `disableClusterScopeResources`"),
];

/// Errors for the removed options that a document has.
pub(super) fn removed(document: &Document) -> Vec<Error> {
    let found = REMOVED.iter().filter_map(|(path, instead)| {
        let node = find(&document.root, path)?;
        let message = format!("the option has been removed: {instead}");
        let error = Error::of_source(&document.source, node.position, message);
        Some(Error { path: (*path).to_owned(), ..error })
    });
    found.collect()
}

/// Sentences about the deprecated options that a document has.
pub(super) fn deprecated(document: &Document) -> Vec<String> {
    let found = DEPRECATED.iter().filter(|(path, _)| find(&document.root, path).is_some());
    found.map(|(path, instead)| format!("`{path}` is deprecated: {instead}")).collect()
}

fn find<'a>(root: &'a Node, path: &str) -> Option<&'a Node> {
    path.split('.').try_fold(root, |node, key| node.get(key))
}

/// Sentences about what has no effect as it is written, and stops nothing else.
pub(super) fn vain(startup: &Startup) -> Vec<String> {
    let mut sentences = Vec::new();
    for (name, entry_point) in &startup.entry_points {
        if entry_point.http3.is_some() && entry_point.is_udp() {
            sentences
                .push(format!("entryPoints.{name}.http3: has no effect on an entry point for UDP"));
        }
        let redirections = entry_point.http.redirections.as_ref();
        let Some(to) = redirections.and_then(|all| all.entry_point.as_ref()) else { continue };
        let port = to.to.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        if !port && !startup.entry_points.contains_key(&to.to) {
            sentences.push(format!(
                "entryPoints.{name}.http.redirections.entryPoint: 'to' entry point field references a non-existing \
                 entry point: {}",
                to.to
            ));
        }
    }
    sentences
}

/// Sentences about values that cannot work, alone or together.
pub(super) fn refused(startup: &Startup) -> Vec<String> {
    let mut problems = Vec::new();
    entry_points(startup, &mut problems);
    resolvers(startup, &mut problems);
    providers(startup, &mut problems);
    observability(startup, &mut problems);
    api(startup, &mut problems);
    cluster(startup, &mut problems);
    if let Some(core) = &startup.core
        && !matches!(core.default_rule_syntax.to_ascii_lowercase().as_str(), "" | "v2" | "v3")
    {
        let syntax = &core.default_rule_syntax;
        problems.push(format!("core.defaultRuleSyntax: `{syntax}` is neither `v2` nor `v3`"));
    }
    problems
}

fn entry_points(startup: &Startup, problems: &mut Vec<String>) {
    for (name, entry_point) in &startup.entry_points {
        let address = &entry_point.address;
        let (socket, protocol) = address.split_once('/').unwrap_or((address, "tcp"));
        if !matches!(protocol.to_ascii_lowercase().as_str(), "tcp" | "udp") {
            problems.push(format!(
                "entryPoints.{name}.address: invalid protocol: {protocol}: write `/tcp` or `/udp`"
            ));
        }
        if protocol.eq_ignore_ascii_case("udp") && entry_point.udp.timeout.positive().is_none() {
            problems.push(format!("entryPoints.{name}.udp.timeout: should be greater than zero"));
        }
        let port = socket.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            problems.push(format!(
                "entryPoints.{name}.address: `{address}` has no port: write `[host]:port`"
            ));
        }
    }
}

fn resolvers(startup: &Startup, problems: &mut Vec<String>) {
    for (name, resolver) in &startup.certificates_resolvers {
        let path = format!("certificatesResolvers.{name}");
        if resolver.acme.is_some() && resolver.tailscale.is_some() {
            problems.push(format!("{path}: `acme` and `tailscale` exclude each other"));
        }
        if resolver.acme.as_ref().is_some_and(|acme| acme.storage.is_empty()) {
            problems.push(format!("{path}.acme.storage: cannot be empty"));
        }
    }
}

fn providers(startup: &Startup, problems: &mut Vec<String>) {
    let providers = &startup.providers;
    let gate = startup.experimental.as_ref().is_some_and(|experimental| experimental.knative);
    if providers.knative.is_some() && !gate {
        problems.push("providers.knative: needs `experimental.knative`".to_owned());
    }
    for name in &providers.precedence {
        let base = name.split_once('-').map_or(name.as_str(), |(base, _)| base);
        let plugin = base == "plugin" || name.starts_with("plugin-");
        if !PRECEDENCE.contains(&base) && !plugin {
            problems.push(format!("providers.precedence: unknown provider `{name}`"));
        }
    }
    if let Some(nginx) = &providers.kubernetes_ingress_nginx
        && !nginx.watch_namespace.is_empty()
        && !nginx.watch_namespace_selector.is_empty()
    {
        problems.push(
            "providers.kubernetesIngressNGINX: `watchNamespace` and `watchNamespaceSelector` \
             exclude each other"
                .to_owned(),
        );
    }
    if let Some(file) = &providers.file
        && file.filename.is_empty()
        && file.directory.is_empty()
    {
        problems.push("providers.file: one of `filename` and `directory` is required".to_owned());
    }
}

fn observability(startup: &Startup, problems: &mut Vec<String>) {
    let log = startup.log.as_ref().and_then(|log| log.otlp.as_ref());
    let access_log = startup.access_log.as_ref().and_then(|log| log.otlp.as_ref());
    let tracing = startup.tracing.as_ref().and_then(|tracing| tracing.otlp.as_ref());
    let gate = startup.experimental.as_ref().is_some_and(|experimental| experimental.otlp_logs);
    for (path, otlp) in [("log.otlp", log), ("accessLog.otlp", access_log)] {
        if otlp.is_some() && !gate {
            problems.push(format!("{path}: needs `experimental.otlpLogs`"));
        }
    }
    let metrics = startup.metrics.as_ref().and_then(|metrics| metrics.otlp.as_ref());
    for (path, grpc) in [
        ("log.otlp.grpc", log.and_then(|otlp| otlp.grpc.as_ref())),
        ("accessLog.otlp.grpc", access_log.and_then(|otlp| otlp.grpc.as_ref())),
        ("tracing.otlp.grpc", tracing.and_then(|otlp| otlp.grpc.as_ref())),
        ("metrics.otlp.grpc", metrics.and_then(|otlp| otlp.grpc.as_ref())),
    ] {
        if grpc.is_some_and(|grpc: &OtlpGrpc| grpc.insecure && grpc.tls.is_some()) {
            problems.push(format!("{path}: `tls` and `insecure` exclude each other"));
        }
    }
}

fn api(startup: &Startup, problems: &mut Vec<String>) {
    let Some(api) = &startup.api else { return };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_.:~-".contains(&byte);
    if !api.base_path.starts_with('/') || !api.base_path.bytes().all(allowed) {
        problems.push(format!(
            "api.basePath: `{}` must begin with `/` and hold only letters, digits and `/_.:~-`",
            api.base_path
        ));
    }
    if api.writable && api.token_file.is_empty() {
        problems.push("api.writable: needs `api.tokenFile`".to_owned());
    }
}

fn cluster(startup: &Startup, problems: &mut Vec<String>) {
    let Some(cluster) = &startup.cluster else { return };
    if cluster.data_dir.is_empty() {
        problems.push("cluster.dataDir: is required".to_owned());
    }
    if cluster.secret.is_empty() == cluster.secret_file.is_empty() {
        problems.push("cluster: exactly one of `secret` and `secretFile` is required".to_owned());
    }
    if !cluster.initial_peers.is_empty() && !cluster.join.is_empty() {
        problems.push("cluster: `initialPeers` and `join` exclude each other".to_owned());
    }
    let (key, address) = match cluster.advertise.as_str() {
        "" => ("address", &cluster.address),
        _ => ("advertise", &cluster.advertise),
    };
    let host = address.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']));
    if matches!(host, None | Some("" | "0.0.0.0" | "::" | "*")) {
        problems.push(format!(
            "cluster.{key}: `{address}` is nothing that others can reach: set \
             `cluster.advertise` to `host:port`"
        ));
    }
    for (key, value) in [
        ("heartbeatInterval", cluster.heartbeat_interval),
        ("electionTimeout", cluster.election_timeout),
        ("requestTimeout", cluster.request_timeout),
        ("syncInterval", cluster.sync_interval),
    ] {
        if value.positive().is_none() {
            problems.push(format!("cluster.{key}: must be longer than 0"));
        }
    }
    if cluster.election_timeout <= cluster.heartbeat_interval {
        problems
            .push("cluster.electionTimeout: must be longer than `heartbeatInterval`".to_owned());
    }
    if cluster.snapshot_threshold == 0 {
        problems.push("cluster.snapshotThreshold: must be more than 0".to_owned());
    }
}
