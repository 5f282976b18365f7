//! Middlewares, services and transports: built when a router asks for them, kept while nothing that they hold changes.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::Settings;
use super::source::{Source, Sources, qualify, split};
use crate::http::{Handler, ProxyError, Request, Response, SharedHandler};
use crate::middleware::{self, BuildContext, Chain, Lookup as MiddlewareLookup, Shared};
use crate::service::health::Checker;
use crate::service::{self, Lookup as ServiceLookup, Service};
use crate::upstream::{self, Transport};

/// Middleware types that keep state of their own for each router that uses them, as in Traefik.
const PER_ROUTER: [&str; 3] = ["circuitBreaker", "inFlightReq", "rateLimit"];
/// How deep services and chains may refer to each other.
const DEPTH_MAX: usize = 64;

/// Says which object this is: two results are the same one if their addresses are.
fn address<T: ?Sized>(object: &Arc<T>) -> usize {
    Arc::as_ptr(object).cast::<()>() as usize
}

/// What an object was built with; with the same inputs it stays.
struct Kept<O, T> {
    options: Arc<O>,
    dependencies: Vec<Dependency>,
    object: T,
}

impl<O, T: Clone> Clone for Kept<O, T> {
    fn clone(&self) -> Self {
        Self {
            options: self.options.clone(),
            dependencies: self.dependencies.clone(),
            object: self.object.clone(),
        }
    }
}

/// Another object that one holds.
#[derive(Clone)]
struct Dependency {
    kind: Kind,
    name: String,
    /// 0 where it could not be had.
    address: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Service,
    Middleware,
    Transport,
}

/// All built objects of one compilation.
#[derive(Default, Clone)]
pub(crate) struct Built {
    services: HashMap<String, Kept<service::Options, Arc<dyn Service>>>,
    middlewares: HashMap<String, Kept<middleware::Options, Shared>>,
    transports: HashMap<String, Kept<upstream::Options, Arc<Transport>>>,
}

impl Built {
    /// Services by qualified name.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&String, &Arc<dyn Service>)> {
        self.services.iter().map(|(name, kept)| (name, &kept.object))
    }
}

/// Results of one compilation by name, with the errors.
type Results<T> = RefCell<HashMap<String, Result<T, String>>>;

