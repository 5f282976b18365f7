//! Routing in layers: which routers stand below which, and what is wrong with that.
//!
//! Traefik: routers, `parentRefs` (http.md §2). Roots have rules, entry points and TLS; a router with others below it
//! has no service; routers below run after the middlewares of the one above.
//! Differs: a parent that does not exist is always an error of its child; Traefik forgets it where an entry point
//! adds something to routers. A parent that is renamed since its TLS options are in conflict keeps its children.
//! A router with a service and children is not served; Traefik calls it disabled and asks its children.

use std::collections::HashMap;
use std::sync::Arc;

use super::report::Status;
use super::routers::Draft;
use crate::config::text::Text;

/// How deep routers may be nested. Differs: Traefik has no limit, and a deep one ends in its stack.
pub(crate) const LAYERS_MAX: usize = 32;

/// What came of looking at all routers that stand in layers.
pub(crate) struct Layers {
    /// Places of drafts, those below before those above.
    pub(crate) order: Vec<usize>,
    /// By the place of a draft: the places of those directly below it.
    below: HashMap<usize, Vec<usize>>,
}

impl Layers {
    /// Those directly below the draft at `place`.
    pub(crate) fn below(&self, place: usize) -> &[usize] {
        self.below.get(&place).map_or(&[], Vec::as_slice)
    }
}

/// Finds the layers and notes what is wrong in the drafts. `drafts` must hold all routers that stand in layers.
pub(crate) fn arrange(drafts: &mut [Draft]) -> Layers {
    let mut findings = Findings::default();
    let below = if drafts.iter().any(Draft::is_layered) {
        children(drafts, &mut findings)
    } else {
        HashMap::new()
    };
    let mut walk = Walk { drafts, below, states: Vec::new(), order: Vec::new() };
    walk.run(&mut findings);
    let Walk { below, states, mut order, .. } = walk;
    for (place, draft) in drafts.iter().enumerate() {
        let has_children = below.get(&place).is_some_and(|children| !children.is_empty());
        if states.get(place) == Some(&State::New) {
            order.push(place);
            findings.disable(place, "router is not reachable");
        } else if draft.options.service.is_empty() && !has_children {
            findings.disable(place, "router has no service and no child routers");
        } else if !draft.options.service.is_empty() && has_children {
            findings.disable(
                place,
                "router has both a service and is referenced as a parent by other routers",
            );
        }
    }
    for (place, found) in findings.0 {
        if let Some(draft) = drafts.get_mut(place) {
            let status = found.iter().map(|(status, _)| *status).max().unwrap_or_default();
            draft.status = draft.status.max(status);
            // What is wrong with layers is said before what is wrong with the router itself.
            draft.errors.splice(0..0, found.into_iter().map(|(_, text)| text));
        }
    }
    Layers { order, below }
}

/// What is wrong, by the place of the draft.
#[derive(Default)]
struct Findings(HashMap<usize, Vec<(Status, String)>>);

impl Findings {
    fn disable(&mut self, place: usize, text: impl Into<String>) {
        self.0.entry(place).or_default().push((Status::Disabled, text.into()));
    }

    fn warn(&mut self, place: usize, text: String) {
        self.0.entry(place).or_default().push((Status::Warning, text));
    }
}

