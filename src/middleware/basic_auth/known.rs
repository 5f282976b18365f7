//! Credentials that fitted lately, so that a slow hash is computed once and not for each request.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use sha2::{Digest, Sha256};

/// Entries of one shard; a full one is emptied.
const SHARD_ENTRIES_MAX: usize = 256;

const SHARDS: usize = 16;

/// Holds digests of name and password, keyed by a random salt of this process; at most 4096 of them. Wrong passwords
/// are not kept: whoever guesses has to wait each time.
pub(super) struct Known {
    salt: [u8; 32],
    shards: [RwLock<HashSet<[u8; 32]>>; SHARDS],
}

impl Known {
    pub(super) fn new() -> Self {
        Self { salt: rand::random(), shards: Default::default() }
    }

    /// What stands for a name and a password.
    pub(super) fn key(&self, name: &str, password: &[u8]) -> [u8; 32] {
        let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
        Sha256::new()
            .chain_update(self.salt)
            .chain_update(length.to_le_bytes())
            .chain_update(name)
            .chain_update(password)
            .finalize()
            .into()
    }

    pub(super) fn contains(&self, key: &[u8; 32]) -> bool {
        self.shard(key)
            .is_some_and(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).contains(key))
    }

    pub(super) fn insert(&self, key: [u8; 32]) {
        let Some(shard) = self.shard(&key) else { return };
        let mut entries = shard.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= SHARD_ENTRIES_MAX {
            entries.clear();
        }
        entries.insert(key);
    }

    fn shard(&self, [first, ..]: &[u8; 32]) -> Option<&RwLock<HashSet<[u8; 32]>>> {
        self.shards.get(usize::from(*first) % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_name_and_password_are_known() {
        let known = Known::new();
        known.insert(known.key("ann", b"secret"));
        assert!(known.contains(&known.key("ann", b"secret")));
        for (name, password) in [("ann", "secret2"), ("anns", "ecret"), ("", "annsecret")] {
            assert!(!known.contains(&known.key(name, password.as_bytes())));
        }
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let known = Known::new();
        for number in 0..10_000_u32 {
            known.insert(known.key("ann", &number.to_le_bytes()));
        }
        let entries: usize = known.shards.iter().map(|shard| shard.read().unwrap().len()).sum();
        assert!(entries <= SHARDS * SHARD_ENTRIES_MAX);
    }
}