/// Builds objects, each at most once.
pub(crate) struct Objects<'a> {
    sources: &'a Sources,
    settings: &'a Settings,
    previous: &'a Built,
    built: RefCell<Built>,
    services: Results<Arc<dyn Service>>,
    middlewares: Results<Shared>,
    transports: Results<Arc<Transport>>,
    /// Services that are being built, outermost first.
    stack: RefCell<Vec<String>>,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(sources: &'a Sources, settings: &'a Settings, previous: &'a Built) -> Self {
        Self {
            sources,
            settings,
            previous,
            built: RefCell::default(),
            services: RefCell::default(),
            middlewares: RefCell::default(),
            transports: RefCell::default(),
            stack: RefCell::default(),
        }
    }

    /// What was built, and what went wrong with services and middlewares, by qualified name.
    pub(crate) fn finish(self) -> (Built, HashMap<String, String>, HashMap<String, String>) {
        let errors = |results: Vec<(String, Option<String>)>| {
            results.into_iter().filter_map(|(name, error)| Some((name, error?))).collect()
        };
        let services =
            self.services.into_inner().into_iter().map(|(name, result)| (name, result.err()));
        let middlewares = self.middlewares.into_inner().into_iter().map(|(key, result)| {
            let name = key.split('\0').next().unwrap_or_default().to_owned();
            (name, result.err())
        });
        (self.built.into_inner(), errors(services.collect()), errors(middlewares.collect()))
    }

    fn source(&self, provider: &str) -> Option<&'a Source> {
        if provider == "internal" {
            return Some(&self.settings.internal);
        }
        self.sources.get(provider).map(|source| &**source)
    }

    /// The service of a qualified name.
    pub(crate) fn service(&self, name: &str) -> Result<Arc<dyn Service>, String> {
        if let Some(known) = self.services.borrow().get(name) {
            return known.clone();
        }
        {
            let stack = self.stack.borrow();
            if stack.len() >= DEPTH_MAX || stack.iter().any(|open| open == name) {
                return Err(format!(
                    "could not build service {name}: recursion detected in {name}"
                ));
            }
        }
        self.stack.borrow_mut().push(name.to_owned());
        let result = self.make_service(name);
        self.stack.borrow_mut().pop();
        self.services.borrow_mut().insert(name.to_owned(), result.clone());
        result
    }

    fn make_service(&self, name: &str) -> Result<Arc<dyn Service>, String> {
        if let Some(handler) = self.settings.internal_services.get(name) {
            return Ok(Arc::new(Internal(handler.clone())));
        }
        let (short, provider) = split(name);
        let options = self
            .source(provider)
            .and_then(|source| source.services.get(short))
            .ok_or_else(|| format!("the service \"{name}\" does not exist"))?;
        let previous = self.previous.services.get(name);
        if let Some(kept) = previous.filter(|kept| self.unchanged(kept, options)) {
            self.built.borrow_mut().services.insert(name.to_owned(), kept.clone());
            return Ok(kept.object.clone());
        }
        let lookup = Recorder { objects: self, provider, seen: RefCell::default() };
        let before = previous.map(|kept| &kept.object);
        let service =
            service::build(options, name, &lookup, before).map_err(|error| error.to_string())?;
        let mut chain = Vec::new();
        for middleware in &options.middlewares {
            chain.extend(self.chain(&qualify(middleware, provider), name)?);
        }
        let object: Arc<dyn Service> = if chain.is_empty() {
            service
        } else {
            let handler: SharedHandler = service.clone();
            Arc::new(Wrapped { chain: Chain::new(chain, handler), service })
        };
        let mut dependencies = lookup.seen.into_inner();
        dependencies.extend(self.chain_dependencies(&options.middlewares, provider, name));
        let kept = Kept { options: options.clone(), dependencies, object: object.clone() };
        self.built.borrow_mut().services.insert(name.to_owned(), kept);
        Ok(object)
    }

    /// True if nothing that the kept object was built from has changed.
    fn unchanged<O, T>(&self, kept: &Kept<O, T>, options: &Arc<O>) -> bool {
        Arc::ptr_eq(&kept.options, options)
            && kept.dependencies.iter().all(|dependency| {
                dependency.address != 0
                    && self.address_of(dependency.kind, &dependency.name) == dependency.address
            })
    }

    fn address_of(&self, kind: Kind, name: &str) -> usize {
        match kind {
            Kind::Service => self.service(name).as_ref().map_or(0, address),
            Kind::Transport => self.transport(name).as_ref().map_or(0, address),
            Kind::Middleware => {
                let (middleware, user) = name.split_once('\0').unwrap_or((name, ""));
                self.one(middleware, user).as_ref().map_or(0, address)
            }
        }
    }

    /// The transport of a qualified name.
    fn transport(&self, name: &str) -> Result<Arc<Transport>, String> {
        if name == "default@internal" {
            return Ok(self.settings.default_transport.clone());
        }
        if let Some(known) = self.transports.borrow().get(name) {
            return known.clone();
        }
        let result = self.make_transport(name);
        self.transports.borrow_mut().insert(name.to_owned(), result.clone());
        result
    }

    fn make_transport(&self, name: &str) -> Result<Arc<Transport>, String> {
        let (short, provider) = split(name);
        let options = self
            .source(provider)
            .and_then(|source| source.transports.get(short))
            .ok_or_else(|| format!("servers transport not found {name}"))?;
        let kept = self.previous.transports.get(name);
        let kept = if let Some(kept) = kept.filter(|kept| Arc::ptr_eq(&kept.options, options)) {
            kept.clone()
        } else {
            let object = Transport::build(options)
                .map_err(|error| format!("servers transport {name}: {error}"))?;
            Kept { options: options.clone(), dependencies: Vec::new(), object }
        };
        let object = kept.object.clone();
        self.built.borrow_mut().transports.insert(name.to_owned(), kept);
        Ok(object)
    }

    /// The middlewares that a qualified name stands for, chains expanded, for `user` (a router or a service).
    pub(crate) fn chain(&self, name: &str, user: &str) -> Result<Vec<Shared>, String> {
        let mut names = Vec::new();
        self.expand(name, &mut names, 0)?;
        names.iter().map(|name| self.one(name, user)).collect()
    }

    fn chain_dependencies(&self, names: &[String], provider: &str, user: &str) -> Vec<Dependency> {
        let mut expanded = Vec::new();
        for name in names {
            // What cannot be expanded could not be built either.
            if self.expand(&qualify(name, provider), &mut expanded, 0).is_err() {
                return Vec::new();
            }
        }
        let keyed = expanded.into_iter().map(|name| format!("{name}\0{user}"));
        keyed
            .map(|name| Dependency {
                kind: Kind::Middleware,
                address: self.address_of(Kind::Middleware, &name),
                name,
            })
            .collect()
    }

    fn expand(&self, name: &str, names: &mut Vec<String>, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX || names.len() > 1024 {
            return Err(format!(
                "could not instantiate middleware {name}: recursion detected in {name}"
            ));
        }
        let (short, provider) = split(name);
        let options = self
            .source(provider)
            .and_then(|source| source.middlewares.get(short))
            .ok_or_else(|| format!("middleware \"{name}\" does not exist"))?;
        match &options.chain {
            Some(chain) if options.kinds().len() == 1 => {
                for inner in &chain.middlewares {
                    self.expand(&qualify(inner, provider), names, depth + 1)?;
                }
                Ok(())
            }
            _ => {
                names.push(name.to_owned());
                Ok(())
            }
        }
    }

    /// One middleware that is no chain.
    fn one(&self, name: &str, user: &str) -> Result<Shared, String> {
        let (short, provider) = split(name);
        let options = self
            .source(provider)
            .and_then(|source| source.middlewares.get(short))
            .ok_or_else(|| format!("middleware \"{name}\" does not exist"))?;
        let per_router = options.kinds().iter().any(|kind| PER_ROUTER.contains(kind));
        let key = if per_router { format!("{name}\0{user}") } else { name.to_owned() };
        if let Some(known) = self.middlewares.borrow().get(&key) {
            return known.clone();
        }
        let result = self.make_middleware(name, &key, options);
        self.middlewares.borrow_mut().insert(key, result.clone());
        result
    }

    fn make_middleware(
        &self,
        name: &str,
        key: &str,
        options: &Arc<middleware::Options>,
    ) -> Result<Shared, String> {
        let (_, provider) = split(name);
        let kept = self.previous.middlewares.get(key);
        if let Some(kept) = kept.filter(|kept| self.unchanged(kept, options)) {
            self.built.borrow_mut().middlewares.insert(key.to_owned(), kept.clone());
            return Ok(kept.object.clone());
        }
        let lookup = Recorder { objects: self, provider, seen: RefCell::default() };
        let object = options
            .build(&BuildContext { name, lookup: &lookup })
            .map_err(|error| error.to_string())?;
        let dependencies = lookup.seen.into_inner();
        let kept = Kept { options: options.clone(), dependencies, object: object.clone() };
        self.built.borrow_mut().middlewares.insert(key.to_owned(), kept);
        Ok(object)
    }
}

