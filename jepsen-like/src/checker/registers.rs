//! `registers`: writes and reads are linearizable, in the order of their revisions.
//!
//! Since each value is written by one operation only and each answer carries a revision, no search is needed: the
//! revisions say the order, and it only remains to see that it is possible and that it follows the clock.

use std::collections::BTreeMap;

use crate::history::{Action, Condition, Operation, Outcome};

/// What is wrong with a history.
pub(crate) fn check(operations: &[Operation]) -> Vec<String> {
    let mut wrong = Vec::new();
    if !operations.iter().any(|operation| operation.acknowledged().is_some()) {
        wrong.push("no write was acknowledged: the run shows nothing".to_owned());
    }
    for operation in operations {
        if let Outcome::Wrong { .. } = operation.outcome {
            wrong.push(operation.to_string());
        }
    }
    let mut registers: BTreeMap<usize, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        registers.entry(operation.register).or_default().push(operation);
    }
    for (&register, operations) in &registers {
        let mut values = Values::default();
        for operation in operations {
            values.add(operation, &mut wrong);
        }
        check_origins(register, operations, &values, &mut wrong);
        check_conditions(operations, &values, &mut wrong);
        check_order(operations, &mut wrong);
    }
    let writes: Vec<&Operation> =
        operations.iter().filter(|operation| operation.acknowledged().is_some()).collect();
    check_log(&writes, &mut wrong);
    wrong
}

