//! `changes`: each acknowledged write stands in the history, and all peers tell the same history.

use std::collections::BTreeMap;

use crate::client::{Change, register};
use crate::history::Operation;

/// The history as put together from what peers told during the run, each time only its newest part.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Registers that were changed, by revision.
    known: BTreeMap<u64, Vec<String>>,
    /// First and last revisions of the stretches that were told without a gap.
    told: Vec<(u64, u64)>,
    wrong: Vec<String>,
}

impl Merged {
    /// Adds what a peer told, oldest first.
    pub(crate) fn add(&mut self, peer: usize, changes: &[Change]) {
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else { return };
        let (first, last) = (first.revision, last.revision);
        let peer = peer + 1;
        let told: BTreeMap<u64, &Vec<String>> =
            changes.iter().map(|change| (change.revision, &change.routers)).collect();
        for (revision, routers) in self.known.range(first..=last) {
            match told.get(revision) {
                None => self.wrong.push(format!("peer {peer} has lost the change {revision}")),
                Some(now) if *now != routers => self.wrong.push(format!(
                    "the change {revision} is {routers:?} and, at peer {peer}, {now:?}"
                )),
                Some(_) => {}
            }
        }
        for (revision, routers) in told {
            if !self.known.contains_key(&revision) {
                if self.covers(revision) {
                    let text = format!("only peer {peer} has the change {revision}: {routers:?}");
                    self.wrong.push(text);
                }
                self.known.insert(revision, routers.clone());
            }
        }
        self.cover(first, last);
    }

    fn covers(&self, revision: u64) -> bool {
        self.told.iter().any(|&(first, last)| (first..=last).contains(&revision))
    }

    fn cover(&mut self, first: u64, last: u64) {
        let (mut first, mut last) = (first, last);
        self.told.retain(|&(from, to)| {
            let apart = to < first || last < from;
            if !apart {
                first = first.min(from);
                last = last.max(to);
            }
            apart
        });
        self.told.push((first, last));
    }

    /// What is wrong, and how many acknowledged writes were looked up.
    pub(crate) fn check(&self, operations: &[Operation]) -> (Vec<String>, usize) {
        let mut wrong = self.wrong.clone();
        let mut found = 0;
        for operation in operations {
            let Some(revision) = operation.acknowledged().filter(|&at| self.covers(at)) else {
                continue;
            };
            found += 1;
            let name = register(operation.register);
            if !self.known.get(&revision).is_some_and(|routers| routers.contains(&name)) {
                wrong.push(format!("the history lacks an acknowledged write: {operation}"));
            }
        }
        if found == 0 {
            wrong.push("no acknowledged write could be looked up in the history".to_owned());
        }
        (wrong, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Action, Condition, Moment, Outcome};

    fn told(revisions: &[(u64, usize)]) -> Vec<Change> {
        let change = |&(revision, number)| Change { revision, routers: vec![register(number)] };
        revisions.iter().map(change).collect()
    }

    fn acknowledged(register: usize, revision: u64) -> Operation {
        let action = Action::Write { value: revision, condition: Condition::Any };
        let outcome = Outcome::Ok { revision, value: revision };
        let (start, end) = (Moment(0), Moment(1));
        Operation { client: 0, peer: 0, register, action, start, end, outcome }
    }

    #[test]
    fn writes_that_stand_in_the_history_are_accepted() {
        let mut merged = Merged::default();
        merged.add(0, &told(&[(5, 0), (7, 1)]));
        merged.add(1, &told(&[(7, 1), (9, 0)]));
        merged.add(2, &[]);
        // Revision 3 was never told of.
        let operations = [acknowledged(1, 7), acknowledged(0, 9), acknowledged(0, 3)];
        assert_eq!(merged.check(&operations), (Vec::new(), 2));
    }

    #[test]
    fn a_write_that_is_missing_or_another_one_is_found() {
        let mut merged = Merged::default();
        merged.add(0, &told(&[(5, 0), (9, 1)]));
        for operation in [acknowledged(0, 7), acknowledged(0, 9)] {
            let (wrong, _) = merged.check(&[operation]);
            assert!(wrong[0].contains("lacks an acknowledged write"), "{wrong:?}");
        }
    }

    #[test]
    fn peers_that_tell_different_histories_are_found() {
        for (second, why) in [
            (vec![(5, 0), (9, 0)], "peer 2 has lost the change 7"),
            (vec![(5, 0), (7, 2), (9, 0)], "the change 7 is"),
            (vec![(5, 0), (6, 0), (7, 1), (9, 0)], "only peer 2 has the change 6"),
        ] {
            let mut merged = Merged::default();
            merged.add(0, &told(&[(5, 0), (7, 1), (9, 0)]));
            merged.add(1, &told(&second));
            let (wrong, _) = merged.check(&[acknowledged(0, 5)]);
            assert!(wrong.iter().any(|wrong| wrong.contains(why)), "{why}: {wrong:?}");
        }
    }

    #[test]
    fn a_history_that_shows_nothing_is_refused() {
        let (wrong, found) = Merged::default().check(&[acknowledged(0, 5)]);
        assert_eq!((wrong.len(), found), (1, 0));
    }
}
