//! UDP routers and the services that they use.
//!
//! Traefik: UDP (tcp-udp-tls.md §5). Differs: a router whose entry points all belong to others is shown with a warning,
//! where Traefik only logs it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::report::{ObjectReport, RouterReport, Status};
use super::super::source::{qualify, split};
use super::services::{Built, OverUdp, Services, Transports};
use super::{Context, Findings, reports};
use crate::udp::Route;
use crate::udp::options::{Router as Options, Service as ServiceOptions};

/// What came of all UDP objects, by qualified name.
#[derive(Default)]
pub(crate) struct Udp {
    pub(crate) routers: BTreeMap<Arc<str>, Arc<RouterReport<Options>>>,
    pub(crate) services: BTreeMap<Arc<str>, ObjectReport<ServiceOptions>>,
    /// The one router of each entry point.
    pub(crate) routes: HashMap<String, Arc<Route>>,
    built: Built<OverUdp>,
}

impl Udp {
    pub(super) fn compile(context: Context<'_>, previous: &Self) -> Self {
        let Context { sources, settings, .. } = context;
        let nothing = HashMap::new();
        // UDP services have no transports.
        let transports = Transports::new(sources, settings, &nothing);
        let services = Services::new(sources, &transports, &previous.built);
        let mut all: Vec<(Arc<str>, &Arc<str>, &Arc<Options>)> = Vec::new();
        for (provider, source) in sources {
            let routers = source.udp_routers.iter();
            all.extend(
                routers.map(|(short, options)| {
                    (format!("{short}@{provider}").into(), provider, options)
                }),
            );
        }
        // Of several routers on an entry point, the last by name has it.
        all.sort_by(|(a, ..), (b, ..)| b.cmp(a));
        let mut routes: HashMap<String, Arc<Route>> = HashMap::new();
        let mut routers = BTreeMap::new();
        for (name, provider, options) in all {
            let mut findings = Findings::new();
            let route = route(context, &services, (&name, provider), options, &mut findings);
            if let Some(route) = route {
                for entry_point in findings.using.clone() {
                    match routes.get(&entry_point) {
                        Some(other) => findings.warn(format!(
                            "entryPoint \"{entry_point}\" belongs to router {}: a UDP entry point has one router",
                            other.name
                        )),
                        None => drop(routes.insert(entry_point, route.clone())),
                    }
                }
            }
            routers.insert(name, findings.report(Options::clone(options), 0));
        }
        let error = |name: &str| services.error(name);
        let mut objects = reports(sources, |source| &source.udp_services, error);
        for (name, router) in &routers {
            let service = qualify(&router.options.service, split(name).1);
            if let Some(service) = objects.get_mut(service.as_str()) {
                service.used_by.insert(name.clone(), ());
            }
        }
        Self { routers, services: objects, routes, built: services.finish() }
    }
}

fn route(
    context: Context<'_>,
    services: &Services<'_, OverUdp>,
    (name, provider): (&Arc<str>, &str),
    options: &Options,
    findings: &mut Findings,
) -> Option<Arc<Route>> {
    let all = context.settings.entry_points.iter().filter(|(_, model)| model.udp);
    let entry_points: Vec<String> = match options.entry_points.as_slice() {
        [] => all.map(|(name, _)| name.clone()).collect(),
        given => given.to_vec(),
    };
    findings.listen(context.settings, &entry_points, true);
    if options.service.is_empty() {
        findings.disable("the service is missing on the udp router");
    }
    if findings.status == Status::Disabled {
        return None;
    }
    match services.get(&qualify(&options.service, provider)) {
        Ok(service) => Some(Arc::new(Route { name: name.clone(), service })),
        Err(error) => {
            findings.disable(error);
            None
        }
    }
}
