//! Wiring: builds each part, hands out handles, start and shutdown order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::StatusCode;
use pontoon_cluster::Revision;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::calls::{self, Calls, SettledLater};
use crate::api::dashboard::Dashboard;
use crate::api::ping::{Draining, Ping, Readiness};
use crate::api::{Api, Facts, support};
use crate::compile::Settings;
use crate::config::startup::{self, Loaded, Startup};
use crate::config::value::FileOrContent;
use crate::control::follow::{self, Follower};
use crate::control::internal::{self, Wanted};
use crate::control::leader;
use crate::control::numbers::Numbers;
use crate::control::ocsp::Stapler;
use crate::control::{self, documents::Store};
use crate::cores::Cores;
use crate::entrypoint::host_resolver::HostResolver;
use crate::entrypoint::{self, Bound, Serving};
use crate::http::{Handler, SharedHandler};
use crate::observe::{self, Observer, Observers};
use crate::plan;
use crate::provider::Provider;
use crate::provider::file::FileProvider;
use crate::router::Syntax;
use crate::systemd::Manager;
use crate::task::Group;
use crate::tcp;
use crate::upstream::{self, Identity, Transport};

/// Threads of the control plane: Raft has its own, requests never run here.
const CONTROL_THREADS: usize = 2;
/// Longest wait for the control plane's tasks at the end.
const CONTROL_GRACE: Duration = Duration::from_secs(5);

/// Longest wait for a provider's first document before a peer that is alone begins to accept.
const FIRST_DOCUMENT_MAX: Duration = Duration::from_secs(2);

/// Runs the proxy until it is told to end.
pub(crate) fn run(loaded: Loaded) -> Result<()> {
    let startup = &loaded.startup;
    let log = observe::log::init(&startup.log.clone().unwrap_or_default(), upstream::outlet)?;
    // Before any thread runs: only then can the offset of local time be found.
    let observers = Observers::new(
        startup.access_log.as_ref(),
        startup.metrics.as_ref(),
        startup.tracing.as_ref(),
        upstream::outlet,
    )?;
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .context("starting the control plane's runtime")?;
    let cores = Cores::start().context("starting the data plane's runtimes")?;
    let result = control.block_on(serve(loaded, &cores, (log, observers.clone())));
    cores.end();
    observers.shutdown();
    control.shutdown_timeout(CONTROL_GRACE);
    result
}

async fn serve(
    loaded: Loaded,
    cores: &Cores,
    (log, observers): (observe::log::Handle, Arc<Observers>),
) -> Result<()> {
    let startup = told(loaded);
    let tasks = Group::new(tokio::runtime::Handle::current());
    let draining = Draining::default();
    let plan = plan::Handle::default();
    let store = match &startup.cluster {
        Some(options) => Store::Cluster(control::cluster::start(options).await?),
        None => Store::alone(),
    };
    let (shown, view) = follow::view();
    let readiness = Readiness {
        draining: draining.clone(),
        view: view.clone(),
        cluster: store.cluster().is_some(),
    };
    let settled = SettledLater::default();
    let more = calls(&startup, &store, &readiness, settled.clone())?;
    let mut services = internal_services(&startup, &view, &readiness, more);
    if let Some(exposition) = observers.exposition() {
        services.insert("prometheus@internal".to_owned(), exposition);
    }
    connect(&observers, &view, &store);
    observers.start(&log, &tasks);
    tasks.spawn(observers.clone().run(log, tasks.stop_token()));
    tasks.spawn(tell_plans(observers.clone(), view.clone(), tasks.stop_token()));
    let settings = Arc::new(settings(&startup, services)?);
    settled.get_or_init(|| Arc::downgrade(&settings));
    follow_identity(&startup, &settings, &tasks);
    let shared = entrypoint::Shared::new(
        plan.clone(),
        (!observers.is_empty()).then(|| observers.clone() as Arc<dyn Observer>),
        observers.tracer(),
    )
    .with_host_resolver(host_resolver(&startup, &tasks));
    let bound = bind(&startup, &shared)?;
    let addresses = addresses(&bound);
    let mut follower = Follower::new(store.clone(), settings, plan, tasks.clone(), shown);
    // What the store holds is served before a leader is known.
    follower.first().await;
    tasks.spawn(follower.run());
    staple(&startup, &view, &tasks)?;
    start_providers(&startup, &store, readiness, &tasks)?;
    if store.cluster().is_none() {
        wait_for_providers(&view, &startup).await;
    }
    let mut serving = Vec::new();
    for bound in bound {
        serving.push(bound.serve(cores)?);
    }
    for (name, address) in &addresses {
        info!(entry_point = name, address, "listening");
    }
    tell_ready(&addresses)?;
    let manager = Arc::new(Manager::from_environment());
    manager.ready();
    let alive = manager.clone();
    let (handles, stop) = (cores.handles().cloned().collect(), tasks.stop_token());
    tasks.spawn(async move { alive.keep_alive(handles, stop).await });
    until_told_to_end().await?;
    info!("shutting down");
    manager.stopping();
    draining.begin();
    if let Some(cluster) = store.cluster() {
        cluster.report(|report| report.ready = false);
    }
    drain(serving).await;
    end(&tasks, &store).await;
    Ok(())
}

