//! Entry points: sockets, PROXY protocol, limits, drain; and the path of one request.
//!
//! [`bind`] takes the port, [`Bound::serve`] starts accepting on every core, [`Serving::drain`] ends it.

mod address;
mod descriptors;
mod dispatch;
mod exchange;
mod listen;
mod networks;
mod observation;
pub(crate) mod options;
mod pipeline;
pub(crate) mod proxy_protocol;
mod stream;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::warn;

pub(crate) use address::{Address, AddressError, Protocol};
pub(crate) use options::Options;

use self::networks::Networks;
use self::pipeline::Pipeline;
use self::proxy_protocol::Policy;
use self::tcp::Core;
use crate::cores::{self, Cores};
use crate::http::{h1, h2};
use crate::observe::Observer;
use crate::plan::{self, Observed, Streams};
use crate::task::Group;
use crate::tls;

/// Stands in for a read timeout of zero, "no limit", before a protocol is known: nobody takes a day to say hello.
const FIRST_BYTES_TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// How long the acceptors may take to end; they never wait for anything.
const ACCEPTORS_GRACE: Duration = Duration::from_secs(5);
/// What HTTP/2 compresses responses with is the smaller of the client's wish and this.
const ENCODER_TABLE_BYTES: u32 = 4096;

/// Why an entry point cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("entry point `{name}`: {source}")]
    Address { name: String, source: AddressError },
    #[error("entry point `{name}`: `{option}`: `{value}` is neither an address nor a network")]
    Network { name: String, option: &'static str, value: String },
    #[error("entry point `{name}`: cannot listen on `{address}`: {source}")]
    Listen { name: String, address: String, source: io::Error },
    #[error("entry point `{name}`: handing a listener to its core: {source}")]
    Register { name: String, source: io::Error },
}

/// What all entry points share.
#[derive(Clone)]
pub(crate) struct Shared {
    plan: plan::Handle,
    observer: Option<Arc<dyn Observer>>,
    /// One per core: how many connections of clients it may hold.
    limits: Arc<[Arc<Semaphore>]>,
    /// What each of these began with.
    connections_max: usize,
}

impl Shared {
    /// Raises the limit on open files and shares it among the cores. Without an observer nothing is observed.
    pub(crate) fn new(plan: plan::Handle, observer: Option<Arc<dyn Observer>>) -> Self {
        let cores = cores::count();
        let connections = descriptors::connections_max(cores).min(Semaphore::MAX_PERMITS);
        let limits = (0..cores).map(|_| Arc::new(Semaphore::new(connections))).collect();
        Self { plan, observer, limits, connections_max: connections }
    }
}

/// An entry point as its connections see it.
struct Entry {
    name: Arc<str>,
    plan: plan::Handle,
    observer: Option<Arc<dyn Observer>>,
    /// For requests that no router takes.
    observed: Observed,
    pipeline: Pipeline,
    proxy_protocol: Option<Policy>,
    trust_all: bool,
    trusted: Networks,
    append_forwarded_for: bool,
    read_timeout: Duration,
    h1: Arc<h1::Settings>,
    h2: Arc<h2::Settings>,
}

impl Entry {
    fn new(name: &str, options: &Options, shared: &Shared) -> Result<Self, Error> {
        let network = |option| move |value| Error::Network { name: name.to_owned(), option, value };
        let policy = options.proxy_protocol.as_ref().map(Policy::new).transpose();
        let forwarded = &options.forwarded_headers;
        let trusted = Networks::parse(&forwarded.trusted_ips);
        if options.http2.max_encoder_header_table_size != ENCODER_TABLE_BYTES {
            warn!(
                entry_point = name,
                "http2.maxEncoderHeaderTableSize cannot be changed: the client's limit is kept to"
            );
        }
        let observability = options.observability.as_ref();
        Ok(Self {
            name: name.into(),
            plan: shared.plan.clone(),
            observer: shared.observer.clone(),
            observed: Observed {
                access_logs: observability.is_none_or(|one| one.access_logs),
                metrics: observability.is_none_or(|one| one.metrics),
            },
            pipeline: Pipeline::new(options),
            proxy_protocol: policy.map_err(network("proxyProtocol.trustedIPs"))?,
            trust_all: forwarded.insecure,
            trusted: trusted.map_err(network("forwardedHeaders.trustedIPs"))?,
            append_forwarded_for: !forwarded.not_append_x_forwarded_for,
            read_timeout: options
                .transport
                .responding_timeouts
                .read_timeout
                .positive()
                .unwrap_or(FIRST_BYTES_TIMEOUT_MAX),
            h1: Arc::new(h1_settings(options)),
            h2: Arc::new(h2_settings(options)),
        })
    }

