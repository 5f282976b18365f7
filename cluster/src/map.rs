//! An ordered map whose copies share what is the same: a copy costs nothing, a change little, and what two copies
//! differ in is found without looking at all of them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Index;
use std::slice;
use std::sync::Arc;

/// Most entries of a chunk.
const CHUNK_MAX: usize = 128;
/// A chunk with fewer joins a neighbour that has room.
const CHUNK_MIN: usize = CHUNK_MAX / 4;
/// Entries of a chunk of a map that is made at once: some room is left.
const CHUNK_NEW: usize = CHUNK_MAX * 3 / 4;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// See the module. It has the methods of a `BTreeMap` that are needed.
pub struct Map<K, V> {
    /// None is empty; keys rise within a chunk, and from one to the next.
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

/// An entry that two maps differ in.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference<'a, K, V> {
    /// Its key.
    pub key: &'a K,
    /// What the older map holds.
    pub old: Option<&'a V>,
    /// What the newer map holds.
    pub new: Option<&'a V>,
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<K, V> Map<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, by rising keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { chunks: self.chunks.iter(), entries: [].iter() }
    }

    /// All keys, rising.
    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// All values, by rising keys.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// True if one is a copy of the other, unchanged. Equal maps need not be.
    pub fn is_copy_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }
}

impl<K: Ord, V> Map<K, V> {
    /// The chunk that holds `key` if any does.
    fn chunk<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(usize, &Chunk<K, V>)>
    where
        K: Borrow<Q>,
    {
        let starts_by =
            |chunk: &Chunk<K, V>| chunk.first().is_some_and(|(first, _)| first.borrow() <= key);
        let place = self.chunks.partition_point(starts_by).checked_sub(1)?;
        Some((place, self.chunks.get(place)?))
    }

    /// What stands under a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The same, with the key as it stands here.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let (_, chunk) = self.chunk(key)?;
        let place = chunk.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
        chunk.get(place).map(|(known, value)| (known, value))
    }

    /// True if something stands under a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }
}

impl<K: Ord + Clone, V: Clone> Map<K, V> {
    /// Puts a value under a key; gives back the one that stood there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.chunk(&key).map_or(0, |(place, _)| place);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(place) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        };
        let entries = Arc::make_mut(chunk);
        match entries.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) => entries.get_mut(at).map(|(_, known)| std::mem::replace(known, value)),
            Err(at) => {
                // Doubling would waste as much as the entries need.
                entries.reserve_exact(1);
                entries.insert(at, (key, value));
                self.len += 1;
                if entries.len() > CHUNK_MAX {
                    // What comes in rising order fills chunks, instead of leaving each half empty, also in front of
                    // a few that sort behind.
                    let rising = at >= CHUNK_MAX / 8 * 7;
                    let kept = if rising { CHUNK_MAX.min(at + 1) } else { CHUNK_MAX / 2 };
                    split(chunks, place, kept);
                }
                None
            }
        }
    }

    /// Takes out what stands under a key.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (place, chunk) = self.chunk(key)?;
        let at = chunk.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let entries = Arc::make_mut(chunks.get_mut(place)?);
        let (_, value) = entries.remove(at);
        self.len -= 1;
        if entries.is_empty() {
            chunks.remove(place);
        } else if entries.len() < CHUNK_MIN {
            let right = if place + 1 < chunks.len() { place + 1 } else { place };
            join(chunks, right);
        }
        Some(value)
    }

    /// The entries in which `newer` differs from this map, by rising keys. `same` compares values. It looks only at
    /// what the two do not share.
    pub fn differences<'a>(
        &'a self,
        newer: &'a Self,
        same: impl Fn(&V, &V) -> bool,
    ) -> Vec<Difference<'a, K, V>> {
        let mut found = Vec::new();
        if self.is_copy_of(newer) {
            return found;
        }
        let (mut one, mut other) = (Cursor::new(self), Cursor::new(newer));
        loop {
            while one.skip_shared(&mut other) {}
            let (old, new) = (one.peek(), other.peek());
            let order = match (old, new) {
                (None, None) => return found,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let old = old.filter(|_| order.is_le());
            let new = new.filter(|_| order.is_ge());
            let unchanged =
                matches!((old, new), (Some((_, old)), Some((_, new))) if same(old, new));
            if let Some((key, _)) = new.or(old).filter(|_| !unchanged) {
                let value = |(_, value): &'a (K, V)| value;
                found.push(Difference { key, old: old.map(value), new: new.map(value) });
            }
            if old.is_some() {
                one.advance();
            }
            if new.is_some() {
                other.advance();
            }
        }
    }
}

/// Leaves `kept` entries in a chunk and puts the others into one behind it.
fn split<K: Clone, V: Clone>(chunks: &mut Vec<Chunk<K, V>>, place: usize, kept: usize) {
    let Some(chunk) = chunks.get_mut(place) else { return };
    let entries = Arc::make_mut(chunk);
    let rest = entries.split_off(kept);
    entries.shrink_to_fit();
    chunks.insert(place + 1, Arc::new(rest));
}

/// Joins a chunk to the one before it, if both fit into one.
fn join<K: Clone, V: Clone>(chunks: &mut Vec<Chunk<K, V>>, right: usize) {
    let Some(left) = right.checked_sub(1) else { return };
    let sum = [left, right].iter().filter_map(|at| chunks.get(*at)).map(|one| one.len()).sum();
    if (CHUNK_NEW..usize::MAX).contains(&sum) {
        return;
    }
    let tail = chunks.remove(right);
    if let Some(head) = chunks.get_mut(left) {
        Arc::make_mut(head).extend(tail.iter().cloned());
    }
}

