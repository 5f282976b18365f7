//! Which routes are worth trying for a request: by host, then by the start of the path.
//!
//! Hosts are kept as seeded hashes only. Two hosts with the same hash share a list, which costs a try and no
//! mistake, because a route's rule has the last word. Hosts are spread over shards: a change copies the shards of its
//! hosts, and shares all others.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use super::Entry;
use crate::router::Target;
use crate::router::matcher::{Host, Matcher, wildcard_parent};

/// From this number of routes on, those of a host are kept by path.
const PATHS_FROM: usize = 9;
/// Hosts of a shard, about.
const SHARD_HOSTS: usize = 64;
/// A table whose shards have grown by this is made anew.
const GROWTH_MAX: usize = 8;

type Shared<T> = Arc<Entry<T>>;
type Shard<T> = HashMap<u64, Routes<T>, Hashed>;

/// Routes by host.
pub(super) struct Index<T> {
    seed: u64,
    /// A power of two of them.
    shards: Arc<[Arc<Shard<T>>]>,
    /// Routes that any host may have.
    general: Routes<T>,
    /// How many hosts have a list, and how many of these are wildcards.
    hosts: usize,
    wildcards: usize,
    entries: usize,
}

impl<T> Clone for Index<T> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone(), general: self.general.clone(), ..*self }
    }
}

/// Some routes. Most hosts have one.
enum Routes<T> {
    One(Shared<T>),
    Many(Arc<Paths<T>>),
}

impl<T> Clone for Routes<T> {
    fn clone(&self) -> Self {
        match self {
            Self::One(entry) => Self::One(entry.clone()),
            Self::Many(paths) => Self::Many(paths.clone()),
        }
    }
}

/// Routes by path, in the order in which they are tried.
struct Paths<T> {
    /// Those that any path may have.
    general: Box<[Shared<T>]>,
    /// Sorted by their texts.
    starts: Box<[Start<T>]>,
}

/// Routes of which each needs a path that begins with `text`.
struct Start<T> {
    text: Box<str>,
    /// The longest other start that this one begins with.
    parent: Option<u32>,
    entries: Box<[Shared<T>]>,
}

/// What changes for one host.
struct Edit<T> {
    wildcard: bool,
    removed: Vec<Shared<T>>,
    added: Vec<Shared<T>>,
}

impl<T> Default for Edit<T> {
    fn default() -> Self {
        Self { wildcard: false, removed: Vec::new(), added: Vec::new() }
    }
}

/// Edits by the hash of their host, and those of routes that any host may have.
struct Edits<T> {
    hosts: HashMap<u64, Edit<T>, Hashed>,
    general: Edit<T>,
}

impl<T> Edits<T> {
    fn new(seed: u64, removed: &[Shared<T>], added: &[Shared<T>]) -> Self {
        let mut edits = Self {
            hosts: HashMap::with_capacity_and_hasher(removed.len() + added.len(), Hashed),
            general: Edit::default(),
        };
        for entry in removed {
            edits.each(seed, entry, |edit| edit.removed.push(entry.clone()));
        }
        for entry in added {
            edits.each(seed, entry, |edit| edit.added.push(entry.clone()));
        }
        edits
    }

    /// Calls `edit` for each host of an entry.
    fn each(&mut self, seed: u64, entry: &Entry<T>, edit: impl Fn(&mut Edit<T>)) {
        let hosts = entry.rule.tree().required(&|matcher| match matcher {
            Matcher::Host(host) => key(seed, host),
            _ => None,
        });
        let Some(mut hosts) = hosts else { return edit(&mut self.general) };
        // A rule may name a host twice.
        hosts.sort_unstable();
        hosts.dedup();
        for (hash, wildcard) in hosts {
            let one = self.hosts.entry(hash).or_default();
            one.wildcard = wildcard;
            edit(one);
        }
    }
}

