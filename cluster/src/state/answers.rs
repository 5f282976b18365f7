//! Answers already given, so that a command that comes twice is carried out once.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::{Outcome, Proposer};

/// Answers kept for each peer. More than a peer has on the way at one time.
const ANSWERS_MAX: usize = 8192;
/// Peers whose answers are kept.
const PEERS_MAX: usize = 64;
/// How long an idempotency key is kept, in milliseconds of stamps.
const KEY_MS: u64 = 24 * 60 * 60 * 1000;
/// Most idempotency keys kept.
const KEYS_MAX: usize = 10_000;

/// What is known of a proposal.
pub(super) enum Known {
    New,
    Answered(Outcome),
    /// So old that its answer, if there was one, is gone.
    Forgotten,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PeerAnswers {
    pub(crate) boot: u64,
    /// Answers up to this sequence are gone.
    pub(crate) forgotten: u64,
    pub(crate) answers: BTreeMap<u64, Outcome>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) stamp_ms: u64,
    /// A digest of it.
    pub(crate) request: Bytes,
    pub(crate) outcome: Outcome,
}

/// Author and idempotency key.
pub(crate) type Key = (String, String);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) peers: BTreeMap<u64, PeerAnswers>,
    remembered: BTreeMap<Key, Remembered>,
    /// Keys by stamp. No two stamps are equal.
    order: BTreeMap<u64, Key>,
}

impl Answers {
    pub(super) fn look_up(&self, proposer: &Proposer) -> Known {
        let Some(peer) = self.peers.get(&proposer.peer) else { return Known::New };
        if proposer.boot > peer.boot {
            return Known::New;
        }
        if proposer.boot < peer.boot || proposer.sequence <= peer.forgotten {
            return Known::Forgotten;
        }
        peer.answers
            .get(&proposer.sequence)
            .map_or(Known::New, |outcome| Known::Answered(outcome.clone()))
    }

    pub(super) fn record(&mut self, proposer: &Proposer, outcome: &Outcome) {
        if !self.peers.contains_key(&proposer.peer) && self.peers.len() >= PEERS_MAX {
            self.drop_quietest();
        }
        let peer = self.peers.entry(proposer.peer).or_default();
        if proposer.boot > peer.boot {
            *peer = PeerAnswers { boot: proposer.boot, ..PeerAnswers::default() };
        }
        peer.answers.insert(proposer.sequence, outcome.clone());
        while peer.answers.len() > ANSWERS_MAX {
            if let Some((sequence, _)) = peer.answers.pop_first() {
                peer.forgotten = sequence;
            }
        }
    }

    /// Drops the peer whose last answer is the oldest.
    fn drop_quietest(&mut self) {
        let last = |peer: &PeerAnswers| peer.answers.values().map(|outcome| outcome.revision).max();
        let quietest = self.peers.iter().min_by_key(|(_, peer)| last(peer)).map(|(id, _)| *id);
        if let Some(id) = quietest {
            self.peers.remove(&id);
        }
    }

    pub(super) fn remembered(&self, key: &Key) -> Option<&Remembered> {
        self.remembered.get(key)
    }

    pub(crate) fn all_remembered(&self) -> impl Iterator<Item = (&Key, &Remembered)> {
        self.order.values().filter_map(|key| Some((key, self.remembered.get(key)?)))
    }

    pub(crate) fn remember(&mut self, key: Key, remembered: Remembered) {
        self.order.insert(remembered.stamp_ms, key.clone());
        self.remembered.insert(key, remembered);
        while self.order.len() > KEYS_MAX {
            self.drop_oldest();
        }
    }

    pub(super) fn expire(&mut self, now_ms: u64) {
        while self.order.first_key_value().is_some_and(|(stamp, _)| stamp + KEY_MS <= now_ms) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.remembered.remove(&key);
        }
    }
}
