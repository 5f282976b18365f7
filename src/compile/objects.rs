//! Middlewares, services and transports: built when a router asks for them, kept while nothing that they hold changes.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use pontoon_cluster::Map;

use super::Settings;
use super::change::{Changes, Key, Kind};
use super::report::Users;
use super::routers::{Kept, Outcome};
use super::source::{Source, Sources, qualify, split};
use crate::http::{Handler, ProxyError, Request, Response, SharedHandler};
use crate::middleware::{self, BuildContext, Chain, Link, Lookup as MiddlewareLookup, Shared};
use crate::service::health::Checker;
use crate::service::{self, Lookup as ServiceLookup, Service};
use crate::upstream::Transport;

/// Middleware types that keep state of their own for each router that uses them, as in Traefik.
const PER_ROUTER: [&str; 3] = ["circuitBreaker", "inFlightReq", "rateLimit"];
/// How deep services and chains may refer to each other.
const DEPTH_MAX: usize = 64;

/// Most middlewares that one name may stand for.
const PARTS_MAX: usize = 1024;

/// The middlewares of a chain.
#[derive(Default)]
struct Parts {
    names: Vec<String>,
    /// How many names have been looked at.
    looked: usize,
}

/// What came of building an object, and of what: it stands while neither the options nor one of these changes.
struct Record<T> {
    needs: Arc<[Key]>,
    result: Result<T, String>,
}

impl<T: Clone> Clone for Record<T> {
    fn clone(&self) -> Self {
        Self { needs: self.needs.clone(), result: self.result.clone() }
    }
}

/// Middlewares of one user, by name.
type Own = BTreeMap<Arc<str>, Result<Shared, String>>;

/// All built objects, by qualified name.
#[derive(Default, Clone)]
pub(crate) struct Built {
    services: Map<Arc<str>, Record<Arc<dyn Service>>>,
    /// `None` for a chain, which is passed as its parts, and for what each user has its own of.
    middlewares: Map<Arc<str>, Record<Option<Shared>>>,
    transports: Map<Arc<str>, Record<Arc<Transport>>>,
    /// What each user has its own of, by user.
    own: Map<Arc<str>, Arc<Own>>,
    /// Routers that name an object, whether it exists or not.
    users: Map<Key, Users>,
    /// How many of these name it only, since they are disabled whatever it is.
    idle: Map<Key, usize>,
    /// Health checks, by service.
    checked: Map<Arc<str>, Arc<[Arc<Checker>]>>,
}