impl<T> Index<T> {
    pub(super) fn new(entries: &[Shared<T>]) -> Self {
        let seed = RandomState::new().hash_one(0_u8);
        let count = entries.len().div_ceil(SHARD_HOSTS).next_power_of_two();
        let empty = Self {
            seed,
            shards: (0..count).map(|_| Arc::default()).collect(),
            general: Routes::none(),
            hosts: 0,
            wildcards: 0,
            entries: 0,
        };
        empty.edited(&[], entries)
    }

    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// The index without some entries and with others.
    pub(super) fn with(&self, removed: &[Shared<T>], added: &[Shared<T>]) -> Self {
        if self.hosts + added.len() <= self.shards.len() * SHARD_HOSTS * GROWTH_MAX {
            return self.edited(removed, added);
        }
        Self::new(&changed(self.all(), removed, added))
    }

    /// All entries, each once.
    fn all(&self) -> Vec<Shared<T>> {
        let lists = self.shards.iter().flat_map(|shard| shard.values());
        let mut entries: Vec<_> = lists.chain([&self.general]).flat_map(Routes::all).collect();
        entries.sort_by_key(Arc::as_ptr);
        entries.dedup_by(|one, other| Arc::ptr_eq(one, other));
        entries
    }

    fn edited(&self, removed: &[Shared<T>], added: &[Shared<T>]) -> Self {
        let edits = Edits::new(self.seed, removed, added);
        let mut next = self.clone();
        next.entries = (self.entries + added.len()).saturating_sub(removed.len());
        if !edits.general.removed.is_empty() || !edits.general.added.is_empty() {
            next.general = self.general.edited(&edits.general).unwrap_or_else(Routes::none);
        }
        let mut shards: Vec<Arc<Shard<T>>> = self.shards.to_vec();
        for (hash, edit) in edits.hosts {
            let Some(shard) = shards.get_mut(place(hash, self.shards.len())) else { continue };
            let shard = Arc::make_mut(shard);
            let before = shard.remove(&hash);
            let after = match &before {
                Some(routes) => routes.edited(&edit),
                None => Routes::new(edit.added),
            };
            let (had, has) = (usize::from(before.is_some()), usize::from(after.is_some()));
            next.hosts = next.hosts + has - had;
            if edit.wildcard {
                next.wildcards = next.wildcards + has - had;
            }
            if let Some(routes) = after {
                shard.insert(hash, routes);
            }
        }
        next.shards = shards.into();
        next
    }

    /// The entry that is tried first of those that take `target`.
    pub(super) fn first(&self, target: &Target<'_>) -> Option<&Shared<T>> {
        let mut best = Best { entry: None, target };
        let host = target.host();
        self.look_through_host(host, &mut best);
        if let Some(flat) = target.flat_host().filter(|flat| *flat != host) {
            self.look_through_host(flat, &mut best);
        }
        best.look_through(&self.general);
        best.entry
    }

    fn look_through_host<'i>(&'i self, host: &str, best: &mut Best<'i, '_, T>) {
        if host.is_empty() {
            return;
        }
        if let Some(routes) = self.routes(hash(self.seed, host)) {
            best.look_through(routes);
        }
        if self.wildcards > 0
            && let Some(parent) = wildcard_parent(host)
            && let Some(routes) = self.routes(hash(!self.seed, parent))
        {
            best.look_through(routes);
        }
    }

    fn routes(&self, hash: u64) -> Option<&Routes<T>> {
        self.shards.get(place(hash, self.shards.len()))?.get(&hash)
    }
}

/// `entries` without those that are removed and with those that are added.
fn changed<T>(
    mut entries: Vec<Shared<T>>,
    removed: &[Shared<T>],
    added: &[Shared<T>],
) -> Vec<Shared<T>> {
    let mut gone: Vec<*const Entry<T>> = removed.iter().map(Arc::as_ptr).collect();
    gone.sort_unstable();
    entries.retain(|entry| gone.binary_search(&Arc::as_ptr(entry)).is_err());
    entries.extend(added.iter().cloned());
    entries
}

