//! `leasttime`: the member that is expected to answer first: latency × (1 + in flight) / weight. Those that are equal
//! take turns as in `wrr`.

use super::{Balancer, Member, Phases, Wrr};

pub(crate) struct LeastTime {
    members: Box<[Member]>,
    turns: Wrr,
}

impl LeastTime {
    pub(crate) fn new(members: &[Member], phases: &Phases) -> Self {
        Self { members: members.into(), turns: Wrr::new(members, phases) }
    }

    /// Infinite for a member that is not used.
    fn score(&self, index: usize) -> f64 {
        let Some(member) = self.members.get(index).filter(|member| member.weight > 0) else {
            return f64::INFINITY;
        };
        let waiting = 1.0 + member.load.in_flight() as f64;
        member.load.latency_ms() * waiting / f64::from(member.weight)
    }
}

impl Balancer for LeastTime {
    fn pick(&self, _client: &[u8], usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        let (mut best, mut least, mut tied) = (None, f64::INFINITY, false);
        for index in (0..self.members.len()).filter(|&index| usable(index)) {
            let score = self.score(index);
            if score < least {
                (best, least, tied) = (Some(index), score, false);
            } else if best.is_some() && score <= least {
                tied = true;
            }
        }
        if !tied {
            return best;
        }
        // Scores move while they are read; whoever was best a moment ago will do.
        self.turns.next(&|index| usable(index) && self.score(index) <= least).or(best)
    }

    fn watches_load(&self) -> bool {
        true
    }

    fn watches_latency(&self) -> bool {
        true
    }

    fn phases(&self) -> Phases {
        self.turns.phases()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::members;
    use super::*;

    fn answering(times: &[(&str, i64, u64)]) -> Vec<Member> {
        let members =
            members(&times.iter().map(|&(name, weight, _)| (name, weight)).collect::<Vec<_>>());
        for (member, (_, _, milliseconds)) in members.iter().zip(times) {
            member.load.answered_after(Duration::from_millis(*milliseconds));
        }
        members
    }

    fn pick(members: &[Member]) -> Option<usize> {
        LeastTime::new(members, &Phases::new()).pick(b"", &|_| true)
    }

    #[test]
    fn the_fastest_gets_the_request_until_it_is_busy() {
        let members = answering(&[("a", 1, 10), ("b", 1, 25)]);
        assert_eq!(pick(&members), Some(0));
        let _first = members[0].load.enter();
        assert_eq!(pick(&members), Some(0), "20 against 25");
        let _second = members[0].load.enter();
        assert_eq!(pick(&members), Some(1), "30 against 25");
    }

    #[test]
    fn weight_divides_the_time() {
        assert_eq!(pick(&answering(&[("a", 1, 10), ("b", 4, 30)])), Some(1));
    }

    #[test]
    fn equals_take_turns() {
        let balancer = LeastTime::new(&members(&[("a", 1), ("b", 1), ("c", 0)]), &Phases::new());
        let picked: Vec<_> = (0..4).filter_map(|_| balancer.pick(b"", &|_| true)).collect();
        assert_eq!(picked, [0, 1, 0, 1]);
    }
}