/// The values that one register is known to have had.
#[derive(Default)]
struct Values<'a> {
    by_revision: BTreeMap<u64, (u64, &'a Operation)>,
    by_value: BTreeMap<u64, (u64, &'a Operation)>,
}

impl<'a> Values<'a> {
    /// A revision has one value, and a value has one revision: a write that is carried out twice gets a second one.
    fn add(&mut self, operation: &'a Operation, wrong: &mut Vec<String>) {
        let Some((revision, value)) = operation.seen().filter(|&seen| seen != (0, 0)) else {
            return;
        };
        let (other_value, other) = *self.by_revision.entry(revision).or_insert((value, operation));
        if other_value != value {
            wrong.push(format!("two values at one revision: {other} / {operation}"));
        }
        let (other_revision, other) = *self.by_value.entry(value).or_insert((revision, operation));
        if other_revision != revision {
            wrong.push(format!("a value at two revisions: {other} / {operation}"));
        }
    }
}

/// What is there was written, by a write that had begun and has not failed.
fn check_origins(
    register: usize,
    operations: &[&Operation],
    values: &Values<'_>,
    wrong: &mut Vec<String>,
) {
    let mut writes = BTreeMap::new();
    for operation in operations {
        if let Action::Write { value, .. } = operation.action
            && let Some(other) = writes.insert(value, *operation)
        {
            wrong.push(format!("the history writes a value twice: {other} / {operation}"));
        }
    }
    for (value, (_, seen)) in &values.by_value {
        match writes.get(value) {
            None => wrong.push(format!("register {register}: nobody wrote what was read: {seen}")),
            Some(write) if matches!(write.outcome, Outcome::Fail { .. }) => {
                wrong.push(format!("a failed write was carried out: {write} / {seen}"));
            }
            Some(write) if write.start > seen.end => {
                wrong.push(format!("read before it was written: {write} / {seen}"));
            }
            Some(_) => {}
        }
    }
}

/// A write with a condition followed what it wanted to follow, and was refused only where it did not.
fn check_conditions(operations: &[&Operation], values: &Values<'_>, wrong: &mut Vec<String>) {
    for operation in operations {
        let Action::Write { condition, .. } = operation.action else { continue };
        let first = match condition {
            Condition::Any => continue,
            Condition::Present => {
                check_presence(operation, values, wrong);
                continue;
            }
            Condition::Absent => 0,
            Condition::At(revision) => revision,
        };
        if let Some(revision) = operation.acknowledged() {
            if first >= revision {
                wrong.push(format!("a write at a revision that was to come: {operation}"));
            } else if let Some((_, (_, between))) =
                values.by_revision.range(first + 1..revision).next()
            {
                wrong.push(format!("a write overlooked another one: {operation} / {between}"));
            }
        }
        if let Outcome::Fail { current: Some(current), .. } = operation.outcome
            && current == first
        {
            wrong.push(format!("refused although its condition was met: {operation}"));
        }
    }
}

/// There was a value before a write that wanted one, and none where it was refused.
fn check_presence(operation: &Operation, values: &Values<'_>, wrong: &mut Vec<String>) {
    if let Some(revision) = operation.acknowledged()
        && values.by_revision.range(..revision).next().is_none()
    {
        wrong.push(format!("a write to what was not there: {operation}"));
    }
    if let Outcome::Fail { current: Some(1..), .. } = operation.outcome {
        wrong.push(format!("refused although its condition was met: {operation}"));
    }
}

/// What begins after another operation's end sees it, and what it writes comes after it.
fn check_order(operations: &[&Operation], wrong: &mut Vec<String>) {
    check_clock(operations, wrong, |before, after| match after.action {
        Action::Write { .. } => revision(before) < revision(after),
        Action::Read => revision(before) <= revision(after),
    });
}

/// All writes are in one log: each has a place of its own, in the order of the clock.
fn check_log(writes: &[&Operation], wrong: &mut Vec<String>) {
    let mut places = BTreeMap::new();
    for write in writes {
        if let Some(other) = places.insert(revision(write), *write) {
            wrong.push(format!("two writes at one revision: {other} / {write}"));
        }
    }
    check_clock(writes, wrong, |before, after| {
        // Those of one register are looked at with its reads.
        before.register == after.register || revision(before) < revision(after)
    });
}

fn revision(operation: &Operation) -> u64 {
    operation.seen().map_or(0, |(revision, _)| revision)
}

/// Compares each operation with the newest one that had ended when it began.
fn check_clock(
    operations: &[&Operation],
    wrong: &mut Vec<String>,
    holds: impl Fn(&Operation, &Operation) -> bool,
) {
    let done = operations.iter().filter(|operation| operation.seen().is_some()).copied();
    let mut by_start: Vec<&Operation> = done.collect();
    let mut by_end = by_start.clone();
    by_start.sort_by_key(|operation| operation.start);
    by_end.sort_by_key(|operation| operation.end);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<&Operation> = None;
    for after in by_start {
        while let Some(before) = ended.next_if(|before| before.end < after.start) {
            if newest.is_none_or(|newest| revision(newest) < revision(before)) {
                newest = Some(before);
            }
        }
        if let Some(before) = newest.filter(|before| !holds(before, after)) {
            let what = match (before.action, after.action) {
                (Action::Write { .. }, Action::Read) => "an acknowledged write is lost",
                (Action::Read, Action::Read) => "a read went back",
                (_, Action::Write { .. }) => "a write was reordered",
            };
            wrong.push(format!("{what}: {before} / {after}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;

    /// An operation from `start` to `end` on register 0.
    fn operation(action: Action, (start, end): (u64, u64), outcome: Outcome) -> Operation {
        let (start, end) = (Moment(start), Moment(end));
        Operation { client: 0, peer: 0, register: 0, action, start, end, outcome }
    }

    fn write(value: u64, time: (u64, u64), revision: u64) -> Operation {
        write_if(Condition::Any, value, time, revision)
    }

    fn write_if(condition: Condition, value: u64, time: (u64, u64), revision: u64) -> Operation {
        operation(Action::Write { value, condition }, time, Outcome::Ok { revision, value })
    }

    fn read(value: u64, time: (u64, u64), revision: u64) -> Operation {
        operation(Action::Read, time, Outcome::Ok { revision, value })
    }

    fn unknown(value: u64, time: (u64, u64)) -> Operation {
        let action = Action::Write { value, condition: Condition::Any };
        operation(action, time, Outcome::Unknown { reason: "no answer".to_owned() })
    }

    fn failed(condition: Condition, value: u64, time: (u64, u64), current: u64) -> Operation {
        let outcome = Outcome::Fail { reason: "412".to_owned(), current: Some(current) };
        operation(Action::Write { value, condition }, time, outcome)
    }

    #[track_caller]
    fn refused(history: &[Operation], why: &str) {
        let wrong = check(history);
        assert!(wrong.iter().any(|wrong| wrong.contains(why)), "{why}: {wrong:?}");
    }

    #[track_caller]
    fn accepted(history: &[Operation]) {
        assert_eq!(check(history), Vec::<String>::new());
    }

    #[test]
    fn a_good_history_is_accepted() {
        accepted(&[
            read(0, (0, 1), 0),
            write_if(Condition::Absent, 1, (2, 5), 10),
            write(2, (3, 9), 12),
            // Concurrent with both: any of the two may be seen.
            read(1, (4, 8), 10),
            read(2, (4, 7), 12),
            write_if(Condition::At(12), 3, (10, 12), 15),
            failed(Condition::At(12), 4, (13, 14), 15),
            read(3, (20, 21), 15),
        ]);
    }

    #[test]
    fn a_write_with_an_unknown_outcome_may_be_there_or_not() {
        let first = write(1, (0, 1), 10);
        accepted(&[first.clone(), unknown(2, (2, 3)), read(1, (4, 5), 10)]);
        accepted(&[first.clone(), unknown(2, (2, 3)), read(2, (4, 5), 11)]);
        // It may also come late.
        accepted(&[first, unknown(2, (2, 3)), read(1, (4, 5), 10), read(2, (6, 7), 11)]);
    }

    #[test]
    fn a_lost_write_is_found() {
        let history = [write(1, (0, 1), 10), write(2, (2, 3), 11), read(1, (4, 5), 10)];
        refused(&history, "an acknowledged write is lost");
        refused(&[write(1, (0, 1), 10), read(0, (4, 5), 0)], "an acknowledged write is lost");
    }

    #[test]
    fn a_stale_read_is_found() {
        let history =
            [write(1, (0, 1), 10), unknown(2, (2, 9)), read(2, (3, 4), 11), read(1, (5, 6), 10)];
        refused(&history, "a read went back");
    }

    #[test]
    fn reordered_writes_are_found() {
        refused(&[write(1, (0, 1), 10), write(2, (2, 3), 9)], "a write was reordered");
        refused(
            &[unknown(1, (0, 9)), read(1, (2, 3), 12), write(2, (4, 5), 11)],
            "a write was reordered",
        );
        let other = Operation { register: 1, ..write(2, (2, 3), 9) };
        refused(&[write(1, (0, 1), 10), other], "a write was reordered");
    }

    #[test]
    fn a_write_that_came_twice_is_found() {
        let history = [write(1, (0, 1), 10), read(1, (2, 3), 12)];
        refused(&history, "a value at two revisions");
        refused(&[write(1, (0, 9), 10), write(2, (0, 9), 10)], "two values at one revision");
        let other = Operation { register: 1, ..write(2, (0, 9), 10) };
        refused(&[write(1, (0, 9), 10), other], "two writes at one revision");
    }

    #[test]
    fn a_failed_write_that_came_is_found() {
        let history =
            [write(1, (0, 1), 10), failed(Condition::At(3), 2, (2, 3), 10), read(2, (4, 5), 11)];
        refused(&history, "a failed write was carried out");
    }

    #[test]
    fn values_from_nowhere_and_from_the_future_are_found() {
        refused(&[write(1, (0, 1), 10), read(7, (2, 3), 11)], "nobody wrote what was read");
        refused(&[read(1, (0, 1), 10), write(1, (2, 3), 10)], "read before it was written");
    }

    #[test]
    fn overlooked_writes_are_found() {
        let history = [
            write(1, (0, 1), 10),
            write(2, (2, 9), 11),
            write_if(Condition::At(10), 3, (2, 9), 12),
        ];
        refused(&history, "a write overlooked another one");
        let history = [write(1, (0, 9), 10), write_if(Condition::Absent, 2, (0, 9), 12)];
        refused(&history, "a write overlooked another one");
        let history = [write_if(Condition::At(13), 2, (0, 9), 12)];
        refused(&history, "a write at a revision that was to come");
    }

    #[test]
    fn a_condition_that_was_met_must_not_be_refused() {
        let history = [write(1, (0, 1), 10), failed(Condition::At(10), 2, (2, 3), 10)];
        refused(&history, "refused although its condition was met");
        let history = [write(1, (0, 1), 10), failed(Condition::Present, 2, (2, 3), 10)];
        refused(&history, "refused although its condition was met");
    }

    #[test]
    fn a_write_to_what_is_there_needs_a_value_before() {
        accepted(&[write(1, (0, 1), 10), write_if(Condition::Present, 2, (2, 3), 12)]);
        accepted(&[write(1, (2, 5), 10), failed(Condition::Present, 2, (0, 3), 0)]);
        refused(
            &[write_if(Condition::Present, 1, (0, 1), 10), write(2, (2, 3), 12)],
            "a write to what was not there",
        );
    }

    #[test]
    fn answers_that_nobody_should_get_are_found() {
        let action = Action::Write { value: 2, condition: Condition::Any };
        let outcome = Outcome::Wrong { reason: "500 broken".to_owned() };
        refused(&[write(1, (0, 1), 10), operation(action, (2, 3), outcome)], "500 broken");
    }

    #[test]
    fn a_run_without_writes_shows_nothing() {
        refused(&[], "no write was acknowledged");
        refused(&[unknown(1, (0, 1))], "no write was acknowledged");
    }
}
