//! `documents`: registers, which are routers, written and read through every peer.
//!
//! Writes store a value that no other write stores, so a value tells where it came from. About half of the writes
//! carry an idempotency key; those are sent again, through other peers, while their outcome is not known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Write};
use crate::history::{Action, Clock, Condition, Moment, Operation, Outcome};
use crate::peers::PEERS;
use crate::random::Random;

/// Users at once.
pub(crate) const CLIENTS: usize = 9;
/// Registers; few, so that users meet.
pub(crate) const REGISTERS: usize = 6;
/// Longest pause between two operations of a user.
const PAUSE_MAX: Duration = Duration::from_millis(15);
/// How often a write is sent again while its outcome is not known.
const AGAIN_MAX: usize = 8;
/// Pause before it is.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// All that was done. What each user did stands in order.
#[derive(Default)]
pub(crate) struct Recorder {
    operations: Mutex<Vec<Operation>>,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) reads: AtomicU64,
}

impl Recorder {
    pub(crate) fn record(&self, operation: Operation) {
        let counter = match (&operation.action, &operation.outcome) {
            (Action::Read, _) => &self.reads,
            (_, Outcome::Ok { .. }) => &self.acknowledged,
            (_, Outcome::Fail { .. }) => &self.failed,
            (_, Outcome::Unknown { .. } | Outcome::Wrong { .. }) => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    pub(crate) fn all(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One user.
pub(crate) struct User {
    number: usize,
    random: Random,
    client: Client,
    clock: Clock,
    /// Writes so far.
    writes: u64,
    /// The newest revision of each register that this user has seen.
    known: [u64; REGISTERS],
}

impl User {
    pub(crate) fn new(number: usize, seed: u64, client: Client, clock: Clock) -> Self {
        let user = u64::try_from(number).unwrap_or(0);
        let random = Random::of(seed, 1000 + user);
        Self { number, random, client, clock, writes: 0, known: [0; REGISTERS] }
    }

    /// Works until told to stop.
    pub(crate) async fn run(mut self, recorder: &Recorder, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            recorder.record(self.operate().await);
            let pause = self.random.up_to(PAUSE_MAX);
            let _stopped = stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Makes one operation that the seed chooses.
    async fn operate(&mut self) -> Operation {
        let (peer, register) = (self.random.below(PEERS), self.random.below(REGISTERS));
        let (kind, with_key) = (self.random.below(100), self.random.percent(50));
        let known = self.known.get(register).copied().unwrap_or(0);
        let condition = match kind {
            0..30 => return self.read(peer, register).await,
            30..65 => Condition::Any,
            65..70 => Condition::Present,
            70..74 => Condition::Absent,
            _ if known == 0 => Condition::Absent,
            _ => Condition::At(known),
        };
        let operation = self.write(peer, register, condition, with_key).await;
        // Whoever lost against another writer looks at what is there, as users do.
        if let (Outcome::Fail { current: Some(current), .. }, Some(known)) =
            (&operation.outcome, self.known.get_mut(register))
        {
            *known = *current;
        }
        operation
    }

    pub(crate) async fn read(&mut self, peer: usize, register: usize) -> Operation {
        let start = self.clock.now();
        let outcome = self.client.read(peer, register).await;
        self.ended((peer, register), Action::Read, start, outcome)
    }

    pub(crate) async fn write(
        &mut self,
        mut peer: usize,
        register: usize,
        condition: Condition,
        with_key: bool,
    ) -> Operation {
        let number = u64::try_from(self.number).unwrap_or(0);
        self.writes += 1;
        let value = self.writes * 1000 + number + 1;
        let key = format!("value-{value}");
        let idempotency_key = with_key.then_some(key.as_str());
        let write = Write { register, value, condition, idempotency_key };
        let start = self.clock.now();
        let mut outcome = self.client.write(peer, &write).await;
        if with_key && matches!(outcome, Outcome::Unknown { .. }) {
            for _ in 0..AGAIN_MAX {
                sleep(AGAIN_AFTER).await;
                peer = (peer + 1) % PEERS;
                // Another answer than success says nothing of the write that was sent before.
                if let done @ Outcome::Ok { .. } = self.client.write(peer, &write).await {
                    outcome = done;
                    break;
                }
            }
        }
        self.ended((peer, register), Action::Write { value, condition }, start, outcome)
    }

    fn ended(
        &mut self,
        (peer, register): (usize, usize),
        action: Action,
        start: Moment,
        outcome: Outcome,
    ) -> Operation {
        let end = self.clock.now();
        let operation =
            Operation { client: self.number, peer, register, action, start, end, outcome };
        if let (Some((revision, _)), Some(known)) = (operation.seen(), self.known.get_mut(register))
        {
            *known = revision;
        }
        operation
    }
}
