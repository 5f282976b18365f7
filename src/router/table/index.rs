//! Which routes are worth trying for a request: by host, then by the start of the path.
//!
//! Hosts are kept as seeded hashes only. Two hosts with the same hash share a list, which costs a try and no
//! mistake, because a route's rule has the last word. Routes are called by their rank: their place in the order.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::router::Rule;
use crate::router::Target;
use crate::router::matcher::{Host, Matcher, wildcard_parent};

/// From this number of routes on, those of a host are kept by path.
const PATHS_FROM: usize = 9;

/// Routes by host.
pub(super) struct Index {
    seed: u64,
    hosts: HashMap<u64, Routes, Hashed>,
    has_wildcards: bool,
    /// Routes that any host may have.
    general: Routes,
}

/// Some routes. Most hosts have one.
enum Routes {
    One(u32),
    Many(Box<Paths>),
}

/// Routes by path, in ascending rank.
#[derive(Default)]
struct Paths {
    /// Those that any path may have.
    general: Box<[u32]>,
    /// Sorted by their texts.
    starts: Box<[Start]>,
}

/// Routes of which each needs a path that begins with `text`.
struct Start {
    text: Box<str>,
    /// The longest other start that this one begins with.
    parent: Option<u32>,
    ranks: Box<[u32]>,
}

impl Index {
    /// `rules` in the order of their ranks.
    pub(super) fn new<'r>(rules: impl ExactSizeIterator<Item = &'r Rule>) -> Self {
        let seed = RandomState::new().hash_one(0_u8);
        let rules: Vec<&Rule> = rules.collect();
        let mut lists: HashMap<u64, List, Hashed> =
            HashMap::with_capacity_and_hasher(rules.len(), Hashed);
        let mut general = Vec::new();
        let mut has_wildcards = false;
        for (rank, rule) in (0_u32..).zip(&rules) {
            let hosts = rule.tree().required(&|matcher| match matcher {
                Matcher::Host(host) => key(seed, host),
                _ => None,
            });
            let Some(hosts) = hosts else {
                general.push(rank);
                continue;
            };
            for (hash, is_wildcard) in hosts {
                has_wildcards |= is_wildcard;
                lists.entry(hash).and_modify(|list| list.push(rank)).or_insert(List::One(rank));
            }
        }
        let hosts = lists.into_iter().map(|(hash, list)| (hash, list.into_routes(&rules)));
        Self {
            seed,
            hosts: hosts.collect(),
            has_wildcards,
            general: Routes::Many(Box::new(Paths::new(general, &rules))),
        }
    }

    /// The lowest rank that `takes` approves. Asked for all ranks, it would approve none below.
    pub(super) fn first(&self, target: &Target<'_>, takes: &impl Fn(u32) -> bool) -> Option<u32> {
        let mut best = Best { rank: u32::MAX, takes };
        let host = target.host();
        if !host.is_empty() {
            if let Some(routes) = self.hosts.get(&hash(self.seed, host)) {
                best.look_through(routes, target.path());
            }
            if self.has_wildcards
                && let Some(parent) = wildcard_parent(host)
                && let Some(routes) = self.hosts.get(&hash(!self.seed, parent))
            {
                best.look_through(routes, target.path());
            }
        }
        best.look_through(&self.general, target.path());
        (best.rank != u32::MAX).then_some(best.rank)
    }
}

/// The lowest rank found.
struct Best<'f, F> {
    rank: u32,
    takes: &'f F,
}

impl<F: Fn(u32) -> bool> Best<'_, F> {
    fn look_through(&mut self, routes: &Routes, path: &[u8]) {
        match routes {
            Routes::One(rank) => self.try_all(&[*rank]),
            Routes::Many(paths) => {
                self.try_all(&paths.general);
                for start in paths.starts_of(path) {
                    self.try_all(&start.ranks);
                }
            }
        }
    }

    /// `ranks` ascend.
    fn try_all(&mut self, ranks: &[u32]) {
        for &rank in ranks {
            if rank >= self.rank {
                return;
            }
            if (self.takes)(rank) {
                self.rank = rank;
                return;
            }
        }
    }
}

