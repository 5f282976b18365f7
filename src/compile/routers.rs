//! HTTP routers: entry points and their models, rule, TLS options, chain and service of each.
//!
//! Traefik: routers (http.md §2).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::objects::Objects;
use super::report::{RouterReport, Status};
use super::source::{Sources, qualify};
use super::tls::{DEFAULT, Tls};
use super::{Model, Settings};
use crate::http::SharedHandler;
use crate::middleware::{Chain, Shared};
use crate::plan::{Observed, Route};
use crate::router::options::{Observability, Options};
use crate::router::{Rule, Syntax};

/// What routers are compiled from.
pub(crate) struct Context<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) settings: &'a Settings,
    pub(crate) tls: &'a Tls,
    pub(crate) objects: &'a Objects<'a>,
}

/// A router, compiled, and what it was compiled from.
pub(crate) struct Kept {
    /// Qualified, with the prefix of the entry point where the model made a copy.
    pub(crate) name: Arc<str>,
    pub(crate) provider: Arc<str>,
    /// As written.
    original: Arc<Options>,
    pub(crate) report: Arc<RouterReport>,
    pub(crate) rule: Option<Arc<Rule>>,
    /// Absent where the router is disabled.
    pub(crate) route: Option<Arc<Route>>,
    /// The middlewares and the service that the route was built with.
    parts: Option<Parts>,
    /// Hash of what the plan's digest says of it.
    pub(crate) digest: [u64; 4],
}

impl Kept {
    /// True if it was compiled from these options.
    pub(crate) fn is_of(&self, options: &Arc<Options>) -> bool {
        Arc::ptr_eq(&self.original, options)
    }
}

#[derive(Clone)]
struct Parts {
    middlewares: Vec<Shared>,
    service: SharedHandler,
}

impl Parts {
    fn same(&self, other: &Self) -> bool {
        let pointer = |shared: &Shared| Arc::as_ptr(shared).cast::<()>();
        Arc::as_ptr(&self.service).cast::<()>() == Arc::as_ptr(&other.service).cast::<()>()
            && self.middlewares.len() == other.middlewares.len()
            && self
                .middlewares
                .iter()
                .zip(&other.middlewares)
                .all(|(mine, other)| pointer(mine) == pointer(other))
    }
}

/// A router on its way: options with the entry point's model applied.
struct Draft {
    name: Arc<str>,
    provider: Arc<str>,
    original: Arc<Options>,
    options: Options,
    observed: Observability,
    rule: Option<Arc<Rule>>,
    hosts: Vec<String>,
    /// Qualified name of its TLS options.
    tls_options: Arc<str>,
    status: Status,
    errors: Vec<String>,
    using: Vec<String>,
}

impl Draft {
    fn disable(&mut self, error: impl Into<String>) {
        self.status = Status::Disabled;
        self.errors.push(error.into());
    }

    fn warn(&mut self, error: impl Into<String>) {
        self.status = self.status.max(Status::Warning);
        self.errors.push(error.into());
    }
}

/// Compiles the routers of all sources, in the order of their names.
pub(crate) fn compile(
    context: &Context<'_>,
    previous: &HashMap<Arc<str>, Arc<Kept>>,
) -> Vec<Arc<Kept>> {
    let mut drafts = Vec::new();
    let internal: Arc<str> = "internal".into();
    let sources = context.sources.iter().map(|(name, source)| (name, &**source));
    for (provider, source) in sources.chain([(&internal, &*context.settings.internal)]) {
        for (name, options) in &source.routers {
            drafts.extend(draft(context.settings, provider, name, options));
        }
    }
    for draft in &mut drafts {
        parse(context, draft, previous);
    }
    conflicts(&mut drafts);
    let mut routers: Vec<_> =
        drafts.into_iter().map(|draft| finish(context, draft, previous)).collect();
    routers.sort_by(|a, b| a.name.cmp(&b.name));
    routers
}

