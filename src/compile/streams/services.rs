//! Services of TCP and UDP, and transports of TCP: built when a router asks for them, kept while nothing that they hold
//! changes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::super::Settings;
use super::super::source::{Objects, Source, Sources, qualify, split};
use crate::tcp::options::ServersTransport;
use crate::tcp::{self, Transport};
use crate::udp;

/// How deep services may refer to each other.
const DEPTH_MAX: usize = 64;

/// TCP or UDP.
pub(super) trait Protocol: Sized {
    type Options;
    type Service: ?Sized;

    fn services(source: &Source) -> &Objects<Self::Options>;

    /// The error for a name that leads nowhere.
    fn missing(name: &str) -> String;

    fn build(
        options: &Self::Options,
        name: &str,
        lookup: &Lookup<'_, '_, Self>,
        previous: Option<&Arc<Self::Service>>,
    ) -> Result<Arc<Self::Service>, String>;
}

/// What a service was built of; with the same parts it stays.
struct Kept<P: Protocol> {
    options: Arc<P::Options>,
    needs: Vec<Need>,
    service: Arc<P::Service>,
}

/// A part of a service: its name, and the address that says which object it is; 0 where it could not be had.
enum Need {
    Service(String, usize),
    Transport(String, usize),
}

/// Built services by qualified name.
pub(super) struct Built<P: Protocol>(HashMap<String, Kept<P>>);

impl<P: Protocol> Default for Built<P> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<P: Protocol> Built<P> {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<P::Service>> {
        self.0.get(name).map(|kept| &kept.service)
    }
}

fn address<T: ?Sized>(object: &Arc<T>) -> usize {
    Arc::as_ptr(object).cast::<()>() as usize
}

/// What came of building a service.
type Outcome<P> = Result<Arc<<P as Protocol>::Service>, String>;

/// Builds services, each at most once.
pub(super) struct Services<'a, P: Protocol> {
    sources: &'a Sources,
    transports: &'a Transports<'a>,
    previous: &'a Built<P>,
    built: RefCell<Built<P>>,
    results: RefCell<HashMap<String, Outcome<P>>>,
    /// Services that are being built, outermost first.
    stack: RefCell<Vec<String>>,
}

impl<'a, P: Protocol> Services<'a, P> {
    pub(super) fn new(
        sources: &'a Sources,
        transports: &'a Transports<'a>,
        previous: &'a Built<P>,
    ) -> Self {
        Self {
            sources,
            transports,
            previous,
            built: RefCell::default(),
            results: RefCell::default(),
            stack: RefCell::default(),
        }
    }

    /// What was built.
    pub(super) fn finish(self) -> Built<P> {
        self.built.into_inner()
    }

    /// What went wrong with a service that was asked for.
    pub(super) fn error(&self, name: &str) -> Option<String> {
        self.results.borrow().get(name)?.as_ref().err().cloned()
    }

    /// The service of a qualified name.
    pub(super) fn get(&self, name: &str) -> Result<Arc<P::Service>, String> {
        if let Some(known) = self.results.borrow().get(name) {
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
        let result = self.make(name);
        self.stack.borrow_mut().pop();
        self.results.borrow_mut().insert(name.to_owned(), result.clone());
        result
    }

    fn make(&self, name: &str) -> Result<Arc<P::Service>, String> {
        let (short, provider) = split(name);
        let source = self.sources.get(provider);
        let options = source.and_then(|source| P::services(source).get(short));
        let options = options.ok_or_else(|| P::missing(name))?;
        let previous = self.previous.0.get(name);
        let unchanged = previous.filter(|kept| self.unchanged(kept, options));
        let kept = if let Some(Kept { options, needs, service }) = unchanged {
            let needs = needs.iter().map(Need::copied).collect();
            Kept::<P> { options: options.clone(), needs, service: service.clone() }
        } else {
            let lookup = Lookup { services: self, provider, needs: RefCell::default() };
            let before = previous.map(|kept| &kept.service);
            let service = P::build(options, name, &lookup, before)?;
            Kept { options: options.clone(), needs: lookup.needs.into_inner(), service }
        };
        let service = kept.service.clone();
        self.built.borrow_mut().0.insert(name.to_owned(), kept);
        Ok(service)
    }

    /// True if nothing that the service was built of has changed.
    fn unchanged(&self, kept: &Kept<P>, options: &Arc<P::Options>) -> bool {
        Arc::ptr_eq(&kept.options, options)
            && kept.needs.iter().all(|need| match need {
                Need::Service(name, was) => self.get(name).is_ok_and(|now| address(&now) == *was),
                Need::Transport(name, was) => {
                    self.transports.get(name).is_ok_and(|now| address(&now) == *was)
                }
            })
    }
}

impl Need {
    fn copied(&self) -> Self {
        match self {
            Self::Service(name, address) => Self::Service(name.clone(), *address),
            Self::Transport(name, address) => Self::Transport(name.clone(), *address),
        }
    }
}

/// Looks up for one service and notes what it was given.
pub(super) struct Lookup<'a, 'b, P: Protocol> {
    services: &'b Services<'a, P>,
    provider: &'b str,
    needs: RefCell<Vec<Need>>,
}

impl<P: Protocol> Lookup<'_, '_, P> {
    fn child(&self, name: &str) -> Result<Arc<P::Service>, String> {
        let name = qualify(name, self.provider);
        let result = self.services.get(&name);
        let address = result.as_ref().map_or(0, address);
        self.needs.borrow_mut().push(Need::Service(name, address));
        result
    }
}

/// TCP.
pub(super) struct OverTcp;

impl Protocol for OverTcp {
    type Options = tcp::options::Service;
    type Service = dyn tcp::Service;

