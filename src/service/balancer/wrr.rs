//! `wrr`: weighted round robin, the member with the earliest deadline next.
//!
//! Every pick moves a member's deadline by 1/weight. Seen from its start, that order repeats after each member has had
//! as many turns as its weight, so it is worked out once, and a pick is one addition that all cores share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{Balancer, Member, Phases};

/// Turns of a round, at most (more only where there are more members). Larger sums of weights are scaled down to it.
const TURNS_MAX: u64 = 16_384;

pub(crate) struct Wrr {
    /// Name, weight after scaling, and phase at the start of a round.
    members: Box<[(Arc<str>, u32, f64)]>,
    /// A round: indexes into `members`, by deadline.
    turns: Box<[u32]>,
    next: AtomicUsize,
}

impl Wrr {
    /// `phases` tells how much of its turn a member still waits (0 excluded, to 1); a member that is not there waits
    /// for a whole turn.
    pub(crate) fn new(members: &[Member], phases: &Phases) -> Self {
        let weights = scaled(members);
        let members: Box<[_]> = members
            .iter()
            .zip(weights)
            .map(|(member, weight)| {
                let phase = phases.get(&member.name).copied().unwrap_or(1.0);
                (Arc::clone(&member.name), weight, phase)
            })
            .collect();
        let mut deadlines: Vec<(f64, u32)> = Vec::new();
        for ((_, weight, phase), index) in members.iter().zip(0_u32..) {
            let turn = |turn| ((phase + f64::from(turn)) / f64::from(*weight), index);
            deadlines.extend((0..*weight).map(turn));
        }
        deadlines.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let turns = deadlines.into_iter().map(|(_, index)| index).collect();
        Self { members, turns, next: AtomicUsize::new(0) }
    }

    /// The next member that is `usable`. Members that are not lose their turn.
    pub(crate) fn next(&self, usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        for tried in 0..self.turns.len() {
            // A long round may hold few members: find out early that there is nothing to find.
            if tried == self.members.len() && !(0..self.members.len()).any(usable) {
                return None;
            }
            let turn = self.next.fetch_add(1, Relaxed).checked_rem(self.turns.len())?;
            let index = usize::try_from(*self.turns.get(turn)?).ok()?;
            if usable(index) {
                return Some(index);
            }
        }
        None
    }
}

impl Balancer for Wrr {
    fn pick(&self, _client: &[u8], usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        self.next(usable)
    }

    fn phases(&self) -> Phases {
        let done = self.next.load(Relaxed).checked_rem(self.turns.len()).unwrap_or(0);
        let mut had: HashMap<u32, u32> = HashMap::new();
        let mut now = 0.0_f64;
        for &index in self.turns.iter().take(done) {
            let had = had.entry(index).or_default();
            if let Some((_, weight, phase)) = self.members.get(index as usize) {
                now = (phase + f64::from(*had)) / f64::from(*weight);
            }
            *had += 1;
        }
        let used = self.members.iter().zip(0_u32..).filter(|((_, weight, _), _)| *weight > 0);
        used.map(|((name, weight, phase), index)| {
            let had = had.get(&index).copied().unwrap_or(0);
            let waits = (phase + f64::from(had)) - now * f64::from(*weight);
            (Arc::clone(name), waits.clamp(f64::EPSILON, 1.0))
        })
        .collect()
    }
}

/// The weights in lowest terms, and small enough for a round of [`TURNS_MAX`].
fn scaled(members: &[Member]) -> Vec<u32> {
    let divisor = members.iter().fold(0, |divisor, member| gcd(divisor, member.weight)).max(1);
    let total: u64 = members.iter().map(|member| u64::from(member.weight / divisor)).sum();
    let scale = |weight: u32| {
        if weight == 0 || total <= TURNS_MAX {
            return weight;
        }
        u32::try_from(u64::from(weight) * TURNS_MAX / total).unwrap_or(1).max(1)
    };
    members.iter().map(|member| scale(member.weight / divisor)).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::members;
    use super::*;

    fn picks(balancer: &Wrr, count: usize) -> Vec<usize> {
        (0..count).map(|_| balancer.next(&|_| true).unwrap()).collect()
    }

    #[test]
    fn equal_weights_take_turns() {
        let balancer = Wrr::new(&members(&[("a", 5), ("b", 5), ("c", 5)]), &Phases::new());
        assert_eq!(balancer.turns.len(), 3, "lowest terms");
        assert_eq!(picks(&balancer, 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn every_round_gives_each_its_share() {
        let balancer = Wrr::new(&members(&[("stable", 9), ("canary", 1)]), &Phases::new());
        let canaries = |picks: Vec<usize>| picks.into_iter().filter(|&index| index == 1).count();
        assert_eq!(canaries(picks(&balancer, 3)), 0);
        assert_eq!(canaries(picks(&balancer, 20)), 2, "wherever the two rounds start");
    }

    #[test]
    fn shares_are_spread_over_the_round() {
        let balancer = Wrr::new(&members(&[("a", 3), ("b", 1)]), &Phases::new());
        assert_eq!(picks(&balancer, 8), [0, 0, 0, 1, 0, 0, 0, 1]);
        let balancer = Wrr::new(&members(&[("a", 3), ("b", 2)]), &Phases::new());
        assert_eq!(picks(&balancer, 5), [0, 1, 0, 0, 1]);
    }

    #[test]
    fn members_that_are_down_lose_their_turn() {
        let balancer = Wrr::new(&members(&[("a", 1), ("b", 1), ("c", 1)]), &Phases::new());
        let picked: Vec<_> = (0..4).map(|_| balancer.next(&|i| i != 1).unwrap()).collect();
        assert_eq!(picked, [0, 2, 0, 2]);
        assert_eq!(balancer.next(&|_| false), None);
        assert_eq!(Wrr::new(&[], &Phases::new()).next(&|_| true), None);
    }

    #[test]
    fn a_replacement_goes_on_where_the_old_one_was() {
        let old = Wrr::new(&members(&[("a", 1), ("b", 1), ("c", 1)]), &Phases::new());
        assert_eq!(picks(&old, 1), [0]);
        let new = Wrr::new(&members(&[("c", 1), ("a", 1), ("b", 1)]), &old.phases());
        // b and c have waited longer than a.
        let after = picks(&new, 3);
        assert_eq!(after.last(), Some(&1), "{after:?}");
    }

    #[test]
    fn huge_weights_stay_bounded() {
        let balancer =
            Wrr::new(&members(&[("a", i64::MAX), ("b", 3), ("c", i64::MAX)]), &Phases::new());
        assert!(balancer.turns.len() <= 16_385);
        assert!(picks(&balancer, balancer.turns.len()).contains(&1), "a small share is a share");
    }
}