/// One draft for a router, or one for each entry point whose model changes it.
fn draft(
    settings: &Settings,
    provider: &Arc<str>,
    name: &str,
    options: &Arc<Options>,
) -> Vec<Draft> {
    let entry_points = if options.entry_points.is_empty() && options.parent_refs.is_empty() {
        default_entry_points(settings)
    } else {
        options.entry_points.clone()
    };
    let new = |name: String, entry_points: Vec<String>, model: Option<&Model>| {
        let mut copy = Options { entry_points, ..(**options).clone() };
        if copy.rule_syntax.is_empty() {
            copy.rule_syntax = settings.written_syntax.clone().unwrap_or_default();
        }
        let mut observed = copy.observability.clone().unwrap_or_default();
        if let Some(model) = model {
            copy.middlewares = model.middlewares.iter().chain(&copy.middlewares).cloned().collect();
            copy.tls = copy.tls.or_else(|| model.tls.clone());
            fill(&mut observed, &model.observability);
        }
        fill(&mut observed, &standard_observability());
        copy.observability = Some(observed.clone());
        Draft {
            name: format!("{name}@{provider}").into(),
            provider: provider.clone(),
            original: options.clone(),
            options: copy,
            observed,
            rule: None,
            hosts: Vec::new(),
            tls_options: DEFAULT.into(),
            status: Status::Enabled,
            errors: Vec::new(),
            using: Vec::new(),
        }
    };
    let mut drafts = Vec::new();
    let mut rest = Vec::new();
    for entry_point in &entry_points {
        match settings.entry_points.get(entry_point).filter(|model| model.changes_routers()) {
            Some(model) if entry_points.len() > 1 => {
                let name = format!("{entry_point}-{name}");
                drafts.push(new(name, vec![entry_point.clone()], Some(model)));
            }
            Some(model) => {
                drafts.push(new(name.to_owned(), vec![entry_point.clone()], Some(model)));
            }
            None => rest.push(entry_point.clone()),
        }
    }
    if !rest.is_empty() || drafts.is_empty() {
        let model = rest.first().and_then(|first| settings.entry_points.get(first));
        drafts.push(new(name.to_owned(), rest, model));
    }
    drafts
}

fn fill(observed: &mut Observability, model: &Observability) {
    observed.access_logs = observed.access_logs.or(model.access_logs);
    observed.metrics = observed.metrics.or(model.metrics);
    observed.tracing = observed.tracing.or(model.tracing);
    if observed.trace_verbosity.is_empty() {
        observed.trace_verbosity.clone_from(&model.trace_verbosity);
    }
}

fn standard_observability() -> Observability {
    Observability {
        access_logs: Some(true),
        metrics: Some(true),
        tracing: Some(true),
        trace_verbosity: "minimal".to_owned(),
    }
}

/// All TCP entry points but `traefik`; only those with `asDefault` if there are any.
fn default_entry_points(settings: &Settings) -> Vec<String> {
    let tcp = || settings.entry_points.iter().filter(|(_, model)| !model.udp);
    let chosen: Vec<_> =
        tcp().filter(|(_, model)| model.as_default).map(|(name, _)| name.clone()).collect();
    if !chosen.is_empty() {
        return chosen;
    }
    tcp().filter(|(name, _)| *name != "traefik").map(|(name, _)| name.clone()).collect()
}

/// Entry points, rule, priority and TLS options of a draft.
fn parse(context: &Context<'_>, draft: &mut Draft, previous: &HashMap<Arc<str>, Arc<Kept>>) {
    let settings = context.settings;
    if !draft.options.parent_refs.is_empty() {
        parents(context.sources, draft);
        return;
    }
    for entry_point in draft.options.entry_points.clone() {
        match settings.entry_points.get(&entry_point) {
            Some(model) if !model.udp => draft.using.push(entry_point),
            _ => draft.warn(format!("entryPoint \"{entry_point}\" doesn't exist")),
        }
    }
    if draft.using.is_empty() {
        draft.disable("no valid entryPoint for this router");
        return;
    }
    if &*draft.provider != "internal"
        && let Err(error) = draft.options.check_priority()
    {
        draft.disable(error.to_string());
        return;
    }
    let kept = previous.get(&draft.name);
    let kept = kept.filter(|kept| Arc::ptr_eq(&kept.original, &draft.original));
    if let Some(rule) = kept.and_then(|kept| kept.rule.clone()) {
        draft.rule = Some(rule);
    } else {
        let syntax = Syntax::of(&draft.options.rule_syntax, settings.default_syntax);
        match Rule::parse(&draft.options.rule, syntax) {
            Ok(rule) => draft.rule = Some(Arc::new(rule)),
            Err(error) => draft.disable(error.to_string()),
        }
    }
    tls(context, draft);
}

/// Routing in layers waits for its turn: such a router is reported, never ignored.
fn parents(sources: &Sources, draft: &mut Draft) {
    for parent in draft.options.parent_refs.clone() {
        let name = qualify(&parent, &draft.provider);
        let (short, provider) = super::source::split(&name);
        let known = sources.get(provider).is_some_and(|source| source.routers.contains_key(short));
        if !known {
            draft.disable(format!("parent router \"{name}\" does not exist"));
        }
    }
    if draft.errors.is_empty() {
        draft.disable("routing in layers (`parentRefs`) is not built yet");
    }
}

