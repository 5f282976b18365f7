//! Nonces that need no memory until somebody has logged in with them, and counts that are taken only once.
//!
//! RFC 7616, sections 3.3 and 5.4: a nonce holds the time of its issue and is signed with a key of its issuer, so that
//! whoever asks for many challenges fills nothing. What is remembered of one that was used is a window of counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use tokio::time::Instant;

use crate::hex;

/// From the issue of a nonce.
const LIFETIME: Duration = Duration::from_mins(5);
/// Nonces that are remembered; of more, the oldest are valid no longer.
const USED_MAX: usize = 16_384;
/// How far requests may overtake each other.
const WINDOW: u32 = 64;
/// Characters of a nonce: eight bytes of time, eight of chance, and a signature of sixteen, in hex.
const LENGTH: usize = 64;

/// What a count is worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Good, and used up by this.
    First,
    /// The nonce is not ours, too old, or has seen this count already.
    Stale,
}

pub(super) struct Nonces {
    key: hmac::Key,
    started: Instant,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    /// By time of issue and chance: the oldest come first.
    windows: BTreeMap<[u8; 16], Window>,
    /// Nonces up to this one are forgotten: counts of theirs may have been used.
    forgotten: Option<[u8; 16]>,
}

/// The counts of a nonce that were used.
#[derive(Debug, Default, Clone, Copy)]
struct Window {
    highest: u32,
    /// Bit n: `highest - n`.
    seen: u64,
}

impl Nonces {
    pub(super) fn new(key: [u8; 32], now: Instant) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), started: now, used: Mutex::default() }
    }

    /// A new nonce.
    pub(super) fn issue(&self, chance: [u8; 8], now: Instant) -> String {
        let mut id = [0; 16];
        let (time, random) = id.split_at_mut(8);
        time.copy_from_slice(&self.milliseconds(now).to_be_bytes());
        random.copy_from_slice(&chance);
        let mut nonce = hex::lower(&id);
        nonce.push_str(&self.signature(&nonce));
        nonce
    }

    /// Takes a count of a nonce. Only for who has proved that he knows the password.
    pub(super) fn take(&self, nonce: &str, count: u32, now: Instant) -> Use {
        let Some((id, issued)) = self.verified(nonce) else { return Use::Stale };
        let lifetime = u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let oldest = self.milliseconds(now).saturating_sub(lifetime);
        if issued < oldest {
            return Use::Stale;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget_before(oldest);
        if used.forgotten.is_some_and(|forgotten| id <= forgotten) {
            return Use::Stale;
        }
        if !used.windows.entry(id).or_default().take(count) {
            return Use::Stale;
        }
        if used.windows.len() > USED_MAX {
            used.forgotten = used.windows.pop_first().map(|(id, _)| id);
        }
        Use::First
    }

    /// The id of a nonce of ours and when it was issued, in milliseconds since the start.
    fn verified(&self, nonce: &str) -> Option<([u8; 16], u64)> {
        if nonce.len() != LENGTH {
            return None;
        }
        let (id, signature) = nonce.split_at_checked(32)?;
        let mut given = [0; 16];
        for (byte, pair) in given.iter_mut().zip(signature.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let expected = hmac::sign(&self.key, id.as_bytes());
        let expected = expected.as_ref().get(..16)?;
        let same: bool = subtle::ConstantTimeEq::ct_eq(expected, &given[..]).into();
        if !same {
            return None;
        }
        let number = u128::from_str_radix(id, 16).ok()?;
        let issued = u64::try_from(number >> 64).ok()?;
        Some((number.to_be_bytes(), issued))
    }

    fn signature(&self, id: &str) -> String {
        let tag = hmac::sign(&self.key, id.as_bytes());
        hex::lower(tag.as_ref().get(..16).unwrap_or_default())
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.started).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

impl Used {
    /// Drops what is too old to be taken anyway; a few at a time, so that nobody waits.
    fn forget_before(&mut self, oldest: u64) {
        for _ in 0..8 {
            let Some(entry) = self.windows.first_entry() else { return };
            let issued = entry.key().first_chunk().map_or(0, |time| u64::from_be_bytes(*time));
            if issued >= oldest {
                return;
            }
            entry.remove();
        }
    }
}

impl Window {
    /// False where `count` was used, or is so old that it may have been.
    fn take(&mut self, count: u32) -> bool {
        if count == 0 {
            return false;
        }
        if count > self.highest {
            let step = count - self.highest;
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if behind >= WINDOW || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces() -> (Nonces, Instant) {
        let now = Instant::now();
        (Nonces::new([7; 32], now), now)
    }

    #[test]
    fn a_count_is_good_once() {
        let (nonces, now) = nonces();
        let nonce = nonces.issue([1; 8], now);
        assert_eq!(nonce.len(), LENGTH);
        for (count, wanted) in [
            (1, Use::First),
            (1, Use::Stale),
            (3, Use::First),
            (2, Use::First),
            (2, Use::Stale),
            (0, Use::Stale),
            (100, Use::First),
            (36, Use::Stale),
            (37, Use::First),
            (u32::MAX, Use::First),
            (u32::MAX, Use::Stale),
        ] {
            assert_eq!(nonces.take(&nonce, count, now), wanted, "{count}");
        }
    }

    #[test]
    fn a_nonce_ends_after_its_lifetime() {
        let (nonces, now) = nonces();
        let now = now + Duration::from_hours(1);
        let nonce = nonces.issue([1; 8], now);
        assert_eq!(nonces.take(&nonce, 1, now + LIFETIME), Use::First);
        assert_eq!(nonces.take(&nonce, 2, now + LIFETIME + Duration::from_secs(1)), Use::Stale);
        let other = nonces.issue([2; 8], now + LIFETIME * 2);
        assert_eq!(nonces.take(&other, 1, now + LIFETIME * 2), Use::First);
        assert_eq!(nonces.used.lock().unwrap().windows.len(), 1);
    }

    #[test]
    fn a_foreign_or_changed_nonce_is_refused() {
        let (nonces, now) = nonces();
        let nonce = nonces.issue([1; 8], now);
        let foreign = Nonces::new([8; 32], now).issue([1; 8], now);
        let changed = nonce.replace('0', "1");
        for text in ["", "x", foreign.as_str(), &changed, &"é".repeat(32)] {
            assert_eq!(nonces.take(text, 1, now), Use::Stale, "{text}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgetting_opens_no_door() {
        let (nonces, now) = nonces();
        let first = nonces.issue([0; 8], now);
        assert_eq!(nonces.take(&first, 1, now), Use::First);
        for number in 0..u64::try_from(USED_MAX).unwrap() {
            let nonce = nonces.issue(number.to_be_bytes(), now + Duration::from_millis(1));
            assert_eq!(nonces.take(&nonce, 1, now), Use::First);
        }
        assert_eq!(nonces.used.lock().unwrap().windows.len(), USED_MAX);
        assert_eq!(nonces.take(&first, 1, now), Use::Stale);
        assert_eq!(nonces.take(&first, 2, now), Use::Stale);
    }
}
