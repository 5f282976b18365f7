//! Entry points: sockets, PROXY protocol, limits, drain; and the path of one request.
//!
//! [`bind`] takes the port, [`Bound::serve`] starts accepting on every core, [`Serving::drain`] ends it.

mod address;
mod descriptors;
mod dispatch;
mod exchange;
pub(crate) mod host_resolver;
mod inherited;
mod listen;
mod networks;
mod observation;
pub(crate) mod options;
mod pipeline;
pub(crate) mod proxy_protocol;
mod quic;
mod stream;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use futures_util::future::join_all;
use quinn::Endpoint;
use socket2::Type;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::warn;

pub(crate) use address::{Address, AddressError, Protocol};
pub(crate) use inherited::tell_unused as tell_unused_sockets;
pub(crate) use options::Options;

use self::host_resolver::HostResolver;
use self::networks::Networks;
use self::pipeline::Pipeline;
use self::proxy_protocol::Policy;
use self::tcp::Core;
use crate::cores::{self, Cores};
use crate::http::{h1, h2, h3};
use crate::observe::Observer;
use crate::observe::trace::{Tracer, Traces};
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
    #[error("entry point `{name}`: `http3`: cannot receive on UDP port {port}: {source}")]
    Receive { name: String, port: u16, source: io::Error },
    #[error("entry point `{name}`: `http3`: {source}")]
    Quic { name: String, source: tls::quic::Error },
    #[error("entry point `{name}`: handing a listener to its core: {source}")]
    Register { name: String, source: io::Error },
}

/// What all entry points share.
#[derive(Clone)]
pub(crate) struct Shared {
    plan: plan::Handle,
    observer: Option<Arc<dyn Observer>>,
    host_resolver: Option<HostResolver>,
    tracer: Option<Arc<Tracer>>,
    /// One per core: how many connections of clients it may hold.
    limits: Arc<[Arc<Semaphore>]>,
    /// What each of these began with.
    connections_max: usize,
}

impl Shared {
    /// Raises the limit on open files and shares it among the cores. Without an observer nothing is observed.
    pub(crate) fn new(
        plan: plan::Handle,
        observer: Option<Arc<dyn Observer>>,
        tracer: Option<Arc<Tracer>>,
    ) -> Self {
        let cores = cores::count();
        let connections = descriptors::connections_max(cores).min(Semaphore::MAX_PERMITS);
        let limits = (0..cores).map(|_| Arc::new(Semaphore::new(connections))).collect();
        Self { plan, observer, tracer, host_resolver: None, limits, connections_max: connections }
    }

    /// Hosts that are aliases are matched by the names behind them, too.
    pub(crate) fn with_host_resolver(self, host_resolver: Option<HostResolver>) -> Self {
        Self { host_resolver, ..self }
    }
}

