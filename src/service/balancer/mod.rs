//! Balancers: each picks one of several members. One file each, and the registry of `strategy`'s values.

mod hrw;
mod leasttime;
mod load;
mod p2c;
mod wrr;

use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use hrw::Hrw;
pub(crate) use load::{InFlight, Load};
pub(crate) use wrr::Wrr;

/// What a balancer chooses from: a server, or a service of a weighted one.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// URL or name.
    pub(crate) name: Arc<str>,
    /// 0: not used.
    pub(crate) weight: u32,
    pub(crate) load: Arc<Load>,
}

impl Member {
    /// `weight` as configured: 0 and less mean unused, absent means 1.
    pub(crate) fn new(name: Arc<str>, weight: Option<i64>, load: Arc<Load>) -> Self {
        let weight = u32::try_from(weight.unwrap_or(1).max(0)).unwrap_or(u32::MAX);
        Self { name, weight, load }
    }
}

/// How far each member of an earlier balancer was in its turn, by name; see [`Wrr::new`].
pub(crate) type Phases = HashMap<Arc<str>, f64>;

/// Picks one of the members that it was built with.
pub(crate) trait Balancer: Send + Sync {
    /// The index of the member for a request of `client`, among those that are `usable`.
    fn pick(&self, client: &[u8], usable: &dyn Fn(usize) -> bool) -> Option<usize>;

    /// True where requests in flight decide, so that they have to be counted.
    fn watches_load(&self) -> bool {
        false
    }

    /// True where the time until the head of answers decides, so that it has to be measured.
    fn watches_latency(&self) -> bool {
        false
    }

    /// True where a weight of 0 does not take a member out.
    fn ignores_weights(&self) -> bool {
        false
    }

    /// Position of turns, for the balancer that replaces this one.
    fn phases(&self) -> Phases {
        Phases::new()
    }
}

type Make = fn(&[Member], &Phases) -> Box<dyn Balancer>;

/// Values of `strategy`.
const STRATEGIES: &[(&str, Make)] = &[
    ("wrr", |members, phases| Box::new(Wrr::new(members, phases))),
    ("p2c", |members, _| Box::new(p2c::P2c::new(members))),
    ("hrw", |members, _| Box::new(Hrw::new(members))),
    ("leasttime", |members, phases| Box::new(leasttime::LeastTime::new(members, phases))),
];

/// Builds the balancer called `strategy`; `None` where there is none of that name. Empty means `wrr`.
pub(crate) fn build(
    strategy: &str,
    members: &[Member],
    phases: &Phases,
) -> Option<Box<dyn Balancer>> {
    let strategy = if strategy.is_empty() { "wrr" } else { strategy };
    let (_, make) = STRATEGIES.iter().find(|(name, _)| *name == strategy)?;
    Some(make(members, phases))
}

/// Fowler–Noll–Vo 1a, 64 bits, continued from `hash`.
pub(crate) fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Where FNV-1a starts.
pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn members(weights: &[(&str, i64)]) -> Vec<Member> {
        weights
            .iter()
            .map(|&(name, weight)| Member::new(name.into(), Some(weight), Arc::default()))
            .collect()
    }

    #[test]
    fn fnv_matches_its_published_vectors() {
        assert_eq!(fnv1a(FNV_START, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(FNV_START, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(FNV_START, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn only_the_four_strategies_exist() {
        for (name, watches) in
            [("", false), ("wrr", false), ("p2c", true), ("hrw", false), ("leasttime", true)]
        {
            let built = build(name, &members(&[("a", 1)]), &Phases::new()).unwrap();
            assert_eq!(built.watches_load(), watches, "{name}");
            assert_eq!(built.pick(b"1.2.3.4", &|_| true), Some(0), "{name}");
            assert_eq!(built.pick(b"1.2.3.4", &|_| false), None, "{name}");
        }
        assert!(build("roulette", &[], &Phases::new()).is_none());
    }

    #[test]
    fn weights_of_zero_and_less_take_a_member_out_except_of_p2c() {
        let members = members(&[("a", 0), ("b", 1), ("c", -3)]);
        for name in ["wrr", "hrw", "leasttime"] {
            let built = build(name, &members, &Phases::new()).unwrap();
            assert!((0..20).all(|_| built.pick(b"::1", &|_| true) == Some(1)), "{name}");
        }
        assert!(build("p2c", &members, &Phases::new()).unwrap().ignores_weights());
    }
}
