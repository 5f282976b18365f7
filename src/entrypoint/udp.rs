//! UDP entry points: each client address has a session with one server until it has been silent for a while.
//!
//! Traefik v3: UDP (tcp-udp-tls.md §5). Each core has a socket of its own on the port, and the kernel sends all
//! datagrams of a client to the same one. A client that comes when there are too many sessions is not heard; datagrams
//! that cannot be passed on soon enough are dropped, as networks do.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::plan;
use crate::task::Group;
use crate::udp::Server;

/// Longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Sessions that a core has on one entry point, at most; fewer where the process may open few files.
pub(super) const SESSIONS_MAX: usize = 8192;
/// Datagrams of a client that wait for its session, at most.
const WAITING_MAX: usize = 64;
/// Bytes of datagrams that wait on one core and entry point, at most.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long the name of a server may take to be found.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause when a socket fails again and again.
const PAUSE: Duration = Duration::from_millis(5);

thread_local! {
    /// What servers say is read into it; taken while a session reads.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One core's part of a UDP entry point.
pub(super) struct Core {
    pub(super) name: Arc<str>,
    pub(super) plan: plan::Handle,
    /// Silence after which a session ends.
    pub(super) idle: Duration,
    pub(super) sessions_max: usize,
    /// A session has a socket, and takes a place as a connection does.
    pub(super) limit: Arc<Semaphore>,
    /// The sessions, and who receives for them.
    pub(super) sessions: Group,
}

/// A datagram that waits, and its share of the bytes that may.
struct Waiting {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

/// Where each client's datagrams go. Touched by one core only.
#[derive(Clone)]
struct Sessions(Arc<Shared>);

struct Shared {
    by_client: Mutex<HashMap<SocketAddr, mpsc::Sender<Waiting>>>,
    /// Told when a session has ended.
    ended: Notify,
    waiting_bytes: Arc<Semaphore>,
}

impl Sessions {
    fn new() -> Self {
        let waiting_bytes = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        Self(Arc::new(Shared { by_client: Mutex::default(), ended: Notify::new(), waiting_bytes }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, mpsc::Sender<Waiting>>> {
        self.0.by_client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> usize {
        self.lock().len()
    }

    /// Hands a datagram to the session of `client`. False where it has none.
    fn pass(&self, client: SocketAddr, bytes: &[u8]) -> bool {
        let all = self.lock();
        let Some(session) = all.get(&client) else { return false };
        if let Some(waiting) = self.waiting(bytes) {
            // A session that does not keep up misses it.
            drop(session.try_send(waiting));
        }
        true
    }

    fn waiting(&self, bytes: &[u8]) -> Option<Waiting> {
        let count = u32::try_from(bytes.len()).ok()?;
        let share = self.0.waiting_bytes.clone().try_acquire_many_owned(count).ok()?;
        Some(Waiting { bytes: Bytes::copy_from_slice(bytes), _share: share })
    }
}

/// Takes a session off the list when it ends.
struct Listed {
    client: SocketAddr,
    sessions: Sessions,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.client);
        self.sessions.0.ended.notify_one();
    }
}

/// Receives datagrams. Once `stop` is told, new clients are no longer heard, and it ends with the last session.
pub(super) async fn receive(socket: UdpSocket, core: Arc<Core>, stop: CancellationToken) {
    let socket = Arc::new(socket);
    let sessions = Sessions::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut stopped = std::pin::pin!(stop.cancelled());
    let mut stopping = false;
    while !stopping || sessions.count() > 0 {
        let received = tokio::select! {
            biased;
            () = &mut stopped, if !stopping => {
                stopping = true;
                continue;
            }
            () = sessions.0.ended.notified(), if stopping => continue,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (bytes, client) = match received {
            Ok((count, client)) => (buffer.get(..count).unwrap_or_default(), client),
            Err(error) => {
                // Such as the news that an answer did not reach its client.
                debug!(%error, entry_point = %core.name, "receiving failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if !sessions.pass(client, bytes) && !stopping {
            begin(&core, &sessions, &socket, client, bytes);
        }
    }
}

/// Begins a session with its first datagram.
fn begin(
    core: &Arc<Core>,
    sessions: &Sessions,
    socket: &Arc<UdpSocket>,
    client: SocketAddr,
    first: &[u8],
) {
    let plan = core.plan.load();
    let route = plan.entry_points.get(&core.name).and_then(|entry| entry.datagrams.clone());
    let Some(route) = route else { return };
    if sessions.count() >= core.sessions_max {
        debug!(%client, entry_point = %core.name, "a client is not heard: too many sessions");
        return;
    }
    let Ok(permit) = core.limit.clone().try_acquire_owned() else {
        debug!(%client, entry_point = %core.name, "a client is not heard: too many connections");
        return;
    };
    let Some(first) = sessions.waiting(first) else { return };
    let (sender, queue) = mpsc::channel(WAITING_MAX);
    sessions.lock().insert(client, sender);
    let listed = Listed { client, sessions: sessions.clone(), _permit: permit };
    let session = Session { socket: socket.clone(), queue, idle: core.idle, listed };
    core.sessions.spawn(async move {
        let Some(server) = route.service.pick() else {
            debug!(router = %route.name, "there is no server that could take the session");
            return;
        };
        if let Err(error) = session.run(server, first).await {
            debug!(%error, router = %route.name, server = %server.host, %client, "session ended");
        }
    });
}

/// What one client and one server say to each other.
struct Session {
    /// Answers leave through it.
    socket: Arc<UdpSocket>,
    queue: mpsc::Receiver<Waiting>,
    idle: Duration,
    listed: Listed,
}

impl Session {
    /// Until both have been silent for long enough, or the server cannot be reached.
    async fn run(mut self, server: &Server, first: Waiting) -> io::Result<()> {
        let upstream = connect(server).await?;
        upstream.send(&first.bytes).await?;
        drop(first);
        let client = self.listed.client;
        let mut until = Instant::now() + self.idle;
        loop {
            tokio::select! {
                biased;
                waiting = self.queue.recv() => match waiting {
                    Some(waiting) => {
                        upstream.send(&waiting.bytes).await?;
                    }
                    None => return Ok(()),
                },
                ready = upstream.readable() => {
                    ready?;
                    if let Some(bytes) = answer(&upstream, &self.socket, client)? {
                        self.socket.send_to(&bytes, client).await?;
                    }
                }
                () = sleep_until(until) => return Ok(()),
            }
            until = Instant::now() + self.idle;
        }
    }
}

/// Passes on one answer, if there is one. What cannot be sent at once is given back.
fn answer(
    upstream: &UdpSocket,
    socket: &UdpSocket,
    client: SocketAddr,
) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = BUFFER.take();
    buffer.resize(DATAGRAM_BYTES_MAX, 0);
    let result = match upstream.try_recv(&mut buffer) {
        Ok(count) => {
            let bytes = buffer.get(..count).unwrap_or_default();
            match socket.try_send_to(bytes, client) {
                Ok(_) => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(bytes.to_vec())),
                Err(error) => Err(error),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    };
    BUFFER.set(buffer);
    result
}

/// A socket for one session with `server`.
async fn connect(server: &Server) -> io::Result<UdpSocket> {
    let found = tokio::net::lookup_host((server.host.as_str(), server.port));
    let mut found = timeout(LOOKUP_TIMEOUT, found).await.map_err(|_elapsed| {
        io::Error::new(io::ErrorKind::TimedOut, "the name was not found in time")
    })??;
    let address = found.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let own: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await.inspect_err(|error| {
        warn!(%error, "no socket for a session");
    })?;
    socket.connect(address).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{EntryPoint, Plan};
    use crate::udp::{Route, Service};

    struct To(Server);

    impl Service for To {
        fn pick(&self) -> Option<&Server> {
            Some(&self.0)
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }

    /// A core whose only route leads to `server`, and its address.
    async fn receiving(
        server: SocketAddr,
        idle: Duration,
        sessions_max: usize,
    ) -> (SocketAddr, Group, Arc<Semaphore>, CancellationToken) {
        let server = Server { host: server.ip().to_string(), port: server.port() };
        let route = Route { name: "r@test".into(), service: Arc::new(To(server)) };
        let datagrams = Some(Arc::new(route));
        let entry = EntryPoint { datagrams, ..EntryPoint::default() };
        let plan = plan::Handle::default();
        let entry_points = HashMap::from([("dns".into(), Arc::new(entry))]);
        plan.store(Arc::new(Plan { generation: 1, entry_points }));
        let (sessions, stop) =
            (Group::new(tokio::runtime::Handle::current()), CancellationToken::new());
        let limit = Arc::new(Semaphore::new(100));
        let core = Core {
            name: "dns".into(),
            plan,
            idle,
            sessions_max,
            limit: limit.clone(),
            sessions: sessions.clone(),
        };
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        sessions.spawn(receive(socket, Arc::new(core), stop.clone()));
        (address, sessions, limit, stop)
    }

    async fn client(address: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(address).await.unwrap();
        socket
    }

    #[tokio::test]
    async fn a_session_ends_when_it_is_silent_and_a_drain_waits_for_it() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let idle = Duration::from_millis(200);
        let (address, sessions, limit, stop) =
            receiving(server.local_addr().unwrap(), idle, 10).await;
        let one = client(address).await;
        one.send(b"first").await.unwrap();
        let mut buffer = [0; 16];
        let (_, session) = server.recv_from(&mut buffer).await.unwrap();
        one.send(b"second").await.unwrap();
        assert_eq!(server.recv_from(&mut buffer).await.unwrap(), (6, session), "the same session");
        server.send_to(b"answer", session).await.unwrap();
        assert_eq!(one.recv(&mut buffer).await.unwrap(), 6);
        assert_eq!(limit.available_permits(), 99);
        stop.cancel();
        assert!(sessions.end(Duration::from_secs(10)).await, "it ends with the last session");
        assert_eq!(limit.available_permits(), 100);
    }

    #[tokio::test]
    async fn one_client_too_many_is_not_heard() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let idle = Duration::from_hours(1);
        let (address, ..) = receiving(server.local_addr().unwrap(), idle, 1).await;
        let (one, two) = (client(address).await, client(address).await);
        let mut buffer = [0; 16];
        one.send(b"one").await.unwrap();
        assert_eq!(server.recv_from(&mut buffer).await.unwrap().0, 3);
        two.send(b"second").await.unwrap();
        one.send(b"more").await.unwrap();
        assert_eq!(server.recv_from(&mut buffer).await.unwrap().0, 4, "that of the first");
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let sessions = Sessions::new();
        let datagram = vec![0; DATAGRAM_BYTES_MAX];
        let waiting: Vec<_> = (0..1000).map_while(|_| sessions.waiting(&datagram)).collect();
        assert_eq!(waiting.len(), WAITING_BYTES_MAX / DATAGRAM_BYTES_MAX);
        drop(waiting);
        assert!(sessions.waiting(&datagram).is_some());
    }
}