/// Ends the control plane: tasks first, then the cluster that they use.
async fn end(tasks: &Group, store: &Store) {
    if !tasks.end(CONTROL_GRACE).await {
        warn!("some tasks of the control plane did not end in time");
    }
    if let Some(cluster) = store.cluster() {
        cluster.shutdown().await;
    }
}

/// Says where the startup configuration comes from and what of it is wrong or not built; the rest of it is followed.
fn told(loaded: Loaded) -> Startup {
    info!(from = %loaded.origin, "startup configuration loaded");
    for line in &loaded.warnings {
        warn!("{line}");
    }
    // An operator must know that an option does nothing, whatever the level of the log.
    for line in startup::not_built(&loaded.startup) {
        error!("not built, and without effect: {line}");
    }
    loaded.startup
}

/// Name and bound address of each.
fn addresses(bound: &[Bound]) -> Vec<(String, String)> {
    let pair = |bound: &Bound| {
        let (name, address) = bound.address();
        (name.to_string(), address.to_string())
    };
    bound.iter().map(pair).collect()
}

/// With `spiffe`: learns who we are.
fn follow_identity(startup: &Startup, settings: &Settings, tasks: &Group) {
    if let (Some(identity), Some(spiffe)) = (&settings.identity, &startup.spiffe) {
        let address = spiffe.workload_api_addr.clone();
        tasks.spawn(identity.clone().run(address, tasks.stop_token()));
    }
}

/// With `ocsp`: keeps certificates stapled.
fn staple(startup: &Startup, view: &follow::View, tasks: &Group) -> Result<()> {
    if let Some(ocsp) = &startup.ocsp {
        let transport = Transport::build(&upstream::Options::default()).context("ocsp")?;
        let stapler = Stapler::new(ocsp.responder_overrides.clone(), transport);
        tasks.spawn(stapler.run(view.clone(), tasks.stop_token()));
    }
    Ok(())
}

/// `hostResolver`. A mistake in it disables it, and nothing else.
fn host_resolver(startup: &Startup, tasks: &Group) -> Option<HostResolver> {
    HostResolver::new(startup.host_resolver.as_ref()?, tasks.clone()).unwrap_or_else(|error| {
        error!("{error}: hosts are matched as they are");
        None
    })
}

/// Starts what runs on the leader, and tells the other peers about this one.
fn start_providers(
    startup: &Startup,
    store: &Store,
    readiness: Readiness,
    tasks: &Group,
) -> Result<()> {
    let providers = providers(startup)?;
    let throttle = startup.providers.providers_throttle_duration.into();
    if let Some(cluster) = store.cluster().cloned() {
        let view = readiness.view.clone();
        let ready = move || readiness.check().is_ok();
        let of_all = providers.clone();
        tasks.spawn(control::cluster::report(cluster, view, ready, of_all, tasks.clone()));
    }
    tasks.spawn(leader::lead(store.clone(), providers, throttle, tasks.clone()));
    Ok(())
}

