//! HTTP routers: entry points and their models, rule, TLS options, chain and service of each.
//!
//! Traefik: routers (http.md §2).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use pontoon_cluster::Map;

use super::change::{Changes, Key};
use super::intern;
use super::layers::{self, LAYERS_MAX};
use super::models::draft;
use super::objects::Objects;
use super::report::{Applied, RouterReport, Status};
use super::source::{INTERNAL, Sources, qualify, split};
use super::tls::{DEFAULT, Tls};
use super::traced::Traced;
use super::{Memory, Settings};
use crate::config::text::{Text, Texts, shared};
use crate::http::SharedHandler;
use crate::middleware::{Chain, Link, Shared};
use crate::observe::trace::Traces;
use crate::plan::{Below, Observed, Route};
use crate::router::options::{Observability, Options};
use crate::router::{Entry, Rule, Syntax};

/// From this number of changed routers on, and if they are half of all, all are compiled.
const WHOLE_FROM: usize = 1000;

/// What routers are compiled from.
pub(crate) struct Context<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) settings: &'a Settings,
    pub(crate) tls: &'a Tls,
    pub(crate) objects: &'a Objects<'a>,
}

/// A router, compiled, and what it was compiled from. There may be a hundred thousand: what is rare is boxed.
pub(crate) struct Kept {
    /// Qualified, with the prefix of the entry point where the model made a copy.
    pub(crate) name: Arc<str>,
    /// Qualified name of the router as it was written, where that is another one.
    origin: Option<Box<Arc<str>>>,
    /// As written.
    original: Arc<Options>,
    pub(crate) report: RouterReport,
    pub(crate) rule: Option<Arc<Rule>>,
    /// Absent where the router is disabled.
    pub(crate) entry: Option<Arc<Entry<Route>>>,
    /// What the route was built with, where that is more than a service.
    parts: Option<Box<Parts>>,
    /// Disabled whatever its middlewares and its service are.
    idle: bool,
}

impl Kept {
    /// The provider that wrote it.
    pub(crate) fn provider(&self) -> &str {
        split(&self.name).1
    }

    /// Qualified name of the router as it was written.
    pub(crate) fn origin(&self) -> &Arc<str> {
        self.origin.as_deref().unwrap_or(&self.name)
    }

    /// Qualified name of the TLS options that its names are shaken with; `None` without TLS.
    pub(crate) fn tls(&self) -> Option<&Text> {
        self.report.applied.as_ref()?.tls.as_ref()
    }

    /// True if it takes part in conflicts between TLS options.
    pub(crate) fn asks_other_tls(&self) -> bool {
        self.tls().is_some_and(|options| *options != DEFAULT)
    }