/// The shard of a hash. The map in the shard goes by other bits.
fn place(hash: u64, shards: usize) -> usize {
    usize::try_from((hash >> 20) & (shards as u64).wrapping_sub(1)).unwrap_or(0)
}

/// The best entry found.
struct Best<'i, 't, T> {
    entry: Option<&'i Shared<T>>,
    target: &'t Target<'t>,
}

impl<'i, T> Best<'i, '_, T> {
    fn look_through(&mut self, routes: &'i Routes<T>) {
        match routes {
            Routes::One(entry) => self.try_all(std::slice::from_ref(entry)),
            Routes::Many(paths) => {
                self.try_all(&paths.general);
                for start in paths.starts_of(self.target.path()) {
                    self.try_all(&start.entries);
                }
            }
        }
    }

    /// `entries` stand in their order.
    fn try_all(&mut self, entries: &'i [Shared<T>]) {
        for entry in entries {
            if self.entry.is_some_and(|best| best.order(entry).is_le()) {
                return;
            }
            if entry.rule.matches(self.target) {
                self.entry = Some(entry);
                return;
            }
        }
    }
}

impl<T> Routes<T> {
    fn none() -> Self {
        Self::Many(Arc::new(Paths { general: Box::default(), starts: Box::default() }))
    }

    /// `None` without entries.
    fn new(mut entries: Vec<Shared<T>>) -> Option<Self> {
        entries.sort_by(|one, other| one.order(other));
        if entries.len() < 2 {
            return entries.pop().map(Self::One);
        }
        Some(Self::Many(Arc::new(Paths::new(entries))))
    }

    fn edited(&self, edit: &Edit<T>) -> Option<Self> {
        Self::new(changed(self.all(), &edit.removed, &edit.added))
    }

    /// Each once.
    fn all(&self) -> Vec<Shared<T>> {
        match self {
            Self::One(entry) => vec![entry.clone()],
            Self::Many(paths) => {
                let starts = paths.starts.iter().flat_map(|start| &start.entries);
                let mut entries: Vec<_> = paths.general.iter().chain(starts).cloned().collect();
                entries.sort_by_key(Arc::as_ptr);
                entries.dedup_by(|one, other| Arc::ptr_eq(one, other));
                entries
            }
        }
    }
}

impl<T> Paths<T> {
    /// `entries` stand in their order.
    fn new(entries: Vec<Shared<T>>) -> Self {
        if entries.len() < PATHS_FROM {
            return Self { general: entries.into(), starts: Box::default() };
        }
        let mut general = Vec::new();
        // By text, and then by the place in the order.
        let mut by_start: Vec<(&str, usize, &Shared<T>)> = Vec::with_capacity(entries.len());
        for (place, entry) in entries.iter().enumerate() {
            match entry.rule.tree().required(&path_start) {
                Some(starts) => {
                    by_start.extend(starts.into_iter().map(|start| (start, place, entry)));
                }
                None => general.push(entry.clone()),
            }
        }
        by_start.sort_unstable_by_key(|&(start, place, _)| (start, place));
        by_start.dedup_by_key(|(start, place, _)| (*start, *place));
        let mut starts: Vec<Start<T>> = Vec::new();
        // The starts that the one at hand begins with, shortest first.
        let mut open: Vec<(u32, &str)> = Vec::new();
        for group in by_start.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(start, ..)) = group.first() else { continue };
            while open.last().is_some_and(|(_, outer)| !start.starts_with(outer)) {
                open.pop();
            }
            let parent = open.last().map(|&(place, _)| place);
            if let Ok(place) = u32::try_from(starts.len()) {
                open.push((place, start));
            }
            let entries = group.iter().map(|&(_, _, entry)| entry.clone()).collect();
            starts.push(Start { text: start.into(), parent, entries });
        }
        Self { general: general.into(), starts: starts.into() }
    }

    /// The starts that `path` begins with, longest first. The last start that does not sort behind `path` is one of
    /// them, or begins with all of them.
    fn starts_of(&self, path: &[u8]) -> impl Iterator<Item = &Start<T>> {
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