/// A peer alone has nothing before its providers have spoken: clients would get 404 for a moment.
async fn wait_for_providers(view: &follow::View, startup: &Startup) {
    if startup.providers.file.is_some() {
        view.reached(Revision(1), FIRST_DOCUMENT_MAX).await;
    }
}

/// Tells metrics of each plan, so that series of vanished objects end.
async fn tell_plans(observers: Arc<Observers>, view: follow::View, stop: CancellationToken) {
    let mut changed = view.changed();
    let mut plans = 0;
    loop {
        changed.borrow_and_update();
        let now = view.load();
        if now.plans != plans {
            plans = now.plans;
            observers.plan_applied();
        }
        match stop.run_until_cancelled(changed.changed()).await {
            Some(Ok(())) => {}
            _ => return,
        }
    }
}

/// Takes all ports before anything is served.
fn bind(startup: &Startup, shared: &entrypoint::Shared) -> Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for (name, options) in &startup.entry_points {
        bound.push(entrypoint::bind(name, options, shared)?);
    }
    entrypoint::tell_unused_sockets();
    Ok(bound)
}

/// What the compiler is told by the startup configuration.
pub(crate) fn settings(
    startup: &Startup,
    internal_services: HashMap<String, SharedHandler>,
) -> Result<Settings> {
    let prometheus = startup.metrics.as_ref().and_then(|metrics| metrics.prometheus.as_ref());
    let wanted = Wanted {
        insecure_api: startup
            .api
            .as_ref()
            .filter(|api| api.insecure)
            .map(|api| base_path(&api.base_path)),
        dashboard: startup.api.as_ref().is_some_and(|api| api.dashboard),
        ping: startup
            .ping
            .as_ref()
            .filter(|ping| !ping.manual_routing)
            .map(|ping| ping.entry_point.clone()),
        prometheus: prometheus
            .filter(|prometheus| !prometheus.manual_routing)
            .map(|prometheus| prometheus.entry_point.clone()),
    };
    let default_transport = default_transport(&startup.servers_transport)?;
    let identity = startup.spiffe.as_ref().map(|_| Identity::default());
    Ok(Settings {
        entry_points: startup
            .entry_points
            .iter()
            .map(|(name, options)| {
                let mut model = internal::model(options);
                // Each entry point passes the default syntax on.
                model.written |= startup.core.is_some();
                (name.clone(), model)
            })
            .collect::<BTreeMap<_, _>>(),
        precedence: std::iter::once("cluster".to_owned())
            .chain(startup.providers.precedence.iter().cloned())
            .collect(),
        default_syntax: startup
            .core
            .as_ref()
            .map_or(Syntax::V3, |core| Syntax::of(&core.default_rule_syntax, Syntax::V3)),
        written_syntax: startup.core.as_ref().map(|core| core.default_rule_syntax.clone()),
        internal: {
            let services =
                internal_services.keys().filter_map(|name| name.strip_suffix("@internal"));
            Arc::new(internal::source(&wanted, services, &startup.entry_points))
        },
        internal_services,
        traced: startup.tracing.is_some(),
        default_transport: Transport::build_with(&default_transport, identity.as_ref())
            .context("serversTransport of the startup configuration")?,
        default_tcp_transport: tcp::Transport::build(
            &default_tcp_transport(startup)?,
            identity.as_ref(),
        )
        .context("tcpServersTransport of the startup configuration")?,
        identity,
    })
}

