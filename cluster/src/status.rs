//! What a peer says of itself and of the others.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::codec::proto;
use crate::command::Revision;

/// What the user of this package tells about this peer; the other peers hear each change at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerReport {
    /// The revision that the plan was made of; 0: there is none.
    pub plan_revision: Revision,
    /// Equal documents give equal digests.
    pub plan_digest: String,
    /// A plan stands, and this peer is not draining.
    pub ready: bool,
    /// Digests of what the file provider of this peer reads, by name.
    pub files: BTreeMap<String, String>,
}

/// Who leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader's name, as far as this peer knows.
    pub leader: Option<String>,
    /// The newest term this peer knows of.
    pub term: u64,
    /// This peer leads, and a quorum has confirmed it lately.
    pub me: bool,
}

/// Whether a peer votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// It counts for the quorum.
    Voter,
    /// It only follows.
    Learner,
}

/// The cluster as one peer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The peer that answers.
    pub name: String,
    /// The leader's name, if one is known.
    pub leader: Option<String>,
    /// The newest term it knows of.
    pub term: u64,
    /// What is in force: of this its plan was made.
    pub revision: Revision,
    /// What it knows to be committed.
    pub committed: Revision,
    /// Its plan.
    pub plan_digest: String,
    /// It proxies.
    pub ready: bool,
    /// All peers, by name.
    pub peers: Vec<PeerStatus>,
}

/// A peer as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// `host:port` of its peer port.
    pub address: String,
    /// Voter or learner.
    pub role: Role,
    /// It leads.
    pub leader: bool,
    /// It has been heard of in the last seconds.
    pub reachable: bool,
    /// Since it was last heard of, in milliseconds; none if never since this peer started.
    pub last_contact_ms: Option<u64>,
    /// What is in force there, as far as it has told: of this its plan was made.
    pub revision: Revision,
    /// Its plan.
    pub plan_digest: String,
    /// Its release.
    pub release: String,
    /// It proxies.
    pub ready: bool,
    /// Digests of its file provider.
    pub files: BTreeMap<String, String>,
}

/// A report on its way; who sends it adds which one it is.
pub(crate) fn report_to(report: &PeerReport, release: &str, revision: Revision) -> proto::Report {
    let file = |(name, digest): (&String, &String)| proto::Digest {
        name: name.clone(),
        digest: digest.clone(),
    };
    proto::Report {
        release: release.to_owned(),
        revision: revision.0,
        plan_revision: report.plan_revision.0,
        plan_digest: report.plan_digest.clone(),
        ready: report.ready,
        files: report.files.iter().map(file).collect(),
        boot: 0,
        number: 0,
    }
}

/// What is in force at a peer that reports this: what its plan was made of, if it reports one.
pub(crate) fn in_force(report: &proto::Report) -> Revision {
    match report.plan_revision {
        0 => Revision(report.revision),
        plan => Revision(plan),
    }
}
