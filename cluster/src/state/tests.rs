//! What applying commands does to the state.

use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::command::{Expected, PatchDocument, Proposer};

fn position(index: u64) -> Position {
    Position { index, term: 1 }
}

fn proposal(sequence: u64, command: Command) -> Proposal {
    Proposal { command, stamp_ms: 1000, proposer: Proposer { peer: 1, boot: 1, sequence } }
}

fn entries(list: &[(&str, &str)]) -> Vec<(String, Bytes)> {
    list.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect()
}

fn put(list: &[(&str, &str)]) -> PutDocument {
    PutDocument { provider: "p".into(), entries: entries(list), ..PutDocument::default() }
}

fn set(key: &str, value: &str, expected: Expected) -> PatchDocument {
    let set = vec![(key.to_owned(), value.to_owned().into(), expected)];
    PatchDocument { provider: "p".into(), set, ..PatchDocument::default() }
}

fn idempotency(key: &str, request: &str) -> Idempotency {
    Idempotency { key: key.to_owned(), request: request.to_owned().into() }
}

/// Applies commands one after the other and gives the last reply.
fn run(state: &mut State, commands: impl IntoIterator<Item = Command>) -> Reply {
    let mut reply = Reply::Unchanged;
    for command in commands {
        let index = state.stamp_ms.saturating_sub(998).max(1);
        reply = state.apply(position(index), &proposal(index, command)).unwrap().reply;
    }
    reply
}

#[test]
fn entries_that_do_not_differ_keep_their_revision() {
    let mut state = State::default();
    let first = Command::put(put(&[("a", "1"), ("b", "1")]), "t");
    let second = Command::put(put(&[("a", "1"), ("b", "2")]), "t");
    assert_eq!(run(&mut state, [first]), Reply::Stored { revision: Revision(1), created: true });
    assert_eq!(
        run(&mut state, [second.clone()]),
        Reply::Stored { revision: Revision(2), created: false }
    );
    let document = &state.store.documents["p"];
    assert_eq!(document.entries["a"].revision, Revision(1));
    assert_eq!(document.entries["b"].revision, Revision(2));
    assert_eq!(run(&mut state, [second]), Reply::Unchanged);
}

#[test]
fn a_patch_changes_all_or_nothing() {
    let mut state = State::default();
    run(&mut state, [Command::put(put(&[("a", "1")]), "t")]);
    let mut patch = set("b", "1", Expected::Absent);
    patch.delete.push(("a".into(), Expected::At(Revision(7))));
    let conflict = Reply::Conflict { key: Some("a".into()), current: Revision(1) };
    assert_eq!(run(&mut state, [Command::patch(patch.clone(), "t")]), conflict);
    assert!(!state.store.documents["p"].entries.contains_key("b"));
    patch.delete = vec![("a".into(), Expected::At(Revision(1)))];
    assert!(matches!(run(&mut state, [Command::patch(patch, "t")]), Reply::Stored { .. }));
    let keys: Vec<&str> = state.store.documents["p"].entries.keys().map(|key| &**key).collect();
    assert_eq!(keys, ["b"]);
}

#[test]
fn presence_is_met_by_any_revision() {
    let mut state = State::default();
    let present = || Command::patch(set("a", "2", Expected::Present), "t");
    let missing = Reply::Conflict { key: Some("a".into()), current: Revision(0) };
    assert_eq!(run(&mut state, [present()]), missing);
    run(&mut state, [Command::put(put(&[("a", "0")]), "t"), Command::put(put(&[("a", "1")]), "t")]);
    assert!(matches!(run(&mut state, [present()]), Reply::Stored { .. }));
    let whole = |expected| Command::put(PutDocument { expected, ..put(&[("a", "3")]) }, "t");
    assert!(matches!(run(&mut state, [whole(Expected::Present)]), Reply::Stored { .. }));
    assert!(matches!(run(&mut state, [whole(Expected::Absent)]), Reply::Conflict { .. }));
}

#[test]
fn an_older_term_is_refused_after_a_later_one() {
    let mut state = State::default();
    let fenced = |term, value| {
        Command::put(PutDocument { fence: Some(term), ..put(&[("a", value)]) }, "file")
    };
    assert!(matches!(run(&mut state, [fenced(3, "1")]), Reply::Stored { .. }));
    assert!(matches!(run(&mut state, [fenced(2, "2")]), Reply::Refused { .. }));
    assert!(matches!(run(&mut state, [fenced(3, "3")]), Reply::Stored { .. }));
}

#[test]
fn a_command_sent_twice_is_carried_out_once() {
    let mut state = State::default();
    let one = proposal(1, Command::patch(set("a", "1", Expected::Absent), "t"));
    let first = state.apply(position(1), &one).unwrap();
    let again = state.apply(position(2), &one).unwrap();
    assert_eq!(first, again);
    let mut later = one.clone();
    later.proposer.boot = 2;
    assert!(matches!(
        state.apply(position(3), &later).unwrap().reply,
        Reply::Conflict { current: Revision(1), .. }
    ));
    assert_eq!(state.apply(position(4), &proposal(9, one.command)), None);
}

#[test]
fn an_idempotency_key_holds_for_a_day_and_one_command() {
    let mut state = State::default();
    let keyed = |value: &'static str| Command {
        idempotency: Some(idempotency("k", value)),
        ..Command::patch(set("a", value, Expected::Any), "t")
    };
    let first = state.apply(position(1), &proposal(1, keyed("1"))).unwrap();
    run(&mut state, [Command::patch(set("a", "0", Expected::Any), "u")]);
    let mut again = keyed("1");
    again.operation =
        Operation::Patch(set("b", "what the same request comes to now", Expected::Any));
    let again = state.apply(position(3), &proposal(11, again)).unwrap();
    assert_eq!(first, again);
    assert_eq!(state.answered("t", &idempotency("k", "1")), Some(first));
    assert_eq!(state.answered("u", &idempotency("k", "1")), None);
    let other = state.apply(position(4), &proposal(12, keyed("2"))).unwrap();
    assert!(matches!(other.reply, Reply::Refused { .. }));
    let mut late = proposal(13, keyed("2"));
    late.stamp_ms += 25 * 60 * 60 * 1000;
    let late = state.apply(position(5), &late).unwrap();
    assert!(matches!(late.reply, Reply::Stored { .. }));
}