    /// True if its route is made of these middlewares and this service, or there is no route, as there are no parts.
    fn is_made_of(&self, parts: Option<&Parts>) -> bool {
        match (&self.entry, parts) {
            (Some(entry), Some(new)) => match &self.parts {
                Some(old) => old.same(new),
                None => new.is_service() && same_handler(&entry.value.handler, &new.service),
            },
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// True if it is disabled whatever its middlewares and its service are.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// True if it stands below others.
    fn is_layered(&self) -> bool {
        !self.original.parent_refs.is_empty()
    }

    /// The routers below it that take part.
    pub(crate) fn below(&self) -> Option<&Below> {
        self.parts.as_ref()?.below.as_deref()
    }
}

struct Parts {
    middlewares: Box<[Link]>,
    /// The service, or the routers below.
    service: SharedHandler,
    below: Option<Arc<Below>>,
}

fn same_handler(one: &SharedHandler, other: &SharedHandler) -> bool {
    Arc::as_ptr(one).cast::<()>() == Arc::as_ptr(other).cast::<()>()
}

impl Parts {
    /// No middlewares, no routers below.
    fn is_service(&self) -> bool {
        self.middlewares.is_empty() && self.below.is_none()
    }

    fn same(&self, other: &Self) -> bool {
        let pointer = |shared: &Shared| Arc::as_ptr(shared).cast::<()>();
        same_handler(&self.service, &other.service)
            && self.middlewares.len() == other.middlewares.len()
            && self
                .middlewares
                .iter()
                .zip(&other.middlewares)
                .all(|(mine, other)| pointer(&mine.middleware) == pointer(&other.middleware))
    }
}

/// All routers.
#[derive(Clone, Default)]
pub(crate) struct All {
    /// By their names. Of two with the same name, one.
    names: Map<Arc<str>, Arc<Kept>>,
    /// Names of what one written router became, where that is not one router of the same name.
    several: Map<Arc<str>, Arc<[Arc<str>]>>,
    /// Names of those that stand below others.
    layered: BTreeSet<Arc<str>>,
    /// Those, and the routers that they name as their parents, as written: a change of one may change any other.
    family: Arc<BTreeSet<Arc<str>>>,
    /// Routers that ask for other TLS options than the default.
    specials: usize,
    /// All of them, where two have the same name, or TLS options are in conflict: then a change of one router may
    /// change any other.
    irregular: Option<Arc<[Arc<Kept>]>>,
}

impl All {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Kept>> {
        self.names.get(name)
    }

    /// Of two with the same name, one.
    pub(crate) fn names(&self) -> &Map<Arc<str>, Arc<Kept>> {
        &self.names
    }

    /// By rising names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Kept>> {
        let all = self.irregular.as_deref().unwrap_or_default().iter();
        all.chain(self.names.values().filter(|_| self.irregular.is_none()))
    }

    /// What one written router became.
    pub(crate) fn of(&self, origin: &str) -> Vec<&Arc<Kept>> {
        if self.irregular.is_some() {
            return self.iter().filter(|router| **router.origin() == *origin).collect();
        }
        if let Some(names) = self.several.get(origin) {
            return names.iter().filter_map(|name| self.names.get(&**name)).collect();
        }
        let one = self.names.get(origin).filter(|one| **one.origin() == *origin);
        one.into_iter().collect()
    }

    /// `routers` by rising names.
    fn new(routers: Vec<Arc<Kept>>, conflicts: bool) -> Self {
        let names: Map<_, _> = routers.iter().map(|one| (one.name.clone(), one.clone())).collect();
        let mut groups: BTreeMap<&Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        for router in &routers {
            groups.entry(router.origin()).or_default().push(router.name.clone());
        }
        groups.retain(|origin, names| **names != [Arc::clone(origin)]);
        let several =
            groups.into_iter().map(|(origin, names)| (origin.clone(), names.into())).collect();
        let layered = routers.iter().filter(|one| one.is_layered()).map(|one| one.name.clone());
        let mut all = Self {
            several,
            layered: layered.collect(),
            family: Arc::default(),
            specials: routers.iter().filter(|router| router.asks_other_tls()).count(),
            irregular: (conflicts || names.len() != routers.len()).then(|| routers.into()),
            names,
        };
        all.find_family();
        all
    }

    fn find_family(&mut self) {
        let layered = self.layered.iter().filter_map(|name| self.names.get(&**name));
        let mut family = BTreeSet::new();
        for router in layered {
            family.extend(parents(&router.original, router.provider()).map(Arc::from));
            family.insert(router.origin().clone());
        }
        self.family = Arc::new(family);
    }

    /// With some routers changed; `None` if that makes two have the same name.
    fn with(&self, removed: &[Arc<Kept>], added: &[Arc<Kept>]) -> Option<Self> {
        let mut next = self.clone();
        for router in removed {
            next.names.remove(&*router.name);
            next.several.remove(&**router.origin());
            next.layered.remove(&router.name);
            next.specials -= usize::from(router.asks_other_tls());
        }
        let mut groups: BTreeMap<&Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        for router in added {
            if next.names.insert(router.name.clone(), router.clone()).is_some() {
                return None;
            }
            if router.is_layered() {
                next.layered.insert(router.name.clone());
            }
            next.specials += usize::from(router.asks_other_tls());
            groups.entry(router.origin()).or_default().push(router.name.clone());
        }
        for (origin, names) in groups {
            if *names != [Arc::clone(origin)] {
                next.several.insert(origin.clone(), names.into());
            }
        }
        if removed.iter().chain(added).any(|router| router.is_layered()) {
            next.find_family();
        }
        Some(next)
    }
}

/// What came of a compilation.
pub(crate) struct Outcome {
    pub(crate) all: All,
    /// Routers that are no longer there as they were.
    pub(crate) removed: Vec<Arc<Kept>>,
    pub(crate) added: Vec<Arc<Kept>>,
    /// Names do not tell routers apart, now or before.
    pub(crate) anew: bool,
}

impl Outcome {
    /// Routers that are gone, and those that are new.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&Arc<Kept>, bool)> {
        let gone = self.removed.iter().map(|router| (router, false));
        gone.chain(self.added.iter().map(|router| (router, true)))
    }

