//! TCP routers, and the middlewares and services that they use.
//!
//! Traefik: TCP routers (tcp-udp-tls.md §1 to §4).

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::models::default_entry_points;
use super::super::report::{ObjectReport, RouterReport, Status, StreamServiceReport};
use super::super::source::{qualify, split};
use super::super::tls::Tls;
use super::services::{Built, MadeTransports, OverTcp, Services, Transports};
use super::{Context, Findings, reports};
use crate::router;
use crate::router::Syntax;
use crate::router::tcp::{Entry, Rule};
use crate::tcp::options::{Middleware as MiddlewareOptions, Router as Options, RouterTls};
use crate::tcp::{Ending, Middleware, Route, Service, middleware};
use crate::tls::Acceptance;

/// A TCP router, compiled.
pub(crate) struct Router {
    pub(crate) report: Arc<RouterReport<Options>>,
    /// As written.
    original: Arc<Options>,
    rule: Option<Arc<Rule>>,
    /// Absent where nothing is routed.
    route: Option<Arc<Route>>,
    /// The provider's place among equal priorities.
    precedence: usize,
}

impl Router {
    /// What its entry points have of it, and whether that is for connections with TLS.
    pub(crate) fn entry(&self, name: &Arc<str>) -> Option<(Entry<Arc<Route>>, bool)> {
        let (rule, route) = (self.rule.clone()?, self.route.clone()?);
        let secure = !matches!(route.ending, Ending::Plain);
        let entry = Entry {
            rule,
            priority: self.report.priority,
            precedence: self.precedence,
            name: name.clone(),
            value: route,
        };
        Some((entry, secure))
    }
}

/// Middlewares by qualified name, with the router behind a zero byte where each router has its own.
type Made = HashMap<String, (Arc<MiddlewareOptions>, Result<Arc<dyn Middleware>, String>)>;

/// What came of all TCP objects, by qualified name.
#[derive(Default)]
pub(crate) struct Tcp {
    pub(crate) routers: BTreeMap<Arc<str>, Arc<Router>>,
    pub(crate) services: BTreeMap<Arc<str>, StreamServiceReport>,
    pub(crate) middlewares: BTreeMap<Arc<str>, ObjectReport<MiddlewareOptions>>,
    built: Built<OverTcp>,
    transports: MadeTransports,
    made: Made,
}

impl Tcp {
    pub(super) fn compile(context: Context<'_>, previous: &Self) -> Self {
        let Context { sources, settings, .. } = context;
        let transports = Transports::new(sources, settings, &previous.transports);
        let work = Work {
            context,
            services: Services::new(sources, &transports, &previous.built),
            previous,
            made: RefCell::default(),
        };
        let mut routers = BTreeMap::new();
        for (provider, source) in sources {
            for (short, options) in &source.tcp_routers {
                let name: Arc<str> = format!("{short}@{provider}").into();
                let router = work.router(&name, provider, options);
                routers.insert(name, Arc::new(router));
            }
        }
        let Work { services, made, .. } = work;
        let made = made.into_inner();
        let mut broken: HashMap<&str, &String> = HashMap::new();
        for (key, (_, result)) in &made {
            let name = key.split('\0').next().unwrap_or_default();
            broken.extend(result.as_ref().err().map(|error| (name, error)));
        }
        let middlewares = reports(
            sources,
            |source| &source.tcp_middlewares,
            |name| broken.get(name).map(|error| (*error).clone()),
        );
        let objects = reports(sources, |source| &source.tcp_services, |name| services.error(name));
        let built = services.finish();
        let report = |(name, object): (Arc<str>, _)| {
            let built = built.get(&name).cloned();
            (name, StreamServiceReport { object, built })
        };
        let mut services: BTreeMap<_, _> = objects.into_iter().map(report).collect();
        for (name, router) in &routers {
            let service = qualify(&router.report.options.service, split(name).1);
            if let Some(service) = services.get_mut(service.as_str()) {
                service.object.used_by.insert(name.clone(), ());
            }
        }
        Self { routers, services, middlewares, built, transports: transports.finish(), made }
    }
}

/// What a route is made of.
struct Parts {
    middlewares: Box<[Arc<dyn Middleware>]>,
    service: Arc<dyn Service>,
}

/// One compilation.
struct Work<'a> {
    context: Context<'a>,
    services: Services<'a, OverTcp>,
    previous: &'a Tcp,
    made: RefCell<Made>,
}

