//! `hrw`: rendezvous hashing (highest random weight) by client address: a client stays where it is as long as that
//! member is up, and all peers choose alike.
//!
//! Traefik's hash to the letter, so that a client keeps its server when Traefik is replaced. It mixes its last byte
//! badly: names that differ in nothing else (`app-1`, `app-2`) get nearly equal hashes, which blurs unequal weights.

use std::sync::Arc;

use super::{Balancer, FNV_START, Member, fnv1a};

pub(crate) struct Hrw {
    members: Box<[(Arc<str>, u32)]>,
}

impl Hrw {
    pub(crate) fn new(members: &[Member]) -> Self {
        Self { members: members.iter().map(|m| (Arc::clone(&m.name), m.weight)).collect() }
    }
}

impl Balancer for Hrw {
    fn pick(&self, client: &[u8], usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        let start = fnv1a(FNV_START, client);
        let mut best: Option<(usize, f64)> = None;
        for (index, (name, weight)) in self.members.iter().enumerate() {
            if *weight == 0 || !usable(index) {
                continue;
            }
            let score = score(fnv1a(start, name.as_bytes()), *weight);
            if best.is_none_or(|(_, highest)| score > highest) {
                best = Some((index, score));
            }
        }
        best.map(|(index, _)| index)
    }
}

/// weight / −ln(hash / 2⁶⁴)
fn score(hash: u64, weight: u32) -> f64 {
    let fraction = hash as f64 / 2_f64.powi(64);
    f64::from(weight) / (-fraction.ln()).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::super::testing::members;
    use super::*;

    fn client(number: usize) -> Vec<u8> {
        format!("10.0.{}.{}", number / 256, number % 256).into_bytes()
    }

    #[test]
    fn a_client_stays_and_only_moves_when_its_member_is_down() {
        let balancer = Hrw::new(&members(&[("http://a", 1), ("http://b", 1), ("http://c", 1)]));
        for number in 0..200 {
            let home = balancer.pick(&client(number), &|_| true).unwrap();
            assert_eq!(balancer.pick(&client(number), &|_| true), Some(home));
            let other = (home + 1) % 3;
            assert_eq!(balancer.pick(&client(number), &|index| index != other), Some(home));
            assert_ne!(balancer.pick(&client(number), &|index| index != home), Some(home));
        }
    }

    #[test]
    fn weights_are_shares_of_the_clients() {
        let balancer = Hrw::new(&members(&[("http://a.test:80", 3), ("http://b.test:80", 1)]));
        let first = (0..4000).filter(|&n| balancer.pick(&client(n), &|_| true) == Some(0)).count();
        assert!((2600..3400).contains(&first), "{first}");
    }

    #[test]
    fn extreme_hashes_have_a_score() {
        assert!(score(0, 1) >= 0.0);
        assert!(score(u64::MAX, 1).is_sign_positive());
    }
}
