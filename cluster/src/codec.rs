//! Commands, Raft's values and the state, to protobuf and back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use openraft::{
    CommittedLeaderId, EntryPayload, LogId, Membership, StoredMembership, Vote as RaftVote,
};
use prost::Message as _;

use crate::command::{
    Command, Expected, Idempotency, Operation, Outcome, PatchDocument, Proposal, Proposer,
    PutDocument, Reply, Restore, Revision,
};
use crate::raft::{Peer, RaftEntry};
use crate::state::{
    Answers, Change, ChangeKind, Document, Entry, History, KeyChange, PeerAnswers, Remembered,
    State, Store,
};

/// Messages as prost makes them.
#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/pontoon.cluster.v1.rs"));
}

/// Bytes that are not what they should be.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    #[error("malformed message: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("message without `{0}`")]
    Missing(&'static str),
}

fn expected_of(expected: Option<u64>, present: bool) -> Expected {
    match expected {
        None if present => Expected::Present,
        None => Expected::Any,
        Some(0) => Expected::Absent,
        Some(revision) => Expected::At(Revision(revision)),
    }
}

fn expected_to(expected: Expected) -> (Option<u64>, bool) {
    match expected {
        Expected::Any => (None, false),
        Expected::Absent => (Some(0), false),
        Expected::Present => (None, true),
        Expected::At(revision) => (Some(revision.0), false),
    }
}

fn put_to(put: &PutDocument) -> proto::PutDocument {
    let entry = |(key, value): &(String, Bytes)| proto::NewEntry {
        key: key.clone(),
        value: value.clone(),
        expected: None,
        present: false,
    };
    let (expected, present) = expected_to(put.expected);
    proto::PutDocument {
        provider: put.provider.clone(),
        entries: put.entries.iter().map(entry).collect(),
        expected,
        fence: put.fence,
        present,
    }
}

fn put_of(put: proto::PutDocument) -> PutDocument {
    PutDocument {
        provider: put.provider,
        entries: put.entries.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        expected: expected_of(put.expected, put.present),
        fence: put.fence,
    }
}

fn operation_to(operation: &Operation) -> proto::command::Operation {
    match operation {
        Operation::Put(put) => proto::command::Operation::Put(put_to(put)),
        Operation::Patch(patch) => {
            let set = patch.set.iter().map(|(key, value, expected)| {
                let (expected, present) = expected_to(*expected);
                proto::NewEntry { key: key.clone(), value: value.clone(), expected, present }
            });
            let delete = patch.delete.iter().map(|(key, expected)| {
                let (expected, present) = expected_to(*expected);
                proto::GoneEntry { key: key.clone(), expected, present }
            });
            let (expected_document, present) = expected_to(patch.expected_document);
            proto::command::Operation::Patch(proto::PatchDocument {
                provider: patch.provider.clone(),
                set: set.collect(),
                delete: delete.collect(),
                expected_document,
                fence: patch.fence,
                present,
            })
        }
        Operation::Restore(restore) => proto::command::Operation::Restore(restore_to(restore)),
    }
}

/// A restoring command, as it also stands in a backup.
pub(crate) fn restore_to(restore: &Restore) -> proto::Restore {
    let document = |(provider, entries): &(String, Vec<(String, Bytes)>)| {
        let (provider, entries) = (provider.clone(), entries.clone());
        put_to(&PutDocument { provider, entries, ..PutDocument::default() })
    };
    proto::Restore {
        documents: restore.documents.iter().map(document).collect(),
        force: restore.force,
    }
}

pub(crate) fn restore_of(restore: proto::Restore) -> Restore {
    let documents = restore.documents.into_iter().map(put_of);
    Restore {
        documents: documents.map(|put| (put.provider, put.entries)).collect(),
        force: restore.force,
    }
}