/// `default@internal` from the startup configuration's `serversTransport`.
fn default_transport(options: &startup::ServersTransport) -> Result<upstream::Options> {
    let timeouts = &options.forwarding_timeouts;
    Ok(upstream::Options {
        insecure_skip_verify: options.insecure_skip_verify,
        root_cas: authorities(&options.root_cas).context("serversTransport")?,
        max_idle_conns_per_host: options.max_idle_conns_per_host,
        spiffe: options.spiffe.clone(),
        forwarding_timeouts: Some(upstream::ForwardingTimeouts {
            dial_timeout: timeouts.dial_timeout,
            response_header_timeout: timeouts.response_header_timeout,
            idle_conn_timeout: timeouts.idle_conn_timeout,
            ..upstream::ForwardingTimeouts::default()
        }),
        ..upstream::Options::default()
    })
}

/// The contents of `rootCAs`.
fn authorities(files: &[FileOrContent]) -> Result<Vec<FileOrContent>> {
    let read = |file: &FileOrContent| {
        file.read().with_context(|| format!("option `rootCAs`: cannot read `{}`", file.as_str()))
    };
    files.iter().map(read).collect()
}

/// `default@internal` of TCP from the startup configuration's `tcpServersTransport`.
fn default_tcp_transport(startup: &Startup) -> Result<tcp::options::ServersTransport> {
    let options = &startup.tcp_servers_transport;
    let root_cas = options.tls.as_ref().map_or(&[][..], |tls| &tls.root_cas);
    let root_cas = authorities(root_cas).context("tcpServersTransport.tls")?;
    Ok(tcp::options::ServersTransport {
        dial_timeout: options.dial_timeout,
        dial_keep_alive: options.dial_keep_alive,
        termination_delay: options.termination_delay,
        proxy_protocol: None,
        tls: options.tls.as_ref().map(|tls| tcp::options::TransportTls {
            insecure_skip_verify: tls.insecure_skip_verify,
            root_cas,
            spiffe: tls.spiffe.clone(),
            ..tcp::options::TransportTls::default()
        }),
    })
}

/// Handlers that answer nothing, for a compilation that is only looked at.
pub(crate) fn names_of_internal_services(startup: &Startup) -> HashMap<String, SharedHandler> {
    let mut names = vec!["noop", "ready"];
    names.extend(startup.ping.as_ref().map(|_| "ping"));
    names.extend(startup.api.as_ref().map(|_| "api"));
    names.extend(startup.api.as_ref().filter(|api| api.dashboard).map(|_| "dashboard"));
    let prometheus = startup.metrics.as_ref().and_then(|metrics| metrics.prometheus.as_ref());
    names.extend(prometheus.map(|_| "prometheus"));
    let handler: SharedHandler = Arc::new(Noop);
    names.into_iter().map(|name| (format!("{name}@internal"), handler.clone())).collect()
}

/// The files that the file provider would read.
pub(crate) fn files_of(options: &crate::provider::file::options::File) -> Vec<std::path::PathBuf> {
    FileProvider::new(options).and_then(|provider| provider.files()).unwrap_or_default()
}

/// True for a file that holds startup configuration, not only dynamic.
pub(crate) fn says_something(startup: &Startup) -> bool {
    let mut nothing = Startup::default();
    nothing.entry_points.clone_from(&startup.entry_points);
    startup.entry_points.keys().any(|name| name != "http") || *startup != nothing
}

/// Without a slash at its end.
fn base_path(path: &str) -> String {
    path.trim_end_matches('/').to_owned()
}

/// Shows the observers where to read what is counted elsewhere.
fn connect(observers: &Observers, view: &follow::View, store: &Store) {
    observers.connect(Arc::new(Numbers {
        view: view.clone(),
        store: store.clone(),
        dropped_lines: observers.dropped_lines(),
    }));
}

