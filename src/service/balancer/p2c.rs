//! `p2c`: the power of two random choices; the one with fewer requests in flight gets the request.

use std::sync::Arc;

use super::{Balancer, Load, Member};

pub(crate) struct P2c {
    loads: Box<[Arc<Load>]>,
}

impl P2c {
    pub(crate) fn new(members: &[Member]) -> Self {
        Self { loads: members.iter().map(|member| Arc::clone(&member.load)).collect() }
    }

    fn choose(&self, random: u64, usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        let candidates = || (0..self.loads.len()).filter(|&index| usable(index));
        let count = u64::try_from(candidates().count()).ok()?;
        let nth = |n: u64| candidates().nth(usize::try_from(n).ok()?);
        let first = (random >> 32).checked_rem(count)?;
        let Some(step) = (random & 0xffff_ffff).checked_rem(count - 1) else {
            return nth(first);
        };
        // Another one than the first: somebody may have gone down since they were counted, so each may be missing.
        let (first, second) = (nth(first), nth((first + 1 + step) % count));
        match (first, second) {
            (Some(first), Some(second)) if self.load(second) < self.load(first) => Some(second),
            (first, second) => first.or(second),
        }
    }

    fn load(&self, index: usize) -> usize {
        self.loads.get(index).map_or(usize::MAX, |load| load.in_flight())
    }
}

impl Balancer for P2c {
    fn pick(&self, _client: &[u8], usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        self.choose(rand::random(), usable)
    }

    fn watches_load(&self) -> bool {
        true
    }

    fn ignores_weights(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::members;
    use super::*;

    #[test]
    fn the_less_busy_of_two_gets_the_request() {
        let members = members(&[("a", 1), ("b", 1)]);
        let balancer = P2c::new(&members);
        let _busy = members[0].load.enter();
        for random in [0, 1, u64::MAX, 1 << 32, 0x1234_5678_9abc_def0] {
            assert_eq!(balancer.choose(random, &|_| true), Some(1));
        }
    }

    #[test]
    fn two_different_ones_are_compared() {
        let members = members(&[("a", 1), ("b", 1), ("c", 1)]);
        let balancer = P2c::new(&members);
        let _busy = (members[0].load.enter(), members[1].load.enter());
        // First choice a; second is b or c by the low half.
        assert_eq!(balancer.choose(0, &|_| true), Some(0), "a draw stays with the first");
        assert_eq!(balancer.choose(1, &|_| true), Some(2));
    }

    #[test]
    fn only_usable_ones_count() {
        let balancer = P2c::new(&members(&[("a", 1), ("b", 0), ("c", 1)]));
        assert_eq!(balancer.choose(7, &|index| index == 1), Some(1), "weights are ignored");
        assert_eq!(balancer.choose(7, &|_| false), None);
    }
}
