//! Who this peer is, whom it knows, and how a new cluster forms.
//!
//! The identity lives in the data directory. A peer whose data directory is made anew has
//! forgotten what it voted and acknowledged, so it must not speak under its old identity: every
//! message carries the incarnation of the data directory, and each peer remembers, on disk, the
//! first incarnation that it has met of every other.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::codec::proto;
use crate::lock;
use crate::raft::Peer;
use crate::raft::state_machine::Shared;
use crate::secret;
use crate::store::disk::replace_file;
use crate::store::writer::Writer;
use crate::store::{Backend, Error as StoreError, Step};

/// Most peers of a cluster.
const PEERS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 253;

/// Why this peer cannot be what it is configured to be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made.
    #[error("cannot create the data directory `{path}`")]
    Directory {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The identity cannot be read or written.
    #[error("cannot use the identity in `{path}`: {reason}")]
    Identity {
        /// Which file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The data directory is of another peer.
    #[error(
        "the data directory belongs to peer `{found}`, not to `{name}`: set the name back, or use \
         another data directory"
    )]
    OtherName {
        /// As configured.
        name: String,
        /// As stored.
        found: String,
    },
    /// A name is empty or too long.
    #[error("peer name `{0}` must have 1 to {NAME_BYTES_MAX} bytes")]
    Name(String),
    /// `initialPeers` is needed.
    #[error("peer `{0}` has no data yet, and `initialPeers` does not name it")]
    NotInitial(String),
    /// Too many.
    #[error("more than {PEERS_MAX} peers")]
    TooMany,
    /// Two names have the same id.
    #[error("peers `{0}` and `{1}` cannot be in one cluster: rename one of them")]
    Clash(String, String),
    /// The cluster knows this peer with other data.
    #[error(
        "the cluster knows peer `{0}` with other data: its data directory was lost or replaced. \
         Put the old one back; a peer with a new data directory needs a new name and must join"
    )]
    Replaced(String),
    /// No random numbers.
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// As stored in the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) id: u64,
    /// Random, made with the data directory.
    pub(crate) incarnation: u64,
    /// Starts so far.
    pub(crate) boot: u64,
    /// The peers with which the cluster formed.
    pub(crate) initial: BTreeMap<u64, Peer>,
}

/// Every peer must find the same id for a name, before they have talked.
pub(crate) fn peer_id(name: &str) -> u64 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    // 0 is openraft's default; the top bit is left out for whoever stores it signed.
    (u64::from_be_bytes(first) >> 1).max(1)
}

fn initial_peers(peers: &BTreeMap<String, String>) -> Result<BTreeMap<u64, Peer>, Error> {
    if peers.len() > PEERS_MAX {
        return Err(Error::TooMany);
    }
    let mut initial: BTreeMap<u64, Peer> = BTreeMap::new();
    for (name, address) in peers {
        check_name(name)?;
        let peer = Peer { name: name.clone(), address: address.clone() };
        if let Some(other) = initial.insert(peer_id(name), peer) {
            return Err(Error::Clash(other.name, name.clone()));
        }
    }
    Ok(initial)
}

fn check_name(name: &str) -> Result<(), Error> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    if fits { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

impl Identity {
    /// Takes the identity of the data directory, or makes both; counts this start.
    pub(crate) fn open(
        directory: &Path,
        name: &str,
        peers: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        check_name(name)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| Error::Directory { path: directory.display().to_string(), source })?;
        let path = directory.join("identity.json");
        let fail = |reason: String| Error::Identity { path: path.display().to_string(), reason };
        let mut identity = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::new(name, peers)?,
            Err(error) => return Err(fail(error.to_string())),
        };
        if identity.name != name {
            let (name, found) = (name.to_owned(), identity.name);
            return Err(Error::OtherName { name, found });
        }
        identity.boot += 1;
        let bytes = serde_json::to_vec(&identity).map_err(|error| fail(error.to_string()))?;
        replace_file(&path, &[&bytes])?;
        Ok(identity)
    }

    fn new(name: &str, peers: &BTreeMap<String, String>) -> Result<Self, Error> {
        let initial = initial_peers(peers)?;
        let id = peer_id(name);
        if !initial.contains_key(&id) {
            return Err(Error::NotInitial(name.to_owned()));
        }
        let mut incarnation = [0; 8];
        secret::random(&mut incarnation)?;
        let incarnation = u64::from_be_bytes(incarnation);
        Ok(Self { name: name.to_owned(), id, incarnation, boot: 0, initial })
    }
}

/// Why a message is not heard.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Stranger {
    #[error("the message does not say who sent it")]
    Nobody,
    #[error("the message is for another peer: two peers' addresses are mixed up")]
    WrongTarget,
    #[error("peer {0:x} is not of this cluster")]
    Unknown(u64),
    #[error("peer {0:x} has another data directory than the one that is known")]
    Replaced(u64),
    #[error("cannot remember peer {peer:x}: {reason}")]
    Store { peer: u64, reason: String },
}