/// The API's own calls.
fn calls(
    startup: &Startup,
    store: &Store,
    readiness: &Readiness,
    settings: SettledLater,
) -> Result<Option<SharedHandler>> {
    let Some(api) = &startup.api else { return Ok(None) };
    let timeout = startup.cluster.as_ref().map(|cluster| cluster.request_timeout.into());
    let calls = Calls::new(calls::Parts {
        base_path: base_path(&api.base_path),
        store: store.clone(),
        settings,
        readiness: readiness.clone(),
        control: tokio::runtime::Handle::current(),
        writable: api.writable,
        token_file: (!api.token_file.is_empty()).then(|| api.token_file.clone().into()),
        timeout: timeout.unwrap_or(CONTROL_GRACE),
    })?;
    Ok(Some(Arc::new(calls)))
}

fn internal_services(
    startup: &Startup,
    view: &follow::View,
    readiness: &Readiness,
    more: Option<SharedHandler>,
) -> HashMap<String, SharedHandler> {
    let mut services: HashMap<String, SharedHandler> = HashMap::new();
    let mut add = |name: &str, handler: SharedHandler| {
        services.insert(format!("{name}@internal"), handler);
    };
    add("noop", Arc::new(Noop));
    add("ready", Arc::new(readiness.clone()));
    if let Some(ping) = &startup.ping {
        let terminating = StatusCode::from_u16(ping.terminating_status_code)
            .unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        add("ping", Arc::new(Ping { draining: readiness.draining.clone(), terminating }));
    }
    if let Some(api) = &startup.api {
        let facts = Facts {
            base_path: base_path(&api.base_path),
            entry_points: startup
                .entry_points
                .iter()
                .map(|(name, options)| {
                    (name.clone(), serde_json::to_value(options).unwrap_or_default())
                })
                .collect(),
            anonymous: support::anonymous(&serde_json::to_value(startup).unwrap_or_default()),
            features: json!({
                "tracing": if startup.tracing.is_some() { "OTLP" } else { "" },
                "metrics": startup.metrics.as_ref().map(observe::options::Metrics::backend).unwrap_or_default(),
                "accessLog": startup.access_log.is_some(),
            }),
            providers: startup.providers.file.iter().map(|_| "File").collect(),
            started: OffsetDateTime::from_unix_timestamp(
                i64::try_from(crate::clock::now().as_secs()).unwrap_or(0),
            )
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_default(),
            dashboard_name: api.dashboard_name.clone(),
            disable_dashboard_ad: api.disable_dashboard_ad,
            dashboard: api.dashboard,
        };
        add("api", Arc::new(Api::new(facts, view.clone(), more)));
        if api.dashboard {
            add("dashboard", Arc::new(Dashboard));
        }
    }
    services
}

fn providers(startup: &Startup) -> Result<Vec<Arc<dyn Provider>>> {
    let mut providers: Vec<Arc<dyn Provider>> = Vec::new();
    if let Some(file) = &startup.providers.file {
        providers.push(Arc::new(FileProvider::new(file)?));
    }
    Ok(providers)
}

/// `noop@internal`
struct Noop;

#[async_trait::async_trait]
impl Handler for Noop {
    async fn handle(
        &self,
        _: crate::http::Request,
    ) -> Result<crate::http::Response, crate::http::ProxyError> {
        let mut response = crate::http::Response::default();
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        Ok(response)
    }
}

/// Writes the bound addresses, `NAME ADDRESS` a line, to the file that the environment names.
fn tell_ready(addresses: &[(String, String)]) -> Result<()> {
    let Some(path) = std::env::var_os("PONTOON_READY_FILE") else { return Ok(()) };
    let lines: Vec<String> =
        addresses.iter().map(|(name, address)| format!("{name} {address}")).collect();
    // A reader never sees half of it.
    let path = std::path::PathBuf::from(path);
    let new = path.with_extension("new");
    std::fs::write(&new, lines.join("\n") + "\n")
        .and_then(|()| std::fs::rename(&new, &path))
        .with_context(|| format!("writing {}", path.display()))
}

async fn until_told_to_end() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn drain(serving: Vec<Serving>) {
    let all = serving.iter().map(Serving::drain);
    if futures_util::future::join_all(all).await.contains(&false) {
        warn!("some connections were still open at the end of their grace time");
    }
}