    /// Whether the `X-Forwarded-*` headers of this client are believed.
    fn trusts(&self, client: IpAddr) -> bool {
        self.trust_all || self.trusted.contains(client)
    }

    /// What handshakes go by, in the plan in force.
    fn tls(&self) -> Arc<tls::Tables> {
        let plan = self.plan.load();
        plan.entry_points.get(&self.name).map(|entry| entry.tls.clone()).unwrap_or_default()
    }

    /// What TCP routers want of a new connection; `None` where there are none.
    fn streams(&self) -> Option<Arc<Streams>> {
        let plan = self.plan.load();
        plan.entry_points.get(&self.name).and_then(|entry| entry.streams.clone())
    }

    /// For what comes before HTTP: PROXY header, handshake.
    fn read_deadline(&self) -> Instant {
        Instant::now() + self.read_timeout
    }
}

fn h1_settings(options: &Options) -> h1::Settings {
    let transport = &options.transport;
    h1::Settings {
        head_bytes_max: usize::try_from(options.http.max_header_bytes).unwrap_or(usize::MAX),
        read_timeout: transport.responding_timeouts.read_timeout.positive(),
        write_timeout: transport.responding_timeouts.write_timeout.positive(),
        idle_timeout: transport.responding_timeouts.idle_timeout.positive(),
        requests_max: Some(transport.keep_alive_max_requests).filter(|&max| max > 0),
        connection_time_max: transport.keep_alive_max_time.positive(),
        ..h1::Settings::default()
    }
}

fn h2_settings(options: &Options) -> h2::Settings {
    let transport = &options.transport;
    h2::Settings {
        streams_max: options.http2.max_concurrent_streams,
        decoder_table_bytes: options.http2.max_decoder_header_table_size,
        head_bytes_max: u32::try_from(options.http.max_header_bytes).unwrap_or(u32::MAX),
        read_timeout: transport.responding_timeouts.read_timeout.positive(),
        write_timeout: transport.responding_timeouts.write_timeout.positive(),
        idle_timeout: transport.responding_timeouts.idle_timeout.positive(),
        requests_max: Some(transport.keep_alive_max_requests).filter(|&max| max > 0),
        connection_time_max: transport.keep_alive_max_time.positive(),
    }
}

/// An entry point that has its port, and does not accept yet.
pub(crate) struct Bound {
    entry: Arc<Entry>,
    sockets: Sockets,
    address: SocketAddr,
    limits: Arc<[Arc<Semaphore>]>,
    accept_grace: Duration,
    drain_grace: Duration,
}

/// One for each core.
enum Sockets {
    Tcp(Vec<TcpListener>),
    Udp {
        sockets: Vec<UdpSocket>,
        /// Silence after which a session ends.
        idle: Duration,
        /// Sessions of a core, at most.
        sessions_max: usize,
    },
}

impl Sockets {
    fn open(
        address: &Address,
        options: &Options,
        shared: &Shared,
    ) -> io::Result<(Self, SocketAddr)> {
        let cores = shared.limits.len();
        let missing = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        match address.protocol {
            Protocol::Tcp => {
                let listeners = listen::listen(address, options.reuse_port, cores)?;
                let bound = listeners.first().ok_or_else(missing)?.local_addr()?;
                Ok((Self::Tcp(listeners), bound))
            }
            Protocol::Udp => {
                let sockets = listen::receive(address, options.reuse_port, cores)?;
                let bound = sockets.first().ok_or_else(missing)?.local_addr()?;
                // However many clients there seem to be, connections over TCP must still find a place.
                let sessions_max = (shared.connections_max / 2).clamp(1, udp::SESSIONS_MAX);
                let idle = options.udp.timeout.into();
                Ok((Self::Udp { sockets, idle, sessions_max }, bound))
            }
        }
    }
}