#[test]
fn a_conflict_leaves_the_idempotency_key_free() {
    let mut state = State::default();
    let keyed = |expected| Command {
        idempotency: Some(idempotency("k", "1")),
        ..Command::patch(set("a", "1", expected), "t")
    };
    let conflict = run(&mut state, [keyed(Expected::At(Revision(7)))]);
    assert!(matches!(conflict, Reply::Conflict { .. }));
    assert!(matches!(run(&mut state, [keyed(Expected::Absent)]), Reply::Stored { .. }));
}

#[test]
fn restoring_over_documents_needs_force() {
    let mut state = State::default();
    let restore = |force| Command {
        operation: Operation::Restore(Restore {
            documents: vec![("q".into(), entries(&[("x", "1")]))],
            force,
        }),
        author: "admin".into(),
        idempotency: None,
    };
    run(&mut state, [Command::put(put(&[("a", "1")]), "t")]);
    assert!(matches!(run(&mut state, [restore(false)]), Reply::Refused { .. }));
    assert!(matches!(run(&mut state, [restore(true)]), Reply::Stored { .. }));
    assert!(state.store.documents["p"].entries.is_empty());
    assert_eq!(state.store.documents["q"].entries.len(), 1);
}

#[test]
fn history_is_bounded_and_says_from_where() {
    let mut state = State::default();
    for number in 0..1100 {
        run(&mut state, [Command::put(put(&[("a", &number.to_string())]), "t")]);
    }
    assert_eq!(state.history.changes().count(), 1000);
    let floor = state.history.floor();
    assert_eq!(floor, Revision(100));
    assert_eq!(state.document_at("p", Revision(99)), Err(Compacted { floor }));
    assert_eq!(state.document_at("p", floor).unwrap()["a"].bytes, "99".into());
    assert_eq!(state.history.since(floor).unwrap().len(), 1000);
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        3 => Just(Expected::Any),
        1 => Just(Expected::Absent),
        1 => Just(Expected::Present),
        1 => (1..30_u64).prop_map(|revision| Expected::At(Revision(revision))),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let value = || "[ab]{0,2}".prop_map(|text| Bytes::from(text.into_bytes()));
    let provider = || "[pq]";
    let put = (provider(), prop::collection::btree_map("[a-d]", value(), 0..4), any::<bool>());
    let put = put.prop_map(|(provider, entries, fenced)| {
        let entries = entries.into_iter().collect();
        Operation::Put(PutDocument {
            provider,
            entries,
            expected: Expected::Any,
            fence: fenced.then_some(1),
        })
    });
    let set = prop::collection::vec(("[a-d]", value(), expected()), 0..3);
    let delete = prop::collection::vec(("[a-d]", expected()), 0..3);
    let patch = (provider(), set, delete).prop_map(|(provider, set, delete)| {
        let patch = PatchDocument { provider, set, delete, ..PatchDocument::default() };
        Operation::Patch(patch)
    });
    let restore = prop::collection::vec((provider(), Just(entries(&[("a", "r")]))), 0..3)
        .prop_map(|documents| Operation::Restore(Restore { documents, force: true }));
    prop_oneof![4 => put, 4 => patch, 1 => restore]
}

fn proposals() -> impl Strategy<Value = Vec<Proposal>> {
    let one = (operation(), prop::option::of("[kl]"), 0..5000_u64, 1..3_u64, 1..3_u64, 1..20_u64);
    let one = one.prop_map(|(operation, key, stamp_ms, peer, boot, sequence)| {
        let idempotency = key.map(|key| idempotency(&key, "r"));
        let command = Command { operation, author: "t".into(), idempotency };
        Proposal { command, stamp_ms, proposer: Proposer { peer, boot, sequence } }
    });
    prop::collection::vec(one, 0..40)
}

fn through_codec(state: &State) -> State {
    codec::state_of(codec::state_to(state)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn same_commands_give_same_state_also_from_a_snapshot(
        proposals in proposals(),
        cut in 0..40_usize,
    ) {
        use prost::Message as _;
        let (mut one, mut other) = (State::default(), State::default());
        for (at, proposal) in proposals.iter().enumerate() {
            if at == cut {
                other = through_codec(&other);
            }
            let bytes = codec::proposal_to(proposal).encode_to_vec();
            let decoded = codec::proposal_of(bytes.into()).unwrap();
            prop_assert_eq!(&decoded, proposal);
            let index = position(at as u64 + 1);
            prop_assert_eq!(one.apply(index, proposal), other.apply(index, &decoded));
        }
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(&through_codec(&one), &one);
    }

    #[test]
    fn every_revision_can_be_gone_back_to(proposals in proposals()) {
        let mut state = State::default();
        let mut seen = Vec::new();
        for (at, proposal) in proposals.iter().enumerate() {
            let index = at as u64 + 1;
            state.apply(position(index), proposal);
            let document = state.store.documents.get("p");
            seen.push((index, document.map(|one| one.entries.clone()).unwrap_or_default()));
        }
        for (index, entries) in seen {
            prop_assert_eq!(state.document_at("p", Revision(index)).unwrap(), entries);
        }
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(codec::proposal_of(bytes.into()));
    }
}