    /// Services and middlewares that routers have begun or ceased to name.
    pub(crate) fn touched(&self) -> BTreeSet<Key> {
        self.changed().flat_map(|(router, _)| router.uses()).collect()
    }
}

/// Routers that must be compiled.
pub(crate) enum Affected {
    All,
    /// By the qualified names of what is written.
    Some(BTreeSet<Arc<str>>),
}

/// Which routers a change concerns.
pub(crate) fn affected(
    changes: &Changes,
    dirty: &BTreeSet<Key>,
    (tls, old_tls): (&Arc<Tls>, &Arc<Tls>),
    memory: &Memory,
) -> Affected {
    let routers = &memory.routers;
    if routers.irregular.is_some() || !tls.accepts_as(old_tls) {
        return Affected::All;
    }
    let mut origins: BTreeSet<Arc<str>> = changes.routers.iter().cloned().collect();
    let users = dirty.iter().filter_map(|key| memory.objects.users(key));
    let named = users.flat_map(Map::keys).filter_map(|name| routers.get(name));
    origins.extend(named.map(|router| router.origin().clone()));
    if origins.len() >= WHOLE_FROM && origins.len() * 2 >= routers.names.len() {
        return Affected::All;
    }
    Affected::Some(origins)
}

/// A router on its way: options with the entry point's model applied.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(super) name: Arc<str>,
    pub(super) origin: Arc<str>,
    pub(super) provider: Arc<str>,
    pub(super) original: Arc<Options>,
    pub(super) options: Arc<Options>,
    pub(super) entry_points: Texts,
    pub(super) observed: Observability,
    pub(super) rule: Option<Arc<Rule>>,
    pub(super) hosts: Vec<String>,
    /// Qualified name of its TLS options.
    pub(super) tls_options: Text,
    pub(super) status: Status,
    pub(super) errors: Vec<String>,
    pub(super) using: Vec<Text>,
}

impl Draft {
    /// True if it stands below others.
    pub(crate) fn is_layered(&self) -> bool {
        !self.original.parent_refs.is_empty()
    }

    /// Qualified names of the routers that it is written to stand below.
    pub(crate) fn parents(&self) -> Vec<String> {
        parents(&self.original, &self.provider).collect()
    }

    fn disable(&mut self, error: impl Into<String>) {
        self.status = Status::Disabled;
        self.errors.push(error.into());
    }

    /// The router on one entry point, on which others ask for other TLS options for one of its hosts.
    fn conflicted(&self, entry_point: Text) -> Self {
        let mut draft = self.clone();
        draft.name = format!("{entry_point}-conflicted-{}", draft.name).into();
        draft.tls_options = DEFAULT.into();
        if let Some(tls) = &mut Arc::make_mut(&mut draft.options).tls {
            DEFAULT.clone_into(&mut tls.options);
        }
        draft.using.retain(|one| *one == entry_point);
        draft.entry_points = vec![entry_point].into();
        draft.warn(
            "router's TLSOptions configuration is conflicting with other routers on the same entrypoint and host, \
             default TLS options will be used instead",
        );
        draft
    }

    fn warn(&mut self, error: impl Into<String>) {
        self.status = self.status.max(Status::Warning);
        self.errors.push(error.into());
    }
}

fn parents<'a>(options: &'a Options, provider: &'a str) -> impl Iterator<Item = String> + 'a {
    options.parent_refs.iter().map(move |parent| qualify(parent, provider))
}