impl Built {
    /// What must be built anew: what has changed, and what holds it.
    pub(crate) fn dirty(
        &self,
        changes: &Changes,
        (old, new): (&HashMap<String, SharedHandler>, &HashMap<String, SharedHandler>),
    ) -> BTreeSet<Key> {
        let mut dirty = changes.objects.clone();
        for name in old.keys().chain(new.keys()) {
            let same = match (old.get(name), new.get(name)) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (None, _) | (_, None) => false,
            };
            if !same {
                dirty.insert(Key::service(name.as_str()));
            }
        }
        if dirty.is_empty() {
            return dirty;
        }
        let mut holders: HashMap<&Key, Vec<Key>> = HashMap::new();
        for (holder, needs) in self.all_needs() {
            for need in needs {
                holders.entry(need).or_default().push(holder.clone());
            }
        }
        let mut open: Vec<Key> = dirty.iter().cloned().collect();
        while let Some(key) = open.pop() {
            for holder in holders.get(&key).into_iter().flatten() {
                if dirty.insert(holder.clone()) {
                    open.push(holder.clone());
                }
            }
        }
        dirty
    }

    fn all_needs(&self) -> impl Iterator<Item = (Key, &[Key])> {
        let services = self.services.iter().map(|(name, one)| (Kind::Service, name, &*one.needs));
        let middlewares =
            self.middlewares.iter().map(|(name, one)| (Kind::Middleware, name, &*one.needs));
        let all = services.chain(middlewares).filter(|(.., needs)| !needs.is_empty());
        all.map(|(kind, name, needs)| (Key::new(kind, name.clone()), needs))
    }

    fn needs(&self, key: &Key) -> &[Key] {
        let needs = match key.kind {
            Kind::Service => self.services.get(&*key.name).map(|record| &record.needs),
            Kind::Middleware => self.middlewares.get(&*key.name).map(|record| &record.needs),
            Kind::Transport => None,
        };
        needs.map_or(&[], |needs| needs)
    }

    fn has(&self, key: &Key) -> bool {
        match key.kind {
            Kind::Service => self.services.contains_key(&*key.name),
            Kind::Middleware => self.middlewares.contains_key(&*key.name),
            Kind::Transport => self.transports.contains_key(&*key.name),
        }
    }

    fn forget(&mut self, key: &Key) {
        match key.kind {
            Kind::Service => {
                self.services.remove(&*key.name);
                self.checked.remove(&*key.name);
            }
            Kind::Middleware => drop(self.middlewares.remove(&*key.name)),
            Kind::Transport => drop(self.transports.remove(&*key.name)),
        }
    }

    /// Routers that name an object.
    pub(crate) fn users(&self, key: &Key) -> Option<&Users> {
        self.users.get(key)
    }

    /// Notes who uses what after routers have changed.
    pub(crate) fn note_users(&mut self, routers: &Outcome) {
        let mut edits: BTreeMap<Key, Edit<'_>> = BTreeMap::new();
        for router in &routers.removed {
            router.uses().for_each(|key| edits.entry(key).or_default().gone.push(&router.name));
        }
        for router in &routers.added {
            router.uses().for_each(|key| edits.entry(key).or_default().new.push(&router.name));
        }
        for (router, new) in routers.changed().filter(|(router, _)| router.is_idle()) {
            for key in router.uses().collect::<BTreeSet<_>>() {
                let count = self.idle.get(&key).copied().unwrap_or(0);
                match if new { count + 1 } else { count - 1 } {
                    0 => drop(self.idle.remove(&key)),
                    count => drop(self.idle.insert(key, count)),
                }
            }
        }
        for (key, Edit { gone, new }) in edits {
            let mut users = self.users.get(&key).cloned().unwrap_or_default();
            for name in gone {
                users.remove(&**name);
            }
            if users.is_empty() {
                users = new.into_iter().map(|name| (name.clone(), ())).collect();
            } else {
                users.extend(new.into_iter().map(|name| (name.clone(), ())));
            }
            if users.is_empty() {
                self.users.remove(&key);
            } else {
                self.users.insert(key, users);
            }
        }
    }

    /// True if a router wants it built.
    fn is_asked_for(&self, key: &Key) -> bool {
        let idle = self.idle.get(key).copied().unwrap_or(0);
        self.users.get(key).is_some_and(|users| users.len() > idle)
    }

    /// Lets go of what nothing uses any more, if one of `touched` is such; says what.
    pub(crate) fn sweep(&mut self, touched: &BTreeSet<Key>) -> Vec<Key> {
        if !touched.iter().any(|key| !self.is_asked_for(key) && self.has(key)) {
            return Vec::new();
        }
        let mut live: HashSet<&Key> = HashSet::new();
        let mut open: Vec<&Key> = self.users.keys().filter(|key| self.is_asked_for(key)).collect();
        while let Some(key) = open.pop() {
            if live.insert(key) {
                open.extend(self.needs(key));
            }
        }
        let keys = |kind| move |name: &Arc<str>| Key::new(kind, name.clone());
        let all = (self.services.keys().map(keys(Kind::Service)))
            .chain(self.middlewares.keys().map(keys(Kind::Middleware)))
            .chain(self.transports.keys().map(keys(Kind::Transport)));
        let dead: Vec<Key> = all.filter(|key| !live.contains(key)).collect();
        for key in &dead {
            self.forget(key);
            if key.kind == Kind::Service {
                self.own.remove(&*service_user(&key.name));
            }
        }
        dead
    }

    /// A service, where a router has made it, and what is wrong with it.
    pub(crate) fn service(&self, name: &str) -> (Option<Arc<dyn Service>>, Option<&str>) {
        match self.services.get(name).map(|record| &record.result) {
            Some(Ok(service)) => (Some(service.clone()), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        }
    }

    /// What is wrong with a middleware.
    pub(crate) fn middleware_error(&self, name: &str) -> Option<&str> {
        let result = self.middlewares.get(name).map(|record| &record.result);
        result.and_then(|result| result.as_ref().err()).map(String::as_str)
    }

    /// All health checks, each once.
    pub(crate) fn checkers(&self) -> Vec<Arc<Checker>> {
        let mut all: Vec<_> = self.checked.values().flat_map(|some| some.iter().cloned()).collect();
        all.sort_by_key(|checker| Arc::as_ptr(checker) as usize);
        all.dedup_by(|a, b| Arc::ptr_eq(a, b));
        all
    }
}

/// Routers that cease and begin to use an object.
#[derive(Default)]
struct Edit<'a> {
    gone: Vec<&'a Arc<str>>,
    new: Vec<&'a Arc<str>>,
}

