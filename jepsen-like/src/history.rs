//! What was done, when, and what came of it: the material of the checkers.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// Time since the run began, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// The time from `earlier` to this moment.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3}s", Duration::from_micros(self.0).as_secs_f64())
    }
}

/// The clock of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// What a write wants to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Anything or nothing.
    Any,
    /// A value, whichever.
    Present,
    /// Nothing.
    Absent,
    /// The value of this revision.
    At(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Stores a value that no other write stores.
    Write { value: u64, condition: Condition },
    /// A linearizable read.
    Read,
}

/// What is known of an operation after its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The register held, or holds since this write, `value` at `revision`. Both are 0 where it does not exist.
    Ok { revision: u64, value: u64 },
    /// Nothing was changed. `current` is the revision that the answer to an unmet condition named.
    Fail { reason: String, current: Option<u64> },
    /// It may have been carried out, or may still be.
    Unknown { reason: String },
    /// An answer that nobody should get here. Of what it did nothing is known.
    Wrong { reason: String },
}

/// One operation on one register, through one peer; the last one asked, where it was sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) peer: usize,
    pub(crate) register: usize,
    pub(crate) action: Action,
    pub(crate) start: Moment,
    pub(crate) end: Moment,
    pub(crate) outcome: Outcome,
}

impl Operation {
    /// What it saw or made: revision and value.
    pub(crate) fn seen(&self) -> Option<(u64, u64)> {
        match self.outcome {
            Outcome::Ok { revision, value } => Some((revision, value)),
            Outcome::Fail { .. } | Outcome::Unknown { .. } | Outcome::Wrong { .. } => None,
        }
    }

    /// The revision of an acknowledged write.
    pub(crate) fn acknowledged(&self) -> Option<u64> {
        match self.action {
            Action::Write { .. } => self.seen().map(|(revision, _)| revision),
            Action::Read => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, peer, register, start, end, .. } = self;
        write!(formatter, "[{start} to {end}, client {client}, peer {}] ", peer + 1)?;
        match self.action {
            Action::Write { value, condition: Condition::Any } => {
                write!(formatter, "write {value} to register {register}")?;
            }
            Action::Write { value, condition } => {
                write!(formatter, "write {value} to register {register} if {condition:?}")?;
            }
            Action::Read => write!(formatter, "read register {register}")?,
        }
        match &self.outcome {
            Outcome::Ok { revision, value } => write!(formatter, ": {value} at {revision}"),
            Outcome::Fail { reason, .. } => write!(formatter, ": failed: {reason}"),
            Outcome::Unknown { reason } => write!(formatter, ": unknown: {reason}"),
            Outcome::Wrong { reason } => write!(formatter, ": not to be answered: {reason}"),
        }
    }
}

/// A time in which a peer was down by our hand: from just before it was killed until it listened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) peer: usize,
    pub(crate) from: Moment,
    /// `None` while it lasts.
    pub(crate) to: Option<Moment>,
}

impl Outage {
    /// Whether some of the time from `start` to `end` lies in it.
    pub(crate) fn touches(&self, start: Moment, end: Moment) -> bool {
        self.from <= end && self.to.is_none_or(|to| start <= to)
    }
}

/// A proxied request that was not answered as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) peer: usize,
    pub(crate) start: Moment,
    pub(crate) end: Moment,
    pub(crate) reason: String,
}
