//! QUIC on entry points, for HTTP/3: connections accepted, their handshakes, the hand-over to HTTP.
//!
//! Traefik v3: `entryPoints.NAME.http3` (tcp-udp-tls.md §8). Each core has an endpoint of its own on the entry point's
//! port; a connection stays on the core that has begun it ([`steer`]). There is no 0-RTT: what is replayed would be
//! answered twice.

mod steer;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connecting, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, VarInt};
use quinn::{Runtime as _, crypto};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::steer::{Generator, Ids, Mailbox, Steered};
use super::Entry;
use super::exchange::{Ends, Requests};
use super::stream::Open;
use super::tcp::canonical;
use crate::http::h3;
use crate::task::Group;
use crate::tls;

/// The one version (RFC 9000).
const VERSION: u32 = 1;
/// Handshakes under way on a core from which on clients have to show that their address is their own. It costs them
/// a round trip.
const HANDSHAKES_MAX: usize = 64;
/// The longest that a handshake may take; `readTimeout` may be shorter.
const HANDSHAKE_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// First packets that wait to be looked at on a core, and their bytes.
const INCOMING_MAX: usize = 256;
const INCOMING_BYTES_MAX: u64 = 4 * 1024 * 1024;
const INCOMING_BYTES_EACH: u64 = 64 * 1024;
/// What clients are told whose requests took longer than a drain (RFC 9114, 8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// For telling it.
const FAREWELL: Duration = Duration::from_millis(200);

/// The sockets of an entry point, one for each core.
pub(super) struct Sockets {
    pub(super) by_core: Vec<UdpSocket>,
    port: u16,
    common: tls::quic::Common,
    settings: Arc<h3::Settings>,
}

impl Sockets {
    pub(super) fn new(
        by_core: Vec<UdpSocket>,
        port: u16,
        settings: h3::Settings,
    ) -> Result<Self, tls::quic::Error> {
        let common = tls::quic::Common::new()?;
        Ok(Self { by_core, port, common, settings: Arc::new(settings) })
    }
}

/// What the cores' endpoints share.
pub(super) struct Shared {
    ids: Ids,
    mailboxes: Arc<[Mailbox]>,
    endpoint: EndpointConfig,
    base: ServerConfig,
    common: tls::quic::Common,
    settings: Arc<h3::Settings>,
    port: u16,
}

impl Shared {
    pub(super) fn new(sockets: &Sockets) -> Self {
        let mut endpoint = EndpointConfig::default();
        endpoint.supported_versions(vec![VERSION]);
        let mut base = ServerConfig::with_crypto(sockets.common.crypto());
        base.transport_config(Arc::new(h3::transport()))
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_EACH)
            .incoming_buffer_size_total(INCOMING_BYTES_MAX);
        Self {
            ids: Ids::default(),
            mailboxes: sockets.by_core.iter().map(|_| Mailbox::default()).collect(),
            endpoint,
            base,
            common: sockets.common.clone(),
            settings: sockets.settings.clone(),
            port: sockets.port,
        }
    }

    /// The endpoint of a core. Its runtime must have been entered.
    pub(super) fn endpoint(&self, core: usize, socket: UdpSocket) -> std::io::Result<Endpoint> {
        // With more cores than that, those behind do not take part in steering.
        let core = u8::try_from(core).unwrap_or(u8::MAX);
        let runtime = Arc::new(TokioRuntime);
        let steered = Steered {
            socket: runtime.wrap_udp_socket(socket)?,
            core,
            ids: self.ids.clone(),
            mailboxes: self.mailboxes.clone(),
        };
        let mut config = self.endpoint.clone();
        let ids = self.ids.clone();
        config.cid_generator(move || Box::new(Generator { ids: ids.clone(), core }));
        let server = Some(self.base.clone());
        Endpoint::new_with_abstract_socket(config, server, Arc::new(steered), runtime)
    }
}