/// Who stands below whom, by the names that routers were written under: all that became of a parent are meant.
fn children(drafts: &mut [Draft], findings: &mut Findings) -> HashMap<usize, Vec<usize>> {
    let mut named: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
    for (place, draft) in drafts.iter().enumerate() {
        named.entry(draft.origin.clone()).or_default().push(place);
    }
    let names: Vec<Arc<str>> = drafts.iter().map(|draft| draft.name.clone()).collect();
    let mut below: HashMap<usize, Vec<usize>> = HashMap::new();
    for (place, draft) in drafts.iter_mut().enumerate().filter(|(_, draft)| draft.is_layered()) {
        let mut refs: Vec<Text> = Vec::new();
        for parent in draft.parents() {
            let Some(parents) = named.get(&*parent) else {
                findings.disable(place, format!("parent router \"{parent}\" does not exist"));
                refs.push(parent.into());
                continue;
            };
            for &parent in parents {
                let children = below.entry(parent).or_default();
                if !children.contains(&place) {
                    children.push(place);
                }
                refs.extend(names.get(parent).map(|name| Text::from(&**name)));
            }
        }
        let original = &draft.original;
        let only = if original.tls.is_some() {
            Some("TLS")
        } else if original.observability.is_some() {
            Some("Observability")
        } else if !original.entry_points.is_empty() {
            Some("Entrypoints")
        } else {
            None
        };
        if let Some(option) = only {
            findings.disable(place, format!("non-root router cannot have {option} configuration"));
        }
        if refs != *draft.options.parent_refs {
            Arc::make_mut(&mut draft.options).parent_refs = refs.into();
        }
    }
    below
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// On the way from the root to where the walk is.
    Open,
    Done,
}

/// Walks from the roots down, by name, and cuts what leads back up.
struct Walk<'a> {
    drafts: &'a [Draft],
    below: HashMap<usize, Vec<usize>>,
    states: Vec<State>,
    order: Vec<usize>,
}

impl Walk<'_> {
    fn run(&mut self, findings: &mut Findings) {
        self.states = vec![State::New; self.drafts.len()];
        self.order.reserve(self.drafts.len());
        if self.below.is_empty() {
            // Without layers, all that has no parent is a root, and nothing is below it.
            for (place, draft) in self.drafts.iter().enumerate() {
                if !draft.is_layered() {
                    self.set(place, State::Done);
                    self.order.push(place);
                }
            }
            return;
        }
        let drafts = self.drafts;
        let name = |place: &usize| drafts.get(*place).map(|draft| &*draft.name);
        for children in self.below.values_mut() {
            children.sort_by(|a, b| name(a).cmp(&name(b)));
        }
        let mut roots: Vec<usize> = (0..drafts.len()).collect();
        roots.retain(|place| drafts.get(*place).is_some_and(|draft| !draft.is_layered()));
        roots.sort_by(|a, b| name(a).cmp(&name(b)));
        for root in roots {
            self.descend(root, findings);
        }
    }

    fn set(&mut self, place: usize, state: State) {
        if let Some(known) = self.states.get_mut(place) {
            *known = state;
        }
    }

    /// Without recursion: a document may nest as deep as it likes.
    fn descend(&mut self, root: usize, findings: &mut Findings) {
        // A router that is open, and how many of those below it have been walked.
        let mut path: Vec<(usize, usize)> = vec![(root, 0)];
        self.set(root, State::Open);
        while let Some((place, walked)) = path.last_mut() {
            let place = *place;
            let child = self.below.get(&place).and_then(|children| children.get(*walked)).copied();
            let Some(child) = child else {
                self.set(place, State::Done);
                self.order.push(place);
                path.pop();
                continue;
            };
            match self.states.get(child) {
                Some(State::New) => {
                    *walked += 1;
                    self.set(child, State::Open);
                    path.push((child, 0));
                }
                Some(State::Open) => {
                    if let Some(children) = self.below.get_mut(&place) {
                        children.retain(|one| *one != child);
                    }
                    findings.warn(place, self.circle(&path, child));
                }
                Some(State::Done) | None => *walked += 1,
            }
        }
    }

    /// The way from `child` to where the walk is, and back.
    fn circle(&self, path: &[(usize, usize)], child: usize) -> String {
        let places = path.iter().map(|(place, _)| *place).skip_while(|place| *place != child);
        let names = places.chain([child]).filter_map(|place| self.drafts.get(place));
        let names: Vec<&str> = names.map(|draft| &*draft.name).collect();
        format!("cyclic reference detected in router tree: {}", names.join(" -> "))
    }
}

#[cfg(test)]
mod tests;
