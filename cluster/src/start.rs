//! Puts a peer together and starts it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::error::{InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::codec::proto;
use crate::membership::{self, Acquaintances, Identity};
use crate::metrics::Counters;
use crate::peer::{Core, Parts};
use crate::raft::Raft;
use crate::raft::log::LogStore;
use crate::raft::network::Network;
use crate::raft::state_machine::StateMachine;
use crate::secret::{self, Keyring};
use crate::store::disk::Disk;
use crate::store::writer::Writer;
use crate::store::{self, Backend};
use crate::transport::client::{Failure, Links, Purpose};
use crate::transport::server::serve;
use crate::transport::tls::{self, Tls};
use crate::{Inner, Options};

const THREADS: usize = 2;
/// How long a new peer asks the others whether they know it.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);
/// Entries kept in the log after a state snapshot, for followers that are a little behind.
const KEPT_ENTRIES_MAX: u64 = 1000;
const CHUNK_BYTES: u64 = 1 << 20;
const INSTALL_TIMEOUT_MS: u64 = 30_000;

/// Why a peer did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A secret cannot be used.
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// This peer cannot be what it is configured to be.
    #[error(transparent)]
    Membership(#[from] membership::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The certificates cannot be made.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The peer port is not free.
    #[error("cannot listen on the peer port {address}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The system gave no threads.
    #[error("cannot start the threads of the cluster")]
    Threads(#[source] std::io::Error),
    /// The options do not go together.
    #[error("heartbeat and election timeouts do not go together: {0}")]
    Timing(String),
    /// Raft failed, most likely because of the store.
    #[error("raft did not start: {0}")]
    Raft(String),
}

fn config(options: &Options) -> Result<Config, Error> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let heartbeat = ms(options.heartbeat_interval);
    if heartbeat.saturating_add(2) > ms(options.election_timeout) {
        return Err(Error::Timing("an election must wait for longer than a heartbeat".to_owned()));
    }
    // A follower waits for the leader's lease, which is as long as the longest timeout, and then for a timeout of its
    // own: together our option's time and three to five fifths of it.
    let longest = ms(options.election_timeout);
    let shortest = (longest / 5 * 3).clamp(heartbeat + 1, longest - 1);
    let config = Config {
        cluster_name: "pontoon".to_owned(),
        heartbeat_interval: heartbeat,
        election_timeout_min: shortest,
        election_timeout_max: longest,
        install_snapshot_timeout: INSTALL_TIMEOUT_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_threshold),
        snapshot_max_chunk_size: CHUNK_BYTES,
        max_in_snapshot_log_to_keep: options.snapshot_threshold.min(KEPT_ENTRIES_MAX),
        ..Config::default()
    };
    config.validate().map_err(|error| Error::Timing(error.to_string()))
}

/// Starts a peer on threads of its own.
pub(crate) async fn start(options: Options) -> Result<Inner, Error> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("cluster")
        .enable_all()
        .build()
        .map_err(Error::Threads)?;
    let handle = runtime.handle().clone();
    let stop = CancellationToken::new();
    let running = handle.spawn(run(options, stop.clone())).await;
    let started = running.unwrap_or_else(|error| Err(Error::Raft(error.to_string())));
    match started {
        Ok((core, backend, keyring)) => {
            let runtime = Mutex::new(Some(runtime));
            Ok(Inner { core, backend, keyring, runtime, handle, stop })
        }
        Err(error) => {
            stop.cancel();
            Runtime::shutdown_background(runtime);
            Err(error)
        }
    }
}

type Started = (Arc<Core>, Arc<dyn Backend>, Arc<Keyring>);