/// Which peers this one has met, and in which incarnation.
pub(crate) struct Acquaintances {
    id: u64,
    incarnation: u64,
    initial: BTreeMap<u64, Peer>,
    shared: Arc<Shared>,
    met: Mutex<BTreeMap<u64, u64>>,
    meeting: tokio::sync::Mutex<()>,
    writer: Writer,
}

const MET: &str = "met";

impl Acquaintances {
    pub(crate) fn open(
        identity: &Identity,
        shared: Arc<Shared>,
        backend: &dyn Backend,
        writer: Writer,
    ) -> Result<Self, Error> {
        let stored = backend.meta(MET)?.unwrap_or_default();
        let (pairs, _) = stored.as_chunks::<16>();
        let pair = |bytes: &[u8; 16]| {
            let number = u128::from_be_bytes(*bytes);
            let halves =
                (u64::try_from(number >> 64), u64::try_from(number & u128::from(u64::MAX)));
            Some((halves.0.ok()?, halves.1.ok()?))
        };
        Ok(Self {
            id: identity.id,
            incarnation: identity.incarnation,
            initial: identity.initial.clone(),
            shared,
            met: Mutex::new(pairs.iter().filter_map(pair).collect()),
            meeting: tokio::sync::Mutex::default(),
            writer,
        })
    }

    pub(crate) fn caller(&self, target: u64) -> proto::Caller {
        proto::Caller { peer: self.id, incarnation: self.incarnation, target }
    }

    /// Who sent a message. `from`: who should have.
    pub(crate) async fn check(
        &self,
        caller: Option<&proto::Caller>,
        from: Option<u64>,
    ) -> Result<u64, Stranger> {
        let caller = caller.ok_or(Stranger::Nobody)?;
        if caller.target != self.id || from.is_some_and(|from| from != caller.peer) {
            return Err(Stranger::WrongTarget);
        }
        if let Some(known) = self.known(caller)? {
            return Ok(known);
        }
        if !self.belongs(caller.peer) {
            return Err(Stranger::Unknown(caller.peer));
        }
        self.meet(caller).await
    }

    fn known(&self, caller: &proto::Caller) -> Result<Option<u64>, Stranger> {
        match lock(&self.met).get(&caller.peer) {
            None => Ok(None),
            Some(incarnation) if *incarnation == caller.incarnation => Ok(Some(caller.peer)),
            Some(_) => Err(Stranger::Replaced(caller.peer)),
        }
    }

    fn belongs(&self, peer: u64) -> bool {
        let replicated = self.shared.read();
        let member = replicated.membership.membership().get_node(&peer).is_some();
        peer != self.id && (member || self.initial.contains_key(&peer))
    }

    /// Remembers a peer before its first message is heard.
    async fn meet(&self, caller: &proto::Caller) -> Result<u64, Stranger> {
        let _one_at_a_time = self.meeting.lock().await;
        if let Some(known) = self.known(caller)? {
            return Ok(known);
        }
        let mut all = lock(&self.met).clone();
        all.insert(caller.peer, caller.incarnation);
        let pair = |(id, incarnation): (&u64, &u64)| [id.to_be_bytes(), incarnation.to_be_bytes()];
        let value = all.iter().flat_map(pair).flatten().collect();
        let step = Step::Meta { name: MET.to_owned(), value };
        let peer = caller.peer;
        let failed = |error: io::Error| Stranger::Store { peer, reason: error.to_string() };
        self.writer.write(vec![step]).await.map_err(failed)?;
        *lock(&self.met) = all;
        Ok(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(names: &[&str]) -> BTreeMap<String, String> {
        names.iter().map(|name| ((*name).to_owned(), format!("{name}:7300"))).collect()
    }

    #[test]
    fn identity_stays_and_counts_the_starts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let first = Identity::open(&path, "a", &peers(&["a", "b"])).unwrap();
        let second = Identity::open(&path, "a", &BTreeMap::new()).unwrap();
        assert_eq!((first.boot, second.boot), (1, 2));
        assert_eq!(first.incarnation, second.incarnation);
        assert_eq!(second.initial.len(), 2);
        let error = Identity::open(&path, "b", &peers(&["a", "b"])).unwrap_err();
        assert!(matches!(error, Error::OtherName { .. }));
    }

    #[test]
    fn a_new_peer_must_be_among_the_initial_ones() {
        let directory = tempfile::tempdir().unwrap();
        let error = Identity::open(directory.path(), "c", &peers(&["a", "b"])).unwrap_err();
        assert!(matches!(error, Error::NotInitial(_)));
    }
}