fn operation_of(operation: proto::command::Operation) -> Operation {
    match operation {
        proto::command::Operation::Put(put) => Operation::Put(put_of(put)),
        proto::command::Operation::Patch(patch) => {
            let set = patch
                .set
                .into_iter()
                .map(|entry| (entry.key, entry.value, expected_of(entry.expected, entry.present)));
            let delete = patch
                .delete
                .into_iter()
                .map(|entry| (entry.key, expected_of(entry.expected, entry.present)));
            Operation::Patch(PatchDocument {
                provider: patch.provider,
                set: set.collect(),
                delete: delete.collect(),
                expected_document: expected_of(patch.expected_document, patch.present),
                fence: patch.fence,
            })
        }
        proto::command::Operation::Restore(restore) => Operation::Restore(restore_of(restore)),
    }
}

pub(crate) fn proposal_to(proposal: &Proposal) -> proto::Proposal {
    let Proposal { command, stamp_ms, proposer } = proposal;
    proto::Proposal {
        command: Some(proto::Command {
            operation: Some(operation_to(&command.operation)),
            author: command.author.clone(),
            idempotency_key: command.idempotency.as_ref().map(|one| one.key.clone()),
            request: command
                .idempotency
                .as_ref()
                .map(|one| one.request.clone())
                .unwrap_or_default(),
        }),
        stamp_ms: *stamp_ms,
        proposer: Some(proto::Proposer {
            peer: proposer.peer,
            boot: proposer.boot,
            sequence: proposer.sequence,
        }),
    }
}

/// A proposal of the log.
pub(crate) fn proposal_of(bytes: Bytes) -> Result<Proposal, Error> {
    let message = proto::Proposal::decode(bytes)?;
    let command = message.command.ok_or(Error::Missing("command"))?;
    let operation = command.operation.ok_or(Error::Missing("operation"))?;
    let proposer = message.proposer.ok_or(Error::Missing("proposer"))?;
    let request = command.request;
    let idempotency = command.idempotency_key.map(|key| Idempotency { key, request });
    Ok(Proposal {
        command: Command {
            operation: operation_of(operation),
            author: command.author,
            idempotency,
        },
        stamp_ms: message.stamp_ms,
        proposer: Proposer {
            peer: proposer.peer,
            boot: proposer.boot,
            sequence: proposer.sequence,
        },
    })
}

pub(crate) fn outcome_to(outcome: &Outcome) -> proto::Outcome {
    let reply = match &outcome.reply {
        Reply::Stored { revision, created } => {
            proto::outcome::Reply::Stored(proto::Stored { revision: revision.0, created: *created })
        }
        Reply::Unchanged => proto::outcome::Reply::Unchanged(proto::Unchanged {}),
        Reply::Conflict { key, current } => proto::outcome::Reply::Conflict(proto::Conflict {
            key: key.clone(),
            current: current.0,
        }),
        Reply::Refused { reason } => {
            proto::outcome::Reply::Refused(proto::Refused { reason: reason.clone() })
        }
    };
    proto::Outcome { reply: Some(reply), revision: outcome.revision.0, term: outcome.term }
}

pub(crate) fn outcome_of(outcome: proto::Outcome) -> Result<Outcome, Error> {
    let reply = match outcome.reply.ok_or(Error::Missing("reply"))? {
        proto::outcome::Reply::Stored(stored) => {
            Reply::Stored { revision: Revision(stored.revision), created: stored.created }
        }
        proto::outcome::Reply::Unchanged(proto::Unchanged {}) => Reply::Unchanged,
        proto::outcome::Reply::Conflict(conflict) => {
            Reply::Conflict { key: conflict.key, current: Revision(conflict.current) }
        }
        proto::outcome::Reply::Refused(refused) => Reply::Refused { reason: refused.reason },
    };
    Ok(Outcome { reply, revision: Revision(outcome.revision), term: outcome.term })
}

pub(crate) fn log_id_to(id: &LogId<u64>) -> proto::LogId {
    proto::LogId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(crate) fn log_id_of(id: &proto::LogId) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(id.term, id.leader), id.index)
}

pub(crate) fn vote_to(vote: &RaftVote<u64>) -> proto::Vote {
    let leader = &vote.leader_id;
    proto::Vote { term: leader.term, peer: leader.node_id, committed: vote.committed }
}