fn tls(context: &Context<'_>, draft: &mut Draft) {
    let Some(tls) = &mut draft.options.tls else { return };
    if tls.options.is_empty() {
        DEFAULT.clone_into(&mut tls.options);
    }
    let name: Arc<str> = Tls::qualify(&tls.options, &draft.provider).into();
    let resolver = tls.cert_resolver.clone();
    if !resolver.is_empty() {
        draft.warn(format!("certificate resolver `{resolver}`: resolvers are not built yet"));
    }
    draft.hosts = draft.rule.as_ref().map(|rule| rule.hosts()).unwrap_or_default();
    match context.tls.acceptances.get(&name) {
        Some(acceptance) if acceptance.config.is_some() => {}
        _ if &*name == DEFAULT => draft.disable("the default TLS options cannot be used"),
        _ => draft.disable(format!("unknown TLS options: {name}")),
    }
    if &*name != DEFAULT && draft.hosts.is_empty() && draft.status != Status::Disabled {
        draft.warn(format!(
            "no domain found in rule {}, the TLS options applied for this router will depend on the SNI of each request",
            draft.options.rule
        ));
        return;
    }
    draft.tls_options = name;
}

/// Routers that ask for different TLS options for one host of one entry point get the default ones.
fn conflicts(drafts: &mut [Draft]) {
    let mut asked: BTreeMap<(String, String), HashSet<Arc<str>>> = BTreeMap::new();
    if drafts.iter().all(|draft| &*draft.tls_options == DEFAULT) {
        return;
    }
    for draft in drafts.iter().filter(|draft| draft.options.tls.is_some()) {
        for entry_point in &draft.using {
            for host in &draft.hosts {
                let key = (entry_point.clone(), host.clone());
                asked.entry(key).or_default().insert(draft.tls_options.clone());
            }
        }
    }
    asked.retain(|_, options| options.len() > 1);
    if asked.is_empty() {
        return;
    }
    for draft in drafts.iter_mut().filter(|draft| draft.options.tls.is_some()) {
        let clash = draft.using.iter().find(|entry_point| {
            draft
                .hosts
                .iter()
                .any(|host| asked.contains_key(&((*entry_point).clone(), host.clone())))
        });
        let Some(entry_point) = clash.cloned() else { continue };
        draft.name = format!("{entry_point}-conflicted-{}", draft.name).into();
        draft.tls_options = DEFAULT.into();
        if let Some(tls) = &mut draft.options.tls {
            DEFAULT.clone_into(&mut tls.options);
        }
        draft.warn(
            "router's TLSOptions configuration is conflicting with other routers on the same entrypoint and host, \
             default TLS options will be used instead",
        );
    }
}

/// Middlewares and service of a draft; the router as the plan has it.
fn finish(
    context: &Context<'_>,
    mut draft: Draft,
    previous: &HashMap<Arc<str>, Arc<Kept>>,
) -> Arc<Kept> {
    let parts = if draft.status == Status::Disabled { None } else { parts(context, &mut draft) };
    let priority = draft.options.effective_priority();
    let report = RouterReport {
        options: Arc::new(draft.options),
        status: draft.status,
        using: draft.using,
        errors: draft.errors,
        priority,
    };
    let old = previous.get(&draft.name);
    if let Some(old) = old.filter(|old| *old.report == report) {
        let same = match (&old.parts, &parts) {
            (Some(old), Some(new)) => old.same(new),
            (None, None) => true,
            _ => false,
        };
        if same && Arc::ptr_eq(&old.original, &draft.original) {
            return old.clone();
        }
    }
    let internal = &*draft.provider == "internal";
    let route = parts.as_ref().map(|parts| {
        let service = qualify(&report.options.service, &draft.provider);
        Arc::new(Route {
            name: draft.name.clone(),
            service: service.into(),
            handler: if parts.middlewares.is_empty() {
                parts.service.clone()
            } else {
                Arc::new(Chain::new(parts.middlewares.clone(), parts.service.clone()))
            },
            tls_options: draft.tls_options.clone(),
            observed: Observed {
                access_logs: draft.observed.access_logs.unwrap_or(true),
                metrics: draft.observed.metrics.unwrap_or(true),
            },
            internal,
        })
    });
    let digest = super::digest::of_router(&draft.name, &report);
    Arc::new(Kept {
        name: draft.name,
        provider: draft.provider,
        original: draft.original,
        report: Arc::new(report),
        rule: draft.rule,
        route,
        parts,
        digest,
    })
}

fn parts(context: &Context<'_>, draft: &mut Draft) -> Option<Parts> {
    let provider = draft.provider.clone();
    for name in &mut draft.options.middlewares {
        *name = qualify(name, &provider);
    }
    let mut middlewares = Vec::new();
    for name in draft.options.middlewares.clone() {
        match context.objects.chain(&name, &draft.name) {
            Ok(some) => middlewares.extend(some),
            Err(error) => {
                draft.disable(error);
                return None;
            }
        }
    }
    if draft.options.service.is_empty() {
        draft.disable("the service is missing on the router");
        return None;
    }
    match context.objects.service(&qualify(&draft.options.service, &provider)) {
        Ok(service) => {
            let service: SharedHandler = service;
            Some(Parts { middlewares, service })
        }
        Err(error) => {
            draft.disable(error);
            None
        }
    }
}