/// Compiles the affected routers; all others stay.
pub(crate) fn compile(context: &Context<'_>, affected: Affected, previous: &All) -> Outcome {
    if let Affected::Some(origins) = affected
        && let Some(outcome) = some(context, &with_family(context, origins, previous), previous)
    {
        return outcome;
    }
    whole(context, previous)
}

/// A router as it is written, with the name of its provider.
fn written<'a>(context: &Context<'a>, origin: &str) -> Option<(&'a Arc<str>, &'a Arc<Options>)> {
    let (short, provider) = split(origin);
    let (provider, source) = context.sources.get_key_value(provider)?;
    source.routers.get(short).map(|options| (provider, options))
}

/// Adds the routers that stand in layers where one of `origins` does, or did.
fn with_family(
    context: &Context<'_>,
    mut origins: BTreeSet<Arc<str>>,
    previous: &All,
) -> BTreeSet<Arc<str>> {
    let mut named: BTreeSet<Arc<str>> = BTreeSet::new();
    for origin in &origins {
        if let Some((provider, options)) = written(context, origin) {
            named.extend(parents(options, provider).map(Arc::from));
        }
    }
    if !named.is_empty() || origins.iter().any(|origin| previous.family.contains(origin)) {
        origins.extend(previous.family.iter().cloned());
        origins.extend(named);
    }
    origins
}

/// `None` if what changes may change others.
fn some(context: &Context<'_>, origins: &BTreeSet<Arc<str>>, previous: &All) -> Option<Outcome> {
    let mut before: Vec<Arc<Kept>> = Vec::new();
    let mut drafts = Vec::new();
    for origin in origins {
        before.extend(previous.of(origin).into_iter().cloned());
        if let Some((provider, options)) = written(context, origin) {
            drafts.extend(draft(context, provider, (split(origin).0, origin), options));
        }
    }
    for draft in &mut drafts {
        parse(context, draft, previous);
    }
    let others = previous.specials > before.iter().filter(|one| one.asks_other_tls()).count();
    if others || drafts.iter().any(|draft| draft.tls_options != DEFAULT) {
        let gone: HashSet<*const Kept> = before.iter().map(Arc::as_ptr).collect();
        let staying = previous.iter().filter(|router| !gone.contains(&Arc::as_ptr(router)));
        if !conflicting(&drafts, staying).is_empty() {
            return None;
        }
    }
    for router in &before {
        context.objects.begin(&router.name);
    }
    let after = finish_all(context, drafts, previous);
    let (removed, added) = differing(before, after);
    let all = previous.with(&removed, &added)?;
    Some(Outcome { all, removed, added, anew: false })
}

fn whole(context: &Context<'_>, previous: &All) -> Outcome {
    let mut drafts = Vec::new();
    for (provider, source) in context.sources {
        for (name, options) in &source.routers {
            let origin: Arc<str> = format!("{name}@{provider}").into();
            drafts.extend(draft(context, provider, (name, &origin), options));
        }
    }
    for draft in &mut drafts {
        parse(context, draft, previous);
    }
    let conflicts = settle(&mut drafts);
    previous.iter().for_each(|router| context.objects.begin(&router.name));
    let mut after = finish_all(context, drafts, previous);
    after.sort_by(|a, b| a.name.cmp(&b.name));
    let all = All::new(after.clone(), conflicts);
    let anew = all.irregular.is_some() || previous.irregular.is_some();
    let (removed, added) = differing(previous.iter().cloned().collect(), after);
    Outcome { all, removed, added, anew }
}

/// Those of the first that are not among the second, and the reverse.
fn differing(before: Vec<Arc<Kept>>, after: Vec<Arc<Kept>>) -> (Vec<Arc<Kept>>, Vec<Arc<Kept>>) {
    let old: HashSet<*const Kept> = before.iter().map(Arc::as_ptr).collect();
    let new: HashSet<*const Kept> = after.iter().map(Arc::as_ptr).collect();
    let without = |routers: Vec<Arc<Kept>>, others: &HashSet<*const Kept>| {
        routers.into_iter().filter(|one| !others.contains(&Arc::as_ptr(one))).collect()
    };
    (without(before, &new), without(after, &old))
}