/// A service as the user of middlewares; a router of the same name is another one.
fn service_user(name: &str) -> String {
    format!("service {name}")
}

/// Builds objects, each at most once.
pub(crate) struct Objects<'a> {
    sources: &'a Sources,
    settings: &'a Settings,
    previous: &'a Built,
    dirty: &'a BTreeSet<Key>,
    built: RefCell<Built>,
    /// What has been built in this compilation, and what was let go.
    made: RefCell<Vec<Key>>,
    /// Middlewares of users that are built anew.
    own: RefCell<HashMap<Arc<str>, Own>>,
    /// Services that are being built, outermost first.
    stack: RefCell<Vec<String>>,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(
        sources: &'a Sources,
        settings: &'a Settings,
        previous: &'a Built,
        dirty: &'a BTreeSet<Key>,
    ) -> Self {
        let mut built = previous.clone();
        // What a changed object held may be held by nothing now.
        let released = dirty.iter().flat_map(|key| previous.needs(key).iter().cloned()).collect();
        let mut own = HashMap::<Arc<str>, Own>::new();
        for key in dirty {
            built.forget(key);
            if key.kind == Kind::Service {
                own.insert(service_user(&key.name).into(), BTreeMap::new());
            }
        }
        Self {
            sources,
            settings,
            previous,
            dirty,
            built: RefCell::new(built),
            made: RefCell::new(released),
            own: RefCell::new(own),
            stack: RefCell::default(),
        }
    }

    /// What stands now, and what of it is new or was let go.
    pub(crate) fn finish(self) -> (Built, Vec<Key>) {
        let mut built = self.built.into_inner();
        for (user, own) in self.own.into_inner() {
            if own.is_empty() {
                built.own.remove(&user);
            } else {
                built.own.insert(user, Arc::new(own));
            }
        }
        (built, self.made.into_inner())
    }

    fn source(&self, provider: &str) -> Option<&'a Source> {
        self.sources.get(provider).map(|source| &**source)
    }

    fn middleware_options(&self, name: &str) -> Result<&'a Arc<middleware::Options>, String> {
        let (short, provider) = split(name);
        self.source(provider)
            .and_then(|source| source.middlewares.get(short))
            .ok_or_else(|| format!("middleware \"{name}\" does not exist"))
    }

    /// A user of middlewares is built anew, or gone: what was its own goes unless it is asked for again.
    pub(crate) fn begin(&self, user: &Arc<str>) {
        self.own.borrow_mut().insert(user.clone(), BTreeMap::new());
    }

    /// The service of a qualified name.
    pub(crate) fn service(&self, name: &str) -> Result<Arc<dyn Service>, String> {
        if let Some(known) = self.built.borrow().services.get(name) {
            return known.result.clone();
        }
        {
            let stack = self.stack.borrow();
            let circle = stack.iter().position(|open| open == name);
            if stack.len() >= DEPTH_MAX || circle.is_some() {
                // The same of a circle is named, wherever it is entered.
                let circle = stack.iter().skip(circle.unwrap_or(stack.len()));
                let name = circle.map(String::as_str).min().unwrap_or(name);
                return Err(format!(
                    "could not build service {name}: recursion detected in {name}"
                ));
            }
        }
        self.stack.borrow_mut().push(name.to_owned());
        let (result, needs) = self.make_service(name);
        self.stack.borrow_mut().pop();
        let name: Arc<str> = name.into();
        let checkers = result.as_ref().map(|service| service.checkers()).unwrap_or_default();
        let mut built = self.built.borrow_mut();
        if !checkers.is_empty() {
            built.checked.insert(name.clone(), checkers.into());
        }
        self.made.borrow_mut().push(Key::service(name.clone()));
        let record = Record { needs: needs.into(), result: result.clone() };
        built.services.insert(name, record);
        result
    }

    fn make_service(&self, name: &str) -> (Result<Arc<dyn Service>, String>, Vec<Key>) {
        if let Some(handler) = self.settings.internal_services.get(name) {
            return (Ok(Arc::new(Internal(handler.clone()))), Vec::new());
        }
        let (short, provider) = split(name);
        let options = self.source(provider).and_then(|source| source.services.get(short));
        let Some(options) = options else {
            return (Err(format!("the service \"{name}\" does not exist")), Vec::new());
        };
        let user: Arc<str> = service_user(name).into();
        self.begin(&user);
        let lookup = Recorder { objects: self, provider, seen: RefCell::default() };
        let before = self.previous.services.get(name);
        let before = before.and_then(|record| record.result.as_ref().ok());
        let mut result =
            service::build(options, name, &lookup, before).map_err(|error| error.to_string());
        let mut needs = lookup.seen.into_inner();
        if let Ok(service) = &result
            && !options.middlewares.is_empty()
        {
            let mut chain = Vec::new();
            let mut failed = None;
            for middleware in &options.middlewares {
                let middleware = qualify(middleware, provider);
                needs.push(Key::middleware(middleware.as_str()));
                match self.chain(&middleware, &user) {
                    Ok(some) => chain.extend(some),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            result = match failed {
                Some(error) => Err(error),
                None if chain.is_empty() => Ok(service.clone()),
                None => {
                    let handler: SharedHandler = service.clone();
                    let chain = Chain::new(chain.iter().map(Link::shared).collect(), handler);
                    Ok(Arc::new(Wrapped { chain, service: service.clone() }))
                }
            };
        }
        (result, needs)
    }

    /// The transport of a qualified name.
    fn transport(&self, name: &str) -> Result<Arc<Transport>, String> {
        if name == "default@internal" {
            return Ok(self.settings.default_transport.clone());
        }
        if let Some(known) = self.built.borrow().transports.get(name) {
            return known.result.clone();
        }
        let (short, provider) = split(name);
        let options = self.source(provider).and_then(|source| source.transports.get(short));
        let result = match options {
            Some(options) => Transport::build_with(options, self.settings.identity.as_ref())
                .map_err(|error| format!("servers transport {name}: {error}")),
            None => Err(format!("servers transport not found {name}")),
        };
        let record = Record { needs: Arc::new([]), result: result.clone() };
        self.built.borrow_mut().transports.insert(name.into(), record);
        result
    }

    /// The middlewares that a qualified name stands for, chains expanded, for `user` (a router or a service).
    pub(crate) fn chain(&self, name: &str, user: &Arc<str>) -> Result<Vec<Link>, String> {
        let mut parts = Parts::default();
        let expanded = self.expand(name, &mut parts, 0);
        // All are tried, so that what has been tried does not depend on what was wrong before.
        let all: Vec<_> = parts.names.iter().map(|name| self.link(name, user)).collect();
        expanded?;
        all.into_iter().collect()
    }

    fn expand(&self, name: &str, parts: &mut Parts, depth: usize) -> Result<(), String> {
        parts.looked += 1;
        if depth > DEPTH_MAX || parts.looked > PARTS_MAX {
            return Err(format!(
                "could not instantiate middleware {name}: recursion detected in {name}"
            ));
        }
        let (_, provider) = split(name);
        let options = self.middleware_options(name)?;
        let Some(chain) = options.chain.as_ref().filter(|_| options.kinds().len() == 1) else {
            parts.names.push(name.to_owned());
            return Ok(());
        };
        let inner: Vec<String> =
            chain.middlewares.iter().map(|inner| qualify(inner, provider)).collect();
        if !self.built.borrow().middlewares.contains_key(name) {
            let needs = inner.iter().map(|name| Key::middleware(name.as_str()));
            self.keep_middleware(name, needs.collect(), Ok(None));
        }
        let mut result = Ok(());
        for inner in inner {
            // Of a chain in a circle, all that is left would be walked through again and again.
            if parts.looked > PARTS_MAX {
                break;
            }
            result = result.and(self.expand(&inner, parts, depth + 1));
        }
        result
    }

    fn keep_middleware(&self, name: &str, needs: Vec<Key>, result: Result<Option<Shared>, String>) {
        let record = Record { needs: needs.into(), result };
        self.made.borrow_mut().push(Key::middleware(name));
        self.built.borrow_mut().middlewares.insert(name.into(), record);
    }

    /// One middleware that is no chain, with its span.
    fn link(&self, name: &str, user: &Arc<str>) -> Result<Link, String> {
        let middleware = self.one(name, user)?;
        let span = if self.settings.traced {
            self.middleware_options(name)?.span_name().map(|kind| Box::new((name.into(), kind)))
        } else {
            None
        };
        Ok(Link { middleware, span })
    }

    /// One middleware that is no chain.
    fn one(&self, name: &str, user: &Arc<str>) -> Result<Shared, String> {
        let options = self.middleware_options(name)?;
        if options.kinds().iter().any(|kind| PER_ROUTER.contains(kind)) {
            return self.own(name, user, options);
        }
        if let Some(known) = self.built.borrow().middlewares.get(name)
            && let Some(result) = known.result.clone().transpose()
        {
            return result;
        }
        let (result, needs) = self.make_middleware(name, options);
        self.keep_middleware(name, needs, result.clone().map(Some));
        result
    }

    /// A middleware that each user has its own of.
    fn own(
        &self,
        name: &str,
        user: &Arc<str>,
        options: &middleware::Options,
    ) -> Result<Shared, String> {
        let own = |all: &HashMap<Arc<str>, Own>| all.get(user)?.get(name).cloned();
        if let Some(known) = own(&self.own.borrow()) {
            return known;
        }
        let clean = !self.dirty.contains(&Key::middleware(name));
        let kept = self.previous.own.get(&**user).and_then(|own| own.get(name));
        let result = if let Some(kept) = kept.filter(|_| clean) {
            kept.clone()
        } else {
            let (result, needs) = self.make_middleware(name, options);
            let known = self.built.borrow().middlewares.contains_key(name);
            if !known {
                self.keep_middleware(name, needs, result.clone().map(|_| None));
            }
            result
        };
        let mut all = self.own.borrow_mut();
        all.entry(user.clone()).or_default().insert(name.into(), result.clone());
        result
    }

    fn make_middleware(
        &self,
        name: &str,
        options: &middleware::Options,
    ) -> (Result<Shared, String>, Vec<Key>) {
        let (_, provider) = split(name);
        let lookup = Recorder { objects: self, provider, seen: RefCell::default() };
        let result = options.build(&BuildContext { name, lookup: &lookup });
        (result.map_err(|error| error.to_string()), lookup.seen.into_inner())
    }
}

impl Kept {
    /// What it names.
    pub(crate) fn uses(&self) -> impl Iterator<Item = Key> {
        let options = &self.report.options;
        let service = Some(&options.service).filter(|service| !service.is_empty());
        let service = service.map(|service| Key::service(qualify(service, self.provider())));
        let middlewares = options.middlewares.iter();
        let middlewares = middlewares.map(|name| Key::middleware(qualify(name, self.provider())));
        service.into_iter().chain(middlewares)
    }
}

/// Looks up for one object and notes what it asked for.
struct Recorder<'a, 'b> {
    objects: &'b Objects<'a>,
    provider: &'b str,
    seen: RefCell<Vec<Key>>,
}

impl Recorder<'_, '_> {
    fn note(&self, kind: Kind, name: &str) {
        self.seen.borrow_mut().push(Key::new(kind, name));
    }
}

impl ServiceLookup for Recorder<'_, '_> {
    fn service(&self, name: &str) -> Result<Arc<dyn Service>, service::BuildError> {
        let name = qualify(name, self.provider);
        self.note(Kind::Service, &name);
        self.objects.service(&name).map_err(service::BuildError::Other)
    }

    fn transport(&self, name: &str) -> Result<Arc<Transport>, service::BuildError> {
        if name.is_empty() {
            return Ok(self.objects.settings.default_transport.clone());
        }
        let name = qualify(name, self.provider);
        self.note(Kind::Transport, &name);
        self.objects.transport(&name).map_err(service::BuildError::Other)
    }
}

impl MiddlewareLookup for Recorder<'_, '_> {
    fn middleware(&self, name: &str) -> Result<Shared, middleware::BuildError> {
        let name = qualify(name, self.provider);
        self.note(Kind::Middleware, &name);
        self.objects.one(&name, &"".into()).map_err(middleware::BuildError::Other)
    }

    fn service(&self, name: &str) -> Result<SharedHandler, middleware::BuildError> {
        let name = qualify(name, self.provider);
        self.note(Kind::Service, &name);
        let service = self.objects.service(&name);
        service.map(|service| service as SharedHandler).map_err(middleware::BuildError::Other)
    }
}

/// An internal endpoint as a service.
struct Internal(SharedHandler);

#[async_trait::async_trait]
impl Handler for Internal {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        self.0.handle(request).await
    }
}

impl Service for Internal {
    fn up(&self) -> bool {
        true
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A service behind middlewares of its own.
struct Wrapped {
    chain: Chain,
    service: Arc<dyn Service>,
}

#[async_trait::async_trait]
impl Handler for Wrapped {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        self.chain.handle(request).await
    }
}

impl Service for Wrapped {
    fn up(&self) -> bool {
        self.service.up()
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        self.service.reports_health()
    }

    fn server_statuses(&self) -> Vec<(Arc<str>, bool)> {
        self.service.server_statuses()
    }

    fn checkers(&self) -> Vec<Arc<Checker>> {
        self.service.checkers()
    }

    fn as_any(&self) -> &dyn Any {
        self.service.as_any()
    }
}