/// Ranks of a host while the index is built.
enum List {
    One(u32),
    Many(Vec<u32>),
}

impl List {
    /// Ranks come in ascending order; a rule may name a host twice.
    fn push(&mut self, rank: u32) {
        match self {
            Self::One(first) if *first == rank => {}
            Self::One(first) => *self = Self::Many(vec![*first, rank]),
            Self::Many(ranks) if ranks.last() == Some(&rank) => {}
            Self::Many(ranks) => ranks.push(rank),
        }
    }

    fn into_routes(self, rules: &[&Rule]) -> Routes {
        match self {
            Self::One(rank) => Routes::One(rank),
            Self::Many(ranks) => Routes::Many(Box::new(Paths::new(ranks, rules))),
        }
    }
}

impl Paths {
    /// `ranks` ascend.
    fn new(ranks: Vec<u32>, rules: &[&Rule]) -> Self {
        if ranks.len() < PATHS_FROM {
            return Self { general: ranks.into(), starts: Box::default() };
        }
        let mut general = Vec::new();
        let mut by_start: Vec<(&str, u32)> = Vec::with_capacity(ranks.len());
        for rank in ranks {
            let rule = usize::try_from(rank).ok().and_then(|rank| rules.get(rank));
            match rule.and_then(|rule| rule.tree().required(&path_start)) {
                Some(starts) => by_start.extend(starts.into_iter().map(|start| (start, rank))),
                None => general.push(rank),
            }
        }
        by_start.sort_unstable();
        by_start.dedup();
        let mut starts: Vec<Start> = Vec::new();
        // The starts that the one at hand begins with, shortest first.
        let mut open: Vec<(u32, &str)> = Vec::new();
        for group in by_start.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(start, _)) = group.first() else { continue };
            while open.last().is_some_and(|(_, outer)| !start.starts_with(outer)) {
                open.pop();
            }
            let parent = open.last().map(|&(place, _)| place);
            if let Ok(place) = u32::try_from(starts.len()) {
                open.push((place, start));
            }
            let ranks = group.iter().map(|&(_, rank)| rank).collect();
            starts.push(Start { text: start.into(), parent, ranks });
        }
        Self { general: general.into(), starts: starts.into() }
    }

    /// The starts that `path` begins with, longest first. The last start that does not sort behind `path` is one of
    /// them, or begins with all of them.
    fn starts_of(&self, path: &[u8]) -> impl Iterator<Item = &Start> {
        let after = self.starts.partition_point(|start| start.text.as_bytes() <= path);
        let last = after.checked_sub(1).and_then(|place| self.starts.get(place));
        std::iter::successors(last, |start| {
            start.parent.and_then(|place| self.starts.get(usize::try_from(place).ok()?))
        })
        .filter(move |start| path.starts_with(start.text.as_bytes()))
    }
}

/// What the path of a request must begin with for `matcher` to match.
fn path_start(matcher: &Matcher) -> Option<&str> {
    match matcher {
        Matcher::Path(path) => Some(path.literal()),
        Matcher::PathPrefix(prefix) => Some(prefix.literal()),
        _ => None,
    }
}

/// The hash of a host of a rule, and whether it is a wildcard.
fn key(seed: u64, host: &Host) -> Option<(u64, bool)> {
    match host {
        Host::Exact(name) => Some((hash(seed, name), false)),
        Host::Wildcard(parent) => Some((hash(!seed, parent), true)),
        Host::Any => None,
    }
}

/// Folded multiplication, eight bytes at a time. The seed is this table's secret, so nobody can choose hosts that
/// share a hash.
fn hash(seed: u64, text: &str) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = fold(seed ^ text.len() as u64, FACTOR);
    let (words, tail) = text.as_bytes().as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), FACTOR ^ seed);
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    fold(state ^ u64::from_le_bytes(last), FACTOR ^ seed.rotate_left(32))
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are wanted")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Keys are hashes already.
#[derive(Default, Clone)]
struct Hashed;

impl BuildHasher for Hashed {
    type Hasher = Same;

    fn build_hasher(&self) -> Same {
        Same(0)
    }
}

struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