/// Looks up for one object and notes what it was given.
struct Recorder<'a, 'b> {
    objects: &'b Objects<'a>,
    provider: &'b str,
    seen: RefCell<Vec<Dependency>>,
}

impl Recorder<'_, '_> {
    fn note<T: ?Sized>(&self, kind: Kind, name: String, result: Result<&Arc<T>, &String>) {
        let address = result.map_or(0, address);
        self.seen.borrow_mut().push(Dependency { kind, name, address });
    }
}

impl ServiceLookup for Recorder<'_, '_> {
    fn service(&self, name: &str) -> Result<Arc<dyn Service>, service::BuildError> {
        let name = qualify(name, self.provider);
        let result = self.objects.service(&name);
        self.note(Kind::Service, name, result.as_ref());
        result.map_err(service::BuildError::Other)
    }

    fn transport(&self, name: &str) -> Result<Arc<Transport>, service::BuildError> {
        let name = match name {
            "" => "default@internal".to_owned(),
            name => qualify(name, self.provider),
        };
        let result = self.objects.transport(&name);
        self.note(Kind::Transport, name, result.as_ref());
        result.map_err(service::BuildError::Other)
    }
}

impl MiddlewareLookup for Recorder<'_, '_> {
    fn middleware(&self, name: &str) -> Result<Shared, middleware::BuildError> {
        let name = qualify(name, self.provider);
        let result = self.objects.one(&name, "");
        self.note(Kind::Middleware, format!("{name}\0"), result.as_ref());
        result.map_err(middleware::BuildError::Other)
    }

    fn service(&self, name: &str) -> Result<SharedHandler, middleware::BuildError> {
        let name = qualify(name, self.provider);
        let result = self.objects.service(&name);
        self.note(Kind::Service, name, result.as_ref());
        result.map(|service| service as SharedHandler).map_err(middleware::BuildError::Other)
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