/// Entry points, rule, priority and TLS options of a draft.
fn parse(context: &Context<'_>, draft: &mut Draft, previous: &All) {
    let settings = context.settings;
    let layered = draft.is_layered();
    for entry_point in &draft.entry_points.clone() {
        match settings.entry_points.get(&**entry_point) {
            Some(model) if !model.udp => draft.using.push(entry_point.clone()),
            _ => draft.warn(format!("entryPoint \"{entry_point}\" doesn't exist")),
        }
    }
    draft.using.sort();
    if draft.using.is_empty() && !layered {
        draft.disable("no valid entryPoint for this router");
        return;
    }
    // Traefik asks this of routers that listen only.
    if &*draft.provider != INTERNAL
        && !layered
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
        // The default syntax comes with an entry point.
        let default = if layered { Syntax::V3 } else { settings.default_syntax };
        let syntax = Syntax::of(&draft.options.rule_syntax, default);
        match Rule::parse(&draft.options.rule, syntax) {
            Ok(rule) => draft.rule = Some(Arc::new(rule)),
            Err(error) => draft.disable(error.to_string()),
        }
    }
    if !layered {
        tls(context, draft);
    }
}

fn tls(context: &Context<'_>, draft: &mut Draft) {
    let options = draft.options.clone();
    let Some(tls) = &options.tls else { return };
    let name = Text::from(Tls::qualify(&tls.options, &draft.provider));
    if !tls.cert_resolver.is_empty() {
        let resolver = &tls.cert_resolver;
        draft.warn(format!("certificate resolver `{resolver}`: resolvers are not built yet"));
    }
    match context.tls.acceptances.get(&*name) {
        Some(acceptance) if acceptance.config.is_some() => {}
        _ if name == DEFAULT => draft.disable("the default TLS options cannot be used"),
        _ => {
            // Traefik says it once for the router and once for its handshakes.
            draft.disable(format!("building router handler: unknown TLS options: {name}"));
            draft.disable(format!("unknown TLS options: {name}"));
        }
    }
    if name == DEFAULT {
        return;
    }
    draft.hosts = draft.rule.as_ref().map(|rule| rule.hosts()).unwrap_or_default();
    if draft.hosts.is_empty() && draft.status != Status::Disabled {
        let rule = &draft.options.rule;
        draft.warn(format!(
            "no domain found in rule {rule}, the TLS options applied for this router will depend on the SNI of each request",
        ));
        return;
    }
    draft.tls_options = name;
}

/// An entry point and a host of it.
type Place = (Text, String);

/// Places for which routers ask for different TLS options. `staying` are routers beside the drafts.
fn conflicting<'a>(
    drafts: &[Draft],
    staying: impl Iterator<Item = &'a Arc<Kept>>,
) -> BTreeSet<Place> {
    let mut asked: BTreeMap<Place, BTreeSet<Text>> = BTreeMap::new();
    let mut ask = |using: &[Text], rule: Option<&Arc<Rule>>, options: &Text| {
        let hosts = rule.map(|rule| rule.hosts()).unwrap_or_default();
        for entry_point in using {
            for host in &hosts {
                let place = (entry_point.clone(), host.clone());
                asked.entry(place).or_default().insert(options.clone());
            }
        }
    };
    let asking = |draft: &&Draft| draft.options.tls.is_some() && !draft.is_layered();
    for draft in drafts.iter().filter(asking) {
        ask(&draft.using, draft.rule.as_ref(), &draft.tls_options);
    }
    for router in staying {
        if let Some(options) = router.tls() {
            ask(&router.report.using, router.rule.as_ref(), options);
        }
    }
    asked.into_iter().filter(|(_, options)| options.len() > 1).map(|(place, _)| place).collect()
}

