//! Connections of clients: accepted, opened, handed to HTTP (ARCHITECTURE.md, "A request", steps 1 to 4).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Entry;
use super::dispatch::{self, Step};
use super::exchange::{Ends, Requests};
use super::proxy_protocol::{self, Parsed};
use super::stream::{Open, Stream};
use crate::http::{h1, h2};
use crate::plan::Streams;
use crate::task::Group;
use crate::tcp::{self, Admission, Ending};
use crate::tls;
use crate::tls::hello::HANDSHAKE_RECORD;

/// First and longest pause when the process or the system has no descriptor or memory left for a connection.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Read at once from a new connection: a `ClientHello` with a post-quantum key share fits.
const FIRST_BYTES: usize = 2048;

/// One core's part of an entry point.
pub(super) struct Core {
    pub(super) entry: Arc<Entry>,
    /// Bounds the core's connections over all entry points.
    pub(super) limit: Arc<Semaphore>,
    /// The connections; its stop token tells them to drain.
    pub(super) connections: Group,
}

/// Accepts connections until `stop`, and then those that the kernel has accepted for us already.
pub(super) async fn accept(listener: TcpListener, core: Arc<Core>, stop: CancellationToken) {
    let mut stopped = std::pin::pin!(stop.cancelled());
    let mut pause = PAUSE_MIN;
    loop {
        let next = async {
            let permit = core.limit.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = &mut stopped => break,
            next = next => next,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, peer))) => {
                pause = PAUSE_MIN;
                start(&core, stream, peer, permit);
            }
            (Ok(_), Err(error)) if is_exhaustion(&error) => {
                warn!(%error, entry_point = %core.entry.name, "cannot accept; pausing");
                tokio::select! {
                    () = &mut stopped => break,
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                }
            }
            (Ok(_), Err(error)) => debug!(%error, "a connection broke before it was accepted"),
            (Err(_), _) => break,
        }
    }
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        let Ok(permit) = core.limit.clone().try_acquire_owned() else { break };
        start(&core, stream, peer, permit);
    }
}

/// True for errors that the next accept would meet again.
fn is_exhaustion(error: &io::Error) -> bool {
    let lasting = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| lasting.contains(&code))
}

fn start(core: &Arc<Core>, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
    let open = Open::new(core.entry.clone(), permit, core.connections.hold());
    core.connections.spawn(connection(core.clone(), stream, peer, open));
}

/// HTTP on a connection, from its first request to its last.
type Conversation = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection, from its first byte to its last. Its two halves are boxed each: an idle connection holds no memory
/// for a handshake, nor a plain one for TLS.
async fn connection(core: Arc<Core>, stream: TcpStream, peer: SocketAddr, open: Open) {
    let deadline = core.entry.read_deadline();
    let begin = Box::pin(timeout_at(deadline, begin(core, stream, peer, open)));
    match begin.await {
        Ok(Ok(Some(conversation))) => conversation.await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => debug!(%error, %peer, "connection refused"),
        Err(_elapsed) => debug!(%peer, "the client did not begin in time"),
    }
}