pub(crate) fn vote_of(vote: &proto::Vote) -> RaftVote<u64> {
    if vote.committed {
        RaftVote::new_committed(vote.term, vote.peer)
    } else {
        RaftVote::new(vote.term, vote.peer)
    }
}

fn membership_to(membership: &Membership<u64, Peer>) -> proto::Membership {
    let voters =
        |set: &BTreeSet<u64>| proto::Voters { peers: set.iter().copied().collect::<Vec<_>>() };
    let peer = |(id, peer): (&u64, &Peer)| proto::PeerAddress {
        id: *id,
        name: peer.name.clone(),
        address: peer.address.clone(),
    };
    proto::Membership {
        configurations: membership.get_joint_config().iter().map(voters).collect(),
        peers: membership.nodes().map(peer).collect(),
    }
}

fn membership_of(message: proto::Membership) -> Membership<u64, Peer> {
    let peers: BTreeMap<u64, Peer> = message
        .peers
        .into_iter()
        .map(|peer| (peer.id, Peer { name: peer.name, address: peer.address }))
        .collect();
    let sets = message.configurations.into_iter();
    Membership::new(sets.map(|set| set.peers.into_iter().collect()).collect(), peers)
}

pub(crate) fn stored_membership_to(
    membership: &StoredMembership<u64, Peer>,
) -> proto::StoredMembership {
    proto::StoredMembership {
        id: membership.log_id().as_ref().map(log_id_to),
        membership: Some(membership_to(membership.membership())),
    }
}

pub(crate) fn stored_membership_of(
    message: proto::StoredMembership,
) -> StoredMembership<u64, Peer> {
    let membership = message.membership.map(membership_of).unwrap_or_default();
    StoredMembership::new(message.id.as_ref().map(log_id_of), membership)
}

pub(crate) fn entry_to(entry: &RaftEntry) -> proto::LogEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => proto::log_entry::Payload::Blank(proto::Blank {}),
        EntryPayload::Normal(proposal) => proto::log_entry::Payload::Proposal(proposal.0.clone()),
        EntryPayload::Membership(membership) => {
            proto::log_entry::Payload::Membership(membership_to(membership))
        }
    };
    proto::LogEntry { id: Some(log_id_to(&entry.log_id)), payload: Some(payload) }
}

pub(crate) fn entry_of(entry: proto::LogEntry) -> Result<RaftEntry, Error> {
    let log_id = log_id_of(&entry.id.ok_or(Error::Missing("id"))?);
    let payload = match entry.payload.ok_or(Error::Missing("payload"))? {
        proto::log_entry::Payload::Blank(proto::Blank {}) => EntryPayload::Blank,
        proto::log_entry::Payload::Proposal(bytes) => {
            EntryPayload::Normal(crate::raft::Encoded(bytes))
        }
        proto::log_entry::Payload::Membership(membership) => {
            EntryPayload::Membership(membership_of(membership))
        }
    };
    Ok(RaftEntry { log_id, payload })
}

fn stored_entry_to(key: &str, entry: &Entry) -> proto::StoredEntry {
    proto::StoredEntry {
        key: key.to_owned(),
        value: entry.bytes.to_bytes(),
        revision: entry.revision.0,
    }
}

/// Values are copied, so that none keeps the whole state snapshot's memory.
fn stored_entry_of(entry: proto::StoredEntry) -> (Arc<str>, Entry) {
    let bytes = (&*entry.value).into();
    (entry.key.into(), Entry { revision: Revision(entry.revision), bytes })
}

fn change_to(change: &Change) -> proto::Change {
    let key = |key: &KeyChange| proto::KeyChange {
        key: key.key.to_string(),
        deleted: key.kind == ChangeKind::Deleted,
        previous: key.previous.as_ref().map(|entry| stored_entry_to("", entry)),
    };
    proto::Change {
        revision: change.revision.0,
        stamp_ms: change.stamp_ms,
        author: change.author.clone(),
        provider: change.provider.clone(),
        keys: change.keys.iter().map(key).collect(),
    }
}