/// Routers that ask for different TLS options for one host of one entry point get the default ones. True if there
/// are such.
fn settle(drafts: &mut Vec<Draft>) -> bool {
    if drafts.iter().all(|draft| draft.tls_options == DEFAULT) {
        return false;
    }
    let conflicts = conflicting(drafts, std::iter::empty());
    if conflicts.is_empty() {
        return false;
    }
    let mut settled = Vec::with_capacity(drafts.len());
    for mut draft in std::mem::take(drafts) {
        let hosts = match (&draft.rule, &draft.options.tls) {
            (Some(rule), Some(_)) if !draft.is_layered() => rule.hosts(),
            (Some(_), Some(_)) | (None, _) | (_, None) => Vec::new(),
        };
        let clashes = |entry_point: &Text| {
            hosts.iter().any(|host| conflicts.contains(&(entry_point.clone(), host.clone())))
        };
        let (clash, calm): (Vec<Text>, Vec<Text>) =
            draft.entry_points.iter().cloned().partition(clashes);
        settled.extend(clash.into_iter().map(|entry_point| draft.conflicted(entry_point)));
        // It stays as it is where nothing contradicts.
        if calm.len() == draft.entry_points.len() {
            settled.push(draft);
        } else if !calm.is_empty() {
            draft.using.retain(|one| calm.contains(one));
            draft.entry_points = calm.into();
            settled.push(draft);
        }
    }
    *drafts = settled;
    true
}

/// Routers as the plan has them, those below before those above.
fn finish_all(context: &Context<'_>, mut drafts: Vec<Draft>, previous: &All) -> Vec<Arc<Kept>> {
    let layers = layers::arrange(&mut drafts);
    let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    let mut done: Vec<Option<Arc<Kept>>> = vec![None; drafts.len()];
    for &place in &layers.order {
        let below = layers.below(place).iter();
        let below: Vec<Arc<Kept>> =
            below.filter_map(|child| done.get(*child).cloned().flatten()).collect();
        if let (Some(draft), Some(done)) =
            (drafts.get_mut(place).and_then(Option::take), done.get_mut(place))
        {
            *done = Some(finish(context, draft, &below, previous));
        }
    }
    done.into_iter().flatten().collect()
}

/// Middlewares and service of a draft; the router as the plan has it.
fn finish(
    context: &Context<'_>,
    mut draft: Draft,
    below: &[Arc<Kept>],
    previous: &All,
) -> Arc<Kept> {
    context.objects.begin(&draft.name);
    let layered = draft.is_layered();
    let idle = draft.status == Status::Disabled;
    // Traefik finds the priority of what it begins to build.
    let begun = if layered { draft.errors.is_empty() } else { !draft.using.is_empty() };
    let priority = if begun { draft.options.effective_priority() } else { draft.options.priority };
    let parts = if idle { None } else { parts(context, &mut draft, below, previous) };
    let tls = draft.options.tls.as_ref().filter(|_| !layered).map(|tls| match &parts {
        Some(_) => draft.tls_options.clone(),
        // What a disabled router asks for; one that is disabled for another reason counts with the default.
        None => Tls::qualify(&tls.options, &draft.provider).into(),
    });
    let report = RouterReport {
        priority,
        options: draft.options,
        applied: (!layered).then(|| {
            let (entry_points, observability) = (draft.entry_points, draft.observed);
            intern::applied(Applied { entry_points, observability, tls })
        }),
        status: draft.status,
        using: draft.using.into(),
        errors: draft.errors.into(),
    };
    let same = |old: &Arc<Kept>| {
        old.report == report
            && old.is_made_of(parts.as_ref())
            && old.idle == idle
            && Arc::ptr_eq(&old.original, &draft.original)
            && *old.origin() == draft.origin
    };
    if let Some(old) = previous.get(&draft.name).filter(|old| same(old)) {
        return old.clone();
    }
    let entry = match (&parts, &draft.rule) {
        (Some(parts), Some(rule)) => {
            let mut providers = (0..).zip(&context.settings.precedence);
            let place = providers.find(|(_, name)| **name == *draft.provider);
            let route = route(context.settings.traced, parts, &draft.name, &report);
            Some(Arc::new(Entry {
                rule: rule.clone(),
                priority: report.priority,
                precedence: place.map_or(u32::MAX, |(place, _)| place),
                name: draft.name.clone(),
                value: route,
            }))
        }
        _ => None,
    };
    Arc::new(Kept {
        origin: (draft.origin != draft.name).then(|| Box::new(draft.origin)),
        name: draft.name,
        original: draft.original,
        report,
        rule: draft.rule,
        entry,
        parts: parts.filter(|parts| !parts.is_service()).map(Box::new),
        idle,
    })
}