impl Work<'_> {
    fn router(&self, name: &Arc<str>, provider: &Arc<str>, original: &Arc<Options>) -> Router {
        let settings = self.context.settings;
        let mut options = Options::clone(original);
        if options.entry_points.is_empty() {
            options.entry_points = default_entry_points(settings);
        }
        if options.rule_syntax.is_empty() {
            options.rule_syntax = settings.written_syntax.clone().unwrap_or_default();
        }
        for middleware in &mut options.middlewares {
            *middleware = qualify(middleware, provider);
        }
        let mut findings = Findings::new();
        let listens = findings.listen(settings, &options.entry_points, false);
        let rule = match self.rule(name, original, &options) {
            _ if !listens => None,
            Ok(rule) => Some(rule),
            Err(error) => {
                findings.disable(error);
                None
            }
        };
        let ending = self.ending(provider, options.tls.as_ref(), &mut findings);
        let parts = match &rule {
            Some(_) if findings.status != Status::Disabled => {
                self.parts(name, &options, &mut findings)
            }
            _ => None,
        };
        // Names whose TLS options cannot be used are refused, not served by others.
        let refuses = matches!(&ending, Ending::Ended(one) if one.config.is_none());
        let route = match parts {
            Some(Parts { middlewares, service }) => {
                Some(Route { name: name.clone(), ending, middlewares, service: Some(service) })
            }
            None if refuses => {
                let middlewares = Box::default();
                Some(Route { name: name.clone(), ending, middlewares, service: None })
            }
            None => None,
        };
        let route = route.filter(|_| rule.is_some()).map(Arc::new);
        let priority = match (options.priority, &rule) {
            (0, Some(rule)) => rule.default_priority(&options.rule),
            (0, None) => i64::try_from(options.rule.len()).unwrap_or(i64::MAX),
            (priority, _) => priority,
        };
        let place = settings.precedence.iter().position(|one| **one == **provider);
        Router {
            report: findings.report(options, priority),
            original: original.clone(),
            rule,
            route,
            precedence: place.unwrap_or(usize::MAX),
        }
    }

    fn rule(
        &self,
        name: &str,
        original: &Arc<Options>,
        options: &Options,
    ) -> Result<Arc<Rule>, String> {
        router::options::check_priority(options.priority).map_err(|error| error.to_string())?;
        if options.rule.is_empty() {
            return Err("router has no rule".to_owned());
        }
        let kept = self.previous.routers.get(name);
        let kept = kept.filter(|kept| Arc::ptr_eq(&kept.original, original));
        let kept = kept.and_then(|kept| kept.rule.clone());
        let rule = if let Some(rule) = kept {
            rule
        } else {
            let syntax = Syntax::of(&options.rule_syntax, self.context.settings.default_syntax);
            let rule = Rule::parse(&options.rule, syntax).map_err(|error| error.to_string())?;
            Arc::new(rule)
        };
        if options.tls.is_none() && rule.names_servers() {
            return Err(format!(
                "invalid rule: \"{}\" , has HostSNI matcher, but no TLS on router",
                options.rule
            ));
        }
        Ok(rule)
    }

    fn ending(&self, provider: &str, tls: Option<&RouterTls>, findings: &mut Findings) -> Ending {
        let Some(tls) = tls else { return Ending::Plain };
        if tls.passthrough {
            return Ending::PassedThrough;
        }
        if !tls.cert_resolver.is_empty() {
            let resolver = &tls.cert_resolver;
            findings
                .warn(format!("certificate resolver `{resolver}`: resolvers are not built yet"));
        }
        let name = Tls::qualify(&tls.options, provider);
        let acceptance = self.context.tls.acceptances.get(name.as_str()).cloned();
        if acceptance.as_ref().is_none_or(|acceptance| acceptance.config.is_none()) {
            findings.disable(format!("unknown TLS options: {name}"));
        }
        let unusable = || Arc::new(Acceptance { options: name.into(), config: None });
        Ending::Ended(acceptance.unwrap_or_else(unusable))
    }

    /// What connections pass, and where they go.
    fn parts(&self, name: &str, options: &Options, findings: &mut Findings) -> Option<Parts> {
        let middlewares: Result<_, _> =
            options.middlewares.iter().map(|one| self.middleware(one, name)).collect();
        let service = match options.service.as_str() {
            "" => Err("the service is missing on the router".to_owned()),
            service => self.services.get(&qualify(service, split(name).1)),
        };
        match (middlewares, service) {
            (Ok(middlewares), Ok(service)) => Some(Parts { middlewares, service }),
            (Err(error), _) | (_, Err(error)) => {
                findings.disable(error);
                None
            }
        }
    }

    /// The middleware of a qualified name, for `router`.
    fn middleware(&self, name: &str, router: &str) -> Result<Arc<dyn Middleware>, String> {
        let (short, provider) = split(name);
        let source = self.context.sources.get(provider);
        let options = source.and_then(|source| source.tcp_middlewares.get(short));
        let options = options.ok_or_else(|| format!("middleware \"{name}\" does not exist"))?;
        let key = if middleware::is_per_router(options) {
            format!("{name}\0{router}")
        } else {
            name.to_owned()
        };
        let mut made = self.made.borrow_mut();
        if let Some((_, known)) = made.get(&key) {
            return known.clone();
        }
        let kept = self.previous.made.get(&key).filter(|kept| Arc::ptr_eq(&kept.0, options));
        let one = kept.cloned().unwrap_or_else(|| {
            let built = middleware::build(options, name).map_err(|error| error.to_string());
            (options.clone(), built)
        });
        let result = one.1.clone();
        made.insert(key, one);
        result
    }
}