/// An entry point as its connections see it.
struct Entry {
    name: Arc<str>,
    plan: plan::Handle,
    observer: Option<Arc<dyn Observer>>,
    host_resolver: Option<HostResolver>,
    tracer: Option<Arc<Tracer>>,
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
    /// What HTTPS responses say of HTTP/3, where the entry point has it.
    alt_svc: Option<Arc<HeaderValue>>,
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
            host_resolver: shared.host_resolver.clone(),
            tracer: shared.tracer.clone(),
            observed: Observed {
                access_logs: observability.is_none_or(|one| one.access_logs),
                metrics: observability.is_none_or(|one| one.metrics),
                traces: observability.map_or(Traces::Minimal, options::Observability::traces),
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
            alt_svc: None,
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

fn h3_settings(options: &Options) -> h3::Settings {
    let transport = &options.transport;
    h3::Settings {
        head_bytes_max: options.http.max_header_bytes,
        read_timeout: transport.responding_timeouts.read_timeout.positive(),
        write_timeout: transport.responding_timeouts.write_timeout.positive(),
        idle_timeout: transport.responding_timeouts.idle_timeout.positive(),
        requests_max: Some(transport.keep_alive_max_requests).filter(|&max| max > 0),
        connection_time_max: transport.keep_alive_max_time.positive(),
    }
}

/// For browsers: HTTP/3 is to be had at `port`, for 30 days as Traefik says.
fn alt_svc(port: u16) -> Option<Arc<HeaderValue>> {
    HeaderValue::try_from(format!("h3=\":{port}\"; ma=2592000")).ok().map(Arc::new)
}

/// An entry point that has its port, and does not accept yet.
pub(crate) struct Bound {
    entry: Arc<Entry>,
    sockets: Sockets,
    /// For HTTP/3.
    quic: Option<quic::Sockets>,
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
        name: &str,
        address: &Address,
        options: &Options,
        shared: &Shared,
    ) -> io::Result<(Self, SocketAddr)> {
        let cores = shared.limits.len();
        let missing = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        match address.protocol {
            Protocol::Tcp => {
                let listeners = match inherited::take(name, Type::STREAM)? {
                    Some(listener) => listen::inherited(&listener, cores)?,
                    None => listen::listen(address, options.reuse_port, cores)?,
                };
                let bound = listeners.first().ok_or_else(missing)?.local_addr()?;
                Ok((Self::Tcp(listeners), bound))
            }
            Protocol::Udp => {
                // One that is passed is one core's: a client's datagrams must all come to the same one.
                let sockets = match inherited::take(name, Type::DGRAM)? {
                    Some(socket) => vec![socket.into()],
                    None => listen::receive(address, options.reuse_port, cores)?,
                };
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
    let mut entry = Entry::new(name, options, shared)?;
    let (sockets, bound) = Sockets::open(name, &address, options, shared).map_err(|source| {
        Error::Listen { name: name.to_owned(), address: options.address.clone(), source }
    })?;
    let mut quic = None;
    if let (Some(http3), Protocol::Tcp) = (&options.http3, address.protocol) {
        let at = Address { port: bound.port(), protocol: Protocol::Udp, ..address };
        quic = Some(bind_quic(name, &at, options, shared)?);
        let told = http3.advertised_port;
        entry.alt_svc = alt_svc(if told == 0 { at.port } else { told });
    }
    let life_cycle = &options.transport.life_cycle;
    Ok(Bound {
        entry: Arc::new(entry),
        sockets,
        quic,
        address: bound,
        limits: shared.limits.clone(),
        accept_grace: life_cycle.request_accept_grace_timeout.into(),
        drain_grace: life_cycle.grace_time_out.into(),
    })
}

/// Takes the UDP port beside the TCP port.
fn bind_quic(
    name: &str,
    address: &Address,
    options: &Options,
    shared: &Shared,
) -> Result<quic::Sockets, Error> {
    let receive = |source| Error::Receive { name: name.to_owned(), port: address.port, source };
    let sockets = listen::receive(address, options.reuse_port, shared.limits.len());
    quic::Sockets::new(sockets.map_err(receive)?, address.port, h3_settings(options))
        .map_err(|source| Error::Quic { name: name.to_owned(), source })
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
        let mut endpoints = Vec::new();
        let places = || self.limits.iter().zip(cores.handles());
        match self.sockets {
            Sockets::Tcp(listeners) => {
                for (listener, (limit, handle)) in listeners.into_iter().zip(places()) {
                    parts.push(serve_tcp(&self.entry, listener, limit, handle).map_err(register)?);
                }
            }
            Sockets::Udp { sockets, idle, sessions_max } => {
                for (socket, (limit, handle)) in sockets.into_iter().zip(places()) {
                    let core = |sessions| udp::Core {
                        name: self.entry.name.clone(),
                        plan: self.entry.plan.clone(),
                        idle,
                        sessions_max,
                        limit: limit.clone(),
                        sessions,
                    };
                    parts.push(serve_udp(core, socket, handle).map_err(register)?);
                }
            }
        }
        if let Some(quic) = self.quic {
            let shared = Arc::new(quic::Shared::new(&quic));
            for ((number, socket), (limit, handle)) in
                quic.by_core.into_iter().enumerate().zip(places())
            {
                let endpoint = {
                    let _on_the_core = handle.enter();
                    shared.endpoint(number, socket).map_err(register)?
                };
                endpoints.push(endpoint.clone());
                parts.push(serve_quic(&self.entry, &shared, endpoint, limit, handle));
            }
        }
        let (accept_grace, drain_grace) = (self.accept_grace, self.drain_grace);
        Ok(Serving { parts, endpoints, accept_grace, drain_grace })
    }
}

/// A core's acceptor and its connections.
type Part = (Group, Group);

fn groups(handle: &Handle) -> Part {
    (Group::new(handle.clone()), Group::new(handle.clone()))
}

fn serve_tcp(
    entry: &Arc<Entry>,
    listener: TcpListener,
    limit: &Arc<Semaphore>,
    handle: &Handle,
) -> io::Result<Part> {
    let listener = {
        let _on_the_core = handle.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let (acceptor, connections) = groups(handle);
    let core = Arc::new(Core {
        entry: entry.clone(),
        limit: limit.clone(),
        connections: connections.clone(),
    });
    acceptor.spawn(tcp::accept(listener, core, acceptor.stop_token()));
    Ok((acceptor, connections))
}

fn serve_udp(
    core: impl FnOnce(Group) -> udp::Core,
    socket: UdpSocket,
    handle: &Handle,
) -> io::Result<Part> {
    let socket = {
        let _on_the_core = handle.enter();
        tokio::net::UdpSocket::from_std(socket)?
    };
    let (acceptor, sessions) = groups(handle);
    let core = Arc::new(core(sessions.clone()));
    // Who receives for the sessions ends with the last of them.
    sessions.spawn(udp::receive(socket, core, acceptor.stop_token()));
    Ok((acceptor, sessions))
}

fn serve_quic(
    entry: &Arc<Entry>,
    shared: &Arc<quic::Shared>,
    endpoint: Endpoint,
    limit: &Arc<Semaphore>,
    handle: &Handle,
) -> Part {
    let (acceptor, connections) = groups(handle);
    let core = Arc::new(quic::Core {
        entry: entry.clone(),
        shared: shared.clone(),
        limit: limit.clone(),
        connections: connections.clone(),
        handshakes: Arc::default(),
    });
    // The endpoint ends with the last of its connections.
    connections.spawn(quic::accept(endpoint, core, acceptor.stop_token()));
    (acceptor, connections)
}

/// An entry point that accepts connections.
pub(crate) struct Serving {
    /// Each core's, over TCP and over QUIC.
    parts: Vec<Part>,
    /// Those of QUIC.
    endpoints: Vec<Endpoint>,
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
        let all_ended = join_all(ends).await.into_iter().all(|ended| ended);
        if !all_ended {
            join_all(self.endpoints.iter().map(quic::cut_off)).await;
        }
        all_ended
    }
}
