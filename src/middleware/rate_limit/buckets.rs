//! Token buckets by key: sharded, so that cores do not wait for each other, and bounded.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const SHARDS: usize = 64;

/// Traefik's bound of 65536 keys, spread over the shards.
const SHARD_KEYS_MAX: usize = 65536 / SHARDS;

/// How fast tokens come and how many there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Nanoseconds between two tokens.
    pub(super) interval: f64,
    /// Tokens of a full bucket.
    pub(super) burst: f64,
    /// Nanoseconds that a request may wait for its token.
    pub(super) wait_max: f64,
}

pub(super) struct Buckets {
    rate: Rate,
    started: Instant,
    /// Keys are kept as two random hashes of 64 bits: a client chooses their length, not we.
    hashers: [RandomState; 2],
    /// The time, in nanoseconds since the start, at which a bucket is or was empty.
    shards: Vec<Mutex<HashMap<[u64; 2], f64>>>,
}

impl Buckets {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            started: Instant::now(),
            hashers: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes a token of the bucket of `source` at `now`. Tells how long to wait for it; as an error where that is too long, and
    /// the token stays.
    pub(super) fn take(&self, source: &[u8], now: Instant) -> Result<Duration, Duration> {
        let key = self.hashers.each_ref().map(|hasher| hasher.hash_one(source));
        let now = now.saturating_duration_since(self.started).as_secs_f64() * 1e9;
        let full = now - self.rate.burst * self.rate.interval;
        let Some(shard) = self.shard(key) else { return Ok(Duration::ZERO) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shard.get(&key).copied();
        let empty_at = known.map_or(full, |at| at.max(full)) + self.rate.interval;
        let wait = empty_at - now;
        if wait > self.rate.wait_max {
            return Err(duration(wait));
        }
        if known.is_none() && shard.len() >= SHARD_KEYS_MAX {
            make_room(&mut shard, full);
        }
        shard.insert(key, empty_at);
        Ok(duration(wait))
    }

    fn shard(&self, [_, second]: [u64; 2]) -> Option<&Mutex<HashMap<[u64; 2], f64>>> {
        let index = usize::try_from(second % u64::try_from(SHARDS).ok()?).ok()?;
        self.shards.get(index)
    }
}

/// Forgets the buckets that are full again, which changes nothing; where there are none, the fullest one.
fn make_room(shard: &mut HashMap<[u64; 2], f64>, full: f64) {
    shard.retain(|_, empty_at| *empty_at > full);
    if shard.len() >= SHARD_KEYS_MAX {
        let fullest = shard.iter().min_by(|one, other| one.1.total_cmp(other.1));
        if let Some(key) = fullest.map(|(key, _)| *key) {
            shard.remove(&key);
        }
    }
}

fn duration(nanoseconds: f64) -> Duration {
    Duration::try_from_secs_f64(nanoseconds.max(0.0) / 1e9).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(interval: f64, burst: f64) -> Buckets {
        Buckets::new(Rate { interval, burst, wait_max: 5e8 })
    }

    #[test]
    fn a_burst_passes_then_tokens_come_one_by_one() {
        let buckets = buckets(60e9, 3.0);
        let start = buckets.started;
        for _ in 0..3 {
            assert_eq!(buckets.take(b"ann", start), Ok(Duration::ZERO));
        }
        let wait = buckets.take(b"ann", start + Duration::from_millis(1500)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(58500));
        assert_eq!(buckets.take(b"bob", start), Ok(Duration::ZERO));
        let later = start + Duration::from_mins(1);
        assert_eq!(buckets.take(b"ann", later), Ok(Duration::ZERO));
        assert!(buckets.take(b"ann", later).is_err());
    }

    #[test]
    fn short_waits_are_waited() {
        let buckets = buckets(4e8, 1.0);
        let start = buckets.started;
        assert_eq!(buckets.take(b"ann", start), Ok(Duration::ZERO));
        assert_eq!(buckets.take(b"ann", start), Ok(Duration::from_millis(400)));
        assert!(buckets.take(b"ann", start).is_err());
    }

    #[test]
    fn keys_are_bounded_and_the_fullest_goes_first() {
        let buckets = buckets(1e9, 10.0);
        let start = buckets.started;
        for _ in 0..10 {
            buckets.take(b"busy", start).unwrap();
        }
        for number in 0..70_000_u32 {
            buckets.take(&number.to_le_bytes(), start).unwrap();
        }
        let keys: usize = buckets.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(keys <= 65536, "{keys}");
        assert!(buckets.take(b"busy", start).is_err(), "an empty bucket is not forgotten");
    }
}