/// One core's part.
pub(super) struct Core {
    pub(super) entry: Arc<Entry>,
    pub(super) shared: Arc<Shared>,
    /// Bounds the core's connections over all entry points.
    pub(super) limit: Arc<Semaphore>,
    /// The connections, and who accepts them; its stop token tells them to drain.
    pub(super) connections: Group,
    /// Held by each handshake under way.
    pub(super) handshakes: Arc<()>,
}

/// Accepts connections until `stop`; then refuses them until the last one has ended.
pub(super) async fn accept(endpoint: Endpoint, core: Arc<Core>, stop: CancellationToken) {
    while let Some(Some(incoming)) = stop.run_until_cancelled(endpoint.accept()).await {
        start(&core, incoming);
    }
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => incoming.refuse(),
                None => break,
            },
            () = endpoint.wait_idle() => break,
        }
    }
}

/// Tells the clients of a drain that took too long.
pub(super) async fn cut_off(endpoint: &Endpoint) {
    endpoint.close(NO_ERROR, b"");
    // Clients that have not heard it find out by themselves.
    drop(tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await);
}

fn start(core: &Arc<Core>, incoming: Incoming) {
    let under_way = Arc::strong_count(&core.handshakes) - 1;
    if under_way >= HANDSHAKES_MAX && !incoming.remote_address_validated() {
        // Who may not be told to retry is refused.
        drop(incoming.retry());
        return;
    }
    let Ok(permit) = core.limit.clone().try_acquire_owned() else {
        debug!(entry_point = %core.entry.name, "a QUIC connection is refused: too many connections");
        incoming.refuse();
        return;
    };
    let open = Open::new(core.entry.clone(), permit, core.connections.hold());
    let local = incoming.local_ip().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let ends = Ends {
        remote: canonical(incoming.remote_address()),
        local: canonical(SocketAddr::new(local, core.shared.port)),
    };
    let mut config = core.shared.base.clone();
    config.crypto = crypto_of(core, ends.local.ip());
    match incoming.accept_with(Arc::new(config)) {
        Ok(connecting) => {
            let handshake = core.handshakes.clone();
            let conversation = connection(core.clone(), handshake, connecting, ends, open);
            core.connections.spawn(conversation);
        }
        Err(error) => debug!(%error, peer = %ends.remote, "a QUIC connection is refused"),
    }
}

/// TLS for a connection to `local`: by the plan that is in force when the client has said whom it wants.
fn crypto_of(core: &Core, local: IpAddr) -> Arc<dyn crypto::ServerConfig> {
    let entry = core.entry.clone();
    let common = core.shared.common.clone();
    let tables = move || entry.tls();
    Arc::new(tls::quic::Handshake { common, tables, local, protocol: h3::PROTOCOL })
}

/// A connection, from its handshake to its last request.
async fn connection(
    core: Arc<Core>,
    handshake: Arc<()>,
    connecting: Connecting,
    ends: Ends,
    open: Open,
) {
    let limit = core.entry.read_timeout.min(HANDSHAKE_TIMEOUT_MAX);
    let drain = core.connections.stop_token();
    let connected = timeout_at(Instant::now() + limit, connecting);
    let connection = match drain.run_until_cancelled(connected).await {
        Some(Ok(Ok(connection))) => connection,
        Some(Ok(Err(error))) => return debug!(%error, peer = %ends.remote, "connection refused"),
        Some(Err(_elapsed)) => return debug!(peer = %ends.remote, "no handshake in time"),
        None => return,
    };
    drop(handshake);
    let session = tls::quic::settled(connection.handshake_data(), connection.peer_identity());
    let Some(session) = session else {
        return debug!(peer = %ends.remote, "a handshake has settled nothing");
    };
    let requests = Requests::over_quic(core.entry.clone(), ends, session);
    let settings = core.shared.settings.clone();
    drop(core);
    let service = move |parts, body, interim| requests.exchange(parts, body, interim);
    h3::serve(connection, settings, service, drain).await;
    drop(open);
}