async fn run(options: Options, stop: CancellationToken) -> Result<Started, Error> {
    let secrets = secret::parse(&options.secrets)?;
    let config = Arc::new(config(&options)?);
    let tls = Tls::new(&secrets)?;
    let keyring = Arc::new(Keyring::new(secrets)?);
    let address = options.address;
    let listener =
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let identity = Identity::open(&options.data_dir, &options.name, &options.initial_peers)?;
    warn_of_addresses(&options, &identity);
    let backend: Arc<dyn Backend> = Arc::new(Disk::open(&options.data_dir, Arc::clone(&keyring))?);
    let counters = Arc::new(Counters::default());
    let writer = Writer::start(Arc::clone(&backend), Arc::clone(&counters));
    let writer = writer.map_err(Error::Threads)?;
    let mut log = LogStore::open(Arc::clone(&backend), writer.clone())?;
    let (machine, shared) = StateMachine::open(Arc::clone(&backend), Arc::clone(&counters))?;
    let acquaintances =
        Acquaintances::open(&identity, Arc::clone(&shared), backend.as_ref(), writer)?;
    let acquaintances = Arc::new(acquaintances);
    let links = Arc::new(Links::new(tls.clone(), Arc::clone(&acquaintances)));
    let network = Network { links: Arc::clone(&links), heartbeat: options.heartbeat_interval };
    log.step_down(identity.id).await.map_err(|error| Error::Raft(error.to_string()))?;
    let raft = Raft::new(identity.id, config, network, log.clone(), machine)
        .await
        .map_err(|error| Error::Raft(error.to_string()))?;
    let formed = raft.is_initialized().await.map_err(|error| Error::Raft(error.to_string()))?;
    let parts = Parts { options, identity, raft, log, shared, acquaintances, links, counters };
    let core = Arc::new(Core::new(parts));
    if !formed {
        greet(&core).await?;
    }
    launch(&core, listener, tls, &stop);
    if !formed {
        form(&core).await?;
    }
    Ok((core, backend, keyring))
}

/// The others go by the membership; until an address can be changed there, say that it differs.
fn warn_of_addresses(options: &Options, identity: &Identity) {
    if let Some(peer) = identity.initial.get(&identity.id)
        && peer.address != options.advertise
    {
        let (advertise, used) = (&options.advertise, &peer.address);
        tracing::warn!(%advertise, %used, "`advertise` is not what the cluster formed with");
    }
}

/// Starts what runs until the peer stops.
fn launch(core: &Arc<Core>, listener: TcpListener, tls: Tls, stop: &CancellationToken) {
    let handle = tokio::runtime::Handle::current();
    handle.spawn(serve(Arc::clone(core), listener, tls, stop.clone()));
    let (stopping, exchanges) = (stop.clone(), Arc::clone(core).run_exchanges());
    handle.spawn(async move { stopping.run_until_cancelled(exchanges).await });
    let (stopping, leadership) = (stop.clone(), Arc::clone(core).run_leadership());
    handle.spawn(async move { stopping.run_until_cancelled(leadership).await });
}

/// Asks the others whether they know this peer with other data. Those that do not answer now
/// refuse it later, if they do.
async fn greet(core: &Arc<Core>) -> Result<(), Error> {
    let others = core.identity.initial.iter().filter(|(id, _)| **id != core.identity.id);
    let greetings = others.map(|(id, peer)| {
        let link = core.links.kept(Purpose::Calls, *id, peer);
        async move {
            let request = proto::ExchangeRequest { caller: None, report: Some(core.own_report()) };
            link.exchange(request, GREETING_TIMEOUT).await
        }
    });
    let answers = futures_util::future::join_all(greetings).await;
    let replaced = answers.iter().filter_map(|answer| answer.as_ref().err());
    if replaced.into_iter().any(Failure::says_replaced) {
        return Err(membership::Error::Replaced(core.identity.name.clone()).into());
    }
    Ok(())
}

/// Every initial peer writes the same first entry, in whatever order they start.
async fn form(core: &Arc<Core>) -> Result<(), Error> {
    let initial: BTreeMap<_, _> = core.identity.initial.clone();
    match core.raft.initialize(initial).await {
        // Another peer was faster, and this one has its log already.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(Error::Raft(error.to_string())),
    }
}
