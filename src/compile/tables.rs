//! The plan itself: routes of each entry point, by plain and by TLS, and its handshakes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Settings;
use super::routers::Kept as Router;
use super::tls::{DEFAULT, Tls};
use crate::plan::{EntryPoint, Plan, Route};
use crate::router::{Entry, Table};
use crate::tls::{Acceptance, Tables};

/// Entry points of the last plan, with what they were made of.
pub(crate) type Kept = HashMap<Arc<str>, (Vec<usize>, Arc<EntryPoint>)>;

/// Makes the plan; an entry point whose routes and handshakes are the same stays the same.
pub(crate) fn make(
    routers: &[Arc<Router>],
    settings: &Settings,
    tls: &Tls,
    previous: &Kept,
    generation: u64,
) -> (Plan, Kept) {
    let mut by_entry_point: BTreeMap<&str, Vec<&Arc<Router>>> =
        settings.entry_points.keys().map(|name| (name.as_str(), Vec::new())).collect();
    for router in routers {
        for entry_point in &router.report.using {
            if let Some(list) = by_entry_point.get_mut(entry_point.as_str()) {
                list.push(router);
            }
        }
    }
    let mut kept = Kept::new();
    for (name, routers) in by_entry_point {
        let name: Arc<str> = name.into();
        let made_of = made_of(&routers, tls);
        let entry_point = match previous.get(&name) {
            Some((old, entry_point)) if *old == made_of => entry_point.clone(),
            _ => Arc::new(entry_point(&routers, settings, tls)),
        };
        kept.insert(name, (made_of, entry_point));
    }
    let entry_points =
        kept.iter().map(|(name, (_, entry_point))| (name.clone(), entry_point.clone())).collect();
    (Plan { generation, entry_points }, kept)
}

/// Addresses of everything that an entry point holds. They are those of living objects, since the old plan is held
/// while the new one is made.
fn made_of(routers: &[&Arc<Router>], tls: &Tls) -> Vec<usize> {
    let mut addresses: Vec<usize> =
        routers.iter().map(|router| Arc::as_ptr(router) as usize).collect();
    let mut acceptances: Vec<_> = tls.acceptances.iter().collect();
    acceptances.sort_by_key(|(name, _)| *name);
    addresses.extend(acceptances.iter().map(|(_, acceptance)| Arc::as_ptr(acceptance) as usize));
    addresses
}

fn entry_point(routers: &[&Arc<Router>], settings: &Settings, tls: &Tls) -> EntryPoint {
    let mut plain: Vec<Entry<Arc<Route>>> = Vec::new();
    let mut secure = Vec::new();
    let mut hosts: Vec<(String, Arc<Acceptance>)> = Vec::new();
    for router in routers {
        let with_tls = router.report.options.tls.is_some();
        if with_tls && let Some(rule) = &router.rule {
            let asked = match &router.route {
                Some(route) => route.tls_options.clone(),
                None => asked(router),
            };
            // Options that cannot be built close the connections of their names.
            let acceptance = tls
                .acceptances
                .get(&asked)
                .cloned()
                .unwrap_or_else(|| Arc::new(Acceptance { options: asked, config: None }));
            hosts.extend(rule.hosts().into_iter().map(|host| (host, acceptance.clone())));
        }
        let (Some(route), Some(rule)) = (&router.route, &router.rule) else { continue };
        let place = settings.precedence.iter().position(|name| **name == *router.provider);
        let entry = Entry {
            rule: rule.clone(),
            priority: router.report.priority,
            precedence: place.unwrap_or(usize::MAX),
            name: router.name.clone(),
            value: route.clone(),
        };
        if with_tls { secure.push(entry) } else { plain.push(entry) }
    }
    let default = tls.acceptances.get(DEFAULT).cloned();
    let default =
        default.unwrap_or_else(|| Arc::new(Acceptance { options: DEFAULT.into(), config: None }));
    let tables = Tables::new(hosts, default);
    EntryPoint { plain: Table::new(plain), secure: Table::new(secure), tls: Arc::new(tables) }
}

/// The options that a disabled router asks for; a router that is disabled for another reason counts with the default.
fn asked(router: &Router) -> Arc<str> {
    let tls = router.report.options.tls.as_ref();
    Tls::qualify(tls.map_or("", |tls| &tls.options), &router.provider).into()
}