/// A place in a map while two are compared.
struct Cursor<'a, K, V> {
    chunks: &'a [Chunk<K, V>],
    at: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn new(map: &'a Map<K, V>) -> Self {
        Self { chunks: &map.chunks, at: 0 }
    }

    fn peek(&self) -> Option<&'a (K, V)> {
        self.chunks.first()?.get(self.at)
    }

    fn advance(&mut self) {
        self.at += 1;
        if self.chunks.first().is_some_and(|chunk| self.at >= chunk.len()) {
            self.next_chunk();
        }
    }

    fn next_chunk(&mut self) {
        self.at = 0;
        self.chunks = self.chunks.get(1..).unwrap_or_default();
    }

    /// Leaves out a chunk that both have, if both are at its start.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        let shared = self.at == 0
            && other.at == 0
            && matches!((self.chunks.first(), other.chunks.first()), (Some(one), Some(other)) if Arc::ptr_eq(one, other));
        if shared {
            self.next_chunk();
            other.next_chunk();
        }
        shared
    }
}

/// Entries of a [`Map`], by rising keys.
pub struct Iter<'a, K, V> {
    chunks: slice::Iter<'a, Chunk<K, V>>,
    entries: slice::Iter<'a, (K, V)>,
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), entries: self.entries.clone() }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.entries.next() {
                return Some((key, value));
            }
            self.entries = self.chunks.next()?.iter();
        }
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Map<K, V> {
    /// Of entries with the same key the last one stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<(K, V)> = entries.into_iter().collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        entries.dedup_by(|later, earlier| {
            let equal = later.0 == earlier.0;
            if equal {
                std::mem::swap(later, earlier);
            }
            equal
        });
        let len = entries.len();
        let mut chunks = Vec::with_capacity(len.div_ceil(CHUNK_NEW));
        let mut entries = entries.into_iter();
        loop {
            let chunk: Vec<(K, V)> = entries.by_ref().take(CHUNK_NEW).collect();
            if chunk.is_empty() {
                return Self { chunks: Arc::new(chunks), len };
            }
            chunks.push(Arc::new(chunk));
        }
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Map<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for Map<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.is_copy_of(other) || (self.len == other.len && self.iter().eq(other.iter()))
    }
}

impl<K: Eq, V: Eq> Eq for Map<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V> Index<&Q> for Map<K, V> {
    type Output = V;

    /// As the standard library's maps: the key must be there.
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("the key is in the map")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entries(map: &Map<u16, u8>) -> Vec<(u16, u8)> {
        map.iter().map(|(key, value)| (*key, *value)).collect()
    }

    fn differing(
        old: &BTreeMap<u16, u8>,
        new: &BTreeMap<u16, u8>,
    ) -> Vec<(u16, Option<u8>, Option<u8>)> {
        let keys: std::collections::BTreeSet<u16> = old.keys().chain(new.keys()).copied().collect();
        let pair = |key: u16| (key, old.get(&key).copied(), new.get(&key).copied());
        keys.into_iter().map(pair).filter(|(_, old, new)| old != new).collect()
    }

    #[test]
    fn a_copy_keeps_what_the_original_loses() {
        let mut map: Map<u16, u8> = (0..1000).map(|key| (key, 1)).collect();
        let copy = map.clone();
        assert!(copy.is_copy_of(&map));
        (0..1000).for_each(|key| assert_eq!(map.remove(&key), Some(1)));
        assert!(map.is_empty() && map.iter().next().is_none());
        assert_eq!((copy.len(), copy.iter().count(), copy[&7]), (1000, 1000, 1));
    }

    #[test]
    fn a_change_of_one_entry_looks_at_its_chunk_only() {
        let map: Map<u32, u8> = (0..100_000).map(|key| (key, 0)).collect();
        let mut changed = map.clone();
        changed.insert(50_000, 1);
        let looked = std::cell::Cell::new(0);
        let same = |one: &u8, other: &u8| {
            looked.set(looked.get() + 1);
            one == other
        };
        let found = map.differences(&changed, same);
        assert_eq!(found, [Difference { key: &50_000, old: Some(&0), new: Some(&1) }]);
        assert!(looked.get() <= CHUNK_MAX);
    }

    #[test]
    fn the_last_of_equal_keys_stays() {
        let map: Map<u16, u8> = [(1, 1), (0, 0), (1, 2), (1, 3)].into_iter().collect();
        assert_eq!(entries(&map), [(0, 0), (1, 3)]);
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            start in prop::collection::vec((0_u16..1500, any::<u8>()), 0..1000),
            steps in prop::collection::vec((0_u16..1500, prop::option::of(any::<u8>())), 0..1500),
        ) {
            let mut map: Map<u16, u8> = start.iter().copied().collect();
            let mut model: BTreeMap<u16, u8> = start.into_iter().collect();
            let (first, first_model) = (map.clone(), model.clone());
            for (key, value) in steps {
                let (before, expected) = if let Some(value) = value {
                    (map.insert(key, value), model.insert(key, value))
                } else {
                    (map.remove(&key), model.remove(&key))
                };
                prop_assert_eq!(before, expected);
            }
            prop_assert_eq!(map.len(), model.len());
            prop_assert!(map.chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
            prop_assert_eq!(entries(&map), model.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
            prop_assert!((0..1500).all(|key| map.get(&key) == model.get(&key)));
            prop_assert_eq!(entries(&first), first_model.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
            let found = first.differences(&map, PartialEq::eq);
            let found: Vec<_> =
                found.iter().map(|one| (*one.key, one.old.copied(), one.new.copied())).collect();
            prop_assert_eq!(found, differing(&first_model, &model));
            prop_assert_eq!(first == map, first_model == model);
        }
    }
}
