//! The plan itself: routes of each entry point, by plain and by TLS, and its handshakes.

use std::collections::HashMap;
use std::sync::Arc;

use super::Settings;
use super::routers::{Kept as Router, Outcome};
use super::streams::Streams;
use super::tls::{DEFAULT, Tls};
use crate::config::text::Text;
use crate::plan::{self, EntryPoint, Https, Plan, Route};
use crate::router::Entry;
use crate::router::tcp::Table;
use crate::tls::{Acceptance, Tables};

/// Entry points of the last plan, with the number of their routers that ask for other TLS options than the default.
pub(crate) type Kept = HashMap<Arc<str>, (Arc<EntryPoint>, usize)>;

/// What there is to route.
pub(crate) struct Routed<'a> {
    pub(crate) routers: &'a Outcome,
    pub(crate) streams: &'a Arc<Streams>,
    /// What the last plan was made of.
    pub(crate) before: &'a Arc<Streams>,
}

/// Makes the plan from the last one; an entry point whose routes and handshakes are the same stays the same.
pub(crate) fn make(
    routed: &Routed<'_>,
    settings: &Settings,
    (tls, same_tls): (&Tls, bool),
    previous: &Kept,
    generation: u64,
) -> (Plan, Kept) {
    let Routed { routers, streams, before } = routed;
    let same_streams = Arc::ptr_eq(streams, before);
    let mut kept = Kept::new();
    for name in settings.entry_points.keys() {
        let change = Change {
            name,
            removed: on(name, &routers.removed),
            added: on(name, &routers.added),
            routers,
            tls,
            same_streams,
        };
        let old = previous.get(name.as_str());
        let unchanged =
            same_tls && same_streams && change.removed.is_empty() && change.added.is_empty();
        let entry = match old {
            Some(old) if unchanged => old.clone(),
            _ => change.apply(old, same_tls, streams),
        };
        kept.insert(name.as_str().into(), entry);
    }
    let entry_points =
        kept.iter().map(|(name, (entry_point, _))| (name.clone(), entry_point.clone())).collect();
    (Plan { generation, entry_points }, kept)
}

fn on<'a>(entry_point: &str, routers: &'a [Arc<Router>]) -> Vec<&'a Router> {
    let listens = |router: &&Arc<Router>| router.report.using.iter().any(|one| *one == entry_point);
    routers.iter().filter(listens).map(|router| &**router).collect()
}

/// What changes on one entry point.
struct Change<'a> {
    name: &'a str,
    removed: Vec<&'a Router>,
    added: Vec<&'a Router>,
    routers: &'a Outcome,
    tls: &'a Tls,
    /// Nothing of TCP and UDP has changed.
    same_streams: bool,
}

impl Change<'_> {
    fn apply(
        &self,
        old: Option<&(Arc<EntryPoint>, usize)>,
        same_tls: bool,
        streams: &Streams,
    ) -> (Arc<EntryPoint>, usize) {
        let nothing = (Arc::default(), 0);
        let (before, specials) = old.unwrap_or(&nothing);
        let count = |routers: &[&Router]| routers.iter().filter(|one| one.asks_other_tls()).count();
        let now = (specials + count(&self.added)).saturating_sub(count(&self.removed));
        let secure = |routers: &[&Router]| routers.iter().any(|router| router.tls().is_some());
        // Without a router that asks for other options than the default, no name needs an entry.
        let as_before = old.is_some()
            && same_tls
            && match (specials, now) {
                (0, 0) => true,
                _ => !secure(&self.removed) && !secure(&self.added),
            };
        let handshakes = if as_before { before.tls.clone() } else { self.handshakes(now) };
        let entry_point = EntryPoint {
            plain: before.plain.with(&entries(&self.removed, false), &entries(&self.added, false)),
            secure: before.secure.with(&entries(&self.removed, true), &entries(&self.added, true)),
            tls: handshakes,
            streams: if old.is_some()
                && self.same_streams
                && !secure(&self.removed)
                && !secure(&self.added)
            {
                before.streams.clone()
            } else {
                self.tcp(streams)
            },
            datagrams: streams.udp.routes.get(self.name).cloned(),
        };
        (Arc::new(entry_point), now)
    }

    /// TCP routers, with what they have to know of HTTPS routers.
    fn tcp(&self, streams: &Streams) -> Option<Arc<plan::Streams>> {
        let listens = |using: &[Text]| using.iter().any(|one| *one == self.name);
        let (mut plain, mut secure) = (Vec::new(), Vec::new());
        for (name, router) in &streams.tcp.routers {
            if listens(&router.report.using)
                && let Some((entry, with_tls)) = router.entry(name)
            {
                if with_tls { secure.push(entry) } else { plain.push(entry) }
            }
        }
        if plain.is_empty() && secure.is_empty() {
            return None;
        }
        let https = self.routers.all.iter().filter(|router| {
            router.tls().is_some() && router.entry.is_some() && listens(&router.report.using)
        });
        let hosts = https.filter_map(|router| Some(router.rule.as_ref()?.hosts()));
        Some(Arc::new(plan::Streams {
            plain: Table::new(plain),
            secure: Table::new(secure),
            https: Https::of(hosts),
        }))
    }

    fn handshakes(&self, specials: usize) -> Arc<Tables> {
        let acceptance = |name: &str| {
            // Options that cannot be built close the connections of their names.
            let known = self.tls.acceptances.get(name).cloned();
            known.unwrap_or_else(|| Arc::new(Acceptance { options: name.into(), config: None }))
        };
        let mut hosts = Vec::new();
        if specials > 0 {
            let listens =
                |router: &&Arc<Router>| router.report.using.iter().any(|one| *one == self.name);
            for router in self.routers.all.iter().filter(listens) {
                if let (Some(options), Some(rule)) = (router.tls(), &router.rule) {
                    let acceptance = acceptance(options);
                    hosts.extend(rule.hosts().into_iter().map(|host| (host, acceptance.clone())));
                }
            }
        }
        Arc::new(Tables::new(hosts, acceptance(DEFAULT)))
    }
}

fn entries(routers: &[&Router], secure: bool) -> Vec<Arc<Entry<Route>>> {
    let wanted = routers.iter().filter(|router| router.tls().is_some() == secure);
    wanted.filter_map(|router| router.entry.clone()).collect()
}
