//! Random numbers that a seed repeats, on every machine and in every release: `SplitMix64`.

use std::time::Duration;

/// A sequence of its own for each seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The sequence of one user of a run, which does not depend on how often others draw.
    pub(crate) fn of(seed: u64, user: u64) -> Self {
        let mut mixed = Self(seed ^ user.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Self(mixed.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    /// True `percent` times of a hundred.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// From nothing to `limit`.
    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        limit.mul_f64((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence() {
        // The first numbers of the published algorithm from seed 0.
        let mut random = Random::new(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn users_draw_different_sequences() {
        assert_ne!(Random::of(7, 1).next(), Random::of(7, 2).next());
        assert_ne!(Random::of(7, 1).next(), Random::of(8, 1).next());
    }

    #[test]
    fn numbers_stay_below_their_limit() {
        let mut random = Random::new(3);
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            assert!(random.up_to(Duration::from_secs(2)) < Duration::from_secs(2));
        }
        assert!(!random.percent(0));
        assert!(random.percent(100));
    }
}