    fn services(source: &Source) -> &Objects<Self::Options> {
        &source.tcp_services
    }

    fn missing(name: &str) -> String {
        format!("the service \"{name}\" does not exist")
    }

    fn build(
        options: &Self::Options,
        name: &str,
        lookup: &Lookup<'_, '_, Self>,
        previous: Option<&Arc<Self::Service>>,
    ) -> Result<Arc<Self::Service>, String> {
        tcp::service::build(options, name, lookup, previous).map_err(|error| error.to_string())
    }
}

impl tcp::service::Lookup for Lookup<'_, '_, OverTcp> {
    fn service(&self, name: &str) -> Result<Arc<dyn tcp::Service>, tcp::service::BuildError> {
        self.child(name).map_err(tcp::service::BuildError::Other)
    }

    fn transport(&self, name: &str) -> Result<Arc<Transport>, tcp::service::BuildError> {
        let name = match name {
            "" => DEFAULT_TRANSPORT.to_owned(),
            name => qualify(name, self.provider),
        };
        let result = self.services.transports.get(&name);
        let address = result.as_ref().map_or(0, address);
        self.needs.borrow_mut().push(Need::Transport(name, address));
        result.map_err(tcp::service::BuildError::Other)
    }
}

/// UDP.
pub(super) struct OverUdp;

impl Protocol for OverUdp {
    type Options = udp::options::Service;
    type Service = dyn udp::Service;

    fn services(source: &Source) -> &Objects<Self::Options> {
        &source.udp_services
    }

    fn missing(name: &str) -> String {
        format!("the UDP service \"{name}\" does not exist")
    }

    fn build(
        options: &Self::Options,
        name: &str,
        lookup: &Lookup<'_, '_, Self>,
        previous: Option<&Arc<Self::Service>>,
    ) -> Result<Arc<Self::Service>, String> {
        udp::build(options, name, lookup, previous).map_err(|error| error.to_string())
    }
}

impl udp::Lookup for Lookup<'_, '_, OverUdp> {
    fn service(&self, name: &str) -> Result<Arc<dyn udp::Service>, udp::BuildError> {
        self.child(name).map_err(udp::BuildError::Other)
    }
}

/// The transport of services that name none.
const DEFAULT_TRANSPORT: &str = "default@internal";

/// A transport's options, and what came of building it.
type Made = (Arc<ServersTransport>, Result<Arc<Transport>, String>);

/// Transports by qualified name.
pub(super) type MadeTransports = HashMap<String, Made>;

/// Builds transports, each at most once.
pub(super) struct Transports<'a> {
    sources: &'a Sources,
    settings: &'a Settings,
    previous: &'a MadeTransports,
    made: RefCell<MadeTransports>,
}

impl<'a> Transports<'a> {
    pub(super) fn new(
        sources: &'a Sources,
        settings: &'a Settings,
        previous: &'a MadeTransports,
    ) -> Self {
        Self { sources, settings, previous, made: RefCell::default() }
    }

    pub(super) fn finish(self) -> MadeTransports {
        self.made.into_inner()
    }

    fn get(&self, name: &str) -> Result<Arc<Transport>, String> {
        if name == DEFAULT_TRANSPORT {
            return Ok(self.settings.default_tcp_transport.clone());
        }
        if let Some((_, known)) = self.made.borrow().get(name) {
            return known.clone();
        }
        let (short, provider) = split(name);
        let source = self.sources.get(provider);
        let options = source.and_then(|source| source.tcp_transports.get(short));
        let options = options.ok_or_else(|| format!("servers transport not found {name}"))?;
        let kept = self.previous.get(name).filter(|kept| Arc::ptr_eq(&kept.0, options));
        let made = kept.cloned().unwrap_or_else(|| {
            let built = Transport::build(options, self.settings.identity.as_ref());
            let built = built.map_err(|error| format!("servers transport {name}: {error}"));
            (options.clone(), built)
        });
        let result = made.1.clone();
        self.made.borrow_mut().insert(name.to_owned(), made);
        result
    }
}