fn change_of(change: proto::Change) -> Change {
    let key = |key: proto::KeyChange| KeyChange {
        key: key.key.into(),
        kind: if key.deleted { ChangeKind::Deleted } else { ChangeKind::Set },
        previous: key.previous.map(|entry| stored_entry_of(entry).1),
    };
    Change {
        revision: Revision(change.revision),
        stamp_ms: change.stamp_ms,
        author: change.author,
        provider: change.provider,
        keys: change.keys.into_iter().map(key).collect(),
    }
}

fn answers_to(answers: &Answers) -> (Vec<proto::Answers>, Vec<proto::Remembered>) {
    let peer = |(id, peer): (&u64, &PeerAnswers)| proto::Answers {
        peer: *id,
        boot: peer.boot,
        forgotten: peer.forgotten,
        answers: peer
            .answers
            .iter()
            .map(|(sequence, outcome)| proto::Answer {
                sequence: *sequence,
                outcome: Some(outcome_to(outcome)),
            })
            .collect(),
    };
    let remembered = answers.all_remembered().map(|((author, key), value)| proto::Remembered {
        author: author.clone(),
        key: key.clone(),
        stamp_ms: value.stamp_ms,
        fingerprint: value.request.clone(),
        outcome: Some(outcome_to(&value.outcome)),
    });
    (answers.peers.iter().map(peer).collect(), remembered.collect())
}

fn answers_of(
    peers: Vec<proto::Answers>,
    remembered: Vec<proto::Remembered>,
) -> Result<Answers, Error> {
    let mut answers = Answers::default();
    for peer in peers {
        let mut given = BTreeMap::new();
        for answer in peer.answers {
            let outcome = answer.outcome.ok_or(Error::Missing("outcome"))?;
            given.insert(answer.sequence, outcome_of(outcome)?);
        }
        let restored = PeerAnswers { boot: peer.boot, forgotten: peer.forgotten, answers: given };
        answers.peers.insert(peer.peer, restored);
    }
    for one in remembered {
        let outcome = outcome_of(one.outcome.ok_or(Error::Missing("outcome"))?)?;
        let request = Bytes::copy_from_slice(&one.fingerprint);
        let value = Remembered { stamp_ms: one.stamp_ms, request, outcome };
        answers.remember((one.author, one.key), value);
    }
    Ok(answers)
}

pub(crate) fn state_to(state: &State) -> proto::State {
    let document = |(provider, document): (&String, &Arc<Document>)| proto::StoredDocument {
        provider: provider.clone(),
        revision: document.revision.0,
        entries: document.entries.iter().map(|(key, entry)| stored_entry_to(key, entry)).collect(),
    };
    let (answers, remembered) = answers_to(&state.answers);
    let fence = |(provider, term): (&String, &u64)| proto::Fence {
        provider: provider.clone(),
        term: *term,
    };
    proto::State {
        stamp_ms: state.stamp_ms,
        documents: state.store.documents.iter().map(document).collect(),
        history: state.history.changes().map(|change| change_to(change)).collect(),
        floor: state.history.floor().0,
        answers,
        remembered,
        fences: state.fences.iter().map(fence).collect(),
    }
}

pub(crate) fn state_of(message: proto::State) -> Result<State, Error> {
    let document = |document: proto::StoredDocument| {
        let entries = document.entries.into_iter().map(stored_entry_of).collect();
        let restored = Document { revision: Revision(document.revision), entries };
        (document.provider, Arc::new(restored))
    };
    let changes = message.history.into_iter().map(change_of);
    Ok(State {
        stamp_ms: message.stamp_ms,
        store: Store::new(message.documents.into_iter().map(document).collect()),
        history: History::new(changes, Revision(message.floor)),
        answers: answers_of(message.answers, message.remembered)?,
        fences: message.fences.into_iter().map(|fence| (fence.provider, fence.term)).collect(),
    })
}