/// Why a connection did not get as far as HTTP.
#[derive(Debug, thiserror::Error)]
enum BeginError {
    #[error("reading the first bytes: {0}")]
    Read(#[from] io::Error),
    #[error("malformed PROXY header")]
    ProxyHeader,
    #[error("no router takes the connection")]
    NoRoute,
    #[error("a middleware of router `{0}` refuses the connection")]
    Refused(Arc<str>),
    #[error(transparent)]
    Tls(#[from] tls::AcceptError),
}

/// Who the client is, what it speaks, and TLS. `None`: the client left without a word, or a drain came first.
async fn begin(
    core: Arc<Core>,
    socket: TcpStream,
    peer: SocketAddr,
    open: Open,
) -> Result<Option<Conversation>, BeginError> {
    let (entry, drain) = (core.entry.clone(), core.connections.stop_token());
    let streams = entry.streams();
    let opened = tokio::select! {
        biased;
        opened = opening(socket, peer, &entry, streams.as_deref()) => opened?,
        () = drain.cancelled() => None,
    };
    let Some(Opening { socket, first, speaks, ends }) = opened else { return Ok(None) };
    Ok(Some(match speaks {
        Speaks::Http(Protocol::Http1) => {
            let stream = Stream::new(Bytes::new(), socket, open);
            http1(stream, first, Requests::new(entry, ends, None), drain)
        }
        Speaks::Http(Protocol::Http2) => {
            let stream = Stream::new(first, socket, open);
            http2(stream, Requests::new(entry, ends, None), drain)
        }
        Speaks::Http(Protocol::Tls) => {
            let stream = Stream::new(first, socket, open);
            let tls::Accepted { stream, session, http2: is_http2 } =
                tls::accept(stream, &entry.tls(), ends.local.ip()).await?;
            let requests = Requests::new(entry, ends, Some(session));
            if is_http2 {
                http2(stream, requests, drain)
            } else {
                http1(stream, Bytes::new(), requests, drain)
            }
        }
        Speaks::Other { route, starttls } => {
            routed(&route, Stream::new(first, socket, open), ends, starttls).await?
        }
    }))
}

/// What a client speaks over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tls,
    Http1,
    Http2,
}

/// Who gets a connection.
enum Speaks {
    Http(Protocol),
    /// A TCP router. `starttls`: the client has been promised TLS, as `PostgreSQL` does it.
    Other {
        route: Arc<tcp::Route>,
        starttls: bool,
    },
}

/// A connection whose client is known, and who gets it.
struct Opening {
    socket: TcpStream,
    /// What was read in order to know it, without a PROXY header.
    first: Bytes,
    speaks: Speaks,
    ends: Ends,
}

/// Reads a PROXY header where the entry point wants one, and as much as tells who gets the connection. `None`: the
/// client left without a word.
async fn opening(
    mut socket: TcpStream,
    peer: SocketAddr,
    entry: &Entry,
    streams: Option<&Streams>,
) -> Result<Option<Opening>, BeginError> {
    let mut ends = Ends { remote: canonical(peer), local: canonical(socket.local_addr()?) };
    let mut first = BytesMut::with_capacity(FIRST_BYTES);
    let mut header_awaited = entry.proxy_protocol.is_some();
    let (mut streams, mut starttls) = (streams, false);
    loop {
        if let Some(all) = streams.filter(|_| !header_awaited) {
            match dispatch::decide(all, &first, ends.remote.ip(), starttls) {
                Step::Read => {}
                Step::Http => streams = None,
                Step::StartTls => {
                    first.advance(tcp::POSTGRES_REQUEST.len());
                    socket.write_all(&[tcp::POSTGRES_ANSWER]).await?;
                    starttls = true;
                    continue;
                }
                Step::Stream(route) => {
                    let speaks = Speaks::Other { route, starttls };
                    return Ok(Some(Opening { socket, first: first.freeze(), speaks, ends }));
                }
                Step::Close => return Err(BeginError::NoRoute),
            }
        }
        if streams.is_none()
            && !header_awaited
            && let Some(protocol) = protocol(&first)
        {
            let speaks = Speaks::Http(protocol);
            return Ok(Some(Opening { socket, first: first.freeze(), speaks, ends }));
        }
        if first.len() == first.capacity() {
            first.reserve(FIRST_BYTES);
        }
        if socket.read_buf(&mut first).await? == 0 {
            return Ok(None);
        }
        if let Some(policy) = entry.proxy_protocol.as_ref().filter(|_| header_awaited) {
            match proxy_protocol::parse(&first) {
                Parsed::Incomplete => {}
                Parsed::Absent => header_awaited = false,
                Parsed::Header { bytes, ends: named } => {
                    header_awaited = false;
                    first.advance(bytes);
                    if let Some(named) = named.filter(|_| policy.believes(ends.remote.ip())) {
                        ends.remote = canonical(named.source);
                        ends.local = canonical(named.destination);
                    }
                }
                Parsed::Malformed => return Err(BeginError::ProxyHeader),
            }
        }
    }
}

/// Lets a connection pass the middlewares of a TCP router, and ends TLS where the router wants that.
async fn routed(
    route: &tcp::Route,
    stream: Stream,
    ends: Ends,
    starttls: bool,
) -> Result<Conversation, BeginError> {
    let mut guards = Vec::new();
    for middleware in &route.middlewares {
        match middleware.admit(ends.remote.ip()) {
            Admission::Refused => return Err(BeginError::Refused(route.name.clone())),
            Admission::Admitted(guard) => guards.extend(guard),
        }
    }
    let client: Box<dyn tcp::Stream> = match &route.ending {
        Ending::Plain | Ending::PassedThrough => Box::new(stream),
        Ending::Ended(acceptance) => Box::new(tls::accept_as(stream, acceptance).await?),
    };
    // Where we end TLS, the server hears nothing of it.
    let starttls = starttls && matches!(route.ending, Ending::PassedThrough);
    let service = route.service.clone().ok_or(BeginError::NoRoute)?;
    let (router, Ends { remote, local }) = (route.name.clone(), ends);
    Ok(Box::pin(async move {
        let connection = tcp::Connection { client, remote, local, starttls };
        if let Err(error) = service.serve(connection).await {
            debug!(%error, %router, client = %remote, "connection ended");
        }
        drop(guards);
    }))
}

/// Told from the first bytes; `None` where more are needed.
fn protocol(first: &[u8]) -> Option<Protocol> {
    match first.first()? {
        &HANDSHAKE_RECORD => Some(Protocol::Tls),
        _ if first.starts_with(h2::PREFACE) => Some(Protocol::Http2),
        _ if h2::PREFACE.starts_with(first) => None,
        _ => Some(Protocol::Http1),
    }
}

/// IPv4 on a socket for both families looks like IPv6; nobody should see that.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn http1<IO>(io: IO, first: Bytes, requests: Requests, drain: CancellationToken) -> Conversation
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = requests.entry().h1.clone();
    Box::pin(async move {
        let ended = h1::serve(io, first, settings, requests, drain).await;
        debug!(?ended, "HTTP/1 connection ended");
    })
}