fn route(traced: bool, parts: &Parts, name: &str, report: &RouterReport) -> Route {
    let provider = split(name).1;
    let observed = report.applied.as_ref().map(|applied| &applied.observability);
    let verbosity = observed.map_or("", |one| one.trace_verbosity.as_str());
    let observed =
        |choose: fn(&Observability) -> Option<bool>| observed.and_then(choose).unwrap_or(true);
    let traces = Traces::of(observed(|one| one.tracing), verbosity);
    let service: Arc<str> = match &parts.below {
        Some(_) => format!("{name}-muxer").into(),
        None => shared(&qualify(&report.options.service, provider)),
    };
    // Those below others are asked within the trace of the router above, whose verbosity counts.
    let layered = report.applied.is_none();
    let detailed = traced && (traces == Traces::Detailed || layered);
    let handler: SharedHandler = if parts.middlewares.is_empty() {
        parts.service.clone()
    } else {
        let links = parts.middlewares.iter();
        let middlewares = if detailed {
            links.map(Link::shared).collect()
        } else {
            links.map(|link| link.middleware.clone()).collect()
        };
        Arc::new(Chain::new(middlewares, parts.service.clone()))
    };
    Route {
        leads_on: parts.below.is_some(),
        handler: if detailed {
            let rule = (*report.options.rule).into();
            Arc::new(Traced { router: name.into(), rule, service: service.clone(), inner: handler })
        } else {
            handler
        },
        service,
        observed: Observed {
            access_logs: observed(|one| one.access_logs),
            metrics: observed(|one| one.metrics),
            traces,
        },
        internal: provider == INTERNAL,
    }
}

fn parts(
    context: &Context<'_>,
    draft: &mut Draft,
    below: &[Arc<Kept>],
    previous: &All,
) -> Option<Parts> {
    let provider = draft.provider.clone();
    let options = draft.options.clone();
    let names = options.middlewares.iter();
    // All are tried, so that what has been tried does not depend on what was wrong before.
    let chains: Vec<_> =
        names.map(|name| context.objects.chain(&qualify(name, &provider), &draft.name)).collect();
    let chains: Result<Vec<Vec<Link>>, String> = chains.into_iter().collect();
    let last = match &*options.service {
        _ if !below.is_empty() => {
            let old = previous.get(&draft.name).and_then(|old| old.parts.as_ref()?.below.clone());
            layer(&draft.name, below, old).map(|below| {
                let handler: SharedHandler = below.clone();
                (handler, Some(below))
            })
        }
        "" => Err("router must have either a service or child routers".to_owned()),
        name => context.objects.service(&qualify(name, &provider)).map(|service| {
            let handler: SharedHandler = service;
            (handler, None)
        }),
    };
    match (last, chains) {
        (Ok((service, below)), Ok(chains)) => {
            Some(Parts { middlewares: chains.into_iter().flatten().collect(), service, below })
        }
        (Err(error), _) | (_, Err(error)) => {
            draft.disable(error);
            None
        }
    }
}

/// The routers below `name`: those without errors, as in Traefik.
fn layer(
    name: &Arc<str>,
    below: &[Arc<Kept>],
    old: Option<Arc<Below>>,
) -> Result<Arc<Below>, String> {
    let sound = below.iter().filter(|child| child.report.errors.is_empty());
    let mut sound: Vec<&Arc<Kept>> = sound.filter(|child| child.entry.is_some()).collect();
    if sound.is_empty() {
        let skipped = below.len();
        return Err(format!(
            "building child routers muxer: no child routers could be added to muxer ({skipped} skipped)"
        ));
    }
    let deepest = sound.iter().filter_map(|child| child.below()).map(Below::depth).max();
    let depth = deepest.unwrap_or(0) + 1;
    if depth >= LAYERS_MAX {
        return Err(format!("routers may be nested {LAYERS_MAX} deep"));
    }
    sound.sort_by(|a, b| a.name.cmp(&b.name));
    let entries: Vec<_> = sound.iter().filter_map(|child| child.entry.clone()).collect();
    Ok(match old {
        Some(old) if old.is_of(&entries) => old,
        _ => Arc::new(Below::new(name.clone(), entries, depth)),
    })
}