/// Takes the port of an entry point. May ask the resolver for a host name: for the start, not for a runtime.
pub(crate) fn bind(name: &str, options: &Options, shared: &Shared) -> Result<Bound, Error> {
    let address: Address = options
        .address
        .parse()
        .map_err(|source| Error::Address { name: name.to_owned(), source })?;
    let entry = Arc::new(Entry::new(name, options, shared)?);
    let (sockets, address) = Sockets::open(&address, options, shared).map_err(|source| {
        Error::Listen { name: name.to_owned(), address: options.address.clone(), source }
    })?;
    let life_cycle = &options.transport.life_cycle;
    Ok(Bound {
        entry,
        sockets,
        address,
        limits: shared.limits.clone(),
        accept_grace: life_cycle.request_accept_grace_timeout.into(),
        drain_grace: life_cycle.grace_time_out.into(),
    })
}

impl Bound {
    /// Name and bound address, for `PONTOON_READY_FILE` and the log.
    pub(crate) fn address(&self) -> (&Arc<str>, SocketAddr) {
        (&self.entry.name, self.address)
    }

    /// Accepts on every core from now on.
    pub(crate) fn serve(self, cores: &Cores) -> Result<Serving, Error> {
        let register = |source| Error::Register { name: self.entry.name.to_string(), source };
        let mut parts = Vec::new();
        let places = || self.limits.iter().zip(cores.handles());
        match self.sockets {
            Sockets::Tcp(listeners) => {
                for (listener, (limit, handle)) in listeners.into_iter().zip(places()) {
                    let listener = {
                        let _on_the_core = handle.enter();
                        tokio::net::TcpListener::from_std(listener).map_err(register)?
                    };
                    let (acceptor, connections) =
                        (Group::new(handle.clone()), Group::new(handle.clone()));
                    let core = Arc::new(Core {
                        entry: self.entry.clone(),
                        limit: limit.clone(),
                        connections: connections.clone(),
                    });
                    acceptor.spawn(tcp::accept(listener, core, acceptor.stop_token()));
                    parts.push((acceptor, connections));
                }
            }
            Sockets::Udp { sockets, idle, sessions_max } => {
                for (socket, (limit, handle)) in sockets.into_iter().zip(places()) {
                    let socket = {
                        let _on_the_core = handle.enter();
                        tokio::net::UdpSocket::from_std(socket).map_err(register)?
                    };
                    let (acceptor, sessions) =
                        (Group::new(handle.clone()), Group::new(handle.clone()));
                    let core = Arc::new(udp::Core {
                        name: self.entry.name.clone(),
                        plan: self.entry.plan.clone(),
                        idle,
                        sessions_max,
                        limit: limit.clone(),
                        sessions: sessions.clone(),
                    });
                    // Who receives for the sessions ends with the last of them.
                    sessions.spawn(udp::receive(socket, core, acceptor.stop_token()));
                    parts.push((acceptor, sessions));
                }
            }
        }
        Ok(Serving { parts, accept_grace: self.accept_grace, drain_grace: self.drain_grace })
    }
}

/// An entry point that accepts connections.
pub(crate) struct Serving {
    /// Each core's acceptor and connections.
    parts: Vec<(Group, Group)>,
    accept_grace: Duration,
    drain_grace: Duration,
}

impl Serving {
    /// Goes on accepting for `requestAcceptGraceTimeout` (`ping` must say that we end before this is called), then
    /// stops and gives requests under way `graceTimeOut`. False if some connections were still open then: they end
    /// with their cores.
    pub(crate) async fn drain(&self) -> bool {
        tokio::time::sleep(self.accept_grace).await;
        join_all(self.parts.iter().map(|(acceptor, _)| acceptor.end(ACCEPTORS_GRACE))).await;
        let ends = self.parts.iter().map(|(_, connections)| connections.end(self.drain_grace));
        join_all(ends).await.into_iter().all(|ended| ended)
    }
}