fn http2<IO>(io: IO, requests: Requests, drain: CancellationToken) -> Conversation
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = requests.entry().h2.clone();
    let service = move |parts, body, interim| requests.exchange(parts, body, interim);
    Box::pin(h2::serve(io, settings, service, drain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        for (first, expected) in [
            ("\x16\x03\x01", Some(Protocol::Tls)),
            ("G", Some(Protocol::Http1)),
            ("POST /", Some(Protocol::Http1)),
            ("PRI", None),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0", Some(Protocol::Http2)),
            ("PRI * HTTP/1.1", Some(Protocol::Http1)),
            ("", None),
        ] {
            assert_eq!(protocol(first.as_bytes()), expected, "{first:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_small_while_it_idles() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let shared = super::super::Shared::new(crate::plan::Handle::default(), None, None);
        let entry = Entry::new("web", &super::super::Options::default(), &shared);
        let core = Arc::new(Core {
            entry: Arc::new(entry.unwrap()),
            limit: Arc::new(Semaphore::new(1)),
            connections: Group::new(tokio::runtime::Handle::current()),
        });
        let permit = core.limit.clone().acquire_owned().await.unwrap();
        let open = Open::new(core.entry.clone(), permit, core.connections.hold());
        let peer = stream.local_addr().unwrap();
        let future = connection(core, stream, peer, open);
        assert!(size_of_val(&future) <= 256, "{} bytes", size_of_val(&future));
    }
}
